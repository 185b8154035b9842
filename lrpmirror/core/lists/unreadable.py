"""Events that say nothing, and the early list that makes up for several of them."""

from math import inf
from typing import Final

from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.events import Event, UnreadableEvent

__all__ = ["EARLY", "Unreadable"]

EARLY: Final = 30.0
"""How long after one list of everything the next one is read where events could not be read; then twice as long."""

_FEW: Final = 1
"""So many of them are no reason for that: a BBS sends one where a row was gone already."""


class Unreadable:
    """Counts them. What they meant only a list of everything can tell."""

    def __init__(self, *, most: float) -> None:
        self._most = most
        self._early = EARLY
        self._since_list = 0
        self.count = 0
        """How many there were."""

    def take(self, event: Event) -> Outcome:
        """Take an event that no rule is for, and count it if it says nothing."""
        if type(event) is UnreadableEvent:
            self.count += 1
            self._since_list += 1
        return Outcome.NOTED

    def begin_list(self, scope: Scope, *, first: bool) -> None:
        """Record that this is being listed: where it is everything, it makes up for what there was so far."""
        if scope != EVERYTHING:
            return
        # A server that goes on so is not asked for ever more lists than any other.
        again = self._since_list > _FEW and not first
        self._early = min(2 * self._early, self._most) if again else EARLY
        self._since_list = 0

    def wait(self, now: float, synced_at: float | None) -> float:
        """Return in how many seconds everything is to be listed early; inf where it is not."""
        if self._since_list <= _FEW or synced_at is None:
            return inf
        return max(0.0, synced_at + self._early - now)
