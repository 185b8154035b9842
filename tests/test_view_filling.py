"""A view without subscribers is filled without comparing, and ends as it would have with comparing."""

import gc
import sys
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from view_world_support import ByFreshness, World, laws, operations
from views_support import desired, every_view, process, running

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.derived.steps import FEW
from lrpmirror.core.derived.view import Process
from lrpmirror.core.preparation import Difference, Everything
from lrpmirror.core.rows.changes import Delta
from lrpmirror.core.upcoming import PART
from lrpmirror.model import ActualLRP
from lrpmirror.views import InstanceView, Share, Step


@laws(100)
@given(st.lists(operations, min_size=5, max_size=30), st.randoms(use_true_random=False))
def test_filled_in_whatever_parts_a_view_is_what_follows_from_the_processes(history: list[Any], rng: Random) -> None:
    world = World()
    for operation in history:
        world.apply(operation)
    guids = sorted({*world.lrps, *(row.process_guid for row in world.rows.values())})
    rng.shuffle(guids)
    processes = [
        process(world.lrps.get(guid), *(row for row in world.rows.values() if row.process_guid == guid))
        for guid in guids
    ]
    for view in [*every_view().values(), ByFreshness()]:
        derivation: Derivation[Any, Any, Any] = Derivation(view)
        at = rng.randint(0, len(processes))
        derivation.fill(processes[:at])
        derivation.fill(processes[at:])
        derivation._check(processes)
        assert derivation.take_failures() == []


class Rows(InstanceView[str, str, tuple[str, ...]]):
    """Process guid → the indexes of its rows, as texts."""

    def instance(self, rows: tuple[ActualLRP, ...], terms: Any) -> Sequence[Share[str, str]]:
        return [Share((terms.process_guid,), str(row.index)) for row in rows]

    def fold(self, state: tuple[str, ...] | None, steps: Sequence[Step[str]]) -> tuple[str, ...] | None:
        return (*(state or ()), *(step.after for step in steps if step.after is not None)) or None


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there a dict is always tracked")
def test_the_collector_need_not_look_at_a_view_that_was_filled() -> None:
    derivation: Derivation[str, str, tuple[str, ...]] = Derivation(Rows())
    for some in range(5):
        guids = [f"p{some}-{at}" for at in range(PART)]
        derivation.fill([process(desired(guid), running(guid)) for guid in guids])

    assert derivation.values.copy() == {f"p{some}-{at}": ("0",) for some in range(5) for at in range(PART)}
    assert not any(gc.is_tracked(part) for part in derivation.values.parts())


class Twice(Rows):
    """The same, and again at another key."""

    def instance(self, rows: tuple[ActualLRP, ...], terms: Any) -> Sequence[Share[str, str]]:
        return [Share((f"{terms.process_guid}{more}",), str(row.index)) for row in rows for more in ("", "-again")]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there a dict is always tracked")
def test_nor_at_what_each_process_contributes_where_that_is_more_than_one_value() -> None:
    derivation: Derivation[str, str, tuple[str, ...]] = Derivation(Twice())
    for some in range(5):
        guids = [f"p{some}-{at}" for at in range(PART)]
        derivation.fill([process(desired(guid), running(guid)) for guid in guids])

    entries = [entry for part in derivation._entries.parts() for entry in part.values()]
    assert len(entries) == 5 * PART
    assert not any(gc.is_tracked(entry.of) for entry in entries)


def test_what_has_survived_a_run_of_the_collector_does_not_pile_up_while_a_view_is_filled() -> None:
    derivation: Derivation[str, str, tuple[str, ...]] = Derivation(Rows())
    gc.disable()
    try:
        gc.collect()
        for some in range(50):
            guids = [f"p{some}-{at}" for at in range(PART)]
            derivation.fill([process(desired(guid), running(guid)) for guid in guids])
            assert gc.get_count()[1] <= gc.get_threshold()[1] + 1
    finally:
        gc.enable()


