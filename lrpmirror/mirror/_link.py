"""One subscription to the event stream."""

import trio

from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.freshness.watchdog import Watch
from lrpmirror.errors import LRPMirrorError
from lrpmirror.events import SourceStatus
from lrpmirror.mirror._lister import Lister

__all__ = ["Link"]


class Link:
    """A subscription, from its first try to its end; the follower runs it."""

    def __init__(self, lister: Lister) -> None:
        self.lister = lister
        """What lists while it is followed. It learns what its server is too old for; the next server may be newer."""
        self.watch: Watch | None = None
        """What tells whether it is alive; None before it is open."""
        self.opened_at = 0.0
        """When the server answered."""
        self.heard_at = 0.0
        """When it was opened, or last brought something."""
        self.source_status: tuple[SourceStatus, float] | None = None
        """What the source last said of itself, and when."""
        self.error: LRPMirrorError | None = None
        """What it ended with."""
        self.scope = trio.CancelScope()
        """What it runs in: cancelling it closes the connection."""
        self.settled = trio.Event()
        """That it is the one that is followed, or has ended before it was."""

    @property
    def is_open(self) -> bool:
        """Whether the server has answered, and it has not ended since."""
        return self.watch is not None and self.error is None

    def opened(self, tuning: Tuning, now: float) -> None:
        """Record that the server has answered."""
        self.watch = Watch(tuning, now)
        self.opened_at = self.heard_at = now

    def received(self, now: float) -> None:
        """Record that it brought something. O(1)."""
        self.heard_at = now
        if self.watch is not None:
            self.watch.received(now)

    def ended(self, error: LRPMirrorError) -> bool:
        """Record that it ended; tell whether that is news."""
        if self.error is not None:
            return False
        self.error = error
        self.settled.set()
        return True
