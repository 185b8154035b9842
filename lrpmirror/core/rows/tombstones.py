"""Tombstones of records that are gone, so that a late event does not bring them back."""

from collections import deque
from collections.abc import Callable
from itertools import takewhile
from typing import Any, Final

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


class _Batch(Struct):
    """Tombstones that were added within a short time, the oldest first; some may have been replaced or discarded."""

    begun: float
    until: float
    tombstones: dict[RowKey, Tombstone]


BATCHES: Final = 64
"""In how many parts of the age tombstones expire."""

MOST: Final = 1_000
"""How many tombstones a batch has at most, but for those that were added at once."""

AT_ONCE: Final = 200
"""How many tombstones expire in one call at most: those of a list expire together."""


class TombstoneTable:
    """Tombstones by record, bounded in number and age; the oldest go first. O(1) each, but as said.

    `age` is in the unit of the times that `advance` is given; it is exceeded by 1/BATCHES of it at most, or while many
    expire at once.
    """

    def __init__(self, *, limit: int, age: float) -> None:
        self._limit = limit
        self._age = age
        self.now = 0.0
        """The time, as last recorded."""
        self._by_key: dict[RowKey, Tombstone] = {}
        # In small dicts: to find the first key of a dict takes as long as were removed before it.
        self._batches: deque[_Batch] = deque()
        self.get: Final[Callable[[RowKey], Tombstone | None]] = self._by_key.get
        """Returns the tombstone of a record, if it has one: the dict's own method, for every event."""

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: RowKey) -> bool:
        return key in self._by_key

    def add(self, key: RowKey, tombstone: Tombstone) -> None:
        """Add a tombstone; an older version never replaces a newer one."""
        known = self._by_key.get(key)
        if known is not None:
            tombstone = _merged(known, tombstone)
        self._by_key[key] = tombstone
        batch = self._batches[-1] if self._batches else None
        if batch is None or self.now - batch.begun > self._age / BATCHES or len(batch.tombstones) >= MOST:
            self._batches.append(_Batch(self.now, self.now, {key: tombstone}))
        else:
            batch.until = self.now
            # As the last one.
            batch.tombstones.pop(key, None)
            batch.tombstones[key] = tombstone
        if len(self._by_key) > self._limit:
            # Some more than one, until what `add_all` has added is within the limit.
            self._trim(2)

    def add_all(self, tombstones: dict[RowKey, Tombstone]) -> None:
        """Add tombstones of a dict that nobody writes to afterwards. O(those that are known), and a dict's update."""
        by_key = self._by_key
        merged = {key: _merged(by_key[key], tombstones[key]) for key in by_key.keys() & tombstones.keys()}
        for added in (tombstones, merged):
            if added:
                by_key.update(added)
                self._batches.append(_Batch(self.now, self.now, added))

    def discard(self, key: RowKey) -> None:
        """Discard the tombstone of a record, which is known to live."""
        self._by_key.pop(key, None)

    def discard_all(self, keys: dict[RowKey, Any]) -> None:
        """Discard the tombstones of records. O(the fewer of both), at the speed of a dict."""
        for key in self._by_key.keys() & keys.keys():
            del self._by_key[key]

    def keys(self) -> tuple[RowKey, ...]:
        """Return the records that have a tombstone. O(n)."""
        return tuple(self._by_key)

    def keys_since(self, time: float) -> list[RowKey]:
        """Return the records whose tombstones were added since a time, and some others. O(these)."""
        batches = takewhile(lambda batch: batch.until >= time, reversed(self._batches))
        return [key for batch in batches for key in batch.tombstones]

    def advance(self, now: float) -> None:
        """Record the time, and discard tombstones that are older than the age. O(AT_ONCE)."""
        self.now = now
        if self._batches:
            self._trim(AT_ONCE)

    def copy(self) -> "TombstoneTable":
        """Return an independent copy. O(n)."""
        copied = TombstoneTable(limit=self._limit, age=self._age)
        copied.now = self.now
        copied._by_key.update(self._by_key)
        copied._batches.extend(_Batch(each.begun, each.until, each.tombstones.copy()) for each in self._batches)
        return copied

    def _trim(self, most: int) -> None:
        """Discard the oldest of those that are too old or too many, at most so many."""
        by_key, batches, oldest = self._by_key, self._batches, self.now - self._age
        for _ in range(most):
            if len(by_key) <= self._limit and not (batches and batches[0].until < oldest):
                return
            tombstones = batches[0].tombstones
            key = next(iter(tombstones), None)
            if key is None:
                batches.popleft()
                continue
            tombstone = tombstones.pop(key)
            if by_key.get(key) is tombstone:
                # Else it was discarded, or has another one by now.
                del by_key[key]


def _merged(known: Tombstone, added: Tombstone) -> Tombstone:
    """Return the newer of two tombstones of a record, as a value of its own.

    It counts as `left` or `presumed` only where both do: the second may report the removal of the record.
    """
    if known.index <= added.index:
        return added
    return Tombstone(known.index, known.instance_guid, known.left and added.left, known.presumed and added.presumed)
