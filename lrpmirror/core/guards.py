"""Which lists are not believed at once: one that would remove too much, and one that is older than what is known."""

from typing import Final

from lrpmirror.core.brake import Brake
from lrpmirror.core.dispatch import desired_guid_of, row_guid_of
from lrpmirror.core.ledger import DesiredDeltas
from lrpmirror.core.reconcile import Doubt
from lrpmirror.core.repairs import Repairs
from lrpmirror.core.rollback import RollbackGuard
from lrpmirror.core.scope import EVERYTHING
from lrpmirror.core.shadow import Shadow
from lrpmirror.core.store import Store
from lrpmirror.core.tuning import Tuning
from lrpmirror.errors import ListNotBelieved
from lrpmirror.events import ActualLRPInstanceRemoved, ActualLRPRemoved, DesiredLRPRemoved, Event

__all__ = ["Guards"]

_REMOVALS: Final = (ActualLRPInstanceRemoved, ActualLRPRemoved, DesiredLRPRemoved)


class Guards:
    """Judges lists before they are committed, and says when and how the next one is to be read that decides."""

    def __init__(self, tuning: Tuning) -> None:
        self.brake = Brake(tuning)
        self.rollback = RollbackGuard(tuning)
        self.held = False
        """Whether the last list of everything was not believed, and so not committed."""
        self.lists_held = 0
        """How many lists would have removed too much."""

    def judge(
        self, shadow: Shadow, desired: DesiredDeltas, store: Store, now: float
    ) -> tuple[ListNotBelieved | None, ListNotBelieved | None]:
        """Judge a list that has settled. Return why it is not to be committed, and what of it is not believed.

        None for a list that is to be committed, and where all of it is believed. O(what it changes of desired LRPs).
        """
        doubt, whole = self.rollback.judge(shadow.older, now)
        unbelieved = None if whole else doubt
        if shadow.scope == EVERYTHING:
            too_much = None if shadow.first else self._judge_removals(shadow, desired, store, now)
            self.lists_held += too_much is not None
            unbelieved = too_much or unbelieved
            self.held = unbelieved is not None
        if unbelieved is not None:
            self.rollback.not_committed(shadow.older, now)
        return unbelieved, doubt

    def take_older(self, event: Event, repairs: Repairs) -> None:
        """Have the process read again of which an event told that is older than what is known. O(1).

        It was late, which is rare. Or the server was set back: then every event will be like it. A removal is not
        worth it, nor anything while a list is awaited that decides.
        """
        if self.rollback.doubts or isinstance(event, _REMOVALS):
            return
        guid = row_guid_of(event)
        if guid is not None:
            repairs.add(guid, Doubt.OLDER)
        else:
            # What is not about a row is about a desired LRP: nothing else can be older than anything.
            repairs.add(desired_guid_of(event) or "", Doubt.DESIRED)

    def wait(self, now: float) -> float | None:
        """Return in how many seconds a list of everything is to be read that decides; None where nothing is doubted."""
        if self.brake.holds:
            return self.brake.wait(now)
        return self.rollback.wait(now) if self.rollback.doubts else None

    def _judge_removals(
        self, shadow: Shadow, desired: DesiredDeltas, store: Store, now: float
    ) -> ListNotBelieved | None:
        return self.brake.judge(
            len(store),
            len(shadow.removed),
            store.desired_count(),
            sum(delta.after is None for delta in desired),
            now,
        )
