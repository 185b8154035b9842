"""How events change rows: which record is meant, which version is newer, what is gone.

The epoch of a row's modification tag names the record, the index is its version, the presence is an attribute. These
rules make events that arrive late, twice or in the wrong order harmless:

- a version that is not newer than the stored one changes nothing, except for a change of presence, which the server
  makes without a new version;
- a record that is gone leaves a tombstone with its last version, and an event that is not newer is not believed;
- a `changed` with two epochs moves an instance from one record to another, as an evacuation does;
- an unclaim is sent as `created` (same epoch, next version, no instance) and then `removed` (the version before, with
  the instance that left): that `removed` says that the instance is gone, not the record;
- a removal's version may be older than the row's, since it was read before the delete: with the same instance it means
  the row; and so it does where it carries an UNCLAIMED row, which no instance can have left;
- a diff carries no internal routes and no metric tags, and only a start writes them: so every RUNNING version is read
  again. A start that changes them can change anything else too, or nothing, so no diff of a running instance proves
  that they stayed.

What these rules cannot decide is not guessed: the row stays as it is, and the process is read again (see
`RepairReason`).
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

from msgspec.structs import replace

from lrpmirror.core.rows.changes import RowKey, RowPart, row_key
from lrpmirror.core.rows.groups import rows_of
from lrpmirror.core.rows.parts import FEW_MASK, Parts
from lrpmirror.core.rows.tombstones import Tombstone, TombstoneTable
from lrpmirror.events import ActualLRPChanged, ActualLRPInstanceChanged, ActualLRPInstanceRemoved
from lrpmirror.model import EMPTY, ActualLRP, ActualLRPGroup, ActualLRPState, DesiredLRP, Presence

__all__ = ["Outcome", "RepairReason", "RowReconciler", "Tables"]


class Outcome(StrEnum):
    """The outcome of an event."""

    # As text, which it equals: events are counted by it, and Enum's own hash is a Python function.
    __hash__ = str.__hash__

    APPLIED = "applied"
    SAME = "same"
    """It is known already."""
    STALE = "stale"
    """It is older than the stored version."""
    TOMBSTONED = "tombstoned"
    """Its record has a tombstone."""
    LEFT = "left"
    """An instance left a row, and the row is known to live on."""
    UNDECIDED = "doubted"
    """It cannot be decided; the process is read again."""
    NOTED = "noted"
    """It changes no state."""


# What most events meet: CPython 3.11 takes as long to find a member in its enum as to find a row in a dict.
_APPLIED: Final = Outcome.APPLIED
_RUNNING: Final = ActualLRPState.RUNNING


class RepairReason(StrEnum):
    """Why a process is to be read again."""

    AMBIGUOUS = "ambiguous"
    """An event could not be decided."""
    RIVALS = "rivals"
    """Two rows claim one slot: one is about to leave it, or its removal was lost."""
    INCOMPLETE = "incomplete"
    """The diff does not carry what a start may have changed: internal routes and metric tags."""
    DESIRED = "desired"
    """It is the desired LRP, not the rows, that could not be decided."""
    OLDER = "older"
    """An event had an older version than the stored one: it was late, or the server's database was set back."""


_INCOMPLETE: Final = RepairReason.INCOMPLETE


class Tables(Protocol):
    """The rows and desired LRPs that events are applied to."""

    @property
    def parts(self) -> Parts[RowKey, ActualLRP]:
        """The rows by identity, in parts: what `get` looks in."""

    def get(self, key: RowKey) -> ActualLRP | None:
        """Return the row of that identity."""

    def put(self, key: RowKey, old: ActualLRP | None, row: ActualLRP, part: RowPart | None = None) -> bool:
        """Write the row of that identity, which is `old` now; return whether another row claims its slot.

        `part` is the one of `parts` that has the key, where the caller knows it.
        """

    def remove(self, key: RowKey, old: ActualLRP) -> None:
        """Remove the row of that identity, which is `old` now."""

    def desired(self, process_guid: str) -> DesiredLRP | None:
        """Return the desired LRP of a process."""

    def put_desired(self, lrp: DesiredLRP) -> object:
        """Insert or replace the desired LRP of its process."""

    def remove_desired(self, process_guid: str) -> None:
        """Remove the desired LRP of a process, which is there."""


