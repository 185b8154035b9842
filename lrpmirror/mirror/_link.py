"""One subscription to the stream, and the pings that show whether its server lives."""

from collections.abc import Callable

import trio

from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.freshness.watchdog import Watch
from lrpmirror.core.session import Session
from lrpmirror.errors import BBSError, LRPMirrorError, ServiceUnavailable, StreamDead, TimedOut, UnknownPath, WireError
from lrpmirror.events import SourceStatus
from lrpmirror.mirror._bbs import BBS
from lrpmirror.mirror._lister import Lister


class Link:
    """A subscription, from the attempt to open it to its end; the follower runs it."""

    def __init__(self, lister: Lister) -> None:
        self.lister = lister  # reads the lists while it is followed, and learns what its server is too old for
        self.watch: Watch | None = None  # decides whether it is alive; None before it is open
        self.opened_at = 0.0  # when the server answered
        self.heard_at = 0.0  # when it was opened, or last brought something
        self.source_status: tuple[SourceStatus, float] | None = None  # the latest that was reported, and when
        self.error: LRPMirrorError | None = None  # the error that ended it
        self.scope = trio.CancelScope()  # runs it: cancelling closes the connection
        self.settled = trio.Event()  # set when it is the followed one, or has ended before that

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


async def ping(bbs: BBS, session: Session, watch: Watch, clock: Callable[[], float]) -> StreamDead | None:
    """Ping the server on another connection; return the error to end the stream with, if it failed once too often."""
    error = await _ask(bbs, session.tuning.ping_timeout)
    if error is None:
        watch.answered()
        session.freshness.pinged(clock())
        return None
    session.freshness.ping_failed(error)
    return watch.failed(error, clock())


async def _ask(bbs: BBS, timeout: float) -> LRPMirrorError | None:
    try:
        with trio.fail_after(timeout):
            available = await bbs.ping()
    except trio.TooSlowError:
        return TimedOut(f"no answer to a ping within {timeout:g} s")
    except UnknownPath:
        # A server that is too old for pings, or a proxy that blocks them: it has answered.
        return None
    except (BBSError, WireError) as error:
        return error
    return None if available else ServiceUnavailable("the answer to a ping: the BBS is not available")
