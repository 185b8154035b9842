"""The watchdog: pings beside the stream."""

from collections.abc import Callable

import trio

from lrpmirror.core.freshness.watchdog import Watch
from lrpmirror.core.session import Session
from lrpmirror.errors import BBSError, LRPMirrorError, ServiceUnavailable, StreamDead, TimedOut, UnknownPath, WireError
from lrpmirror.mirror._bbs import BBS


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
