"""An httpx transport that gives each request a connection of its own.

httpx's own hands over a chunked body chunk by chunk, event by event; this one all that a read of the network brought.
And httpx's pool leaves the socket of a request that is cancelled in its TLS handshake to the garbage collector.
"""

import math
import sys
from typing import Self

import h11
import httpx
import trio

from lrpmirror.client._errors import OPEN_ENDED, shortened
from lrpmirror.client._options import Limits
from lrpmirror.client._pipe import Pipe, connect
from lrpmirror.client._tls import Identity
from lrpmirror.errors import LimitExceeded
from lrpmirror.wire.chunked import ChunkedDecoder

_BODYLESS = frozenset({204, 304})

_DEFAULT_PORTS = {"http": 80, "https": 443}


class _SizedBody:
    def __init__(self, length: int) -> None:
        self._missing = length

    @property
    def ended(self) -> bool:
        return not self._missing

    def feed(self, data: bytes) -> bytes:
        piece = data[: self._missing]
        self._missing -= len(piece)
        return piece


class _BodyUntilClose:
    ended = False

    def feed(self, data: bytes) -> bytes:
        return data


Framing = ChunkedDecoder | _SizedBody | _BodyUntilClose
"""Takes the bytes of a connection, in any pieces, and gives those of the body, until it has `ended`.

`feed` raises a WireError for malformed framing, at the latest with the next call. For _BodyUntilClose the end of the
connection is the end of the body, for the others a cut.
"""


def framing_of(response: h11.Response, max_trailers: int) -> Framing:
    """Choose by the head of a reply, as RFC 9112 says; h11 has refused heads that contradict themselves."""
    if response.status_code in _BODYLESS:
        return _SizedBody(0)
    headers = {name: value for name, value in response.headers if name in {b"transfer-encoding", b"content-length"}}
    if b"transfer-encoding" in headers:
        # h11 lets no other coding than this one pass.
        return ChunkedDecoder(max_trailers=max_trailers)
    if b"content-length" in headers:
        return _SizedBody(int(headers[b"content-length"]))
    return _BodyUntilClose()


class Transport(httpx.AsyncBaseTransport):
    """Sends each request over a new connection, closed with the reply; keeps nothing, so has nothing to close.

    Each pause in a body is limited by the read timeout, as is the wait for the head; not if `endless`, for event
    streams, since a BBS sends no heartbeats. `identity` is for https.
    """

    def __init__(self, identity: Identity | None, limits: Limits, *, endless: bool) -> None:
        self._identity = identity
        self._limits = limits
        self._endless = endless

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its reply as soon as the head is there."""
        url, timeouts = request.url, request.extensions["timeout"]
        context = self._identity.context() if self._identity else None
        pipe = await connect(url.host, url.port or _DEFAULT_PORTS[url.scheme], context, timeouts["connect"])
        try:
            # h11 would call a head that is too large a broken one; `read_head` has the limit.
            exchange = h11.Connection(h11.CLIENT, max_incomplete_event_size=sys.maxsize)
            head = h11.Request(method=request.method, target=url.raw_path, headers=request.headers.raw)
            body = await request.aread()
            events = (head, h11.Data(data=body), h11.EndOfMessage()) if body else (head, h11.EndOfMessage())
            await pipe.send(b"".join(exchange.send(event) or b"" for event in events), timeouts["write"])
            response = await read_head(pipe, exchange, self._limits, timeouts["read"])
        except BaseException:
            await pipe.close()
            raise
        behind, _ = exchange.trailing_data
        framing = framing_of(response, self._limits.max_trailers)
        stream = _Body(pipe, framing, behind, math.inf if self._endless else timeouts["read"])
        return httpx.Response(
            response.status_code,
            headers=response.headers.raw_items(),
            stream=stream,
            request=request,
            extensions={OPEN_ENDED: isinstance(framing, _BodyUntilClose)},
        )


async def read_head(pipe: Pipe, exchange: h11.Connection, limits: Limits, timeout: float) -> h11.Response:
    """Read the head, after interim replies; raises LimitExceeded, httpx's ReadTimeout and RemoteProtocolError."""
    deadline = trio.current_time() + timeout
    received = interim = 0
    while True:
        try:
            event = exchange.next_event()
        except h11.RemoteProtocolError as exc:
            raise httpx.RemoteProtocolError(shortened(str(exc))) from exc
        if isinstance(event, h11.InformationalResponse):
            interim += 1
            if interim > limits.max_interim:
                raise LimitExceeded(f"over {limits.max_interim} interim replies before the reply (max_interim)")
            continue
        behind, _ = exchange.trailing_data
        head = received if event is h11.NEED_DATA else received - len(behind)
        if head > limits.max_head:
            raise LimitExceeded(f"the head of the reply is over {limits.max_head} bytes (max_head)")
        if isinstance(event, h11.Response):
            if len(event.headers) > limits.max_headers:
                raise LimitExceeded(f"the head of the reply has over {limits.max_headers} headers (max_headers)")
            return event
        data = await pipe.receive(max(0.0, deadline - trio.current_time()))
        if not data:
            raise httpx.RemoteProtocolError("the server closed the connection without a reply")
        exchange.receive_data(data)
        received += len(data)


class _Body(httpx.AsyncByteStream):
    """The body of a reply, one piece for each read of the network, none of which takes longer than `pause` seconds."""

    def __init__(self, pipe: Pipe, framing: Framing, behind: bytes, pause: float) -> None:
        self._pipe = pipe
        self._framing = framing
        self._behind = behind
        self._pause = pause

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        framing = self._framing
        data, self._behind = self._behind, b""
        # It is asked before the network is: an error may stand behind the piece before.
        while not (piece := framing.feed(data)):
            if framing.ended:
                raise StopAsyncIteration
            data = await self._pipe.receive(self._pause)
            if not data:
                if isinstance(framing, _BodyUntilClose):
                    raise StopAsyncIteration
                raise httpx.RemoteProtocolError("the server closed the connection in the middle of the reply")
        return piece

    async def aclose(self) -> None:
        await self._pipe.close()
