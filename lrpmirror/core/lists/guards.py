"""Guards against lists that would remove too much, or are older than the state: a second list has to agree."""

from typing import Final

from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.lists.deletion_guard import DeletionGuard, Size, size_after, size_of
from lrpmirror.core.lists.repairs import Repairs
from lrpmirror.core.lists.rollback import OlderRecords, Rollback, RollbackGuard
from lrpmirror.core.lists.scope import EVERYTHING
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.change_set import DesiredDeltas, RowDeltas
from lrpmirror.core.rows.dispatch import desired_guid_of, row_guid_of
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.rows.store import Store
from lrpmirror.errors import ListNotBelieved
from lrpmirror.events import ActualLRPInstanceRemoved, ActualLRPRemoved, DesiredLRPRemoved, Event

_REMOVALS: Final = (ActualLRPInstanceRemoved, ActualLRPRemoved, DesiredLRPRemoved)


class Guards:
    """Judges lists before they are committed, and says when the list that decides is to be read."""

    def __init__(self, tuning: Tuning) -> None:
        self.deletion_guard = DeletionGuard(tuning)
        self.rollback = RollbackGuard(tuning)
        self.held = False
        """Whether the last list of everything was not believed, and so not committed."""
        self.lists_held = 0
        """How many lists were not committed because they would have removed too much."""
        self.rollbacks = self.rolled_back = 0
        """How many lists took the state back, and how many records they had in older versions, or again after their
        removal."""
        self._rollback: Rollback | None = None
        self.live_size: Size | None = None
        """The size of the state when the mirror was last live; None: it never was, or still is."""

    def judge(
        self, snapshot: PendingSnapshot, rows: RowDeltas, desired: DesiredDeltas, store: Store, now: float
    ) -> tuple[ListNotBelieved | None, ListNotBelieved | None]:
        """Judge a settled list. Return why it is not to be committed, and why some of it is not believed.

        Each is None where that does not apply. O(what it changes), but at most FEW.
        """
        unconfirmed, is_committed = self.rollback.judge(snapshot.older, now)
        rejected = None if is_committed else unconfirmed
        if snapshot.scope == EVERYTHING:
            too_much = None if snapshot.first else self._judge_losses(snapshot, rows, desired, store, now)
            self.lists_held += too_much is not None
            rejected = too_much or rejected
            self.held = rejected is not None
        if rejected is not None:
            self.rollback.not_committed(snapshot.older, now)
        return rejected, unconfirmed

    def committed(self, older: OlderRecords, now: float) -> None:
        """Record that a list of everything is being committed, except for what of it is not confirmed. O(1)."""
        rollback = self.rollback.committed(older, now)
        if rollback is not None:
            self._rollback = rollback
            self.rollbacks += 1
            self.rolled_back += rollback.older + rollback.returned

    def take_rollback(self) -> Rollback | None:
        """Return what the last list took back, which the caller logs; None: nothing. O(1)."""
        rollback, self._rollback = self._rollback, None
        return rollback

    def reread_older(self, event: Event, repairs: Repairs) -> None:
        """Request a repair of the process that an event reported in an older version than known. O(1).

        The event was late, which is rare; or the server's database was set back, and all events are like it. Not for a
        removal, nor while a deciding list is due anyway.
        """
        if self.rollback.has_unconfirmed or isinstance(event, _REMOVALS):
            return
        guid = row_guid_of(event)
        if guid is not None:
            repairs.add(guid, RepairReason.OLDER)
        else:
            # Only rows and desired LRPs have versions.
            repairs.add(desired_guid_of(event) or "", RepairReason.DESIRED)

    def wait(self, now: float) -> float | None:
        """Return in how many seconds the list of everything is due that decides; None: there is nothing to decide."""
        if self.deletion_guard.holds:
            return self.deletion_guard.wait(now)
        return self.rollback.wait(now) if self.rollback.has_unconfirmed else None

    def _judge_losses(
        self, snapshot: PendingSnapshot, rows: RowDeltas, desired: DesiredDeltas, store: Store, now: float
    ) -> ListNotBelieved | None:
        before = size_of(store)
        if self.live_size is not None:
            before = before.or_less(self.live_size)
        after = size_after(store, rows, desired) if snapshot.aside is None else size_of(snapshot.aside)
        return self.deletion_guard.judge(before, after, now)
