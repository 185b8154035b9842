"""Events that cannot be read, and the early list that makes up for several of them."""

from math import inf
from typing import Final

from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.events import Event, UnreadableEvent

EARLY: Final = 30.0
"""How many seconds after a list the next one is read where events could not be read; doubled each time in a row."""

_FEW: Final = 1
"""So many unreadable events need no early list: a BBS sends one where a row was gone already."""


class Unreadable:
    """Counts unreadable events. Only a list of everything shows what they meant."""

    def __init__(self, *, most: float) -> None:
        self._most = most
        self._early = EARLY
        self._since_list = 0
        self.count = 0
        """How many there were in all."""

    def take(self, event: Event) -> Outcome:
        """Count an event that no rule applies to, if it is unreadable; return its outcome."""
        if type(event) is UnreadableEvent:
            self.count += 1
            self._since_list += 1
        return Outcome.NOTED

    def begin_list(self, scope: Scope, *, first: bool) -> None:
        """Record that a list begins: one of everything makes up for the unreadable events so far."""
        if scope != EVERYTHING:
            return
        # A server that keeps sending unreadable events is soon listed no more often than any other.
        again = self._since_list > _FEW and not first
        self._early = min(2 * self._early, self._most) if again else EARLY
        self._since_list = 0

    def wait(self, now: float, synced_at: float | None) -> float:
        """Return in how many seconds the early list is due; inf where none is."""
        if self._since_list <= _FEW or synced_at is None:
            return inf
        return max(0.0, synced_at + self._early - now)
