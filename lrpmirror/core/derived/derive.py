"""Derived state: values by key that follow from the processes, kept up to date at the cost of what changes.

A derivation keeps what each instance contributes to which keys, and the state of each key. After a commit only the
instances that it touched are derived again, only the keys whose contributions differ are folded, and each by the
difference. See `lrpmirror.core.derived.view` for what a view says.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, Final, Self, TypeVar

from msgspec import Struct

from lrpmirror.core.derived.dirty import ALL, Dirty
from lrpmirror.core.derived.folding import Values
from lrpmirror.core.derived.notified import Notified
from lrpmirror.core.derived.steps import (
    Filling,
    Shares,
    Work,
    as_kept,
    as_shares,
    check_keys,
    differences,
    shares_of,
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
"""The place, among the indexes, of what a process or a cell contributes as a whole."""


class _Kept(Struct, gc=False):
    """What is kept of a process, or a cell: the terms, and the shares of each index; one alone without its tuple.

    `owner` is who may write to it; others copy it first.
    """

    terms: Any
    of: dict[int, Any]
    owner: object


class Derivation(Values[K, C, V]):
    """The values of one view, and the contributions that they come from."""

    def __init__(self, view: AnyView[K, C, V]) -> None:
        super().__init__(view)
        self._sees_cells = type(view).derive_cell is not AnyView.derive_cell
        self._kept: PartedDict[str, _Kept] = PartedDict()
        self._cells: dict[str, _Kept] = {}
        self._owner = object()
        # A key can read like a process guid, so what failed where is kept apart.
        self._failed_sources: dict[str, dict[int, Exception]] = {}

    @property
    def failures(self) -> dict[Any, Exception]:
        """What the view raised last, by process guid (or `cell/CELL_ID`) for contributions, by key for values.

        Gone once it works. O(failures).
        """
        sources = {source: next(reversed(failed.values())) for source, failed in self._failed_sources.items()}
        return {**sources, **self._failed_keys}

    def update(self, processes: Iterable[Process], dirty: Mapping[str, Dirty] | None = None) -> list[Delta[K, V]]:
        """Derive of processes again what is dirty (all of them where nothing is given), and return what changed.

        What appears comes before what goes. O(contributions of what is dirty). What the view fails on keeps what it
        contributed before; a key, its value. See `failures`.
        """
        work = Work()
        for process in processes:
            one = ALL if dirty is None else dirty[process.guid]
            kept = self._kept.get(process.guid)
            if kept is None or one.terms or self._failed_sources or self._simple is not None or not process.rows:
                self._take(process, kept, one, work)
            elif one.indexes is not None:  # pragma: no branch - it is where the terms are not dirty
                # As it is with nearly every event.
                kept = self._own(process.guid, kept, kept.terms)
                self._renew_instances(process.guid, kept, {index: process.at(index) for index in one.indexes}, work)
        return self._fold(work) if work.steps else []

    def fill(self, processes: Iterable[Process]) -> None:
        """Derive processes, mostly ones of which nothing is known yet, while nobody is told of anything.

        As `update` in what is derived, at about half the cost: nothing is compared. O(contributions of the processes).
        """
        filling = Filling[K, C]()
        for process in processes:
            guid = process.guid
            known = self._simple is not None or guid in self._kept or guid in self._failed_sources
            if known or not self._fill_from(process, filling):
                # Where it is not as simple, or the view fails.
                self.update((process,))
        self._fill(filling.alone)
        if filling.shared:
            self._fold_merged({}, list(filling.shared.values()))

    def update_cells(self, cells: Iterable[CellPresence]) -> list[Delta[K, V]]:
        """Take the cells that are there now, all of them, and return what changed. O(cells)."""
        if not self._sees_cells:
            return []
        work = Work()
        present = {f"cell/{cell.cell_id}": cell for cell in cells}
        # No process is called so: the server admits no slash in a process guid.
        for source in [source for source in (*self._cells, *self._failed_sources) if source.startswith("cell/")]:
            if source not in present:
                kept = self._cells.pop(source, None)
                self._failed_sources.pop(source, None)
                if kept is not None:
                    self._add_steps(source, WHOLE, shares_of(kept.of[WHOLE]), (), work)
        for source, cell in present.items():
            kept = self._cells.get(source)
            if kept is not None and kept.terms == cell and source not in self._failed_sources:
                continue
            old = () if kept is None else shares_of(kept.of[WHOLE])
            new = self._derived(source, WHOLE, old, work, partial(self._shares_of_cell, cell))
            if new is not None:
                self._cells[source] = _Kept(cell, {WHOLE: as_kept(new)}, self._owner)
        return self._fold(work) if work.steps else []

    def _shares_of_cell(self, cell: CellPresence) -> Shares:
        return as_shares(self.view.derive_cell(cell))

    def take_failures(self) -> list[tuple[Any, Exception]]:
        """Return the failures that have begun since the last call, and what each is of."""
        unreported, self._unreported = self._unreported, []
        return unreported

    # What is contributed

    def _fill_from(self, process: Process, filling: Filling[K, C]) -> bool:
        """Derive a process that is new, and tell whether that was done; where it was not, nothing was."""
        guid, engine = process.guid, self._engine
        instance = engine.instance
        of: dict[int, Any] = {}
        found: list[tuple[Sequence[K], Step[C]]] = []
        try:
            terms = engine.terms(process, None)
            if terms is None:
                return True
            new: Shares = engine.whole(guid, terms)
            if new:
                _keep_new(guid, WHOLE, new, of, found)
            for index, rows in process.instances:
                new = instance(rows, terms)
                if new:
                    _keep_new(guid, index, new, of, found)
        except BaseException as error:  # noqa: BLE001 - as below; there it is taken note of
            failure_of(error)
            return False
        filling.add(found)
        self._kept[guid] = _Kept(terms, of, self._owner)
        return True

    def _take(self, process: Process, kept: _Kept | None, dirty: Dirty, work: Work) -> None:
        """Derive of a process what is dirty."""
        guid = process.guid
        if not process.rows and process.desired is None and process.routed is None:
            self._drop(guid, kept, work)
        elif self._simple is not None:
            derive = self._simple.derive
            self._renew(guid, self._own(guid, kept, None), WHOLE, lambda: as_shares(derive(process)), work)
        else:
            self._take_instances(process, kept, dirty, work)

    def _take_instances(self, process: Process, kept: _Kept | None, dirty: Dirty, work: Work) -> None:
        guid, engine, indexes = process.guid, self._engine, dirty.indexes
        failed = self._failed_sources.get(guid) if self._failed_sources else None
        terms = before = None if kept is None else kept.terms
        if kept is None or dirty.terms or failed:
            try:
                terms = engine.terms(process, before)
                if before is None or (terms is not before and terms != before):
                    indexes = None
            except BaseException as error:  # noqa: BLE001 - a view is foreign code; what it raises is reported
                self._failed_on(guid, WHOLE, failure_of(error))
                return
        if terms is None:
            self._drop(guid, kept, work)
            return
        kept = self._own(guid, kept, terms)
        if indexes is None or failed:
            self._renew(guid, kept, WHOLE, lambda: engine.whole(guid, terms), work)
        if indexes is None:
            found = dict(process.instances)
            for index in kept.of:
                found.setdefault(index, ())
            found.pop(WHOLE, None)
        else:
            wanted = {*indexes, *failed} - {WHOLE} if failed else indexes
            found = {index: process.at(index) for index in wanted}
        self._renew_instances(guid, kept, found, work)

    def _renew_instances(self, guid: str, kept: _Kept, found: Mapping[int, tuple[ActualLRP, ...]], work: Work) -> None:
        """Derive what instances contribute, and keep it. As `_renew`, in few steps: it is what events cost."""
        instance, terms, of = self._engine.instance, kept.terms, kept.of
        for index, rows in found.items():
            old = of.get(index, ())
            try:
                new: Shares = instance(rows, terms) if rows else ()
                if len(new) > 1:
                    check_keys(new)
                now = as_kept(tuple(new))
                if now != old:
                    self._add_steps(guid, index, shares_of(old), shares_of(now), work)
                    if new:
                        of[index] = now
                    else:
                        del of[index]
            except BaseException as error:  # noqa: BLE001 - as above
                self._failed_on(guid, index, failure_of(error))
                continue
            if self._failed_sources and guid in self._failed_sources:
                self._recovered(guid, index)

    def _own(self, guid: str, kept: _Kept | None, terms: Any) -> _Kept:
        """Return what is kept of a process, to be written to."""
        if kept is None:
            kept = self._kept[guid] = _Kept(terms, {}, self._owner)
        elif kept.owner is not self._owner:
            kept = self._kept[guid] = _Kept(terms, kept.of.copy(), self._owner)
        else:
            kept.terms = terms
        return kept

    def _renew(self, guid: str, kept: _Kept, index: int, derive: Callable[[], Shares], work: Work) -> None:
        """Derive what an index contributes, and keep it."""
        old = shares_of(kept.of.get(index, ()))
        new = self._derived(guid, index, old, work, derive)
        if new is None:
            return
        if new:
            kept.of[index] = as_kept(new)
        elif old:
            del kept.of[index]

    def _derived(self, source: str, index: int, old: Shares, work: Work, derive: Callable[[], Shares]) -> Shares | None:
        """Return what is contributed now, its steps being added to the work; None where the view fails."""
        try:
            new = tuple(derive())
            if len(new) > 1:
                check_keys(new)
            self._add_steps(source, index, old, new, work)
        except BaseException as error:  # noqa: BLE001 - as above
            self._failed_on(source, index, failure_of(error))
            return None
        if self._failed_sources and source in self._failed_sources:
            self._recovered(source, index)
        return new

    def _add_steps(self, source: str, index: int, old: Shares, new: Shares, work: Work) -> None:
        # A list first: comparing may raise, and then nothing is to be half done.
        for keys, before, after in list(differences(old, new)):
            work.add(keys, Step(source, index, before, after))

    def _drop(self, guid: str, kept: _Kept | None, work: Work) -> None:
        """Take back everything that a process contributes."""
        self._failed_sources.pop(guid, None)
        if kept is not None:
            self._kept.pop(guid)
            for index, shares in kept.of.items():
                for share in shares_of(shares):
                    work.add(share.keys, Step(guid, index, share.of, None))

    def _failed_on(self, source: str, index: int, error: Exception) -> None:
        # A failure that goes on is reported once, however often its process is derived again.
        failed = self._failed_sources.get(source)
        if failed is None:
            failed = self._failed_sources[source] = {}
            self._unreported.append((source, error))
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
        """Return what subscribers were last told of each key, as it is now. O(parts)."""
        return Notified(self.values.fork(), self._published.fork())

    def fork(self) -> Self:
        """Return a copy that goes its own way. O(parts + failures + cells)."""
        copied = copy(self)
        # What either has kept so far is the other's, too: both copy it before they write to it.
        self._owner = object()
        vars(copied).update(
            _owner=object(),
            _states=(states := self._states.fork()),
            values=states if self._plain else self.values.fork(),
            _published=self._published.fork(),
            _kept=self._kept.fork(),
            _cells=self._cells.copy(),
            _failed_sources={source: dict(failed) for source, failed in self._failed_sources.items()},
            _failed_keys=self._failed_keys.copy(),
            _unfolded=self._unfolded.copy(),
            _unreported=[],
            log=None,
        )
        return copied

    def replaced_by(self, fork: Self) -> Self:
        """Take the place of a copy that has gone on; return what this was. O(1)."""
        before = copy(self)
        vars(self).update(vars(fork), log=None, _unreported=self._unreported + fork.take_failures())
        return before

    def suppress_unchanged(self, key: K, notified: V | None) -> None:
        """Have subscribers not told of a key whose value is the same as what they were told. O(comparing)."""
        value = self.published(key)
        if notified is None or value is None or notified is value:
            return
        try:
            same = notified == value or self.view.same(notified, value)
        except BaseException as error:  # noqa: BLE001 - a view is foreign code; then they are told
            failure_of(error)
            return
        if same:
            self._keep_published(key, notified)

    def free_in_slices(self) -> Iterator[None]:
        """Let go of everything that no copy has, bit by bit: it is of no use any more."""
        for part in (self.values, self._states, self._published, self._kept):
            yield from part.free_in_slices()

    def _check(self, processes: Iterable[Process], cells: Iterable[CellPresence] = ()) -> None:
        """Compare with a derivation made anew. O(everything); for tests."""
        fresh = Derivation(self.view)
        fresh.update(processes)
        fresh.update_cells(cells)
        assert fresh.values == self.values, "the view is not what follows from the processes"
        assert fresh._contributions() == self._contributions(), "other contributions are kept than follow from the rows"
        assert fresh._states == self._states, "a key has another state than follows from its contributions"
        for key, before in self._published.items():
            assert self.view.same(before, self.values[key]), f"subscribers were not told of {key}"

    def _contributions(self) -> dict[str, dict[int, Any]]:
        kept = {**self._kept.copy(), **self._cells}
        return {source: dict(one.of) for source, one in kept.items() if one.of}


def _keep_new(
    source: str, index: int, shares: Shares, of: dict[int, Any], found: list[tuple[Sequence[Any], Step[Any]]]
) -> None:
    """Take what an index contributes that contributed nothing."""
    if len(shares) > 1:
        check_keys(shares)
    of[index] = as_kept(tuple(shares))
    found += [(share.keys, Step(source, index, None, share.of)) for share in shares]
