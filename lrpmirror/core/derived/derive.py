"""Derived state: values by key that follow from the processes, kept up to date at the cost of what changes.

A derivation stores what each instance contributes to which keys, and the state of each key. After a commit only the
instances that it touched are derived again, only the keys whose contributions differ are folded, and each by the
difference. `lrpmirror.core.derived.view` has the forms of a view.
"""

import gc
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from copy import copy
from functools import partial
from typing import Any, Final, Self, TypeVar

from msgspec import Struct

from lrpmirror.core.derived.dirty import ALL, Dirty
from lrpmirror.core.derived.folding import Values
from lrpmirror.core.derived.notified import Notified
from lrpmirror.core.derived.steps import (
    Shares,
    Work,
    as_shares,
    check_keys,
    first_steps,
    merged,
    packed,
    unpacked,
)
from lrpmirror.core.derived.view import AnyView, Process, Step, View
from lrpmirror.core.rows.changes import Delta
from lrpmirror.core.rows.parts import PartedDict
from lrpmirror.errors import failure_of, without_frames
from lrpmirror.model import ActualLRP, CellPresence

__all__ = ["Derivation", "Process", "View"]

K = TypeVar("K", bound=Hashable)
C = TypeVar("C")
V = TypeVar("V")

WHOLE: Final = -1
"""Stands among the instance indexes for what a process or a cell contributes as a whole."""


CELLS: Final = 100
"""How many cells one step derives."""


class _Entry(Struct, gc=False):
    """What a process or a cell contributes: its terms, and by index its shares, packed (see `packed`).

    `owner` is the token of the derivation that may write to it; a fork copies it first.
    """

    terms: Any
    of: dict[int, Any]
    owner: object


