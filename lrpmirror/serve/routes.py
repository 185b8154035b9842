"""The paths that a process serves: those of a BBS, answered by a replica, and a table of others beside them."""

from collections.abc import Callable, Mapping
from typing import Final

from lrpmirror.errors import RequestRefused
from lrpmirror.mirror import Mirror
from lrpmirror.serve.replica import Replica
from lrpmirror.server import BBSApp, asgi
from lrpmirror.server.asgi import ASGIApp, Receive, Scope, Send
from lrpmirror.wire import encode, source

# Whole desired LRPs are asked for there.
WHOLE: Final = frozenset({"/v1/desired_lrps/list.r3", "/v1/desired_lrps/get_by_process_guid.r3"})

# Of every reply for browsers: no caching, no type sniffing, no framing, no referrer.
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)

Routes = Callable[[Mirror, Replica], Mapping[str, ASGIApp]]  # makes a table from path to application


def printable(text: str) -> str:
    """Return a text that can be sent: with escapes for what is no character, such as in the name of a file."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def routed(table: Mapping[str, ASGIApp], *, fallback: ASGIApp) -> ASGIApp:
    """Return an application that passes GET and HEAD of these paths to their applications, all else to `fallback`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = table.get(scope["path"]) if scope["type"] == "http" else None
        if chosen is None:
            await fallback(scope, receive, send)
        elif scope["method"] in {"GET", "HEAD"}:
            await chosen(scope, receive, asgi.with_headers(send, *_HEADERS))
        else:
            await asgi.send_not_allowed(asgi.with_headers(send, *_HEADERS), b"GET, HEAD")

    return app


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
    """Answer 404 to every request; an ASGI application."""
    if scope["type"] == "http":
        await asgi.send_not_found(asgi.with_headers(send, *_HEADERS))


class ReplicaApp:
    """An ASGI application: the reads of a BBS, answered by a replica.

    Everything is answered with 503, and why, until the replica has a state, and when that is too old. Every other reply
    says in a header how old the state is. Writes are refused with an error of the protocol, which names `origin`, and
    so are tasks. Unless `full`, so are requests for whole desired LRPs; events have them nevertheless, without what is
    not mirrored.
    """

    def __init__(self, replica: Replica, *, origin: str, full: bool) -> None:
        self._replica = replica
        self._origin = printable(origin)
        self._full = full
        refusal = f"this is a read replica of {self._origin}: send writes there"
        self._bbs = BBSApp(replica, writes=RequestRefused("InvalidRequest", refusal))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the server's lifespan messages."""
        if scope["type"] != "http":
            await self._bbs(scope, receive, send)
        elif away := self._replica.refusal:
            await asgi.send_whole(asgi.with_headers(send, *_HEADERS), 503, asgi.TEXT, f"{printable(away)}\n".encode())
        else:
            send = asgi.with_headers(send, (source.HEADER, source.header(self._replica.status)))
            if refusal := self._refusal(scope["path"]):
                reply = encode.error_reply("InvalidRequest", refusal)
                await asgi.send_whole(send, 200, b"application/x-protobuf", reply)
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
