"""The paths of a BBS as a read replica answers them."""

from typing import Final

from lrpmirror.errors import RequestRefused
from lrpmirror.serve.replica import Replica
from lrpmirror.serve.routes import PLAIN, printable, send_whole
from lrpmirror.server import BBSApp
from lrpmirror.server.asgi import Message, Receive, Scope, Send
from lrpmirror.wire import encode, source

WHOLE: Final = frozenset({"/v1/desired_lrps/list.r3", "/v1/desired_lrps/get_by_process_guid.r3"})
"""Where whole desired LRPs are asked for."""


class ReplicaApp:
    """An ASGI application: the reads of a BBS, answered by a replica.

    Everything is answered with 503 until the replica has a state, and when that is too old; the text says so. Every
    other reply says in a header how old the state is. Writes are refused with an error of the protocol,
    which says whose replica this is (`origin`); so are tasks, which a mirror does not follow. Unless `full`, requests
    for whole desired LRPs are refused too, since the mirror has not got all of them; their scheduling and routing parts
    are served. In events they are sent nevertheless, because followers need them: without what is not mirrored.
    """

    def __init__(self, replica: Replica, *, origin: str, full: bool) -> None:
        self._replica = replica
        origin = printable(origin)
        self._origin = origin
        self._full = full
        no_writes = RequestRefused("InvalidRequest", f"this is a read replica of {origin}: send writes there")
        self._bbs = BBSApp(replica, writes=no_writes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the server's lifespan messages."""
        if scope["type"] != "http":
            await self._bbs(scope, receive, send)
        elif away := self._replica.refusal:
            await send_whole(send, 503, PLAIN, f"{printable(away)}\n".encode())
        else:
            await self._answer(scope, receive, _saying(send, source.header(self._replica.status)))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope["path"])
        if refusal:
            await send_whole(send, 200, b"application/x-protobuf", encode.error_reply("InvalidRequest", refusal))
        else:
            await self._bbs(scope, receive, send)

    def _refusal(self, path: str) -> str:
        """Say why a read cannot be answered; empty for those that can, and for all else."""
        if path.startswith("/v1/tasks/"):
            return f"this is a read replica of {self._origin}, without its tasks: ask there"
        if path in WHOLE and not self._full:
            return (
                f"this replica of {self._origin} keeps the scheduling and routing parts of desired LRPs only: "
                "start it with --detail full to have whole ones, or ask the BBS"
            )
        return ""


def _saying(send: Send, age: bytes) -> Send:
    """Return what sends with one more header: how old what is answered is."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (source.HEADER, age)]}
        await send(message)

    return sending
