"""Whether the process is alive, and whether its answers are worth something: for load balancers and supervisors."""

from typing import Final

import msgspec

from lrpmirror.core.status import Phase, Status
from lrpmirror.mirror import Mirror
from lrpmirror.serve.routes import send_whole
from lrpmirror.server.asgi import ASGIApp, Receive, Scope, Send

__all__ = ["SILENCE", "Readiness", "alive", "readiness", "ready_app"]

SILENCE: Final = 600.0
"""For how many seconds the BBS may give no sign of life: twice the interval at which a mirror lists everything."""

_CAUSES: Final = {
    Phase.CONNECTING: "not synchronised yet: there is no event stream",
    Phase.SYNCING: "not synchronised yet: the first lists are being read",
    Phase.STALE: "stale: there is no event stream",
    Phase.RESYNCING: "stale: the event stream is back, and the lists are being read",
    Phase.CLOSED: "the mirror is closed",
}


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a mirror is synchronised and fresh, and if not why; `age` is in seconds since the last sign of life."""

    ready: bool
    cause: str
    phase: str
    revision: int
    age: float | None
    last_error: str


def readiness(status: Status, silence: float = SILENCE) -> Readiness:
    """Judge a mirror's status."""
    cause = _CAUSES.get(status.phase, "")
    if not cause and status.age is not None and status.age > silence:
        cause = f"the BBS has given no sign of life for {status.age:.0f} s"
    return Readiness(
        ready=not cause,
        cause=cause,
        phase=status.phase.value,
        revision=status.revision,
        age=None if status.age is None else round(status.age, 3),
        last_error="" if status.last_error is None else f"{type(status.last_error).__name__}: {status.last_error}",
    )


async def alive(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
    """Answer that the process is alive; an ASGI application."""
    await send_whole(send, 200, b"text/plain; charset=utf-8", b"alive\n")


def ready_app(mirror: Mirror, silence: float = SILENCE) -> ASGIApp:
    """Return an ASGI application that answers 200 when the mirror is synchronised and fresh, else 503, with a JSON."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
        judged = readiness(mirror.status, silence)
        await send_whole(send, 200 if judged.ready else 503, b"application/json", msgspec.json.encode(judged) + b"\n")

    return app
