"""What an event does to the rows: who is meant, which version is newer, what is gone.

The epoch of a row's modification tag names the record, the index is its version, the presence is an attribute. This is
what makes events that arrive late, twice or in the wrong order harmless:

- a version that is not newer than the one at hand changes nothing, but for a change of presence, which the server makes
  without a new version;
- a record that is gone leaves a tombstone with its last version, and an event that is not newer is not believed;
- a `changed` with two epochs moves an instance from the one record to the other, as an evacuation does;
- an unclaim is told as `created` (same epoch, next version, no instance) and then `removed` (the version before, with
  the instance that left): that `removed` says that the instance is gone, not the record;
- a removal's version may be older than the row's, since it was read before the delete: with the same instance it means
  the row; and so it does where it carries an UNCLAIMED row, which no instance can have left;
- a diff carries no internal routes and no metric tags, and only a start writes them: so every version that runs is read
  again. A start that changes them can change anything else with them, or nothing, so no diff of an instance that runs
  says that they stayed.

What these rules cannot decide is not guessed: the row stays as it is, and the process is asked for again (see `Doubt`).
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

from msgspec.structs import replace

from lrpmirror.core.changes import RowKey, row_key
from lrpmirror.core.tombstones import Tombstone, Tombstones
from lrpmirror.events import ActualLRPChanged, ActualLRPInstanceChanged
from lrpmirror.model import EMPTY, ActualLRP, ActualLRPGroup, ActualLRPState, Presence

__all__ = ["Doubt", "RowReconciler", "Rows", "Verdict"]


class Verdict(StrEnum):
    """What became of an event."""

    # As text, which it equals: events are counted by it, and Enum's own hash is a Python function.
    __hash__ = str.__hash__

    APPLIED = "applied"
    SAME = "same"
    """It says what is known already."""
    STALE = "stale"
    """It is older than what is known."""
    BURIED = "tombstoned"
    """Its record is gone."""
    LEFT = "left"
    """It says that an instance left a row, and the row is known to live on."""
    DOUBTED = "doubted"
    """It cannot be decided; the process is read again."""
    NOTED = "noted"
    """It changes no state."""


# What most events meet: CPython 3.11 takes as long to find a member in its enum as to find a row in a dict.
_APPLIED: Final = Verdict.APPLIED
_RUNNING: Final = ActualLRPState.RUNNING


class Doubt(StrEnum):
    """Why a process is to be read again."""

    AMBIGUOUS = "ambiguous"
    """An event could not be decided."""
    RIVALS = "rivals"
    """Two rows claim one slot: one of them is about to leave it, or its removal was lost."""
    INCOMPLETE = "incomplete"
    """The diff does not carry what a start may have changed: internal routes and metric tags."""
    DESIRED = "desired"
    """It is the desired LRP, not the rows, that could not be decided."""
    OLDER = "older"
    """An event told of an older version than known: it was late, or the server was set back."""


class Rows(Protocol):
    """The rows that events are applied to."""

    def get(self, key: RowKey) -> ActualLRP | None:
        """Return the row of that identity."""
        ...

    def put(self, key: RowKey, old: ActualLRP | None, row: ActualLRP) -> bool:
        """Write the row of that identity, which is `old` now; tell whether another claims the slot that it takes."""
        ...

    def remove(self, key: RowKey, old: ActualLRP) -> None:
        """Remove the row of that identity, which is `old` now."""
        ...


class RowReconciler:
    """Applies what events say of actual LRPs to rows. Each method decides first, then writes.

    Each is O(1) but for the writes.
    """

    def __init__(self, rows: Rows, tombstones: Tombstones, doubt: Callable[[str, Doubt], None]) -> None:
        self._rows = rows
        self._tombstones = tombstones
        self._doubt = doubt

    def created(self, row: ActualLRP) -> Verdict:
        """Apply a whole row: a new record, or the next version of one that was unclaimed."""
        row = row.as_stored()
        key = row_key(row)
        if not row.epoch:
            return self._write(key, self._rows.get(key), row)
        stored = self._rows.get(key)
        if stored is not None:
            if row.tag_index < stored.tag_index:
                return Verdict.STALE
            if row.tag_index == stored.tag_index:
                # Whole rows bring what diffs leave out; a presence that changed since then came with the same version.
                row = replace(row, presence=stored.presence)
                if _is_of_another_life(row, stored):
                    return self._doubted(row.process_guid)
            return self._write(key, stored, row)
        return self._appeared(key, row)

    def _appeared(self, key: RowKey, row: ActualLRP) -> Verdict:
        """Apply a whole row of a record that is not there."""
        grave = self._tombstones.get(key)
        if grave is not None:
            if row.tag_index <= grave.index:
                return Verdict.BURIED
            if row.state != ActualLRPState.UNCLAIMED:
                return self._doubted(row.process_guid)
            # Its instance left; the removal that said so has overtaken this. Was it more than that? Only a read can
            # tell.
            if not grave.left:
                self._doubt(row.process_guid, Doubt.AMBIGUOUS)
            self._tombstones.discard(key)
        elif row.tag_index > 0:
            # It has been there before, unseen: it may be gone again, and a list begun since then may not have had it.
            self._doubt(row.process_guid, Doubt.AMBIGUOUS)
        return self._write(key, None, row)

    def changed(self, event: ActualLRPInstanceChanged) -> Verdict:
        """Apply a diff of the instance stream."""
        before, after = event.before, event.after.as_stored()
        if after.instance_guid and after.state in _NOBODYS:
            after = _without_instance(after)
        if not after.epoch:
            return self._changed_without_epoch(before, after)
        if before.epoch != after.epoch and before.epoch:
            return self._moved(before, after)
        stored = self._rows.get(after.epoch)
        if stored is None:
            grave = self._tombstones.get(after.epoch)
            if grave is None:
                # As for a version of a record never seen, and the rest of the row is not known either.
                self._doubt(after.process_guid, Doubt.AMBIGUOUS)
                return self._write(after.epoch, None, after)
            return Verdict.BURIED if after.tag_index <= grave.index else self._doubted(after.process_guid)
        if after.tag_index > stored.tag_index:
            return self._advanced(stored, before, after)
        return self._presence_changed(stored, before, after)

    def removed(self, row: ActualLRP) -> Verdict:
        """Apply a `removed` of the instance stream, which means the row or only the instance in it."""
        key = row_key(row)
        stored = self._rows.get(key)
        if stored is None:
            known = key in self._tombstones
            self._tombstones.bury(key, Tombstone(row.tag_index, row.instance_guid))
            return Verdict.SAME if known else Verdict.BURIED
        if row.epoch and stored.tag_index > row.tag_index and row.state != ActualLRPState.UNCLAIMED:
            # A crashed row names no instance that could tell a restart from a removal.
            nameless = row.state == ActualLRPState.CRASHED
            if _is_next_unclaimed(row, stored):
                if nameless:
                    self._doubt(row.process_guid, Doubt.AMBIGUOUS)
                return Verdict.LEFT
            if nameless or stored.instance_guid != row.instance_guid:
                return self._doubted(row.process_guid)
        self._bury(key, stored, at_least=row.tag_index)
        return _APPLIED

    def group_changed(self, event: ActualLRPChanged) -> Verdict:
        """Apply a diff of the group stream, slot by slot; a slot that is empty on both sides is not spoken of."""
        verdict = Verdict.NOTED
        slots = (
            (event.before.instance, event.after.instance),
            (event.before.evacuating, event.after.evacuating),
        )
        for before, after in slots:
            if after is not None:
                verdict = self._slot_changed(before, after)
        return verdict

    def group_created(self, group: ActualLRPGroup) -> Verdict:
        """Apply a `created` of the group stream to the slots that it fills."""
        verdict = Verdict.NOTED
        for row in (group.instance, group.evacuating):
            if row is not None:
                verdict = self.created(row)
        return verdict

    def group_removed(self, group: ActualLRPGroup) -> Verdict:
        """Apply a `removed` of the group stream.

        There it always means the row, whose version may be older than the one at hand.
        """
        verdict = Verdict.NOTED
        for row in (group.instance, group.evacuating):
            if row is None:
                continue
            key = row_key(row)
            stored = self._rows.get(key)
            if stored is None:
                self._tombstones.bury(key, Tombstone(row.tag_index, row.instance_guid))
                verdict = Verdict.BURIED
            else:
                self._bury(key, stored, at_least=row.tag_index)
                verdict = _APPLIED
        return verdict

    def _slot_changed(self, before: ActualLRP | None, after: ActualLRP) -> Verdict:
        if before is not None and before.epoch != after.epoch and before.epoch and after.epoch:
            verdict = self.created(after)
            stored = self._rows.get(before.epoch)
            if stored is not None and stored.tag_index <= before.tag_index:
                self._bury(before.epoch, stored)
            return verdict
        stored = self._rows.get(row_key(after))
        if stored is not None and stored.epoch and stored.tag_index >= after.tag_index and before is not None:
            return self._presence_changed(stored, before, after.as_stored())
        grave = self._tombstones.get(row_key(after))
        if grave is not None and after.tag_index > grave.index:
            return self._doubted(after.process_guid)
        return self.created(after)

    def _advanced(self, stored: ActualLRP, before: ActualLRP, after: ActualLRP) -> Verdict:
        """Apply a newer version from a diff, which leaves internal routes and metric tags as they were."""
        # A start may have changed what the diff does not carry; and so may a version that was passed over.
        if after.state == _RUNNING or before.tag_index != stored.tag_index:
            self._doubt(after.process_guid, Doubt.INCOMPLETE)
        # It is another version, so it differs.
        if self._rows.put(after.epoch, stored, after.carrying_over(stored)):
            self._doubt(after.process_guid, Doubt.RIVALS)
        return _APPLIED

    def _presence_changed(self, stored: ActualLRP, before: ActualLRP, after: ActualLRP) -> Verdict:
        """Apply a diff that is not newer: only a change of presence, which makes no version, can be in it."""
        stale = Verdict.STALE if after.tag_index < stored.tag_index else Verdict.SAME
        if stale is Verdict.SAME and _is_of_another_life(after, stored):
            return self._doubted(stored.process_guid)
        if before.presence == after.presence:
            return stale
        if stale is Verdict.SAME and before.presence == stored.presence:
            return self._write(row_key(stored), stored, replace(stored, presence=after.presence))
        # Two changes of presence without a version between them have no order that could be seen here.
        self._doubt(stored.process_guid, Doubt.AMBIGUOUS)
        return stale if after.presence == stored.presence else Verdict.DOUBTED

    def _moved(self, before: ActualLRP, after: ActualLRP) -> Verdict:
        """Move an instance from one record to another; the first lives on, unclaimed, and will say so itself."""
        source = self._rows.get(before.epoch)
        target = self._rows.get(after.epoch)
        grave = self._tombstones.get(after.epoch)
        # The record that it moves to is mostly a new one, but can be that of another instance which is leaving too.
        if target is not None and after.tag_index <= target.tag_index:
            verdict = Verdict.STALE if after.tag_index < target.tag_index else Verdict.SAME
        elif grave is not None and after.tag_index <= grave.index:
            verdict = Verdict.BURIED
        elif source is None or source.tag_index != before.tag_index:
            self._doubt(after.process_guid, Doubt.INCOMPLETE)
            verdict = self._write(after.epoch, target, after)
        else:
            verdict = self._write(after.epoch, target, after.carrying_over(source))
        if source is None:
            if before.epoch not in self._tombstones:
                self._tombstones.bury(before.epoch, Tombstone(before.tag_index, before.instance_guid, left=True))
        elif source.tag_index <= before.tag_index:
            self._bury(before.epoch, source, at_least=before.tag_index, left=True)
            verdict = _APPLIED
        return verdict

    def _changed_without_epoch(self, before: ActualLRP, after: ActualLRP) -> Verdict:
        """Apply a diff of an old record, which is known by its slot and always believed."""
        old_key, key = row_key(before), row_key(after)
        stored = self._rows.get(old_key)
        verdict = self._write(key, self._rows.get(key), after if stored is None else after.carrying_over(stored))
        if stored is not None and old_key != key:
            self._rows.remove(old_key, stored)
        return verdict

    def _write(self, key: RowKey, stored: ActualLRP | None, row: ActualLRP) -> Verdict:
        if stored == row:
            return Verdict.SAME
        if self._rows.put(key, stored, row):
            self._doubt(row.process_guid, Doubt.RIVALS)
        return _APPLIED

    def _bury(self, key: RowKey, row: ActualLRP, *, at_least: int = 0, left: bool = False) -> None:
        self._rows.remove(key, row)
        index = max(row.tag_index, at_least)
        self._tombstones.bury(key, Tombstone(index, row.instance_guid, left))

    def _doubted(self, process_guid: str) -> Verdict:
        self._doubt(process_guid, Doubt.AMBIGUOUS)
        return Verdict.DOUBTED


_NOBODYS: Final = (ActualLRPState.UNCLAIMED, ActualLRPState.CRASHED)
"""Rows that are nobody's: a diff to such a state still carries the key of an instance, the server's row does not."""


def _is_of_another_life(one: ActualLRP, stored: ActualLRP) -> bool:
    """Tell whether a version that is known has other contents now, beside what diffs do not carry and the presence.

    So it is where the server was set back and has written it again.
    """
    return _bare(one) != _bare(stored)


def _bare(row: ActualLRP) -> ActualLRP:
    return replace(row, presence=Presence.ORDINARY, internal_routes=(), metric_tags=EMPTY)


def _without_instance(row: ActualLRP) -> ActualLRP:
    return replace(row, instance_guid="", cell_id="")


def _is_next_unclaimed(removed: ActualLRP, stored: ActualLRP) -> bool:
    """Tell whether the row at hand is what an unclaim made of the removed one, which was not UNCLAIMED."""
    return stored.tag_index == removed.tag_index + 1 and stored.state == ActualLRPState.UNCLAIMED
