"""What the clock of a server says, by what it has said before: nobody shares a clock but by what this one tells.

Whoever has asked for the time knows it within the time that the answer took. Of the two bounds each side takes the one
by which nothing is told to be younger than it is.
"""

import trio
from msgspec import Struct

from lrpmirror.relay._commands import Commands

__all__ = ["ServerClock", "ask"]


class ServerClock(Struct, frozen=True):
    """What it said once, in seconds, between two moments of trio's clock."""

    said: float
    asked_at: float
    heard_at: float

    def earliest(self, at: float) -> float:
        """Return what it says at least at a moment of trio's clock, unless it has been set back."""
        return self.said + at - self.heard_at

    def latest(self, at: float) -> float:
        """Return what it says at most at a moment of trio's clock, unless it has been set forward."""
        return self.said + at - self.asked_at


async def ask(redis: Commands) -> ServerClock:
    """Ask a server for its time."""
    asked_at = trio.current_time()
    said = await redis.time()
    return ServerClock(said, asked_at, trio.current_time())
