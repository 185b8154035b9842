"""One subscription to the event stream."""

import trio

from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.freshness.watchdog import Watch
from lrpmirror.errors import LRPMirrorError
from lrpmirror.events import SourceStatus
from lrpmirror.mirror._lister import Lister


class Link:
    """A subscription, from the attempt to open it to its end; the follower runs it."""

    def __init__(self, lister: Lister) -> None:
        self.lister = lister
        """Reads the lists while it is followed, and learns what its server is too old for; the next may be newer."""
        self.watch: Watch | None = None
        """Decides whether it is alive; None before it is open."""
        self.opened_at = 0.0
        """When the server answered."""
        self.heard_at = 0.0
        """When it was opened, or last brought something."""
        self.source_status: tuple[SourceStatus, float] | None = None
        """The latest status that the source reported, and when."""
        self.error: LRPMirrorError | None = None
        """The error that ended it."""
        self.scope = trio.CancelScope()
        """Runs it: cancelling closes the connection."""
        self.settled = trio.Event()
        """Set when it is the followed one, or has ended before that."""

    @property
    def is_open(self) -> bool:
        """Whether the server has answered, and it has not ended since."""
        return self.watch is not None and self.error is None

    def opened(self, tuning: Tuning, now: float) -> None:
        """Record that the server has answered."""
        self.watch = Watch(tuning, now)
        self.opened_at = self.heard_at = now

    def received(self, now: float) -> None:
        """Record that the stream brought something. O(1)."""
        self.heard_at = now
        if self.watch is not None:
            self.watch.received(now)

    def ended(self, error: LRPMirrorError) -> bool:
        """Record that it ended; return whether it had not ended before."""
        if self.error is not None:
            return False
        self.error = error
        self.settled.set()
        return True
