"""The watchdog: pings beside the stream."""

from collections.abc import Callable

import trio

from lrpmirror.core.freshness.watchdog import Watch
from lrpmirror.core.session import Session
from lrpmirror.errors import BBSError, LRPMirrorError, ServiceUnavailable, StreamDead, TimedOut, UnknownPath, WireError
from lrpmirror.mirror._bbs import BBS


class Watchdog:
    """Pings the server on a connection of its own when the stream has been silent."""

    def __init__(self, bbs: BBS, session: Session, clock: Callable[[], float]) -> None:
        self._bbs = bbs
        self._session = session
        self._clock = clock

    async def ping(self, watch: Watch) -> StreamDead | None:
        """Ping once; return the error to end the stream with, where it was one failure too many."""
        error = await self._ask()
        if error is None:
            watch.answered()
            self._session.freshness.pinged(self._clock())
            return None
        self._session.freshness.ping_failed(error)
        return watch.failed(error, self._clock())

    async def _ask(self) -> LRPMirrorError | None:
        timeout = self._session.tuning.ping_timeout
        try:
            with trio.fail_after(timeout):
                available = await self._bbs.ping()
        except trio.TooSlowError:
            return TimedOut(f"no answer to a ping within {timeout:g} s")
        except UnknownPath:
            # A server that is too old for pings, or a proxy that blocks them: it has answered.
            return None
        except (BBSError, WireError) as error:
            return error
        return None if available else ServiceUnavailable("the answer to a ping: the BBS is not available")
