"""Folding steps of contributions into the values of keys, and finding what to publish."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from lrpmirror.core.derived.combined import Combined
from lrpmirror.core.derived.steps import Work, composed, merged
from lrpmirror.core.derived.view import AnyView, InstanceView, KeylessValue, Step, View
from lrpmirror.core.rows.changes import Delta
from lrpmirror.core.rows.freeing import collect_young
from lrpmirror.core.rows.parts import MASK, PartedDict
from lrpmirror.errors import failure_of, without_frames

K = TypeVar("K", bound=Hashable)
C = TypeVar("C")
V = TypeVar("V")


WORTH_A_RUN: Final = 8
"""So many new values are worth a run of the collector over what is young: a list brings some 20 processes at once."""


class _Touched(Struct, gc=False):
    """What an update has done to a key so far: its rank, whether all steps were alike, and the value before."""

    rank: int
    alike: bool
    before: Any


_Folded = tuple[dict[K, Any], K, list[Step[C]], Any, Any, bool]
"""The part of a key, the key, its steps, its states before and after, and whether all steps were alike."""


class Values(Generic[K, C, V]):
    """The states and values of a view's keys, and what was published of them."""

    def __init__(self, view: AnyView[K, C, V]) -> None:
        self.view = view
        simple = view if isinstance(view, View) else None
        engine = Combined(simple) if simple is not None else view
        if not isinstance(engine, InstanceView):
            raise TypeError(f"{view!r} is neither a View nor an InstanceView")
        self._simple = simple
        self._engine: InstanceView[K, C, V] = engine
        # Where the state is the value, as in most views, it is stored once.
        self._plain = simple is None and type(engine).value is InstanceView.value
        self._keyless = isinstance(engine, KeylessValue)
        self._has_alike = simple is None and type(engine).alike is not InstanceView.alike
        self._states: PartedDict[K, Any] = PartedDict()
        self.values: PartedDict[K, V] = self._states if self._plain else PartedDict()
        self._published: PartedDict[K, V] = PartedDict()
        self._notified_less = False
        """Whether any value was ever the same as the published one without being equal; rarely so."""
        self._failed_keys: dict[K, Exception] = {}
        # The steps of a key that could not be folded, to be tried again with the next.
        self._unfolded: dict[K, list[Step[Any]]] = {}
        self.unreported: list[tuple[Any, Exception]] = []
        """The failures that began since the last call of `take_failures`."""
        self.log: dict[K, int] | None = None
        """The rank of each key that was touched, recorded while a list is being prepared; None: not recorded."""

    def published(self, key: K) -> V | None:
        """Return what was last published of a key: its value, or one that it is the `same` as (see `View`). O(1)."""
        notified = self._published.get(key) if self._notified_less else None
        return self.values.get(key) if notified is None else notified

    def _keep_published(self, key: K, value: V | None) -> None:
        """Store what was published of a key, where its value is the same and not equal."""
        self._notified_less = True
        _put(self._published, key, value)

    def _fold(self, work: Work) -> list[Delta[K, V]]:
        groups = [*work.steps.values()]
        if len(groups) > 1 or len(groups[0][0]) != 1:
            return self._fold_merged(*merged(groups))
        # Nearly every event.
        (((key,), steps),) = groups
        ranked: list[tuple[int, Delta[K, V]]] = []
        folded = self._fold_key(key, steps)
        if folded is not None:
            self._write_key(folded, ranked)
        return [delta for _, delta in ranked]

    def _fill(self, alone: Mapping[K, list[Step[C]]]) -> None:
        """Fold new contributions without comparing or publishing anything."""
        if self._unfolded or self._failed_keys:
            self._fold_merged(alone, ())
            return
        values, plain = self.values, self._plain
        found = self._fold_first(alone)
        if len(found) > WORTH_A_RUN:
            # A dict that gets a tuple which the collector has not seen is walked through in each of its full runs.
            collect_young()
        for part, key, state, now, value in found:
            if now is not None:
                part[key] = now
            elif state is not None:
                del part[key]
            if not plain and (value is not None or state is not None):
                _put(values, key, value)

    def _fold_first(self, alone: Mapping[K, list[Step[C]]]) -> list[tuple[dict[K, Any], K, Any, Any, V | None]]:
        """Return for each key its part, the key, its states before and after, and its value."""
        parts, mine, own = self._states.to_write()
        fold, value_of, plain, keyless = self._engine.fold, self._engine.value, self._plain, self._keyless
        found = []
        last: list[Step[C]] | None = None
        now: Any = None
        value: V | None = None
        for key, steps in alone.items():
            at = hash(key) & MASK
            part = parts[at] if mine[at] else own(at)
            state = part.get(key)
            try:
                # The keys of one share mostly follow each other, and have no state yet.
                again = steps is last and state is None
                if not again:
                    last, now = None, fold(state, steps)
                if not plain and not (again and keyless):
                    value = None if now is None else value_of(key, now)
                if state is None:
                    last = steps
            except BaseException as error:  # noqa: BLE001 - as below; there it is recorded
                failure_of(error)
                self._fold_merged({key: steps}, ())
                continue
            found.append((part, key, state, now, value))
        return found

    def _fold_merged(
        self, alone: Mapping[K, list[Step[C]]], shared: Sequence[tuple[Sequence[K], list[Step[C]]]]
    ) -> list[Delta[K, V]]:
        ranked: list[tuple[int, Delta[K, V]]] = []
        if shared:
            # A key of several shares is folded for each, and settled after the last.
            touched: dict[K, _Touched] = {}
            for key, steps in alone.items():
                self._fold_keys((key,), steps, touched)
            for keys, steps in shared:
                self._fold_keys(keys, steps, touched)
            for key, change in touched.items():
                self._settle(key, change, self._states.get(key), ranked)
        else:
            found = [self._fold_key(key, steps) for key, steps in alone.items()]
            if len(found) > WORTH_A_RUN:
                # As in `_fill`.
                collect_young()
            for folded in found:
                if folded is not None:
                    self._write_key(folded, ranked)
        # What moves from one key to another is published at the new key before it is withdrawn at the old one.
        if len(ranked) > 1:
            ranked.sort(key=_rank)
        return [delta for _, delta in ranked]

    def _fold_key(self, key: K, steps: list[Step[C]]) -> _Folded[K, C] | None:
        """Fold steps into the state of one key, without writing it; return None where that fails."""
        part = self._states.part(key)
        state = part.get(key)
        try:
            if self._unfolded and key in self._unfolded:
                steps = composed(self._unfolded[key] + steps)
                now, alike = self._engine.fold(state, steps), False
                del self._unfolded[key]
            else:
                now = self._engine.fold(state, steps)
                alike = state is not None and now is not None and self._are_alike(steps)
        except BaseException as error:  # noqa: BLE001 - as above
            self._unfolded[key] = steps
            self._failed_on_key(key, failure_of(error))
            return None
        return part, key, steps, state, now, alike

    def _write_key(self, folded: _Folded[K, C], ranked: list[tuple[int, Delta[K, V]]]) -> None:
        """Write the state of a key, and add the delta to publish, if any."""
        part, key, steps, state, now, alike = folded
        before = state if self._plain else self.values.get(key)
        if now is not None:
            part[key] = now
        elif state is not None:
            del part[key]
        rank = _rank_of(steps[0]) if len(steps) == 1 else min(map(_rank_of, steps), default=CHANGED)
        if self._plain and (state is None or now is None) and not self._failed_keys and not self._notified_less:
            # There is nothing to compare.
            if self.log is not None:
                self.log[key] = min(rank, self.log.get(key, rank))
            if state is not now:
                ranked.append((GONE if now is None else rank, Delta(key, state, now)))
        else:
            self._settle(key, _Touched(rank, alike, before), now, ranked)

    def _fold_keys(self, keys: Sequence[K], steps: list[Step[C]], touched: dict[K, _Touched]) -> None:
        """Fold steps into the state of each of their keys; once for all keys that have the same state."""
        states, fold = self._states, self._engine.fold
        rank = min(map(_rank_of, steps))
        known, found, alike = _NOTHING, None, False
        for key in keys:
            state = states.get(key)
            unfolded = self._unfolded.get(key) if self._unfolded else None
            try:
                if unfolded is not None:
                    now = fold(state, composed(unfolded + steps))
                    del self._unfolded[key]
                elif state is known:
                    now = found
                else:
                    now = fold(state, steps)
                    if known is _NOTHING:
                        alike = self._are_alike(steps)
                    known, found = state, now
            except BaseException as error:  # noqa: BLE001 - as above
                self._unfolded[key] = composed((unfolded or []) + steps)
                self._failed_on_key(key, failure_of(error))
                continue
            change = touched.get(key)
            if change is None:
                touched[key] = _Touched(rank, alike and unfolded is None, self.values.get(key))
            else:
                change.rank, change.alike = min(change.rank, rank), change.alike and alike
            if now is None:
                states.pop(key)
            else:
                states[key] = now

    def _are_alike(self, steps: list[Step[C]]) -> bool:
        if not self._has_alike:
            return False
        alike = self._engine.alike
        for step in steps:
            if step.before is None or step.after is None or not alike(step.before, step.after):
                return False
        return True

    def _settle(self, key: K, touched: _Touched, state: Any, ranked: list[tuple[int, Delta[K, V]]]) -> None:
        """Compute the value of a key from its state, and add the delta to publish, if any."""
        notified = self._published.get(key) if self._notified_less else None
        before, rank = touched.before if notified is None else notified, touched.rank
        try:
            after = state if self._plain or state is None else self._engine.value(key, state)
            equal, same = self._compared(before, after, touched.alike)
        except BaseException as error:  # noqa: BLE001 - as above
            self._failed_on_key(key, failure_of(error))
            if self._plain and before is not None:
                self._keep_published(key, before)
            return
        if self._failed_keys:
            self._failed_keys.pop(key, None)
        if not self._plain:
            _put(self.values, key, after)
        if same and not equal:
            # Keep the published value, since several changes that are too small to publish can add up.
            self._keep_published(key, before)
        elif notified is not None:
            self._published.pop(key)
        if self.log is not None:
            self.log[key] = min(rank, self.log.get(key, rank))
        if not same:
            ranked.append((GONE if after is None else rank, Delta(key, before, after)))

    def _compared(self, before: V | None, after: V | None, alike: bool) -> tuple[bool, bool]:
        """Return whether two values are equal, and whether subscribers are to see them as the same."""
        if before is after:
            return True, True
        if before is None or after is None:
            return False, False
        if before == after:
            return True, True
        return False, self.view.same(before, after) if self._simple is not None else alike

    def _failed_on_key(self, key: K, error: Exception) -> None:
        if key not in self._failed_keys:
            self.unreported.append((key, error))
        else:
            without_frames(error)
        self._failed_keys[key] = error


_NOTHING: Final = object()

CAME, CHANGED, LEFT, GONE = RANKS = range(4)
"""The rank of a touched key, by which deltas are published: it got a contribution, one changed, one left, or the last
left."""


def _put(values: PartedDict[K, V], key: K, value: V | None) -> None:
    if value is None:
        values.pop(key)
    else:
        values[key] = value


def _rank(ranked: tuple[int, object]) -> int:
    return ranked[0]


def _rank_of(step: Step[Any]) -> int:
    return LEFT if step.after is None else CAME if step.before is None else CHANGED
