"""Whoever sees what a mirror does as it does it, and not only what it came to."""

from typing import Protocol

from lrpmirror.core.rows.changes import Commit
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.events import Event

__all__ = ["Observer"]


class Observer(Protocol):
    """Is called with every event and every commit, in order, while the mirror's state is just that after it.

    The stream waits for a observer: it must be quick, and never raise. A subscription is for everything else.
    """

    def event(self, event: Event, outcome: Outcome, commit: Commit | None) -> None:
        """See an event, what became of it, and what it changed. Events before the first synchronisation have none."""
        ...

    def listed(self, commit: Commit) -> None:
        """See what a list, of everything or of some processes, changed."""
        ...
