"""How fresh a mirror is, and how it came to be so."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from lrpmirror.errors import LRPMirrorError, NotFresh

__all__ = ["TRANSITIONS", "Phase", "Status", "Step"]


class Phase(StrEnum):
    """What the mirror is doing, and so what its answers are worth."""

    CONNECTING = "connecting"
    """There is no state yet, and no stream."""
    SYNCING = "syncing"
    """There is no state yet; the stream is open and the first lists are being read."""
    LIVE = "live"
    """The state is the server's, as far as the stream has told; and the server has not lost the BBS, if it is none."""
    RESYNCING = "resyncing"
    """The stream is open again after a gap; until the lists are in, the state is the old one with the events since."""
    STALE = "stale"
    """There is a state that nothing vouches for.

    There is no stream, or the last list was not believed, or who is followed has lost the BBS itself.
    """
    CLOSED = "closed"
    """The mirror has been closed; the last state stays readable."""


class Step(StrEnum):
    """What leads from phase to phase."""

    OPENED = "opened"
    """The server answered the subscription to the stream."""
    SYNCED = "synced"
    """The lists, with the events since the subscription on top, were committed."""
    HELD = "held"
    """What was read would remove too much, or is older than what is known: not believed before another list agrees."""
    OUTDATED = "outdated"
    """The server, a replica, has lost the BBS: what it tells, and what was listed there, is not known to be current."""
    CURRENT = "current"
    """The replica follows the BBS again, and has told what it had missed."""
    RESTORED = "restored"
    """There is the state of an earlier life to begin with."""
    LOST = "lost"
    """The stream ended, was declared dead, or could not be opened."""
    CLOSED = "closed"
    """The mirror was closed."""


_C, _S, _L, _R, _A, _X = Phase

TRANSITIONS: Final[dict[tuple[Phase, Step], Phase | None]] = {
    (_C, Step.OPENED): _S,
    (_C, Step.RESTORED): _A,
    (_C, Step.SYNCED): None,
    (_C, Step.HELD): None,
    (_C, Step.OUTDATED): None,
    (_C, Step.CURRENT): None,
    (_C, Step.LOST): _C,
    (_C, Step.CLOSED): _X,
    (_S, Step.OPENED): None,
    (_S, Step.RESTORED): None,
    (_S, Step.SYNCED): _L,
    (_S, Step.HELD): None,
    (_S, Step.OUTDATED): _A,
    (_S, Step.CURRENT): None,
    (_S, Step.LOST): _C,
    (_S, Step.CLOSED): _X,
    (_L, Step.OPENED): None,
    (_L, Step.RESTORED): None,
    (_L, Step.SYNCED): _L,
    (_L, Step.HELD): _A,
    (_L, Step.OUTDATED): _A,
    (_L, Step.CURRENT): None,
    (_L, Step.LOST): _A,
    (_L, Step.CLOSED): _X,
    (_R, Step.OPENED): None,
    (_R, Step.RESTORED): None,
    (_R, Step.SYNCED): _L,
    (_R, Step.HELD): _A,
    (_R, Step.OUTDATED): _A,
    (_R, Step.CURRENT): None,
    (_R, Step.LOST): _A,
    (_R, Step.CLOSED): _X,
    (_A, Step.OPENED): _R,
    (_A, Step.RESTORED): None,
    (_A, Step.SYNCED): _L,
    (_A, Step.HELD): _A,
    (_A, Step.OUTDATED): _A,
    (_A, Step.CURRENT): _L,
    (_A, Step.LOST): _A,
    (_A, Step.CLOSED): _X,
    (_X, Step.OPENED): None,
    (_X, Step.RESTORED): None,
    (_X, Step.SYNCED): None,
    (_X, Step.HELD): None,
    (_X, Step.OUTDATED): None,
    (_X, Step.CURRENT): None,
    (_X, Step.LOST): None,
    (_X, Step.CLOSED): _X,
}
"""Where every step leads in every phase; None: it cannot happen there, and would be a mistake of the caller's.

There is one stream at a time: one that replaces another in use is no step, since the mirror misses nothing. A list is
only held back where there is a state to lose.
"""


class Status(Struct, frozen=True, kw_only=True):
    """A mirror's freshness at one moment.

    Times are in seconds of the mirror's clock, which only their differences mean.

    A proof of life is what only a server can have sent that is there now, while the stream is open: the answer to the
    subscription, anything on the stream, a list, the answer to a ping. A ping goes over a second connection, so it
    proves that the server lives, not that the stream still brings events: `silence` says when it last did.
    """

    phase: Phase
    revision: int
    """The last commit's."""
    at: float
    """When this was read."""
    synced_at: float | None
    """When the last lists of everything were committed; None: never in this life of the mirror."""
    alive_at: float | None
    """When there was the last proof of life; None: never."""
    heard_at: float | None
    """When the stream itself was last heard: opened, or an event; None: never."""
    current_at: float | None
    """When the state was last known to be the BBS's; None: never, or nobody knows when.

    While LIVE: the last proof of life, or what a replica said that is followed instead of a BBS.
    """
    trouble: LRPMirrorError | None
    """What is wrong now: why it is not LIVE, or what fails although it is; None: nothing that is known."""
    last_error: LRPMirrorError | None
    """What last went wrong, also if it has been overcome since; None: nothing."""
    actual_lrps: int
    """How many rows there are."""
    desired_lrps: int
    """How many desired LRPs there are."""
    restored_at: float | None = None
    """When the state was the server's that a state file brought, until lists have been committed; None: there is none.

    It lies before the mirror was opened, so it can be negative. Where nobody knows, since the clock on the wall was set
    back, it is -inf.
    """

    @property
    def live(self) -> bool:
        """Whether the state is the server's, as far as the stream has told."""
        return self.phase is Phase.LIVE

    @property
    def age(self) -> float | None:
        """Seconds since the last proof of life; None: there was none."""
        return self._since(self.alive_at)

    @property
    def silence(self) -> float | None:
        """Seconds since the stream itself was last heard; None: it never was."""
        return self._since(self.heard_at)

    @property
    def state_age(self) -> float | None:
        """Seconds since the state was last known to be the server's, which `check_fresh` goes by.

        None: it never was, or nobody knows when. While LIVE it is `age`; behind a replica it is the replica's own, and
        what has passed since it was told. After that it grows, whatever the server says, until the next lists are
        committed.
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
