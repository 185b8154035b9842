"""Whether a silent event stream is a quiet one or a dead one.

A BBS sends no heartbeats. So after some silence the server is pinged, on a second connection: if it does not answer
several times in a row, the stream is taken for dead. If it does, the stream may still have been cut off on its own
(by a middlebox that forgot it, or a server that was replaced under the same address): after a longer silence it is
replaced.
"""

from math import inf

from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.errors import LRPMirrorError, StreamDead

__all__ = ["Watch"]


class Watch:
    """Watches one stream, by the times it is told. O(1) each."""

    def __init__(self, tuning: Tuning, now: float) -> None:
        self._tuning = tuning
        self._heard_at = now
        self._asked_at = now
        self._failures = 0
        self._idle_reported = False

    def received(self, now: float) -> None:
        """Record that the stream brought something; what a ping failed of before is forgiven."""
        self._heard_at = now
        self._failures = 0

    def wait(self, now: float) -> float:
        """Return in how many seconds there is something to do."""
        return max(0.0, min(self._ping_at(), self._idle_at()) - now)

    def ping_due(self, now: float) -> bool:
        """Return whether to ping now; it is taken for done."""
        if now < self._ping_at():
            return False
        self._asked_at = now
        return True

    def idle(self, now: float) -> bool:
        """Tell, once, that the stream has been silent for so long that it is to be replaced."""
        if now < self._idle_at():
            return False
        self._idle_reported = True
        return True

    def answered(self) -> None:
        """Record that the server answered a ping."""
        self._failures = 0

    def failed(self, error: LRPMirrorError, now: float) -> StreamDead | None:
        """Record that a ping failed; return what to give the stream up with, where it was one too many."""
        if self._asked_at <= self._heard_at:
            # Something came on the stream while the ping was under way.
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
