"""A BBS as an ASGI application, for servers that run on trio."""

from collections.abc import Iterable
from typing import Final

import trio
from google.protobuf.message import DecodeError
from msgspec import Struct

from lrpmirror.errors import BBSError, RequestRefused, UnknownPath
from lrpmirror.server import asgi
from lrpmirror.server.asgi import Receive, Scope, Send
from lrpmirror.server.lists import LISTS, PING, Answer, Source
from lrpmirror.server.slices import Slices
from lrpmirror.server.streams import STREAMS, stream_events
from lrpmirror.server.writes import WRITES, Write, Writer
from lrpmirror.wire import encode, text
from lrpmirror.wire.proto.events_pb2 import EventsByCellId

MAX_REQUEST: Final = 16 * 1024 * 1024  # bytes of a body, where the server below has no limit of its own
TRACE_HEADER: Final = b"x-vcap-request-id"  # the events that a write causes carry its value as their trace id

_NO_WRITES: Final = UnknownPath("this server has no writes")
_AVAILABLE: Final = b"\x08\x01"
_PROTOBUF: Final = b"application/x-protobuf"


class Lag(Struct, frozen=True):
    """Delays of lists, in seconds: before the state is read, and between reading and answering."""

    before_read: float = 0.0
    after_read: float = 0.0


class BBSApp:
    """Answers the BBS protocol: lists, ping and both event streams from a source, writes by a writer.

    `writes` is a Writer, or an error that refuses each write, whatever its content: so a replica does, and a cell that
    evacuates then keeps its container. Errors, also those of the source and the writer, are answered by their kind:
    RequestRefused and ResourceNotFound in the reply's error field; UnknownPath as a 404; any other BBSError as a 503.
    `available` False answers everything with 503, as a BBS does while it migrates. `hidden` are paths that are answered
    with 404, as by an older or newer server. `lag` slows lists down. All three may be changed at any time, for the
    requests that come then.
    """

    def __init__(
        self,
        source: Source,
        *,
        writes: Writer | BBSError = _NO_WRITES,
        available: bool = True,
        hidden: Iterable[str] = (),
        lag: Lag | None = None,
    ) -> None:
        self.source = source
        self.writes = writes
        self.available = available
        self.hidden = frozenset(hidden)
        self.lag = lag or Lag()
        self._slices = Slices()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the server's lifespan messages."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if not self.available:
            await asgi.send_whole(send, 503, asgi.TEXT, b"")
        elif path in self.hidden or not (path in LISTS or path in STREAMS or path in WRITES or path == PING):
            await asgi.send_not_found(send)
        elif method != "POST" and not (method in {"GET", "HEAD"} and path in STREAMS):
            await asgi.send_not_allowed(send, b"GET, HEAD, POST" if path in STREAMS else b"POST")
        elif path == PING:
            await asgi.send_whole(send, 200, _PROTOBUF, _AVAILABLE)
        elif (body := await _read_body(receive)) is None:
            await asgi.send_whole(send, 413, asgi.TEXT, b"the request is too large\n")
        else:
            try:
                if path in STREAMS:
                    await self._stream(scope, body, receive, send)
                elif path in WRITES:
                    await self._write(WRITES[path], scope, body, send)
                else:
                    await self._list(LISTS[path], body, send)
            except BBSError as exc:
                await _send_error(send, exc)

    async def _write(self, write: Write, scope: Scope, body: bytes, send: Send) -> None:
        match self.writes:
            case RequestRefused() as refusal:
                await asgi.send_whole(send, 200, _PROTOBUF, write.refuse(refusal))
            case BBSError() as error:
                await _send_error(send, error)
            case writer:
                given = next((value for name, value in scope["headers"] if name == TRACE_HEADER), b"")
                reply = write.answer(writer, body, trace_id=str(given, "utf-8", "replace"))
                await asgi.send_whole(send, 200, _PROTOBUF, reply)

    async def _stream(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        try:
            cell_id = text.parse(EventsByCellId, body).cell_id
        except DecodeError:
            await asgi.send_whole(send, 400, asgi.TEXT, b"the body is not an EventsByCellId\n")
            return
        subscription = self.source.subscribe(STREAMS[scope["path"]], cell_id)
        offer = (scope.get("extensions") or {}).get(asgi.CHUNKS, {}).get(asgi.OFFER)
        await stream_events(subscription, receive, send, offer)

    async def _list(self, answer: Answer, body: bytes, send: Send) -> None:
        if self.lag.before_read:
            await trio.sleep(self.lag.before_read)
        records = answer(self.source, body)
        first = await self._slices.take(records)
        second = await self._slices.take(records)
        if self.lag.after_read:
            await trio.sleep(self.lag.after_read)
        if not second:
            await asgi.send_whole(send, 200, _PROTOBUF, encode.reply(first))
            return
        # A long list is sent as it is encoded: every send gives way to other tasks too, and waits for a slow reader.
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", _PROTOBUF)]})
        for piece in (first, second):
            await send({"type": "http.response.body", "body": encode.reply(piece), "more_body": True})
        while piece := await self._slices.take(records):
            await send({"type": "http.response.body", "body": encode.reply(piece), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _send_error(send: Send, error: BBSError) -> None:
    match error:
        case RequestRefused(type=kind, message=message):
            await asgi.send_whole(send, 200, _PROTOBUF, encode.error_reply(kind, message))
        case UnknownPath():
            await asgi.send_not_found(send)
        case _:
            await asgi.send_whole(send, 503, asgi.TEXT, f"{error}\n".encode())


async def _read_body(receive: Receive) -> bytes | None:
    """Return the request's body, empty if the client has gone; None if it is too long."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_REQUEST:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