class RowReconciler:
    """Applies events to rows. Each method decides first, then writes. O(1) each, plus the writes."""

    def __init__(
        self, rows: Tables, tombstones: TombstoneTable, ask_repair: Callable[[str, RepairReason], None]
    ) -> None:
        self._rows = rows
        self._parts = rows.parts
        # By attributes of its own: a method of an instance's attribute is looked for in its class first.
        self._put_row = rows.put
        self._remove_row = rows.remove
        self._tombstones = tombstones
        self._tombstone_of = tombstones.get
        self._ask_repair = ask_repair
        self.takes_rows = False
        """Whether the rows of diffs may become stored ones themselves: nobody else keeps the events."""

    def created(self, row: ActualLRP) -> Outcome:
        """Apply a whole row: a new record, or the next version of one that was unclaimed."""
        row = row.as_stored()
        if not row.epoch:
            key = row_key(row)
            return self._write(key, self._rows.get(key), row)
        stored = self._rows.get(row.epoch)
        if stored is None:
            return self._appeared(row.epoch, row)
        if row.tag_index > stored.tag_index:
            return self._put(row.epoch, stored, row)
        if row.tag_index < stored.tag_index:
            return Outcome.STALE
        # A whole row has what diffs leave out. Its presence may be older: it changes without a new version.
        row = replace(row, presence=stored.presence)
        return self._undecided(row.process_guid) if _is_rewritten(row, stored) else self._write(row.epoch, stored, row)

    def _appeared(self, key: RowKey, row: ActualLRP) -> Outcome:
        """Apply a whole row of a record that is not stored."""
        tombstone = self._tombstones.get(key)
        if tombstone is not None:
            if row.tag_index <= tombstone.index:
                return Outcome.TOMBSTONED
            if row.state != ActualLRPState.UNCLAIMED:
                return self._undecided(row.process_guid)
            # Its instance left, and the `removed` of that came first. Whether it meant the record, only a read shows.
            if not tombstone.left:
                self._ask_repair(row.process_guid, RepairReason.AMBIGUOUS)
            self._tombstones.discard(key)
        elif row.tag_index > 0:
            # A later version of a record never seen here: it may be gone again, and a list may have lacked it.
            self._ask_repair(row.process_guid, RepairReason.AMBIGUOUS)
        return self._put(key, None, row)

    def changed(self, event: ActualLRPInstanceChanged) -> Outcome:
        """Apply a diff of the instance stream."""
        before, after = event.before, event.after
        running = after.state is _RUNNING
        if not running and after.instance_guid and after.state in _WITHOUT_INSTANCE:
            after = _without_instance(after.as_stored())
        epoch = after.epoch
        if not epoch:
            return self._changed_without_epoch(before, after.as_stored())
        if before.epoch != epoch and before.epoch:
            return self._moved(before, after.as_stored())
        # As `get`, without a call more, and so below: most events come here.
        part = self._parts[hash(epoch) & FEW_MASK]
        stored = part.get(epoch)
        if stored is None:
            tombstone = self._tombstones.get(epoch)
            if tombstone is None:
                # As for a later version of a record never seen; and what the diff leaves out is not known either.
                self._ask_repair(after.process_guid, RepairReason.AMBIGUOUS)
                return self._put(epoch, None, after.as_stored())
            return Outcome.TOMBSTONED if after.tag_index <= tombstone.index else self._undecided(after.process_guid)
        if after.tag_index > stored.tag_index:
            ask_repair, put = self._ask_repair, self._put_row
            # A start may have changed the internal routes and metric tags, and so may a version that was skipped.
            if running or before.tag_index != stored.tag_index:
                ask_repair(after.process_guid, _INCOMPLETE)
            row = after.taking_over(stored) if self.takes_rows else after.carrying_over(stored)
            if put(epoch, stored, row, part):
                ask_repair(after.process_guid, RepairReason.RIVALS)
            return _APPLIED
        return self._presence_changed(stored, before, after.as_stored())

    def removed(self, event: ActualLRPInstanceRemoved) -> Outcome:
        """Apply a `removed` of the instance stream, which means the row or only the instance in it."""
        row = event.actual_lrp
        key = row.epoch or row_key(row)
        stored = self._parts[hash(key) & FEW_MASK].get(key)
        if stored is None:
            known = key in self._tombstones
            self._tombstones.add(key, Tombstone(row.tag_index, row.instance_guid))
            return Outcome.SAME if known else Outcome.TOMBSTONED
        version = row.tag_index
        if stored.tag_index > version:
            if row.epoch and row.state != ActualLRPState.UNCLAIMED:
                # A CRASHED row names no instance by which a restart and a removal could be told apart.
                nameless = row.state == ActualLRPState.CRASHED
                if _is_next_unclaimed(row, stored):
                    if nameless:
                        self._ask_repair(row.process_guid, RepairReason.AMBIGUOUS)
                    return Outcome.LEFT
                if nameless or stored.instance_guid != row.instance_guid:
                    return self._undecided(row.process_guid)
            version = stored.tag_index
        remove = self._remove_row
        remove(key, stored)
        self._tombstones.add(key, Tombstone(version, stored.instance_guid))
        return _APPLIED

    def group_changed(self, event: ActualLRPChanged) -> Outcome:
        """Apply a diff of the group stream, slot by slot; a slot that is empty on both sides is not part of it."""
        outcome = Outcome.NOTED
        slots = ((event.before.instance, event.after.instance), (event.before.evacuating, event.after.evacuating))
        for before, after in slots:
            if after is not None:
                outcome = self._slot_changed(before, after)
        return outcome

    def group_created(self, group: ActualLRPGroup) -> Outcome:
        """Apply a `created` of the group stream to the slots that it fills."""
        outcome = Outcome.NOTED
        for row in rows_of(group):
            outcome = self.created(row)
        return outcome

    def group_removed(self, group: ActualLRPGroup) -> Outcome:
        """Apply a `removed` of the group stream: it means the row, even in an older version than the stored one."""
        outcome = Outcome.NOTED
        for row in rows_of(group):
            key = row_key(row)
            stored = self._rows.get(key)
            if stored is None:
                self._tombstones.add(key, Tombstone(row.tag_index, row.instance_guid))
                outcome = Outcome.TOMBSTONED
            else:
                self._add_tombstone(key, stored, at_least=row.tag_index)
                outcome = _APPLIED
        return outcome

    def _slot_changed(self, before: ActualLRP | None, after: ActualLRP) -> Outcome:
        if before is not None and before.epoch != after.epoch and before.epoch and after.epoch:
            outcome = self.created(after)
            stored = self._rows.get(before.epoch)
            if stored is not None and stored.tag_index <= before.tag_index:
                self._add_tombstone(before.epoch, stored)
            return outcome
        stored = self._rows.get(row_key(after))
        if stored is not None and stored.epoch and stored.tag_index >= after.tag_index and before is not None:
            return self._presence_changed(stored, before, after.as_stored())
        tombstone = self._tombstones.get(row_key(after))
        if tombstone is not None and after.tag_index > tombstone.index:
            return self._undecided(after.process_guid)
        return self.created(after)

    def _presence_changed(self, stored: ActualLRP, before: ActualLRP, after: ActualLRP) -> Outcome:
        """Apply a diff that is not newer: it can only change the presence, which changes without a new version."""
        stale = Outcome.STALE if after.tag_index < stored.tag_index else Outcome.SAME
        if stale is Outcome.SAME and _is_rewritten(after, stored):
            return self._undecided(stored.process_guid)
        if before.presence == after.presence:
            return stale
        if stale is Outcome.SAME and before.presence == stored.presence:
            return self._write(row_key(stored), stored, replace(stored, presence=after.presence))
        # The order of two changes of presence without a version between them cannot be seen here.
        self._ask_repair(stored.process_guid, RepairReason.AMBIGUOUS)
        return stale if after.presence == stored.presence else Outcome.UNDECIDED

    def _moved(self, before: ActualLRP, after: ActualLRP) -> Outcome:
        """Move an instance from one record to another; the first lives on, unclaimed, which another event reports."""
        key, tombstone_of = after.epoch, self._tombstone_of
        source = self._parts[hash(before.epoch) & FEW_MASK].get(before.epoch)
        target, tombstone = self._parts[hash(key) & FEW_MASK].get(key), tombstone_of(key)
        # Mostly the target is a new record, but it can be that of another instance which is leaving too.
        if target is not None and after.tag_index <= target.tag_index:
            outcome = Outcome.STALE if after.tag_index < target.tag_index else Outcome.SAME
        elif tombstone is not None and after.tag_index <= tombstone.index:
            outcome = Outcome.TOMBSTONED
        elif source is None or source.tag_index != before.tag_index:
            self._ask_repair(after.process_guid, RepairReason.INCOMPLETE)
            outcome = self._put(key, target, after)
        else:
            row = after.taking_over(source) if self.takes_rows else after.carrying_over(source)
            outcome = self._put(key, target, row)
        if source is None:
            if before.epoch not in self._tombstones:
                self._tombstones.add(before.epoch, Tombstone(before.tag_index, before.instance_guid, left=True))
        elif source.tag_index <= before.tag_index:
            self._add_tombstone(before.epoch, source, at_least=before.tag_index, left=True)
            outcome = _APPLIED
        return outcome

    def _changed_without_epoch(self, before: ActualLRP, after: ActualLRP) -> Outcome:
        """Apply a diff of an old record, which is identified by its slot and always believed."""
        old_key, key = row_key(before), row_key(after)
        stored = self._rows.get(old_key)
        outcome = self._write(key, self._rows.get(key), after if stored is None else after.carrying_over(stored))
        if stored is not None and old_key != key:
            self._rows.remove(old_key, stored)
        return outcome

    def _write(self, key: RowKey, stored: ActualLRP | None, row: ActualLRP) -> Outcome:
        return Outcome.SAME if stored is not None and stored == row else self._put(key, stored, row)

    def _put(self, key: RowKey, stored: ActualLRP | None, row: ActualLRP) -> Outcome:
        """Write a row that is not known to equal the stored one; another version never does, so it is not compared."""
        if self._rows.put(key, stored, row):
            self._ask_repair(row.process_guid, RepairReason.RIVALS)
        return _APPLIED

    def _add_tombstone(self, key: RowKey, row: ActualLRP, *, at_least: int = 0, left: bool = False) -> None:
        self._rows.remove(key, row)
        index = max(row.tag_index, at_least)
        self._tombstones.add(key, Tombstone(index, row.instance_guid, left))

    def _undecided(self, process_guid: str) -> Outcome:
        self._ask_repair(process_guid, RepairReason.AMBIGUOUS)
        return Outcome.UNDECIDED


_WITHOUT_INSTANCE: Final = (ActualLRPState.UNCLAIMED, ActualLRPState.CRASHED)
"""States of rows without an instance: a diff to such a state still carries an instance's key, the row does not."""


def _is_rewritten(row: ActualLRP, stored: ActualLRP) -> bool:
    """Return whether a known version has other contents now, apart from the presence and what diffs do not carry.

    That happens where the server's database was set back and the version was written again.
    """
    return _bare(row) != _bare(stored)


def _bare(row: ActualLRP) -> ActualLRP:
    return replace(row, presence=Presence.ORDINARY, internal_routes=(), metric_tags=EMPTY)


def _without_instance(row: ActualLRP) -> ActualLRP:
    return replace(row, instance_guid="", cell_id="")


def _is_next_unclaimed(removed: ActualLRP, stored: ActualLRP) -> bool:
    """Return whether the stored row is what an unclaim made of the removed one, which was not UNCLAIMED."""
    return stored.tag_index == removed.tag_index + 1 and stored.state == ActualLRPState.UNCLAIMED
