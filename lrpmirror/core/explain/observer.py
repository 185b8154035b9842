"""The interface for code that follows every event and commit, not only the resulting changes."""

from typing import Protocol

from lrpmirror.core.rows.changes import Commit
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.events import Event


class Observer(Protocol):
    """Is called with every event and every commit, in order, when the mirror's state is exactly that after it.

    The stream waits for an observer: it must be quick and never raise. Use a subscription for everything else.
    """

    def event(self, event: Event, outcome: Outcome, commit: Commit | None) -> None:
        """Receive an event, its outcome, and the commit that it made. Not called before the first synchronisation."""
        ...

    def listed(self, commit: Commit) -> None:
        """Receive the commit of a list, of everything or of some processes."""
        ...