class Sums(InstanceView[str, int, str]):
    """Host name → the memory of the instances behind it, which can be negative; a sum of 10 is no value.

    The whole process adds its number of instances. Fails where it is told to.
    """

    def __init__(self, *broken: str) -> None:
        self.broken = set(broken)

    def terms(self, process: Process, before: Any) -> Any:
        self._look("terms", process.guid)
        return super().terms(process, before)

    def whole(self, process_guid: str, terms: Any) -> Sequence[Share[str, int]]:
        self._look("whole", process_guid)
        return [Share(("instances",), terms.instances)]

    def instance(self, rows: tuple[ActualLRP, ...], terms: Any) -> Sequence[Share[str, int]]:  # noqa: ARG002 - counted by index
        self._look("instance", terms.process_guid)
        names = tuple(terms.annotation.split())
        return [Share(names, terms.memory_mb), *(Share((name,), 1) for name in sorted(self.broken & {"twice", *names}))]

    def fold(self, state: int | None, steps: Sequence[Step[int]]) -> int | None:
        for step in steps:
            self._look("fold", step.source)
        return (state or 0) + sum((step.after or 0) - (step.before or 0) for step in steps) or None

    def value(self, key: str, state: int) -> str | None:
        self._look("value", key)
        return None if state == 10 else str(state)

    def _look(self, where: str, whose: str) -> None:
        if f"{where} {whose}" in self.broken:
            raise ValueError(where)


def of(guid: str, names: str, memory_mb: int = 1, *, instances: int = 2) -> Process:
    rows = [running(guid, index) for index in range(instances)]
    return process(desired(guid, instances, annotation=names, memory_mb=memory_mb), *rows)


MANY = " ".join(f"n{number}" for number in range(FEW + 1))


def test_many_names_of_an_app_are_folded_together() -> None:
    processes = [of("p", MANY), of("q", f"{MANY} other", 5), of("r", "n0", 3)]
    derivation = Derivation(Sums())
    derivation.fill(processes[:2])
    derivation.fill(processes[2:])

    derivation._check(processes)
    assert derivation.values["n0"] == str(2 * (1 + 5 + 3))


def test_a_key_whose_value_goes_with_what_comes_later_has_none() -> None:
    derivation = Derivation(Sums())
    derivation.fill([of("p", "a b", 4), of("q", "c", 5, instances=1)])
    assert derivation.values == {"a": "8", "b": "8", "c": "5", "instances": "3"}

    later = [of("r", "a", -4), of("s", "b", 1), of("t", "d", 5), of("u", "e", -1), of("v", "e", 1)]
    derivation.fill(later)

    # The sum is nothing; it is not told; nor was it ever.
    assert derivation.values == {"c": "5", "instances": "13"}
    assert {"a", "e"}.isdisjoint(derivation._states)
    derivation._check([of("p", "a b", 4), of("q", "c", 5, instances=1), *later])


@pytest.mark.parametrize("broken", ["terms p", "whole p", "instance p", "fold p", "value a", "a"])
def test_what_fails_harms_no_other_is_reported_once_and_mended(broken: str) -> None:
    processes = [of("p", "a"), of("q", "a b"), of("r", "b", 7)]
    view = Sums(broken)
    filled, updated = Derivation(view), Derivation(view)
    filled.fill(processes)
    updated.update(processes)

    assert filled.values == updated.values
    assert filled.failures.keys() == updated.failures.keys() != set()
    assert [of for of, _ in filled.take_failures()] == [of for of, _ in updated.take_failures()]

    # A failure that goes on stays one, whatever else comes.
    more = of("s", "a c")
    filled.fill([more])
    updated.update([more])
    assert filled.values == updated.values
    assert filled.take_failures() == updated.take_failures() or broken == "a"

    view.broken.clear()
    mended = [of("p", "a", 2, instances=3), of("q", "a b", 2), of("r", "b", 2), of("s", "a c", 2)]
    filled.fill(mended)
    filled._check(mended)
    assert filled.failures == {}


def test_a_process_that_is_known_is_brought_to_what_it_is_now() -> None:
    derivation = Derivation(Sums())
    derivation.fill([of("p", "a", 3)])
    derivation.fill([of("p", "b", 4), of("q", "b", 2)])

    derivation._check([of("p", "b", 4), of("q", "b", 2)])


def test_nothing_is_kept_of_a_process_without_terms() -> None:
    derivation = Derivation(Sums())
    derivation.fill([process(None, running())])

    assert len(derivation._entries) == 0


def test_all_that_is_there_has_come_and_what_no_longer_is_has_gone() -> None:
    before, after = Derivation(Sums()), Derivation(Sums())
    before.fill([of("p", "a b", 3)])
    after.fill([of("p", "a c", 3)])

    difference = Difference(Everything(before, after.notified()), before, after.notified())

    assert len(difference) == len(list(difference)) == 4
    assert {delta for delta in difference if delta is not None} == {Delta("c", None, "6"), Delta("b", "6", None)}
    assert list(difference)[-1] == Delta("b", "6", None)
    assert len(list(difference.free_in_slices())) > 100
