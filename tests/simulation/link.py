"""One TCP connection of the simulated network, and the ways in which it goes wrong.

A link has two directions. Each holds what was sent until it may arrive: at once, after a latency, slowly, or never.
"""

import errno
import os
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

__all__ = ["Direction", "Link", "broken"]

WINDOW: Final = 65536
"""How much can be under way or unread before a sender has to wait."""


def broken(number: int) -> OSError:
    """Return the error that a socket gives, by its errno."""
    return OSError(number, os.strerror(number))


class Direction:
    """What is sent in one direction, until it is read."""

    def __init__(self, spawn: Callable[..., None]) -> None:
        self._spawn = spawn
        self._sent: deque[bytes] = deque()
        self._under_way = 0
        self._arrived = bytearray()
        self._ended = False
        self._error: OSError | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._moving = False
        self._left: int | None = None
        self._at_the_cut: Callable[[], None] = _nothing
        self.stalled = False
        self.latency = 0.0
        self.rate = 0.0
        """Bytes a second; 0 for as many as there are."""
        self.end_seen = False
        """Whether the reader has seen the end."""
        self.arrived_at: float | None = None
        """The time of the last arrival."""
        self.carried = 0
        """How many bytes have arrived so far."""

    def cut_after(self, size: int, then: Callable[[], None]) -> None:
        """Let so many more bytes arrive; `then` is called with the next one, which is lost."""
        self._left, self._at_the_cut = size, then

    def fail(self, error: OSError) -> None:
        """Break: what has not arrived is lost, and both ends get an error."""
        if self._error is None and not self._ended:
            self._error = error
        self._sent.clear()
        self._under_way = 0
        self._changed.unpark_all()

    def inject(self, data: bytes) -> None:
        """Let bytes arrive that the peer did not send."""
        if self._error is None and not self._ended:
            self._take(data)

    def end(self) -> None:
        """Send the end, behind what was sent."""
        self._sent.append(b"")
        self.move()

    async def send(self, data: bytes) -> int:
        """Take what fits into the window, waiting until something does."""
        await trio.lowlevel.checkpoint()
        while self._error is None and self._under_way + len(self._arrived) >= WINDOW:
            await self._changed.park()
        if self._error is not None:
            raise broken(errno.EPIPE)
        taken = data[: WINDOW - self._under_way - len(self._arrived)]
        self._sent.append(taken)
        self._under_way += len(taken)
        self.move()
        return len(taken)

    async def receive(self, size: int) -> bytes:
        """Return what has arrived, empty at the end."""
        await trio.lowlevel.checkpoint()
        while not self._arrived and not self._ended and self._error is None:
            await self._changed.park()
        if self._arrived:
            taken = bytes(self._arrived[:size])
            del self._arrived[:size]
            self._changed.unpark_all()
            return taken
        self.end_seen = True
        if self._ended:
            return b""
        assert self._error is not None
        raise broken(self._error.errno or errno.ECONNRESET)

    def move(self) -> None:
        """Let arrive what may arrive now; the rest when its time has come."""
        if self._moving or self.stalled:
            return
        if self.latency or self.rate:
            self._moving = True
            self._spawn(self._move_slowly)
        else:
            while self._sent:
                self._arrive(self._sent.popleft())

    async def _move_slowly(self) -> None:
        try:
            await trio.sleep(self.latency)
            while self._sent and not self.stalled:
                if not self.rate:
                    self._arrive(self._sent.popleft())
                    continue
                # Some drops a second, whatever their size: the time in between is what matters.
                data = self._sent.popleft()
                size = max(1, int(self.rate / 2))
                if data[size:]:
                    self._sent.appendleft(data[size:])
                self._arrive(data[:size])
                await trio.sleep(0.5)
        finally:
            self._moving = False
        if self._sent:
            self.move()

    def _arrive(self, data: bytes) -> None:
        if self._error is not None:
            return
        self._under_way -= len(data)
        if not data:
            self._ended = True
        elif self._left is not None and len(data) > self._left:
            data, self._left = data[: self._left], None
            self._take(data)
            self._at_the_cut()
            return
        elif self._left is not None:
            self._left -= len(data)
        self._take(data)

    def _take(self, data: bytes) -> None:
        self._arrived += data
        self.arrived_at = trio.current_time()
        self.carried += len(data)
        self._changed.unpark_all()


class Link:
    """A connection between a client and the server."""

    def __init__(self, number: int, now: float, spawn: Callable[..., None]) -> None:
        self.number = number
        self.opened_at = now
        self.request = b""
        """The first line of the request, where it is not encrypted."""
        self.to_server = Direction(spawn)
        self.to_client = Direction(spawn)
        self.gone_at: float | None = None
        """When the connection was lost without a reset; None if it was not."""
        self.stuck_at: float | None = None
        """Since when the server hangs for good; None if it does not."""
        self.on_vanish: Callable[[], None] = _nothing
        self.on_request: Callable[[Link], None] = _no_link
        self.client_closed = False
        self.server_closed = False

    @property
    def streams(self) -> bool:
        """Whether an event stream was asked for; true also where encryption hides it."""
        return b"/v1/events" in self.request or self.request[:1] == b"\x16"

    @property
    def is_open(self) -> bool:
        """Whether the client, as far as it can know, has a connection."""
        return not self.client_closed and not self.to_client.end_seen

    def sent_by_client(self, data: bytes) -> None:
        """Record what the client asks for."""
        if not self.request:
            self.request = data.partition(b"\r\n")[0]
            self.on_request(self)

    def reset(self, number: int = errno.ECONNRESET) -> None:
        """Break in both directions, as when a host or a middlebox resets it."""
        self.to_server.fail(broken(number))
        self.to_client.fail(broken(number))

    def end(self) -> None:
        """End in order, as when the server closes it."""
        self.to_client.end()
        self.to_server.fail(broken(errno.ECONNRESET))

    def cut(self, how: str, *, after: int = 0) -> None:
        """Break once so many more bytes have come to the client: `reset`, or `end` in order."""
        cut = self.reset if how == "reset" else self.end
        if after:
            self.to_client.cut_after(after, cut)
        else:
            cut()

    def vanish(self, now: float) -> None:
        """Lose the connection without a reset: nothing arrives any more, in either direction."""
        if self.gone_at is None:
            self.gone_at = now
            self.stall()
            self.on_vanish()

    def stall(self) -> None:
        """Let nothing arrive, as when the server hangs; the hosts still see each other."""
        self.to_server.stalled = self.to_client.stalled = True

    def resume(self) -> None:
        """Let arrive what waits; not where the peers have lost each other."""
        if self.gone_at is None and self.stuck_at is None:
            for way in (self.to_server, self.to_client):
                way.stalled = False
                way.move()

    def slow(self, *, latency: float, rate: float) -> None:
        """Apply this latency and rate to what is sent from now on."""
        for way in (self.to_server, self.to_client):
            way.latency, way.rate = latency, rate


def _nothing() -> None:
    pass


def _no_link(_: Link) -> None:
    pass
