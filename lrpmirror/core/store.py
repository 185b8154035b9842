"""The rows and desired LRPs of a mirror, with their indexes.

The store is written by one owner and read from any thread. What a reader gets is either an immutable value or a copy
made by one uninterruptible operation, so a reader never sees half of a write; only what is ordered (the range of an
app) takes a lock, which a writer holds for no longer than an insertion.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator
from itertools import chain, pairwise
from operator import attrgetter
from threading import Lock
from typing import TypeVar

from sortedcontainers import SortedList

from lrpmirror.core.changes import RowKey, row_key
from lrpmirror.model import ActualLRP, DesiredLRP

__all__ = ["Store"]

_slot = attrgetter("index", "presence")

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

FEW = 12
"""Among so many rows one is found sooner by looking at each than by halving."""

Counts = dict[str, int]
"""How many rows each process has of a kind."""

Keys = dict[RowKey, None]
"""A set that keeps its order, so that the same inputs give the same answers in the same order."""


class Store:
    """Rows by identity, and where to find them: by process, cell, domain, state and instance.

    Nearly all rows are of one domain and one state. So these two lead to processes, which are fewer; and instances are
    in parts, by how their guid ends. For a dict is rebuilt in one piece when it grows, which takes ten milliseconds at
    a hundred thousand keys: one may, four of the same size would do so at the same row.
    """

    def __init__(self) -> None:
        self._rows: dict[RowKey, ActualLRP] = {}
        self._by_process: dict[str, tuple[ActualLRP, ...]] = {}
        self._by_cell: dict[str, Keys] = {}
        self._by_domain: dict[str, Counts] = {}
        self._by_state: dict[str, Counts] = {}
        self._by_instance: dict[str, dict[str, RowKey]] = {}
        self._desired: dict[str, DesiredLRP] = {}
        self._desired_by_domain: dict[str, dict[str, None]] = {}
        self._desired_guids: SortedList = SortedList()
        self._lock = Lock()
        self.domains: frozenset[str] = frozenset()

    # Reading

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: RowKey) -> ActualLRP | None:
        """Return the row of that identity. O(1)."""
        return self._rows.get(key)

    def keys(self) -> list[RowKey]:
        """Return the identities of all rows, as they are now. O(rows), in one uninterruptible step."""
        return list(self._rows)

    def process(self, process_guid: str) -> tuple[ActualLRP, ...]:
        """Return the rows of a process by index, then presence. O(1): the tuple is kept, not made."""
        return self._by_process.get(process_guid, ())

    def select(self, *, cell_id: str | None, state: str | None, domain: str | None) -> tuple[ActualLRP, ...]:
        """Return the rows that match every filter given, in no promised order.

        O(rows on the cell) or, where that is less, O(rows of the processes that have such a state or domain).
        """
        keys = None if cell_id is None else self._by_cell.get(cell_id, {})
        wanted = ((state, self._by_state), (domain, self._by_domain))
        counts: list[Counts] = [index.get(value, {}) for value, index in wanted if value is not None]
        fewest = min(counts, key=len, default=None)
        rows: Iterable[ActualLRP | None]
        if keys is not None and (fewest is None or len(keys) <= len(fewest)):
            rows = map(self._rows.get, _taken(keys))
        elif fewest is not None:
            rows = chain.from_iterable(map(self.process, _taken(fewest)))
        else:
            return tuple(_taken(self._rows.values()))
        return tuple([row for row in rows if row is not None and matches(row, cell_id, state, domain)])

    def instance(self, instance_guid: str) -> ActualLRP | None:
        """Return the row of an instance. O(1)."""
        key = self._by_instance.get(instance_guid[-1:], {}).get(instance_guid)
        return None if key is None else self._rows.get(key)

    def processes(self) -> list[str]:
        """Return the guids of all processes that have rows. O(processes)."""
        return list(self._by_process)

    def desired(self, process_guid: str) -> DesiredLRP | None:
        """Return the desired LRP of a process. O(1)."""
        return self._desired.get(process_guid)

    def desired_count(self) -> int:
        """Return how many desired LRPs there are. O(1)."""
        return len(self._desired)

    def desired_guids(self) -> list[str]:
        """Return the process guids of all desired LRPs. O(desired LRPs)."""
        return list(self._desired)

    def select_desired(self, *, app_guid: str | None, domain: str | None) -> tuple[DesiredLRP, ...]:
        """Return the desired LRPs whose process guid begins with `app_guid` and whose domain is `domain`, where given.

        By process guid where `app_guid` is given, which costs O(log desired + found); else in no promised order.
        """
        if app_guid is not None:
            with self._lock:
                guids = tuple(self._prefix_range(app_guid))
        elif domain is not None:
            guids = tuple(_taken(self._desired_by_domain.get(domain, ())))
        else:
            return tuple(_taken(self._desired.values()))
        found = map(self._desired.get, guids)
        return tuple(lrp for lrp in found if lrp is not None and domain in (None, lrp.domain))

    def has_rivals(self, process_guid: str) -> bool:
        """Tell whether two rows of a process claim one slot, which the server never has for long.

        O(rows of the process).
        """
        rows = self.process(process_guid)
        return any(_slot(one) == _slot(other) for one, other in pairwise(rows))

    def _prefix_range(self, prefix: str) -> Iterator[str]:
        for guid in self._desired_guids.irange(minimum=prefix):
            if not guid.startswith(prefix):
                return
            yield guid

    # Writing

    def put(self, key: RowKey, old: ActualLRP | None, row: ActualLRP) -> bool:
        """Write the row of that identity, which is `old` now; tell whether another claims the slot that it takes.

        O(log rows of the process), plus copying their tuple.
        """
        self._rows[key] = row
        if old is None:
            guid = row.process_guid
            rival = self._place(row)
            _count(self._by_domain, row.domain, guid)
            _count(self._by_state, row.state, guid)
            _add(self._by_cell, row.cell_id, key)
            if row.instance_guid:
                self._keep_instance(row.instance_guid, key)
            return rival
        rival = self._replace(old, row)
        # Most writes move a row between states and cells only, so an index is touched only where its own key has
        # changed.
        if old.state != row.state or old.process_guid != row.process_guid:
            _uncount(self._by_state, old.state, old.process_guid)
            _count(self._by_state, row.state, row.process_guid)
        if old.cell_id != row.cell_id:
            _discard(self._by_cell, old.cell_id, key)
            _add(self._by_cell, row.cell_id, key)
        if old.instance_guid != row.instance_guid:
            if row.instance_guid:
                self._keep_instance(row.instance_guid, key)
            if old.instance_guid:
                self._release_instance(old, key)
        if old.domain != row.domain or old.process_guid != row.process_guid:
            _uncount(self._by_domain, old.domain, old.process_guid)
            _count(self._by_domain, row.domain, row.process_guid)
        return rival

    def remove(self, key: RowKey, row: ActualLRP) -> None:
        """Remove the row of that identity, which is `row` now."""
        del self._rows[key]
        self._displace(row)
        _uncount(self._by_domain, row.domain, row.process_guid)
        _uncount(self._by_state, row.state, row.process_guid)
        _discard(self._by_cell, row.cell_id, key)
        if row.instance_guid:
            self._release_instance(row, key)

    def put_desired(self, lrp: DesiredLRP) -> None:
        """Insert a desired LRP, or replace the one of its process. O(log desired) when new, else O(1)."""
        guid = lrp.process_guid
        old = self._desired.get(guid)
        self._desired[guid] = lrp
        if old is None:
            with self._lock:
                self._desired_guids.add(guid)
        elif old.domain == lrp.domain:
            return
        else:
            _discard(self._desired_by_domain, old.domain, guid)
        _add(self._desired_by_domain, lrp.domain, guid)

    def remove_desired(self, process_guid: str) -> None:
        """Remove the desired LRP of a process, which must be there."""
        lrp = self._desired.pop(process_guid)
        with self._lock:
            self._desired_guids.remove(process_guid)
        _discard(self._desired_by_domain, lrp.domain, process_guid)

    def _replace(self, old: ActualLRP, row: ActualLRP) -> bool:
        """Put a row in the place of its old self in its process's tuple, or elsewhere where its slot has changed."""
        guid = row.process_guid
        if row.index != old.index or row.presence != old.presence or guid != old.process_guid:
            self._displace(old)
            return self._place(row)
        rows = self._by_process[guid]
        at = _position(rows, old)
        self._by_process[guid] = (*rows[:at], row, *rows[at + 1 :])
        return False

    def _place(self, row: ActualLRP) -> bool:
        """Put a row in its process's tuple."""
        guid = row.process_guid
        rows = self._by_process.get(guid, ())
        at = bisect_left(rows, _slot(row), key=_slot) if rows else 0
        self._by_process[guid] = (*rows[:at], row, *rows[at:])
        return at < len(rows) and _slot(rows[at]) == _slot(row)

    def _displace(self, row: ActualLRP) -> None:
        rows = self._by_process[row.process_guid]
        if len(rows) == 1:
            del self._by_process[row.process_guid]
            return
        at = _position(rows, row)
        self._by_process[row.process_guid] = (*rows[:at], *rows[at + 1 :])

    def _keep_instance(self, guid: str, key: RowKey) -> None:
        part = self._by_instance.get(guid[-1])
        if part is None:
            self._by_instance[guid[-1]] = {guid: key}
        else:
            part[guid] = key

    def _release_instance(self, old: ActualLRP, key: RowKey) -> None:
        """Take an instance from a row that no longer has it.

        Another row of the process may have it too, while it moves.
        """
        guid = old.instance_guid
        part = self._by_instance[guid[-1]]
        if part.get(guid) != key:
            return
        for row in self._by_process.get(old.process_guid, ()):
            if row.instance_guid == guid:
                part[guid] = row_key(row)
                return
        del part[guid]

    # Checking

    def _check(self) -> None:
        """Compare every index with one made anew from the rows. O(rows); for tests."""
        rows = self._rows
        assert all(row_key(row) == key for key, row in rows.items()), (
            "a row is filed under another identity than its own"
        )
        on_cells: dict[str, Keys] = {}
        for key, row in rows.items():
            on_cells.setdefault(row.cell_id, {})[key] = None
        assert self._by_cell == on_cells, "the cell index is not that of the rows"
        for name, index in (("domain", self._by_domain), ("state", self._by_state)):
            counted: dict[str, Counts] = {}
            for row in rows.values():
                counts = counted.setdefault(getattr(row, name), {})
                counts[row.process_guid] = counts.get(row.process_guid, 0) + 1
            assert index == counted, f"the {name} index is not that of the rows"
        by_process: dict[str, list[ActualLRP]] = {}
        for row in rows.values():
            by_process.setdefault(row.process_guid, []).append(row)
        assert by_process.keys() == self._by_process.keys(), "the processes are not those of the rows"
        for guid, kept in self._by_process.items():
            assert sorted(kept, key=_slot) == list(kept), f"the rows of {guid} are not in order"
            assert {id(row) for row in kept} == {id(row) for row in by_process[guid]}, f"other rows are kept for {guid}"
        instances = {row.instance_guid for row in rows.values() if row.instance_guid}
        keys = {guid: key for part in self._by_instance.values() for guid, key in part.items()}
        assert keys.keys() == instances, "the instances are not those of the rows"
        for guid, key in keys.items():
            assert rows[key].instance_guid == guid, f"instance {guid} leads to a row of another"
        self._check_desired()

    def _check_desired(self) -> None:
        assert list(self._desired_guids) == sorted(self._desired), "the ordered guids are not those of the desired LRPs"
        domains: dict[str, set[str]] = {}
        for guid, lrp in self._desired.items():
            assert lrp.process_guid == guid, f"the desired LRP of another process is kept for {guid}"
            domains.setdefault(lrp.domain, set()).add(guid)
        kept = {domain: set(guids) for domain, guids in self._desired_by_domain.items()}
        assert kept == domains, "the domain index is not that of the desired LRPs"


