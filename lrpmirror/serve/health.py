"""Liveness and readiness of the process, for load balancers and supervisors."""

from collections.abc import Callable
from typing import Final

import msgspec

from lrpmirror.core.freshness.status import Phase, Status
from lrpmirror.errors import ListNotBelieved, LRPMirrorError, UpstreamStale
from lrpmirror.mirror import Mirror
from lrpmirror.serve.routes import printable
from lrpmirror.server.asgi import TEXT, ASGIApp, Receive, Scope, Send, send_whole

SILENCE: Final = 60.0  # seconds that may pass without proof of life: several times the interval at which a mirror pings

_CAUSES: Final = {
    Phase.CONNECTING: "not synchronised yet: there is no event stream",
    Phase.SYNCING: "not synchronised yet: the first lists are being read",
    Phase.STALE: "stale: there is no event stream",
    Phase.RESYNCING: "stale: the event stream is back, and the lists are being read",
    Phase.CLOSED: "the mirror is closed",
}


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a mirror is synchronised and fresh, and if not why; ages are in seconds.

    `age` is since the last proof of life, `silence` since the stream was heard, `state_age` since the state was known
    to be the server's. `trouble` is what is wrong now, also where ready; `overload` why a replica takes no more
    streams.
    """

    ready: bool
    cause: str
    phase: str
    revision: int
    age: float | None
    silence: float | None
    state_age: float | None
    trouble: str
    last_error: str
    overload: str = ""


def readiness(status: Status, silence: float = SILENCE, overload: str = "") -> Readiness:
    """Judge a mirror's status, and whether a replica of it takes more streams."""
    cause = _CAUSES.get(status.phase, "")
    if isinstance(status.trouble, (ListNotBelieved, UpstreamStale)):
        cause = f"stale: {status.trouble}"
    if not cause and status.age is not None and status.age > silence:
        cause = f"there has been no proof of life for {status.age:.0f} s"
    if not cause and status.state_age is not None and status.state_age > silence:
        cause = f"who is followed has not shown for {status.state_age:.0f} s that its state is the BBS's"
    if not cause and overload:
        cause = f"no more streams are taken: {overload}"
    return Readiness(
        ready=not cause,
        cause=printable(cause),
        phase=status.phase.value,
        revision=status.revision,
        age=_rounded(status.age),
        silence=_rounded(status.silence),
        state_age=_rounded(status.state_age),
        trouble=_words(status.trouble),
        last_error=_words(status.last_error),
        overload=overload,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _words(error: LRPMirrorError | None) -> str:
    return "" if error is None else printable(f"{type(error).__name__}: {error}")


async def alive(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
    """Answer that the process is alive; an ASGI application."""
    await send_whole(send, 200, TEXT, b"alive\n")


def ready_app(mirror: Mirror, silence: float = SILENCE, *, overload: Callable[[], str] = str) -> ASGIApp:
    """Return an ASGI application that answers 200 when the mirror is synchronised and fresh, else 503, with a JSON."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
        judged = readiness(mirror.status, silence, overload())
        await send_whole(send, 200 if judged.ready else 503, b"application/json", msgspec.json.encode(judged) + b"\n")

    return app
