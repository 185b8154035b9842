"""One request and its reply: the head checked, the body in pieces, errors mapped, the connection always closed."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast

import httpx
import trio
from msgspec import Struct

from lrpmirror.client._errors import MappedErrors, RequestInfo, check_reply
from lrpmirror.errors import ConnectionFailed, LimitExceeded, TimedOut
from lrpmirror.events import SourceStatus
from lrpmirror.wire import source

Tap = Callable[[str, bytes], None]

PROTOBUF: Final = "application/x-protobuf"
EVENT_STREAM: Final = "text/event-stream"

_CLOSED: Final = "the server closed the stream"
_SOURCE: Final = source.HEADER.decode()


class ReplyLimits(Struct, frozen=True):
    """Limits of the body of a reply: bytes, and seconds of waiting for them in all."""

    size: int
    seconds: float


class Body:
    """The body of a reply that is being read. One without limits, a stream, ends in an error only."""

    def __init__(
        self,
        response: httpx.Response,
        info: RequestInfo,
        limits: ReplyLimits | None,
        received: Callable[[bytes], None] | None,
    ) -> None:
        self.info = info
        said = response.headers.get(_SOURCE)
        # How old the state in the reply is, where it says so.
        self.source: SourceStatus | None = None if said is None else source.parse_header(said.encode())
        self._stream = cast("httpx.AsyncByteStream", response.stream)
        self._pieces = aiter(self._stream)
        self._limits = limits
        self._received = received
        self._errors = MappedErrors(info, "reading the reply", "the connection broke" if limits else _CLOSED)
        self._size = 0
        self._waited = 0.0
        self._over = False

    async def read(self) -> bytes:
        """Return the next piece, empty at the end. Raises a BBSError, MalformedChunk, and LimitExceeded."""
        if self._over:
            raise ConnectionFailed(f"{self.info}: the reply has been read to its end, or left")
        try:
            with self._errors:
                piece = await (self._next_of_stream() if self._limits is None else self._next_within(self._limits))
        except BaseException:
            self._over = True
            raise
        self._over = not piece
        if piece and self._received:
            self._received(piece)
        return piece

    async def _next_of_stream(self) -> bytes:
        try:
            return await self._pieces.__anext__()
        except StopAsyncIteration:
            raise ConnectionFailed(f"{self.info}: {_CLOSED}; connect again, and list again") from None

    async def _next_within(self, limits: ReplyLimits) -> bytes:
        began = trio.current_time()
        with trio.move_on_at(began + limits.seconds - self._waited) as patience:
            piece = await anext(self._pieces, b"")
        if patience.cancelled_caught:
            raise TimedOut(f"{self.info}: the reply has not come within {limits.seconds} seconds of waiting")
        self._waited += trio.current_time() - began
        self._size += len(piece)
        if self._size > limits.size:
            raise LimitExceeded(f"{self.info}: the reply is over {limits.size} bytes (max_list)")
        return piece

    async def close(self) -> None:
        """Close the connection."""
        self._over = True
        with trio.CancelScope(shield=True):
            await self._stream.aclose()
            # Where something stands in for the network, it may be in the middle of a generator.
            if isinstance(self._pieces, AsyncGenerator):
                await self._pieces.aclose()


@asynccontextmanager
async def exchange(
    transport: httpx.AsyncBaseTransport,
    info: RequestInfo,
    request: bytes,
    *,
    timeouts: Mapping[str, float | None],
    limits: ReplyLimits | None,
    received: Callable[[bytes], None] | None,
) -> AsyncIterator[Body]:
    """Send a request; yield the body once the head has arrived and been checked.

    `limits` are None for a stream. `received` is called with each piece of the body, at first with an empty one.
    """
    content_type = EVENT_STREAM if limits is None else PROTOBUF
    headers = {
        "User-Agent": "lrpmirror",
        "Accept-Encoding": "identity",
        "Content-Type": PROTOBUF,
        "Accept": content_type,
    }
    with MappedErrors(info, "waiting for the reply"):
        # Without httpx's client, which would add nothing but redirects, cookies, and four generators around the body.
        message = httpx.Request(
            info.method, info.url + info.path, headers=headers, content=request, extensions={"timeout": timeouts}
        )
        response = await transport.handle_async_request(message)
    body = Body(response, info, limits, received)
    try:
        with MappedErrors(info, "checking the reply"):
            check_reply(info, response, content_type, endless=limits is None)
        if received:
            received(b"")
        yield body
    finally:
        await body.close()
