"""Derived state: values by key that follow from the processes, kept up to date at the cost of what changes.

A derivation keeps what each instance contributes to which keys, and the state of each key. After a commit only the
instances that it touched are derived again, only the keys whose contributions differ are folded, and each by the
difference. See `lrpmirror.core.view` for what a view says.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, Final, Generic, Self, TypeVar

from msgspec import Struct

from lrpmirror.core.changes import Delta
from lrpmirror.core.dirty import ALL, Dirty
from lrpmirror.core.parts import PartedDict
from lrpmirror.core.steps import (
    Shares,
    Work,
    as_kept,
    as_shares,
    by_index,
    check_keys,
    composed,
    differences,
    merged,
    rows_at,
    shares_of,
)
from lrpmirror.core.view import AnyView, InstanceView, Process, Share, Step, View
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


class _Touched(Struct):
    """What an update has done to a key so far: how it is touched, whether alike, and the value before."""

    rank: int
    alike: bool
    before: Any


class _Combined(InstanceView[K, C, V]):
    """A view of the simple form, in the fine one: the process is all there is, and the state all contributions."""

    def __init__(self, view: View[K, C, V]) -> None:
        self.value = view.combine  # type: ignore[assignment, method-assign]  # the state is what it takes
        self.derive = view.derive

    def instance(self, rows: tuple[ActualLRP, ...], terms: Any) -> Sequence[Share[K, C]]:
        """Never called: it is derived as a whole."""
        raise NotImplementedError  # pragma: no cover - as it says

    def fold(self, state: Mapping[str, C] | None, steps: Sequence[Step[C]]) -> Mapping[str, C] | None:
        """Return the contributions by source."""
        now = {} if state is None else dict(state)
        for step in steps:
            if step.after is None:
                del now[step.source]
            else:
                now[step.source] = step.after
        return now or None


class Derivation(Generic[K, C, V]):
    """The values of one view, and the contributions that they come from."""

    def __init__(self, view: AnyView[K, C, V]) -> None:
        self.view = view
        simple = view if isinstance(view, View) else None
        engine = _Combined(simple) if simple is not None else view
        if not isinstance(engine, InstanceView):
            raise TypeError(f"{view!r} is neither a View nor an InstanceView")
        self._simple = simple
        self._engine: InstanceView[K, C, V] = engine
        # The state of most views is the value, and not kept twice.
        self._plain = simple is None and type(engine).value is InstanceView.value
        self._sees_cells = type(view).derive_cell is not AnyView.derive_cell
        self._states: PartedDict[K, Any] = PartedDict()
        self.values: PartedDict[K, V] = self._states if self._plain else PartedDict()
        self._published: PartedDict[K, V] = PartedDict()
        self._kept: PartedDict[str, _Kept] = PartedDict()
        self._cells: dict[str, _Kept] = {}
        self._owner = object()
        # A key can read like a process guid, so what failed where is kept apart.
        self._failed_sources: dict[str, dict[int, Exception]] = {}
        self._failed_keys: dict[K, Exception] = {}
        # The steps of a key that could not be folded, to be tried again with the next.
        self._owed: dict[K, list[Step[Any]]] = {}
        self._unreported: list[tuple[Any, Exception]] = []

    @property
    def failures(self) -> dict[Any, Exception]:
        """What the view raised last, by process guid (or `cell/CELL_ID`) for contributions, by key for values.

        Gone once it works. O(failures).
        """
        sources = {source: next(reversed(failed.values())) for source, failed in self._failed_sources.items()}
        return {**sources, **self._failed_keys}

    def published(self, key: K) -> V | None:
        """Return what subscribers were last told of a key, which the value is the same as, by `View.same`. O(1)."""
        told = self._published.get(key)
        return self.values.get(key) if told is None else told

    def update(self, processes: Iterable[Process], dirty: Mapping[str, Dirty] | None = None) -> list[Delta[K, V]]:
        """Derive of processes again what is dirty (all of them where nothing is given), and return what changed.

        What appears comes before what goes. O(contributions of what is dirty). What the view fails on keeps what it
        contributed before; a key, its value. See `failures`.
        """
        work = Work()
        for process in processes:
            self._take(process, ALL if dirty is None else dirty[process.guid], work)
        return self._fold(work) if work.steps else []

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

    def _take(self, process: Process, dirty: Dirty, work: Work) -> None:
        """Derive of a process what is dirty."""
        guid = process.guid
        kept = self._kept.get(guid)
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
            found = dict(by_index(process.rows))
            wanted: Collection[int] = {*found, *kept.of} - {WHOLE}
        else:
            wanted = {*indexes, *failed} - {WHOLE} if failed else indexes
            found = {index: rows_at(process.rows, index) for index in wanted}
        for index in wanted:
            rows = found.get(index)
            self._renew(guid, kept, index, lambda rows=rows: engine.instance(rows, terms) if rows else (), work)  # type: ignore[misc]

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
            self._mended(source, index)
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

    def _mended(self, source: str, index: int) -> None:
        failed = self._failed_sources[source]
        failed.pop(index, None)
        if not failed:
            del self._failed_sources[source]

    # What follows from it

    def _fold(self, work: Work) -> list[Delta[K, V]]:
        touched: dict[K, _Touched] = {}
        for keys, steps in merged(work.steps.values()):
            self._fold_group(keys, steps, touched)
        ranked: list[tuple[int, Delta[K, V]]] = []
        for key, one in touched.items():
            delta = self._settle(key, one)
            if delta is not None:
                ranked.append((_GONE if delta.after is None else one.rank, delta))
        # A thing that moves from key to key is published where it comes to no later than it is withdrawn where it was.
        if len(ranked) > 1:
            ranked.sort(key=_rank)
        return [delta for _, delta in ranked]

    def _fold_group(self, keys: Sequence[K], steps: list[Step[C]], touched: dict[K, _Touched]) -> None:
        """Fold steps into the state of each of their keys; once for those of one state."""
        states, fold = self._states, self._engine.fold
        rank = min(map(_rank_of, steps))
        known, found, alike = _NOTHING, None, False
        for key in keys:
            state = states.get(key)
            owed = self._owed.get(key) if self._owed else None
            try:
                if owed is not None:
                    now = fold(state, composed(owed + steps))
                    del self._owed[key]
                elif state is known:
                    now = found
                else:
                    now = fold(state, steps)
                    if known is _NOTHING:
                        alike = self._simple is None and self._are_alike(steps)
                    known, found = state, now
            except BaseException as error:  # noqa: BLE001 - as above
                self._owed[key] = composed((owed or []) + steps)
                self._failed_on_key(key, failure_of(error))
                continue
            one = touched.get(key)
            if one is None:
                touched[key] = _Touched(rank, alike and owed is None, self.values.get(key))
            else:
                one.rank, one.alike = min(one.rank, rank), one.alike and alike
            if now is None:
                states.pop(key)
            else:
                states[key] = now

    def _are_alike(self, steps: list[Step[C]]) -> bool:
        alike = self._engine.alike
        return all(
            step.before is not None and step.after is not None and alike(step.before, step.after) for step in steps
        )

    def _settle(self, key: K, one: _Touched) -> Delta[K, V] | None:
        """Bring the value of a key to its state; return what is to be published of it."""
        told = self._published.get(key)
        before = one.before if told is None else told
        state = self._states.get(key)
        try:
            after = None if state is None else state if self._plain else self._engine.value(key, state)
            equal = before is after
            same = equal
            if before is not None and after is not None and not equal:
                equal = before == after
                same = equal or self._is_same(before, after, one.alike)
        except BaseException as error:  # noqa: BLE001 - as above
            self._failed_on_key(key, failure_of(error))
            if self._plain and before is not None:
                self._published[key] = before
            return None
        if self._failed_keys:
            self._failed_keys.pop(key, None)
        if not self._plain:
            if after is None:
                self.values.pop(key)
            else:
                self.values[key] = after
        if same and not equal:
            # Steps that are too small to tell can add up to one that is not.
            if told is None:
                self._published[key] = before
        elif told is not None:
            self._published.pop(key)
        return None if same else Delta(key, before, after)

    def _is_same(self, before: V, after: V, alike: bool) -> bool:
        return self.view.same(before, after) if self._simple is not None else alike

    def _failed_on_key(self, key: K, error: Exception) -> None:
        if key not in self._failed_keys:
            self._unreported.append((key, error))
        else:
            without_frames(error)
        self._failed_keys[key] = error

    # A copy

    def fork(self) -> Self:
        """Return a copy that goes its own way. O(parts + failures + cells)."""
        twin = copy(self)
        # What either has kept so far is the other's, too: both copy it before they write to it.
        self._owner = object()
        vars(twin).update(
            _owner=object(),
            _states=(states := self._states.fork()),
            values=states if self._plain else self.values.fork(),
            _published=self._published.fork(),
            _kept=self._kept.fork(),
            _cells=self._cells.copy(),
            _failed_sources={source: dict(failed) for source, failed in self._failed_sources.items()},
            _failed_keys=self._failed_keys.copy(),
            _owed=self._owed.copy(),
            _unreported=[],
        )
        return twin

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


_NOTHING: Final = object()

_CAME, _CHANGED, _LEFT, _GONE = range(4)
"""How a key is touched: something contributes to it that did not; or contributes something else; or some do no longer;
or none does, which is told last."""


def _rank(ranked: tuple[int, object]) -> int:
    return ranked[0]


def _rank_of(step: Step[Any]) -> int:
    return _LEFT if step.after is None else _CAME if step.before is None else _CHANGED