class Derivation(Values[K, C, V]):
    """The values of one view, and the contributions that they are made of."""

    def __init__(self, view: AnyView[K, C, V]) -> None:
        super().__init__(view)
        self._reads = self._engine.fields_read()
        self._sees_cells = type(view).derive_cell is not AnyView.derive_cell
        self._entries: PartedDict[str, _Entry] = PartedDict()
        self._cells: dict[str, _Entry] = {}
        self._owner = object()
        # Apart from the failures of keys, since a key can equal a process guid.
        self._failed_sources: dict[str, dict[int, Exception]] = {}

    @property
    def failures(self) -> dict[Any, Exception]:
        """What the view raised last, by process guid (or `cell/CELL_ID`) for contributions, by key for values.

        An entry goes once the view succeeds there. O(failures).
        """
        sources = {source: next(reversed(failed.values())) for source, failed in self._failed_sources.items()}
        return {**sources, **self._failed_keys}

    def update(self, processes: Iterable[Process], dirty: Mapping[str, Dirty] | None = None) -> list[Delta[K, V]]:
        """Derive again what is dirty of some processes (without `dirty`: everything), and return what changed.

        Keys that appear come before keys that go. O(contributions of what is dirty). Where the view fails, a source
        keeps its contributions and a key its value. See `failures`.
        """
        work = Work()
        for process in processes:
            part = ALL if dirty is None else dirty[process.guid]
            entry = self._entries.get(process.guid)
            if entry is None or part.terms or self._failed_sources or self._simple is not None or not process.rows:
                self._take(process, entry, part, work)
            elif part.indexes is not None:  # pragma: no branch - it is where the terms are not dirty
                # Nearly every event: a few indexes and nothing else.
                found = self._rows_of(process, part.indexes, part)
                if found:
                    if entry.owner is not self._owner:
                        entry = self._own(process.guid, entry, entry.terms)
                    self._renew_instances(process.guid, entry, found, work)
        return self._fold(work) if work.steps else []

    def fill(self, processes: Iterable[Process]) -> None:
        """Derive processes, mostly new ones, without publishing anything.

        Derives the same as `update` at about half the cost, since nothing is compared. O(contributions of the
        processes).
        """
        work = Work()
        fresh: list[_Entry] = []
        for process in processes:
            guid = process.guid
            known = self._simple is not None or guid in self._entries or guid in self._failed_sources
            if known or not self._fill_from(process, work, fresh):
                # Not new, or the view fails on it.
                self.update((process,))
        if work.steps:
            alone, shared = merged(work.steps.values())
            self._fill(alone)
            if shared:
                self._fold_merged({}, shared)
        for entry in fresh:
            if gc.is_tracked(entry.of):
                # Anew, now that its tuples are nothing for the collector: then the dict is not, either.
                entry.of = dict(entry.of.items())

    def update_cells(self, cells: Iterable[CellPresence]) -> list[Delta[K, V]]:
        """Derive from the full list of cells, and return what changed. O(cells)."""
        work = Work()
        for _ in self._renewed_cells(cells, work):
            pass
        return self._fold(work) if work.steps else []

    def update_cells_in_slices(self, cells: Iterable[CellPresence]) -> Iterator[None]:
        """Do the same without returning what changed, some cells a step."""
        work = Work()
        for number, _ in enumerate(self._renewed_cells(cells, work)):
            if number % CELLS == CELLS - 1:
                self._fold(work)
                work.steps.clear()
                yield
        if work.steps:
            self._fold(work)
            yield

    def _renewed_cells(self, cells: Iterable[CellPresence], work: Work) -> Iterator[None]:
        """Derive cell by cell, and add the steps to the work."""
        if not self._sees_cells:
            return
        present = {f"cell/{cell.cell_id}": cell for cell in cells}
        # No process has such a name: the server admits no slash in a process guid.
        for source in [source for source in (*self._cells, *self._failed_sources) if source.startswith("cell/")]:
            if source not in present:
                entry = self._cells.pop(source, None)
                self._failed_sources.pop(source, None)
                if entry is not None:
                    work.add_steps(source, WHOLE, unpacked(entry.of[WHOLE]), ())
                yield
        for source, cell in present.items():
            entry = self._cells.get(source)
            if entry is not None and entry.terms == cell and source not in self._failed_sources:
                continue
            old = () if entry is None else unpacked(entry.of[WHOLE])
            new = self._derived(source, WHOLE, old, work, partial(self._shares_of_cell, cell))
            if new is not None:
                self._cells[source] = _Entry(cell, {WHOLE: packed(new)}, self._owner)
            yield

    def _shares_of_cell(self, cell: CellPresence) -> Shares:
        return as_shares(self.view.derive_cell(cell))

    def take_failures(self) -> list[tuple[Any, Exception]]:
        """Return the failures that began since the last call, each with its source or key."""
        unreported, self.unreported = self.unreported, []
        return unreported

    # What is contributed

    def _fill_from(self, process: Process, work: Work, fresh: list[_Entry]) -> bool:
        """Derive a new process, and add its entry; return whether it was derived. Else nothing is changed."""
        guid, engine = process.guid, self._engine
        of: dict[int, Any] = {}
        try:
            terms = engine.terms(process, None)
            if terms is None:
                return True
            new: Shares = engine.whole(guid, terms)
            if new:
                of[WHOLE] = _first(new)
            instance = engine.instance
            for index, rows in process.instances if self._reads is None else process.decoded_instances:
                new = instance(rows, terms)
                if new:
                    of[index] = _first(new)
            steps = first_steps(guid, of)
        except BaseException as error:  # noqa: BLE001 - as below; there it is recorded
            failure_of(error)
            return False
        work.join(steps)
        self._entries[guid] = entry = _Entry(terms, of, self._owner)
        fresh.append(entry)
        return True

    def _take(self, process: Process, entry: _Entry | None, dirty: Dirty, work: Work) -> None:
        """Derive again what is dirty of a process."""
        guid = process.guid
        if not process.rows and process.desired is None and process.routed is None:
            self._drop(guid, entry, work)
        elif self._simple is not None:
            derive = self._simple.derive
            self._renew(guid, self._own(guid, entry, None), WHOLE, lambda: as_shares(derive(process)), work)
        else:
            self._take_instances(process, entry, dirty, work)

    def _take_instances(self, process: Process, entry: _Entry | None, dirty: Dirty, work: Work) -> None:
        guid, engine, indexes = process.guid, self._engine, dirty.indexes
        failed = self._failed_sources.get(guid) if self._failed_sources else None
        terms = before = None if entry is None else entry.terms
        if entry is None or dirty.terms or failed:
            try:
                terms = engine.terms(process, before)
                if before is None or (terms is not before and terms != before):
                    indexes = None
            except BaseException as error:  # noqa: BLE001 - a view is foreign code; what it raises is reported
                self._failed_on(guid, WHOLE, failure_of(error))
                return
        if terms is None:
            self._drop(guid, entry, work)
            return
        entry = self._own(guid, entry, terms)
        if indexes is None or failed:
            self._renew(guid, entry, WHOLE, lambda: engine.whole(guid, terms), work)
        if indexes is None:
            found = dict(process.instances if self._reads is None else process.decoded_instances)
            for index in entry.of:
                found.setdefault(index, ())
            found.pop(WHOLE, None)
        else:
            wanted = {*indexes, *failed} - {WHOLE} if failed else indexes
            found = self._rows_of(process, wanted, ALL if failed else dirty)
        self._renew_instances(guid, entry, found, work)

    def _rows_of(self, process: Process, indexes: set[int], dirty: Dirty) -> dict[int, tuple[ActualLRP, ...]]:
        """Return the rows of those instances whose contributions may differ."""
        reads = self._reads
        found: dict[int, tuple[ActualLRP, ...]] = {}
        for index in indexes:
            if reads is None:
                found[index] = process.at(index)
                continue
            replaced = dirty.replaced.get(index)
            if replaced is None or not reads.isdisjoint(replaced.differing or replaced.compare()):
                found[index] = process.decoded_at(index)
        return found

    def _renew_instances(
        self, guid: str, entry: _Entry, found: Mapping[int, tuple[ActualLRP, ...]], work: Work
    ) -> None:
        """Derive and store what instances contribute. Like `_renew`, inlined: this is the cost of an event."""
        instance, terms, of = self._engine.instance, entry.terms, entry.of
        for index, rows in found.items():
            old = of.get(index, ())
            try:
                new: Shares = instance(rows, terms) if rows else ()
                if len(new) > 1:
                    check_keys(new)
                now = new[0] if len(new) == 1 else tuple(new)
                if now is not old and now != old:
                    work.add_steps(guid, index, unpacked(old), new)
                    if new:
                        of[index] = now
                    else:
                        del of[index]
            except BaseException as error:  # noqa: BLE001 - as above
                self._failed_on(guid, index, failure_of(error))
                continue
            if self._failed_sources and guid in self._failed_sources:
                self._recovered(guid, index)

    def _own(self, guid: str, entry: _Entry | None, terms: Any) -> _Entry:
        """Return the entry of a process, to be written to: a new one, its own, or a copy of a fork's."""
        if entry is None:
            entry = self._entries[guid] = _Entry(terms, {}, self._owner)
        elif entry.owner is not self._owner:
            entry = self._entries[guid] = _Entry(terms, entry.of.copy(), self._owner)
        else:
            entry.terms = terms
        return entry

    def _renew(self, guid: str, entry: _Entry, index: int, derive: Callable[[], Shares], work: Work) -> None:
        """Derive and store what an index contributes."""
        old = unpacked(entry.of.get(index, ()))
        new = self._derived(guid, index, old, work, derive)
        if new is None:
            return
        if new:
            entry.of[index] = packed(new)
        elif old:
            del entry.of[index]

    def _derived(self, source: str, index: int, old: Shares, work: Work, derive: Callable[[], Shares]) -> Shares | None:
        """Return what is contributed now, and add its steps to the work; None where the view fails."""
        try:
            new = tuple(derive())
            if len(new) > 1:
                check_keys(new)
            work.add_steps(source, index, old, new)
        except BaseException as error:  # noqa: BLE001 - as above
            self._failed_on(source, index, failure_of(error))
            return None
        if self._failed_sources and source in self._failed_sources:
            self._recovered(source, index)
        return new

    def _drop(self, guid: str, entry: _Entry | None, work: Work) -> None:
        """Remove everything that a process contributes."""
        self._failed_sources.pop(guid, None)
        if entry is not None:
            self._entries.pop(guid)
            for index, shares in entry.of.items():
                for share in unpacked(shares):
                    work.add(share.keys, Step(guid, index, share.of, None))

    def _failed_on(self, source: str, index: int, error: Exception) -> None:
        # A failure that persists is reported once, however often its process is derived again.
        failed = self._failed_sources.get(source)
        if failed is None:
            failed = self._failed_sources[source] = {}
            self.unreported.append((source, error))
        else:
            without_frames(error)
        failed[index] = error

    def _recovered(self, source: str, index: int) -> None:
        failed = self._failed_sources[source]
        failed.pop(index, None)
        if not failed:
            del self._failed_sources[source]

    # A copy

    def notified(self) -> Notified[K, V]:
        """Return what subscribers were last sent of each key, as of now. O(parts)."""
        return Notified(self.values.fork(), self._published.fork())

    def fork(self) -> Self:
        """Return an independent copy. O(parts + failures + cells)."""
        copied = copy(self)
        # With a new owner on both sides, each copies a shared entry before it writes to it.
        self._owner = object()
        vars(copied).update(
            _owner=object(),
            _states=(states := self._states.fork()),
            values=states if self._plain else self.values.fork(),
            _published=self._published.fork(),
            _entries=self._entries.fork(),
            _cells=self._cells.copy(),
            _failed_sources={source: dict(failed) for source, failed in self._failed_sources.items()},
            _failed_keys=self._failed_keys.copy(),
            _unfolded=self._unfolded.copy(),
            unreported=[],
            log=None,
        )
        return copied

    def replaced_by(self, fork: Self) -> Self:
        """Take over the state of a fork, which was updated meanwhile; return the state before. O(1)."""
        before = copy(self)
        vars(self).update(vars(fork), log=None, unreported=self.unreported + fork.take_failures())
        return before

    def suppress_unchanged(self, key: K, notified: V | None) -> None:
        """Publish no change of a key whose value is the same to subscribers as what they last got. O(comparing)."""
        value = self.published(key)
        if notified is None or value is None or notified is value:
            return
        try:
            same = notified == value or self.view.same(notified, value)
        except BaseException as error:  # noqa: BLE001 - a view is foreign code; then the change is published
            failure_of(error)
            return
        if same:
            self._keep_published(key, notified)

    def free_in_slices(self) -> Iterator[None]:
        """Free everything that no fork shares, a slice a step."""
        for part in (self.values, self._states, self._published, self._entries):
            yield from part.free_in_slices()

    def _check(self, processes: Iterable[Process], cells: Iterable[CellPresence] = ()) -> None:
        """Compare with a derivation made from scratch. O(everything); for tests."""
        fresh = Derivation(self.view)
        fresh.update(processes)
        fresh.update_cells(cells)
        assert fresh.values == self.values, "the view is not what follows from the processes"
        assert fresh._contributions() == self._contributions(), "the contributions are not what follows from the rows"
        assert fresh._states == self._states, "a key has another state than follows from its contributions"
        for key, before in self._published.items():
            assert self.view.same(before, self.values[key]), f"a change of {key} was not published"

    def _contributions(self) -> dict[str, dict[int, Any]]:
        entries = {**self._entries.copy(), **self._cells}
        return {source: dict(entry.of) for source, entry in entries.items() if entry.of}


def _first(shares: Shares) -> Any:
    """Return shares as they are stored, of an index that contributed nothing before."""
    if len(shares) == 1:
        return shares[0]
    check_keys(shares)
    return tuple(shares)
