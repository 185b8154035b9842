"""The rows and desired LRPs of a mirror, with their indexes.

The store is written by one owner and read from any thread. A reader gets either an immutable value or a copy that one
uninterruptible operation made, so it never sees half of a write.
"""

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import chain, groupby, pairwise
from operator import attrgetter
from typing import Any, Final, TypeVar

from msgspec.structs import force_setattr

from lrpmirror.core.rows.changes import Delta, RowKey, RowPart, row_key
from lrpmirror.core.rows.desired_table import DesiredTable, copied, discard
from lrpmirror.core.rows.freeing import free_records
from lrpmirror.core.rows.parts import FEW_MASK, Parts, few_parts, reader_of
from lrpmirror.model import ActualLRP, ActualLRPState

__all__ = ["Store", "row_order"]

_RUNNING: Final = ActualLRPState.RUNNING
_index = attrgetter("index")
_process_guid = attrgetter("process_guid")
_slot = attrgetter("index", "presence")
_place = attrgetter("process_guid", "index", "presence")

row_order = attrgetter("index", "presence", "epoch")
"""The order of the rows of a process.

Two rows that claim one slot for a moment are ordered by their epochs, not by arrival, so that equal states have equal
tuples.
"""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_ignore: Final[Callable[[object], None]] = deque[object](maxlen=0).append
"""A function that does nothing, without a frame of its own."""

FEW = 12
"""Among up to so many rows a linear search is faster than bisection."""

Keys = dict[RowKey, None]
"""An ordered set, so that the same inputs give the same answers in the same order."""


