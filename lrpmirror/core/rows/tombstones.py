"""Tombstones of records that are gone, so that a late event does not bring them back."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from lrpmirror.core.rows.changes import RowKey


class Tombstone(Struct, frozen=True, gc=False):
    """The last known version of a record that is gone, and the instance that it held.

    `left` says that only the instance left: the record is known to live on, unclaimed, under a higher index. `presumed`
    says that no event reported the removal: a list lacked the record, or another one took its place.
    """

    index: int
    instance_guid: str = ""
    left: bool = False
    presumed: bool = False

    def covers(self, index: int) -> bool:
        """Return whether an event reported that the record was gone in that version, or a later one."""
        return index <= self.index and not self.presumed


class TombstoneTable:
    """Tombstones by record, bounded in number and age; the oldest go first. O(1) each, but for `copy` and `advance`.

    `age` is in the unit of the times that `advance` is given.
    """

    def __init__(self, *, limit: int, age: float) -> None:
        self._limit = limit
        self._age = age
        self._now = 0.0
        # Oldest first: a dict keeps the order in which keys were added. Both have the same keys.
        self._by_key: dict[RowKey, Tombstone] = {}
        self._added_at: dict[RowKey, float] = {}
        self.get: Final[Callable[[RowKey], Tombstone | None]] = self._by_key.get
        """Returns the tombstone of a record, if it has one: the dict's own method, for every event."""

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: RowKey) -> bool:
        return key in self._by_key

    def add(self, key: RowKey, tombstone: Tombstone) -> None:
        """Add a tombstone; an older version never replaces a newer one."""
        by_key = self._by_key
        known = by_key.pop(key, None)
        if known is not None:
            del self._added_at[key]
            if known.index > tombstone.index:
                # It counts as `left` or `presumed` only where both do: the second may report the removal of the record.
                left, presumed = known.left and tombstone.left, known.presumed and tombstone.presumed
                tombstone = Tombstone(known.index, known.instance_guid, left, presumed)
        by_key[key] = tombstone
        self._added_at[key] = self._now
        if len(by_key) > self._limit:
            self.discard(next(iter(by_key)))

    def discard(self, key: RowKey) -> None:
        """Discard the tombstone of a record, which is known to live."""
        if self._by_key.pop(key, None) is not None:
            del self._added_at[key]

    def keys(self) -> tuple[RowKey, ...]:
        """Return the records that have a tombstone, oldest first. O(n)."""
        return tuple(self._by_key)

    def advance(self, now: float) -> None:
        """Record the time, and discard tombstones that are older than the age. O(discarded)."""
        self._now = now
        expired = []
        for key, added_at in self._added_at.items():
            if added_at >= now - self._age:
                break
            expired.append(key)
        for key in expired:
            self.discard(key)

    def copy(self) -> "TombstoneTable":
        """Return an independent copy. O(n)."""
        copied = TombstoneTable(limit=self._limit, age=self._age)
        copied._now = self._now
        copied._by_key.update(self._by_key)
        copied._added_at.update(self._added_at)
        return copied