def matches(row: ActualLRP, cell_id: str | None, state: str | None, domain: str | None) -> bool:
    """Tell whether a row passes every filter that is given."""
    return cell_id in (None, row.cell_id) and state in (None, row.state) and domain in (None, row.domain)


def _taken(of: Iterable[T]) -> list[T]:
    """Copy from a dict that another thread may be writing.

    Into a list, which does it in one uninterruptible step. A tuple is made after the dict has begun to be read, and
    making it can set off the garbage collector, and with it finalizers that let the other thread in.
    """
    return list(of)


def _position(rows: tuple[ActualLRP, ...], row: ActualLRP) -> int:
    """Where that very row stands in its process's tuple."""
    if len(rows) <= FEW:
        for at, one in enumerate(rows):
            if one is row:
                return at
    at = bisect_left(rows, _slot(row), key=_slot)
    # Two rows can claim one slot for a moment, so the slot alone does not say which.
    while rows[at] is not row:
        at += 1
    return at


def _add(index: dict[str, dict[K, None]], value: str, key: K) -> None:
    keys = index.get(value)
    if keys is None:
        index[value] = {key: None}
    else:
        keys[key] = None


def _count(index: dict[str, Counts], value: str, process_guid: str) -> None:
    counts = index.get(value)
    if counts is None:
        index[value] = {process_guid: 1}
    else:
        counts[process_guid] = counts.get(process_guid, 0) + 1


def _uncount(index: dict[str, Counts], value: str, process_guid: str) -> None:
    counts = index[value]
    number = counts[process_guid]
    if number > 1:
        counts[process_guid] = number - 1
        return
    del counts[process_guid]
    if not counts:
        del index[value]


def _discard(index: dict[str, dict[K, None]], value: str, key: K) -> None:
    keys = index[value]
    del keys[key]
    if not keys:
        del index[value]
