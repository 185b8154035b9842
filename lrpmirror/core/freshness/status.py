"""How fresh a mirror is: its phases, what leads from one to another, and its status."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from lrpmirror.errors import LRPMirrorError, NotFresh


class Phase(StrEnum):
    """What the mirror is doing, and so what its answers are worth."""

    CONNECTING = "connecting"
    """There is no state yet, and no stream."""
    SYNCING = "syncing"
    """There is no state yet; the stream is open and the first lists are being read."""
    LIVE = "live"
    """The state is the server's, by all events so far; and a server that is no BBS has not lost its own."""
    RESYNCING = "resyncing"
    """The stream is open again after a gap; until the lists are in, the state is the old one with the events since."""
    STALE = "stale"
    """There is a state, and nothing proves that it is current.

    There is no stream, or the last list was not believed, or the replica that is followed has lost the BBS.
    """
    CLOSED = "closed"
    """The mirror has been closed; the last state stays readable."""


class Step(StrEnum):
    """The steps that lead from phase to phase."""

    OPENED = "opened"
    """The server answered the subscription to the stream."""
    SYNCED = "synced"
    """The lists, with the events since the subscription on top, were committed."""
    HELD = "held"
    """A list would remove too much, or is older than the state: it is not believed before another list agrees."""
    OUTDATED = "outdated"
    """The server is a replica and has lost the BBS: its lists and events are not known to be current."""
    CURRENT = "current"
    """The replica follows the BBS again, and has sent what it had missed."""
    RESTORED = "restored"
    """The mirror begins with the state of a state file."""
    LOST = "lost"
    """The stream ended, was declared dead, or could not be opened."""
    CLOSED = "closed"
    """The mirror was closed."""


_C, _S, _L, _R, _A, _X = Phase
_N: Final = None

_AFTER: Final[tuple[tuple[Phase | None, ...], ...]] = (
    # In the order of Step: OPENED, SYNCED, HELD, OUTDATED, CURRENT, RESTORED, LOST, CLOSED.
    (_S, _N, _N, _N, _N, _A, _C, _X),  # CONNECTING
    (_N, _L, _N, _A, _N, _N, _C, _X),  # SYNCING
    (_N, _L, _A, _A, _N, _N, _A, _X),  # LIVE
    (_N, _L, _A, _A, _N, _N, _A, _X),  # RESYNCING
    (_R, _L, _A, _A, _L, _N, _A, _X),  # STALE
    (_N, _N, _N, _N, _N, _N, _N, _X),  # CLOSED
)

TRANSITIONS: Final[dict[tuple[Phase, Step], Phase | None]] = {
    (phase, step): after
    for phase, row in zip(Phase, _AFTER, strict=True)
    for step, after in zip(Step, row, strict=True)
}
"""The phase after every step in every phase; None: the step cannot happen there, and would be the caller's mistake.

A stream that replaces another in use is no step, since the mirror misses nothing. A list is held back only where there
is a state to lose.
"""


class Status(Struct, frozen=True, kw_only=True):
    """A mirror's freshness at one moment.

    Times are in seconds of the mirror's clock; only their differences have a meaning.

    A proof of life is anything that only a running server can have sent while the stream is open: the answer to the
    subscription, anything on the stream, a list, the answer to a ping. A ping goes over a second connection, so it
    proves that the server lives, not that the stream still brings events: `silence` says when it last did.
    """

    phase: Phase
    revision: int
    """The number of the last commit."""
    at: float
    """When this status was read."""
    synced_at: float | None
    """When the last lists of everything that are committed had come; None: never since the mirror was opened."""
    alive_at: float | None
    """When there was the last proof of life; None: never."""
    heard_at: float | None
    """When the stream was opened or last brought an event; None: never."""
    current_at: float | None
    """When the state was last known to be the BBS's; None: never, or it is not known when.

    While LIVE: the last proof of life, or what the replica that is followed reported of its own state.
    """
    trouble: LRPMirrorError | None
    """What is wrong now: why it is not LIVE, or what fails although it is; None: nothing known."""
    last_error: LRPMirrorError | None
    """The last error, even if it has been overcome since; None: there was none."""
    actual_lrps: int
    """How many rows there are."""
    desired_lrps: int
    """How many desired LRPs there are."""
    restored_at: float | None = None
    """When the state that a state file brought was the server's; None: there is none, or lists have been committed.

    It lies before the mirror was opened, so it can be negative. Where it is not known, since the system's clock was set
    back, it is -inf.
    """

    @property
    def live(self) -> bool:
        """Whether the state is the server's, by all events so far."""
        return self.phase is Phase.LIVE

    @property
    def age(self) -> float | None:
        """Seconds since the last proof of life; None: there was none."""
        return self._since(self.alive_at)

    @property
    def silence(self) -> float | None:
        """Seconds since the stream was opened or last brought an event; None: never."""
        return self._since(self.heard_at)

    @property
    def state_age(self) -> float | None:
        """Seconds since the state was last known to be the server's, which `check_fresh` compares.

        None: it never was, or it is not known when. While LIVE it is `age`; behind a replica it is the replica's own
        age plus the time since it was reported. After that it grows, whatever the server says, until the next lists
        are committed.
        """
        return self._since(self.current_at)

    def check_fresh(self, max_age: float) -> None:
        """Raise NotFresh, with the trouble as its cause, unless `state_age` is at most `max_age` seconds. O(1)."""
        age = self.state_age
        if age is not None and age <= max_age:
            return
        if age is not None:
            how = f"has a state that is {age:.1f} s old, not {max_age:g} s or less"
        elif self.synced_at is None and self.restored_at is None:
            how = "has no state yet"
        else:
            how = "has a state whose age is not known"
        why = "" if self.trouble is None else f": {self.trouble}"
        raise NotFresh(f"the mirror is {self.phase} and {how}{why}", phase=self.phase, age=age) from self.trouble

    def _since(self, moment: float | None) -> float | None:
        return None if moment is None else self.at - moment
