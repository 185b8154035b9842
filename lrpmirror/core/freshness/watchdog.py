"""Deciding whether a silent event stream is quiet or dead.

A BBS sends no heartbeats. So after some silence the server is pinged, on a second connection: if it does not answer
several times in a row, the stream counts as dead. If it does, the stream alone may still have been cut (by a middlebox
that forgot it, or a server that was replaced under the same address): after a longer silence it is replaced.
"""

from math import inf

from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.errors import LRPMirrorError, StreamDead


class Watch:
    """Watches one stream, by times that the caller passes. O(1) each."""

    def __init__(self, tuning: Tuning, now: float) -> None:
        self._tuning = tuning
        self._heard_at = now
        self._asked_at = now
        self._failures = 0
        self._idle_reported = False

    def received(self, now: float) -> None:
        """Record that the stream brought something, and forget failed pings."""
        self._heard_at = now
        self._failures = 0

    def wait(self, now: float) -> float:
        """Return in how many seconds there is something to do."""
        return max(0.0, min(self._ping_at(), self._idle_at()) - now)

    def ping_due(self, now: float) -> bool:
        """Return whether to ping now; if so, count the ping as sent."""
        if now < self._ping_at():
            return False
        self._asked_at = now
        return True

    def idle(self, now: float) -> bool:
        """Return, once, that the stream has been silent for so long that it is to be replaced."""
        if now < self._idle_at():
            return False
        self._idle_reported = True
        return True

    def answered(self) -> None:
        """Record that the server answered a ping."""
        self._failures = 0

    def failed(self, error: LRPMirrorError, now: float) -> StreamDead | None:
        """Record that a ping failed; return the error to end the stream with, where it was one failure too many."""
        if self._asked_at <= self._heard_at:
            # The stream brought something while the ping was under way.
            return None
        self._failures += 1
        if self._failures < self._tuning.ping_failures:
            return None
        dead = StreamDead(
            f"the event stream has been silent for {now - self._heard_at:.0f} s and {self._failures} pings in a row "
            f"failed, the last: {error}"
        )
        dead.__cause__ = error
        return dead

    def _ping_at(self) -> float:
        return max(self._heard_at, self._asked_at) + self._tuning.ping_interval

    def _idle_at(self) -> float:
        return inf if self._idle_reported else self._heard_at + self._tuning.idle_limit
