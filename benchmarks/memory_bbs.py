"""A BBS in memory, behind the client's `transport`: the whole mirror, without sockets and a second process."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import httpx
import trio

from lrpmirror import BBSClient, Mirror, Tuning, open_mirror
from lrpmirror.wire.proto import requests_pb2

__all__ = ["MemoryBBS", "client_of", "committed", "mirror_of", "pieces_of", "resynced"]

PIECE = 65_536
"""How much one read brings at most."""

Body = bytes | Callable[[], Iterable[bytes]]
"""A reply's body, or what makes its pieces, anew for each reply."""

PATIENCE = 600.0
"""After how many seconds something is wrong, on any machine."""


class MemoryBBS(httpx.AsyncBaseTransport):
    """Answers lists from `bodies`, by path. `say` puts bytes on the event stream."""

    def __init__(self, bodies: Mapping[str, Body]) -> None:
        self.bodies = dict(bodies)
        self._said: deque[bytes] = deque()
        self._more = trio.Event()

    def say(self, pieces: Iterable[bytes]) -> None:
        """Put pieces on the event stream; each is what one read brings."""
        self._said.extend(pieces)
        self._more.set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        path = request.url.path
        body: Body | None = self.bodies.get(path)
        if path.startswith("/v1/events"):
            return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=_Pieces(self._events()))
        if path == "/v1/ping":
            body = requests_pb2.PingResponse(available=True).SerializeToString()
        if body is None:
            return httpx.Response(404, headers={"Content-Type": "text/plain"})
        return httpx.Response(200, headers={"Content-Type": "application/x-protobuf"}, stream=_Pieces(_read(body)))

    async def _events(self) -> AsyncIterator[bytes]:
        while True:
            while self._said:
                await trio.lowlevel.checkpoint()
                yield self._said.popleft()
            self._more = trio.Event()
            await self._more.wait()


class _Pieces(httpx.AsyncByteStream):
    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def aclose(self) -> None:
        """Finish the generator, which would be left to the garbage collector."""
        await self._pieces.aclose()  # type: ignore[attr-defined]  # it is one of the two generators here


async def _read(body: Body) -> AsyncIterator[bytes]:
    for piece in pieces_of(body) if isinstance(body, bytes) else body():
        await trio.lowlevel.checkpoint()
        yield piece


def pieces_of(body: bytes) -> Iterator[bytes]:
    """Return a body in the pieces in which the network might bring it."""
    return (body[at : at + PIECE] for at in range(0, len(body), PIECE))


def client_of(bbs: MemoryBBS) -> BBSClient:
    """Return a client of a BBS in memory."""
    return BBSClient("http://bbs.invalid", transport=bbs)


@asynccontextmanager
async def mirror_of(bbs: MemoryBBS) -> AsyncIterator[Mirror]:
    """Open a synchronised mirror of a BBS in memory, which lists by itself only once and reads nothing again."""
    # Differences without an event are what is measured here, not a reason to list again or to replace the stream.
    tuning = Tuning(resync_interval=1e6, repair_delay=1e6, audit_grace=1e6)
    async with client_of(bbs) as client, open_mirror(client, tuning=tuning) as mirror:
        await mirror.wait_synced(timeout=PATIENCE)
        yield mirror


async def committed(mirror: Mirror, bbs: MemoryBBS, pieces: Sequence[bytes], commits: int = 0) -> None:
    """Send pieces of the event stream, and wait until the mirror has made as many commits of them, or one of each."""
    last = mirror.revision + (commits or len(pieces))
    bbs.say(pieces)
    await mirror.wait_for(lambda mirror: mirror.revision >= last, timeout=PATIENCE)


async def resynced(mirror: Mirror) -> None:
    """Have everything listed again, and wait until the mirror has it."""
    before = mirror.status.synced_at
    mirror.resync()
    await mirror.wait_for(lambda mirror: mirror.status.synced_at != before, timeout=PATIENCE)
