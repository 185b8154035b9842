"""One request and its reply: the head checked, the body in pieces, errors mapped, the connection always given back."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Self

import httpx
import trio
from msgspec import Struct

from lrpmirror.client._errors import MappedErrors, RequestInfo, check_reply
from lrpmirror.client._transport import READ, Read
from lrpmirror.errors import ConnectionFailed, LimitExceeded, ServiceUnavailable, TimedOut
from lrpmirror.events import SourceStatus
from lrpmirror.wire import source

Tap = Callable[[str, bytes], None]

PROTOBUF: Final = "application/x-protobuf"
EVENT_STREAM: Final = "text/event-stream"

_NOTHING: Final = httpx.ByteStream(b"")

_CLOSED: Final = "the server closed the stream"
_SOURCE: Final = source.HEADER.decode()


class Hooks:
    """Callbacks of a request: `received` for each piece; `lost` when a block shows that the server is out of reach."""

    def __init__(self, received: Callable[[bytes], None] | None, lost: Callable[[], None]) -> None:
        self.received = received
        self.lost = lost

    def __enter__(self) -> None:
        """Begin a block in which the server may turn out to be out of reach."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, (ConnectionFailed, TimedOut, ServiceUnavailable)):
            self.lost()


class ReplyLimits(Struct, frozen=True):
    """Limits of the body of a reply: bytes, and seconds of waiting for them in all."""

    size: float
    seconds: float


ENDLESS: Final = ReplyLimits(math.inf, math.inf)  # the limits of a stream: none


class Body:
    """The body of a reply that is being read. An endless one (a stream) ends in an error only."""

    def __init__(self, response: httpx.Response, info: RequestInfo, hooks: Hooks, limits: ReplyLimits) -> None:
        self.info = info
        said = response.headers.get(_SOURCE)
        # How old the state in the reply is, where it says so.
        self.source: SourceStatus | None = None if said is None else source.parse_header(said.encode())
        self._response = response
        # httpx reads through four nested generators, which for one event cost more than all the rest of its way.
        direct: Read | None = response.extensions.get(READ)
        self._pieces = None if direct else response.aiter_raw()
        self._read: Read = direct or partial(anext, self._pieces, b"")
        self._hooks = hooks
        self._limits = limits
        self._endless = limits is ENDLESS
        self._errors = MappedErrors(info, "reading the reply", _CLOSED if self._endless else "the connection broke")
        self._size = 0
        self._waited = 0.0
        self._over = False

    async def read(self) -> bytes:
        """Return the next piece, empty at the end. Raises a BBSError, MalformedChunk, and LimitExceeded."""
        if self._over:
            raise ConnectionFailed(f"{self.info}: the reply has been read to its end, or left")
        try:
            with self._hooks:
                piece = await (self._next() if self._endless else self._next_within_bounds())
        except BaseException:
            self._over = True
            raise
        self._over = not piece
        if piece and self._hooks.received:
            self._hooks.received(piece)
        return piece

    async def _next(self) -> bytes:
        with self._errors:
            piece = await self._read()
        if self._endless and not piece:
            raise ConnectionFailed(f"{self.info}: {_CLOSED}; connect again, and list again")
        return piece

    async def _next_within_bounds(self) -> bytes:
        began = trio.current_time()
        with trio.move_on_at(began + self._limits.seconds - self._waited) as patience:
            piece = await self._next()
        if patience.cancelled_caught:
            raise TimedOut(f"{self.info}: the reply has not come within {self._limits.seconds} seconds of waiting")
        self._waited += trio.current_time() - began
        self._size += len(piece)
        if self._size > self._limits.size:
            raise LimitExceeded(f"{self.info}: the reply is over {self._limits.size} bytes (max_list)")
        return piece

    async def close(self) -> None:
        """Give the connection back, or close it where the body was not read to its end."""
        with trio.CancelScope(shield=True):
            await self._response.aclose()
            # The inner of httpx's generators are only finished by running into their end, which the closed connection
            # now is; left alone they would be found by the garbage collector, with a warning.
            while self._pieces and not self._over:
                try:
                    self._over = await anext(self._pieces, None) is None
                except (httpx.HTTPError, httpx.StreamError):
                    self._over = True
            self._over = True
            # httpx's stream has a hold of the response that has it: the two, with the connection's buffers, would live
            # until the garbage collector comes by.
            self._response.stream = _NOTHING


@asynccontextmanager
async def exchange(
    client: httpx.AsyncClient,
    info: RequestInfo,
    request: bytes,
    hooks: Hooks,
    limits: ReplyLimits,
) -> AsyncIterator[Body]:
    """Send a request; yield the body once the head has arrived and been checked."""
    content_type = EVENT_STREAM if limits is ENDLESS else PROTOBUF
    headers = {"Content-Type": PROTOBUF, "Accept": content_type}
    with hooks, MappedErrors(info, "waiting for the reply"):
        message = client.build_request(info.method, info.url + info.path, content=request, headers=headers)
        message.stream = _RequestBody(request)
        response = await client.send(message, stream=True)
    body = Body(response, info, hooks, limits)
    try:
        with hooks:
            check_reply(info, response, content_type, endless=limits is ENDLESS)
        if hooks.received:
            hooks.received(b"")
        yield body
    finally:
        await body.close()


class _RequestBody(httpx.AsyncByteStream):
    """A request's body, in one piece: httpx's generator is left to the collector, with a warning, by a failed write."""

    def __init__(self, body: bytes) -> None:
        self._pieces = [body] if body else []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces:
            return self._pieces.pop()
        raise StopAsyncIteration
