"""The clock of a server, the only one that publishers and readers share, within the duration of an earlier request.

Of the two bounds each side takes the one by which no state is reported younger than it is.
"""

import trio
from msgspec import Struct

from lrpmirror.relay._commands import Commands


class ServerClock(Struct, frozen=True):
    """A reading of it, in seconds, taken between two moments of trio's clock."""

    said: float
    asked_at: float
    heard_at: float

    def earliest(self, at: float) -> float:
        """Return the lowest time it can show at a moment of trio's clock, unless it has been set back."""
        return self.said + at - self.heard_at

    def latest(self, at: float) -> float:
        """Return the highest time it can show at a moment of trio's clock, unless it has been set forward."""
        return self.said + at - self.asked_at


async def ask(redis: Commands) -> ServerClock:
    """Ask a server for its time."""
    asked_at = trio.current_time()
    said = await redis.time()
    return ServerClock(said, asked_at, trio.current_time())
