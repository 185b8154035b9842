"""How fresh a mirror is, and how it came to be so."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from lrpmirror.errors import LRPMirrorError

__all__ = ["TRANSITIONS", "Phase", "Status", "Step"]


class Phase(StrEnum):
    """What the mirror is doing, and so what its answers are worth."""

    CONNECTING = "connecting"
    """There is no state yet, and no stream."""
    SYNCING = "syncing"
    """There is no state yet; the stream is open and the first lists are being read."""
    LIVE = "live"
    """The state is the server's, as far as the stream has told."""
    RESYNCING = "resyncing"
    """The stream is open again after a gap; until the lists are in, the state is the old one with the events since."""
    STALE = "stale"
    """There is a state, but no stream that keeps it current."""
    CLOSED = "closed"
    """The mirror has been closed; the last state stays readable."""


class Step(StrEnum):
    """What leads from phase to phase."""

    OPENED = "opened"
    """The server answered the subscription to the stream."""
    SYNCED = "synced"
    """The lists, with the events since the subscription on top, were committed."""
    RESTORED = "restored"
    """There is the state of an earlier life to begin with."""
    LOST = "lost"
    """The stream ended, or could not be opened."""
    CLOSED = "closed"
    """The mirror was closed."""


TRANSITIONS: Final[dict[tuple[Phase, Step], Phase]] = {
    (Phase.CONNECTING, Step.OPENED): Phase.SYNCING,
    (Phase.CONNECTING, Step.LOST): Phase.CONNECTING,
    (Phase.CONNECTING, Step.RESTORED): Phase.STALE,
    (Phase.SYNCING, Step.SYNCED): Phase.LIVE,
    (Phase.SYNCING, Step.LOST): Phase.CONNECTING,
    (Phase.LIVE, Step.SYNCED): Phase.LIVE,
    (Phase.LIVE, Step.LOST): Phase.STALE,
    (Phase.STALE, Step.OPENED): Phase.RESYNCING,
    (Phase.STALE, Step.LOST): Phase.STALE,
    (Phase.RESYNCING, Step.SYNCED): Phase.LIVE,
    (Phase.RESYNCING, Step.LOST): Phase.STALE,
    **{(phase, Step.CLOSED): Phase.CLOSED for phase in Phase},
}
"""Every step that can happen, and where it leads. A step that is not here is a mistake of the caller's."""


class Status(Struct, frozen=True, kw_only=True):
    """A mirror's freshness at one moment.

    Times are in seconds of the mirror's clock, which only their differences mean.
    """

    phase: Phase
    revision: int
    """The last commit's."""
    at: float
    """When this was read."""
    synced_at: float | None
    """When the last lists of everything were committed; None: never in this life of the mirror."""
    alive_at: float | None
    """When the server last gave a sign of life: an answer or an event; None: never."""
    last_error: LRPMirrorError | None
    """What last went wrong, also if it has been overcome since; None: nothing."""
    actual_lrps: int
    """How many rows there are."""
    desired_lrps: int
    """How many desired LRPs there are."""
    restored_at: float | None = None
    """When the state was the server's that a state file brought, until lists have been committed; None: there is none.

    It lies before the mirror was opened, so it can be negative. The state's age is `at` less this, also while `age`,
    which is that of the last sign of life, is short because the stream has just been opened.
    """

    @property
    def live(self) -> bool:
        """Whether the state is the server's, as far as the stream has told."""
        return self.phase is Phase.LIVE

    @property
    def age(self) -> float | None:
        """Seconds since the last sign of life; None: there was none."""
        return None if self.alive_at is None else self.at - self.alive_at