class Store(DesiredTable):
    """Rows by identity, and where to find them: by process, cell, domain, state and instance.

    Nearly all rows are of one domain and RUNNING. So the index by domain has processes, which are fewer, and the index
    by state leaves RUNNING out: it would save no query anything, and cost a write for every row. Rows and instances are
    in parts: a dict is rebuilt in one piece when it grows, which takes 15 ms at 175,000 keys.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: Parts[RowKey, ActualLRP] = few_parts()
        self._by_process: dict[str, tuple[ActualLRP, ...]] = {}
        self._by_cell: defaultdict[str, Keys] = defaultdict(dict)
        self._by_domain: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._by_state: defaultdict[str, Keys] = defaultdict(dict)
        self._by_instance: Parts[str, RowKey] = few_parts()
        self._moving: set[str] = set()
        """The instances that more than one row has had, which is so while they move."""
        self.domains: frozenset[str] = frozenset()
        self.record: Callable[[Delta[RowKey, ActualLRP]], object] = _ignore
        """Is called with each write of a row, in order. See ChangeSet."""
        self.parts: Final = self._rows
        """The rows by identity: see `few_parts`."""
        self.get: Final[Callable[[RowKey], ActualLRP | None]] = reader_of(self._rows)
        """Returns the row of that identity. O(1): no method, since every event calls it several times."""
        self.rows_of: Final[Callable[[str, tuple[()]], tuple[ActualLRP, ...]]] = self._by_process.get
        """Returns the rows of a process as `process` does; the second argument, (), is what it returns without any."""

    # Reading

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    def keys_by_cell(self) -> Iterator[list[RowKey]]:
        """Return the identities of all rows, cell by cell. Each step is uninterruptible, O(rows on the cell).

        A row that is written between two steps can be missed, or be returned twice.
        """
        for cell_id in list(self._by_cell):
            yield list(self._by_cell.get(cell_id, ()))

    def process(self, process_guid: str) -> tuple[ActualLRP, ...]:
        """Return the rows of a process by index, presence, epoch. O(1): the stored tuple."""
        return self._by_process.get(process_guid, ())

    def row_count(self, process_guid: str) -> int:
        """Return how many rows a process has. O(1)."""
        return len(self.process(process_guid))

    def select(self, *, cell_id: str | None, state: str | None, domain: str | None) -> tuple[ActualLRP, ...]:
        """Return the rows that match every filter given, in no promised order.

        The cost is the least of O(rows on the cell), O(rows of that state), where that is not RUNNING, and O(rows of
        the processes of that domain); O(rows) where only RUNNING is given, and much less than that without a filter.
        """
        if cell_id is None and state is None and domain is None:
            return tuple(chain.from_iterable(self.rows_by_process()))
        sets: list[Keys] = []
        if cell_id is not None:
            sets.append(self._by_cell.get(cell_id, {}))
        if state is not None and state != _RUNNING:
            sets.append(self._by_state.get(state, {}))
        keys = min(sets, key=len, default=None)
        guids = None if domain is None else self._by_domain.get(domain, {})
        rows: Iterable[ActualLRP | None]
        if keys is not None and (guids is None or len(keys) <= len(guids)):
            rows = map(self.get, copied(keys))
        elif guids is not None:
            rows = chain.from_iterable(map(self.process, copied(guids)))
        else:
            rows = chain.from_iterable(self.rows_by_process())
        return tuple([row for row in rows if row is not None and matches(row, cell_id, state, domain)])

    def instance(self, instance_guid: str) -> ActualLRP | None:
        """Return the row of an instance. O(1)."""
        key = self._by_instance[hash(instance_guid) & FEW_MASK].get(instance_guid)
        return None if key is None else self._rows[hash(key) & FEW_MASK].get(key)

    def processes(self) -> list[str]:
        """Return the guids of all processes that have rows. O(processes)."""
        return list(self._by_process)

    def processes_by_domain(self) -> list[dict[str, None]]:
        """Return the same guids as the keys of dicts, each once, which takes a third of the time. O(processes)."""
        found = [guids.copy() for guids in self._by_domain.values()]
        # A process is in several of them where its rows are of several domains.
        return found if sum(map(len, found)) == len(self._by_process) else [dict.fromkeys(self._by_process)]

    def process_count(self) -> int:
        """Return how many processes have rows. O(1)."""
        return len(self._by_process)

    def rows_by_process(self) -> list[tuple[ActualLRP, ...]]:
        """Return all rows of one moment, a tuple for each process. O(processes)."""
        return copied(self._by_process.values())

    def has_rivals(self, process_guid: str) -> bool:
        """Return whether two rows of a process claim one slot, which the server ends soon. O(rows of the process)."""
        rows = self.process(process_guid)
        return any(_slot(row) == _slot(following) for row, following in pairwise(rows))

    # Writing

    def put(self, key: RowKey, old: ActualLRP | None, row: ActualLRP, part: RowPart | None = None) -> bool:
        """Write the row of that identity, which is `old` now; return whether another row claims its slot.

        `part` is the one of `parts` that has the key, where the caller knows it. O(log rows of the process), plus
        copying their tuple.
        """
        if part is None:
            part = self._rows[hash(key) & FEW_MASK]
        part[key] = row
        record = self.record
        record(Delta(key, old, row))
        if old is None:
            return self._insert(key, row)
        guid, index, rival = row.process_guid, row.index, False
        stays = index == old.index and row.presence is old.presence and guid == old.process_guid
        if not stays or row.domain != old.domain:
            rival = self._move(row, old)
        else:
            by_process = self._by_process
            # Through a list, which takes half the time of joining slices of the tuple.
            rows = [*by_process[guid]]
            try:
                # Mostly all instances of a process are there, each at the position of its index.
                at = index if rows[index] is old else _position(rows, old)
            except IndexError:
                at = _position(rows, old)
            rows[at] = row
            by_process[guid] = tuple(rows)
        # Only indexes whose key has changed are written.
        state, was = row.state, old.state
        if state is not was:
            if was != _RUNNING:
                discard(self._by_state, was, key)
            if state != _RUNNING:
                self._by_state[state][key] = None
        if row.cell_id != old.cell_id:
            discard(self._by_cell, old.cell_id, key)
            self._by_cell[row.cell_id][key] = None
        if row.instance_guid != old.instance_guid:
            self._reindex_instance(key, old, row.instance_guid)
        return rival

    def add(self, rows: Iterable[ActualLRP]) -> list[str]:
        """Write rows, mostly new ones; return the processes of which two claim one slot.

        For many rows, in the order of lists, two thirds of the time of `put`. O(log rows of its process) each.
        """
        parts, by_cell, by_instance = self._rows, self._by_cell, self._by_instance
        repeated: list[ActualLRP] = []
        rivals: list[str] = []
        for guid, run in groupby(rows, _process_guid):
            fresh: list[ActualLRP] = []
            for row in run:
                key = row.epoch or row_key(row)
                part = parts[hash(key) & FEW_MASK]
                if key in part:
                    repeated.append(row)
                    continue
                part[key] = row
                by_cell[row.cell_id][key] = None
                if row.state != _RUNNING:
                    self._by_state[row.state][key] = None
                if (instance_guid := row.instance_guid) and (
                    by_instance[hash(instance_guid) & FEW_MASK].setdefault(instance_guid, key) != key
                ):
                    self._reindex_instance(key, None, instance_guid)
                if row.process_guid is not guid:
                    # Of equal texts one is enough: a twelfth of what a row takes.
                    force_setattr(row, "process_guid", guid)
                fresh.append(row)
            if self._add_all_to_process(guid, fresh):
                rivals.append(guid)
        for row in repeated:
            key = row_key(row)
            if self.put(key, self.get(key), row):
                rivals.append(row.process_guid)
        return rivals

    def remove(self, key: RowKey, row: ActualLRP) -> None:
        """Remove the row of that identity, which is `row` now."""
        del self._rows[hash(key) & FEW_MASK][key]
        record = self.record
        record(Delta(key, row, None))
        rest = self._others(row)
        self._write_process(row.process_guid, rest)
        if not rest or rest[0].domain != row.domain:
            self._remove_from_domain(row, rest)
        if row.state != _RUNNING:
            discard(self._by_state, row.state, key)
        discard(self._by_cell, row.cell_id, key)
        if row.instance_guid:
            self._unindex_instance(row, key)

    def _insert(self, key: RowKey, row: ActualLRP) -> bool:
        """Add a new row to all indexes."""
        guid = row.process_guid
        rows = self._by_process.get(guid)
        rival = self._add_to_process(row, rows)
        # Where another row of the process has the domain, the index has the process.
        if rows is None or rows[0].domain != row.domain:
            self._by_domain[row.domain][guid] = None
        if row.state != _RUNNING:
            self._by_state[row.state][key] = None
        self._by_cell[row.cell_id][key] = None
        if row.instance_guid:
            self._reindex_instance(key, None, row.instance_guid)
        return rival

    def _add_all_to_process(self, guid: str, fresh: list[ActualLRP]) -> bool:
        """Add new rows to the tuple and the domains of their process; return whether two rows claim one slot."""
        known = self._by_process.get(guid, ())
        domain = known[0].domain if known else None
        last = known[-1].index if known else -1
        in_order, rival = True, False
        for row in fresh:
            if row.domain != domain:
                domain = row.domain
                self._by_domain[domain][guid] = None
            in_order = in_order and last < row.index
            last = row.index
        if in_order and fresh:
            self._by_process[guid] = (*known, *fresh)
            return False
        for row in fresh:
            rival = self._add_to_process(row, self._by_process.get(guid)) or rival
        return rival

    def _add_to_process(self, row: ActualLRP, rows: tuple[ActualLRP, ...] | None) -> bool:
        """Add a row to those of its process; return whether another row claims its slot."""
        guid = row.process_guid
        if rows is None:
            self._by_process[guid] = (row,)
            return False
        if rows[-1].index < row.index:
            # Lists bring most rows in order.
            self._by_process[guid] = (*rows, row)
            return False
        at, rival = bisect_left(rows, row.index, key=_index), False
        # Mostly no other row has its index.
        while at < len(rows) and (other := rows[at]).index == row.index:
            if other.presence == row.presence:
                rival = True
                if other.epoch > row.epoch:
                    break
            elif other.presence > row.presence:
                break
            at += 1
        added = [*rows]
        added.insert(at, row)
        self._by_process[guid] = tuple(added)
        return rival

    def _move(self, row: ActualLRP, old: ActualLRP) -> bool:
        """Write a row to another place among those of its process, or to another domain; return as `put` does."""
        guid, rows = row.process_guid, tuple(self._others(old))
        if guid != old.process_guid:
            self._write_process(old.process_guid, rows)
            rows = self._by_process.get(guid, ())
        # At once: who reads in another thread finds the one row or the other.
        rival = self._add_to_process(row, rows or None)
        self._remove_from_domain(old, self._by_process.get(old.process_guid, ()))
        self._by_domain[row.domain][guid] = None
        return rival and _place(row) != _place(old)

    def _write_process(self, guid: str, rows: Sequence[ActualLRP]) -> None:
        """Write the rows that a process has left."""
        if rows:
            self._by_process[guid] = tuple(rows)
        else:
            del self._by_process[guid]

    def _others(self, row: ActualLRP) -> list[ActualLRP]:
        """Return the other rows of a row's process."""
        rows, index = [*self._by_process[row.process_guid]], row.index
        if len(rows) == 1:
            return []
        try:
            at = index if rows[index] is row else _position(rows, row)
        except IndexError:
            at = _position(rows, row)
        del rows[at]
        return rows

    def _remove_from_domain(self, old: ActualLRP, rest: Iterable[ActualLRP]) -> None:
        """Remove the process of `old` from its domain, unless another row of it, of `rest`, has the domain."""
        for row in rest:
            if row.domain == old.domain:
                return
        discard(self._by_domain, old.domain, old.process_guid)

    def _reindex_instance(self, key: RowKey, old: ActualLRP | None, instance_guid: str) -> None:
        """Index the instance that a row has now, and no longer the one that it had."""
        if instance_guid:
            part = self._by_instance[hash(instance_guid) & FEW_MASK]
            if part.setdefault(instance_guid, key) != key:
                part[instance_guid] = key
                self._moving.add(instance_guid)
        if old is not None and old.instance_guid:
            self._unindex_instance(old, key)

    def _unindex_instance(self, old: ActualLRP, key: RowKey) -> None:
        """Remove the index entry of an instance that a row no longer has, or give it to another row that has it."""
        guid = old.instance_guid
        part = self._by_instance[hash(guid) & FEW_MASK]
        if part.get(guid) != key:
            return
        if guid in self._moving:
            for row in self._by_process.get(old.process_guid, ()):
                if row.instance_guid == guid:
                    part[guid] = row_key(row)
                    return
            self._moving.discard(guid)
        del part[guid]

    def free_in_slices(self) -> Iterator[None]:
        """Free everything, a table or some records a step, once the caller refers to the store no longer.

        The store is not changed: another thread that still reads it reads a complete state, and frees it when done.
        """
        tables: list[object] = [self._by_domain, self._desired_guids, *self._by_instance]
        for index in (self._by_cell, self._by_state, self._desired_by_domain):
            tables += index.values()
        # From the end: a tuple of a process frees no row that is in the table of rows, too.
        of_records: list[dict[Any, Any]] = [self._desired, *self._rows, self._by_process]
        del self, index
        yield
        while tables:
            tables.pop()
            yield
        while of_records:
            records = list(of_records.pop().values())
            yield
            yield from free_records(records)

    # Checking

    def _check(self) -> None:
        """Compare every index with one that is made from the rows. O(rows); for tests."""
        rows = {key: row for part in self._rows for key, row in part.items()}
        filed = [(at, key, row) for at, part in enumerate(self._rows) for key, row in part.items()]
        assert filed == [(hash(key) & FEW_MASK, row_key(row), row) for _, key, row in filed], (
            "a row is filed under another identity than its own"
        )
        on_cells: dict[str, Keys] = {}
        in_states: dict[str, Keys] = {}
        in_domains: dict[str, dict[str, None]] = {}
        for key, row in rows.items():
            on_cells.setdefault(row.cell_id, {})[key] = None
            if row.state != _RUNNING:
                in_states.setdefault(row.state, {})[key] = None
            in_domains.setdefault(row.domain, {})[row.process_guid] = None
        assert self._by_cell == on_cells, "the cell index is not that of the rows"
        assert self._by_state == in_states, "the state index is not that of the rows"
        assert self._by_domain == in_domains, "the domain index is not that of the rows"
        by_process: dict[str, list[ActualLRP]] = {}
        for row in rows.values():
            by_process.setdefault(row.process_guid, []).append(row)
        assert by_process.keys() == self._by_process.keys(), "the processes are not those of the rows"
        for guid, kept in self._by_process.items():
            assert sorted(kept, key=row_order) == list(kept), f"the rows of {guid} are not in order"
            assert {id(row) for row in kept} == {id(row) for row in by_process[guid]}, f"other rows are kept for {guid}"
        instances = {row.instance_guid for row in rows.values() if row.instance_guid}
        keys = {guid: key for part in self._by_instance for guid, key in part.items()}
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
    """Return whether a row passes every filter that is given."""
    return cell_id in (None, row.cell_id) and state in (None, row.state) and domain in (None, row.domain)


def _position(rows: Sequence[ActualLRP], row: ActualLRP) -> int:
    """Return the position of that very object in the tuple of its process."""
    if len(rows) > FEW:
        return bisect_left(rows, row_order(row), key=row_order)
    at = 0
    while rows[at] is not row:
        at += 1
    return at
