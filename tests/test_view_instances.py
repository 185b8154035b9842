"""Views of the fine form: what one instance contributes, folded by the difference."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from views_support import EVACUATING, cell, desired, process, running

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.derived.dirty import Dirty
from lrpmirror.core.derived.view import InstanceView, Process, Share, Step
from lrpmirror.core.rows.changes import Cause, Change
from lrpmirror.model import ActualLRP, CellPresence


class Ports(InstanceView[str, int, int]):
    """The sum of the host ports by zone, multiplied by the memory; counts what it is asked."""

    def __init__(self, broken: Callable[[ActualLRP], bool] = lambda _: False) -> None:
        self.broken = broken
        self.asked: Counter[str] = Counter()
        self.stuck = False

    def terms(self, process: Process, before: Any) -> Any:
        self.asked["terms"] += 1
        return super().terms(process, before) and process.desired and process.desired.memory_mb

    def instance(self, rows: tuple[ActualLRP, ...], terms: int) -> Sequence[Share[str, int]]:
        self.asked["instance"] += 1
        if any(map(self.broken, rows)):
            raise ValueError(rows[0].index)
        by_zone: Counter[str] = Counter()
        for row in rows:
            by_zone[row.availability_zone] += row.ports[0].host_port * terms
        return [Share((zone,), ports) for zone, ports in by_zone.items()]

    def fold(self, state: int | None, steps: Sequence[Step[int]]) -> int | None:
        self.asked["fold"] += 1
        if self.stuck:
            raise RuntimeError("stuck")
        return (state or 0) + sum((step.after or 0) - (step.before or 0) for step in steps) or None


def instances(number: int, **fields: Any) -> list[ActualLRP]:
    return [running(index=index, availability_zone="z", **fields) for index in range(number)]


PORTS = 61_000


def test_only_the_instance_that_is_dirty_is_derived_again() -> None:
    view = Ports()
    derivation = Derivation(view)
    rows = instances(100)
    derivation.update([process(desired(memory_mb=1), *rows)])
    view.asked.clear()

    rows[7] = running(index=7, availability_zone="other")
    deltas = derivation.update([process(desired(memory_mb=1), *rows)], {"p": Dirty(terms=False, indexes={7})})

    assert view.asked == {"instance": 1, "fold": 2}
    whole = sum(PORTS + index for index in range(100))
    assert [(delta.key, delta.before, delta.after) for delta in deltas] == [
        ("other", None, PORTS + 7),
        ("z", whole, whole - PORTS - 7),
    ]


def test_a_desired_lrp_that_differs_in_nothing_of_interest_derives_no_instance_again() -> None:
    view = Ports()
    derivation = Derivation(view)
    derivation.update([process(desired(memory_mb=1), *instances(10))])
    view.asked.clear()

    dirty = {"p": Dirty(terms=True, indexes=set())}
    assert derivation.update([process(desired(memory_mb=1, annotation="new"), *instances(10))], dirty) == []
    assert view.asked == {"terms": 1}

    (delta,) = derivation.update([process(desired(memory_mb=2), *instances(10))], dirty)
    assert view.asked == {"terms": 2, "instance": 10, "fold": 1}
    assert delta.after == 2 * delta.before  # type: ignore[operator]


def test_a_process_without_terms_contributes_nothing_and_nothing_is_kept_of_it() -> None:
    derivation = Derivation(Ports())
    derivation.update([process(desired(memory_mb=1), running(availability_zone="z"))])

    derivation.update([process(desired(memory_mb=1), running(availability_zone="z")), process(None, running("q"))])
    assert derivation.values == {"z": PORTS}

    derivation.update([process(None, running(availability_zone="z"))], {"p": Dirty(terms=True, indexes=set())})
    assert derivation.values == {}
    assert len(derivation._entries) == 0


def test_both_rows_of_an_instance_that_moves_are_derived_together() -> None:
    derivation = Derivation(Ports())
    leaving = running(presence=EVACUATING, availability_zone="y")

    derivation.update([process(desired(memory_mb=1), running(availability_zone="z"), leaving)])
    assert derivation.values == {"z": PORTS, "y": PORTS}

    derivation.update([process(desired(memory_mb=1), leaving)], {"p": Dirty(terms=False, indexes={0})})
    assert derivation.values == {"y": PORTS}


# A view that raises


def test_an_instance_that_the_view_fails_on_keeps_its_value_and_the_others_of_its_process_are_unharmed() -> None:
    view = Ports(lambda row: row.address == "broken")
    derivation = Derivation(view)
    derivation.update([process(desired(memory_mb=1), *instances(3))])
    rows = [running(index=0, availability_zone="z"), running(index=1, address="broken"), *instances(3)[2:]]

    derivation.update([process(desired(memory_mb=2), *rows)])

    assert derivation.values == {"z": 2 * PORTS + PORTS + 1 + 2 * (PORTS + 2)}
    assert {what: str(error) for what, error in derivation.failures.items()} == {"p": "1"}
    assert len(derivation.take_failures()) == 1


def test_what_failed_is_tried_again_with_whatever_else_changes_of_its_process() -> None:
    broken = {1, 2}
    view = Ports(lambda row: row.index in broken)
    derivation = Derivation(view)
    derivation.update([process(desired(memory_mb=1), *instances(3))])
    assert derivation.values == {"z": PORTS}

    for mended, expected in ((2, 2 * PORTS + 2), (1, 3 * PORTS + 3)):
        broken.discard(mended)
        dirty = {"p": Dirty(terms=False, indexes={0})}
        derivation.update([process(desired(memory_mb=1), *instances(3))], dirty)
        assert derivation.values == {"z": expected}
    assert derivation.failures == {}
    assert [what for what, _ in derivation.take_failures()] == ["p"], "it was reported once"


def test_what_fails_of_one_process_is_no_business_of_another() -> None:
    view = Ports(lambda row: row.process_guid == "broken")
    derivation = Derivation(view)
    derivation.update([process(desired("broken", memory_mb=1), running("broken"))])
    derivation.update([process(desired(memory_mb=1), *instances(1))])
    view.asked.clear()

    derivation.update([process(desired(memory_mb=1), *instances(2))], {"p": Dirty(terms=False, indexes={1})})

    assert view.asked == {"instance": 1, "fold": 1}
    assert derivation.values == {"z": 2 * PORTS + 1}


def test_terms_that_cannot_be_had_leave_everything_as_it_was() -> None:
    class Choosy(Ports):
        def terms(self, process: Process, before: Any) -> Any:
            if process.desired is not None and process.desired.annotation == "broken":
                raise ValueError("broken")
            return super().terms(process, before)

    derivation = Derivation(Choosy())
    derivation.update([process(desired(memory_mb=1), *instances(1))])

    derivation.update([process(desired(memory_mb=1, annotation="broken"), *instances(2))])
    assert derivation.values == {"z": PORTS}
    assert derivation.failures.keys() == {"p"}

    derivation.update([process(desired(memory_mb=1), *instances(2))], {"p": Dirty(terms=False, indexes={1})})
    assert derivation.values == {"z": 2 * PORTS + 1}
    assert derivation.failures == {}


def test_steps_that_cannot_be_folded_are_kept_and_folded_with_the_next() -> None:
    view = Ports()
    derivation = Derivation(view)
    derivation.update([process(desired(memory_mb=1), *instances(2))])
    view.stuck = True
    for ports in (2, 3):
        derivation.update([process(desired(memory_mb=ports), *instances(2))])
    derivation.update([process(desired(memory_mb=3), *instances(3))])
    assert derivation.values == {"z": 2 * PORTS + 1}
    assert derivation.failures.keys() == {"z"}

    view.stuck = False
    (delta,) = derivation.update([process(desired(memory_mb=3), *instances(4))])

    assert (delta.before, delta.after) == (2 * PORTS + 1, 3 * (4 * PORTS + 6))
    assert derivation.failures == {}


def test_a_contribution_that_came_and_went_before_it_was_folded_is_not_folded() -> None:
    view = Ports()
    derivation = Derivation(view)
    derivation.update([process(desired(memory_mb=1), *instances(1))])
    view.stuck = True
    derivation.update([process(desired(memory_mb=1), *instances(2))])
    derivation.update([process(desired(memory_mb=1), *instances(1))])
    view.stuck = False
    view.asked.clear()

    derivation.update([process(desired(memory_mb=2), *instances(1))])

    assert derivation.values == {"z": 2 * PORTS}


def test_an_instance_contributes_to_a_key_once() -> None:
    class Twice(Ports):
        def instance(self, rows: tuple[ActualLRP, ...], terms: int) -> Sequence[Share[str, int]]:  # noqa: ARG002
            return [Share(("x",), 1), Share(("y", "x"), 2)]

    derivation = Derivation(Twice())
    assert derivation.update([process(desired(memory_mb=1), *instances(1))]) == []
    assert "one key in two shares" in str(derivation.failures["p"])


def test_an_instance_can_contribute_to_no_key() -> None:
    class Keyless(Ports):
        def instance(self, rows: tuple[ActualLRP, ...], terms: int) -> Sequence[Share[str, int]]:
            return [Share((), terms * rows[0].since)]

    derivation = Derivation(Keyless())
    for since in (1, 2):
        assert derivation.update([process(desired(memory_mb=1), *instances(1, since=since))]) == []
    assert derivation.update([process(desired(memory_mb=1))]) == []
    assert not derivation.failures


class Squeamish(Ports):
    """Cannot say whether one contribution is like another."""

    def alike(self, before: int, after: int) -> bool:
        raise ValueError((before, after))


def test_a_contribution_that_cannot_be_compared_is_kept_to_be_folded() -> None:
    derivation = Derivation(Squeamish())
    derivation.update([process(desired(memory_mb=1), *instances(1))])
    assert derivation.update([process(desired(memory_mb=2), *instances(1))]) == []
    assert derivation.values == {"z": PORTS}
    assert derivation.failures.keys() == {"z"}


class Incomparable:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")


def test_a_value_that_cannot_be_compared_is_published_when_it_can() -> None:
    class Odd(Ports):
        def fold(self, state: Any, steps: Sequence[Step[int]]) -> Any:
            found = super().fold(None, steps)
            return Incomparable() if state is None else found

    derivation: Derivation[Any, Any, Any] = Derivation(Odd())
    (came,) = derivation.update([process(desired(memory_mb=1), *instances(1))])
    assert derivation.update([process(desired(memory_mb=2), *instances(1))]) == []
    assert derivation.failures.keys() == {"z"}
    assert derivation.published("z") is came.after


def test_what_is_no_view_is_refused() -> None:
    with pytest.raises(TypeError, match="neither a View nor an InstanceView"):
        Derivation(object())  # type: ignore[arg-type]


# Keys that are shared


def test_keys_of_one_share_are_folded_once() -> None:
    class Many(Ports):
        names = tuple(map(str, range(1000)))

        def instance(self, rows: tuple[ActualLRP, ...], terms: int) -> Sequence[Share[str, int]]:
            (share,) = super().instance(rows, terms)
            return [Share(self.names, share.of)]

    view = Many()
    derivation = Derivation(view)
    derivation.update([process(desired(memory_mb=1), *instances(50))])
    assert view.asked["fold"] == 1

    deltas = derivation.update([process(desired(memory_mb=1), *instances(49))])
    assert view.asked["fold"] == 2
    assert len(deltas) == 1000


def test_a_share_whose_keys_change_moves_from_the_one_to_the_other() -> None:
    class Named(Ports):
        def instance(self, rows: tuple[ActualLRP, ...], terms: int) -> Sequence[Share[str, int]]:
            return [Share(tuple(rows[0].address), terms), Share(tuple(rows[0].cell_id), 7)]

    derivation = Derivation(Named())
    derivation.update([process(desired(memory_mb=1), running(address="ab", cell_id="xy"))])
    deltas = derivation.update([process(desired(memory_mb=2), running(address="bcx", cell_id="y"))])

    assert derivation.values == {"b": 2, "c": 2, "x": 2, "y": 7}
    assert [(delta.key, delta.before, delta.after) for delta in deltas] == [
        ("c", None, 2),
        ("b", 1, 2),
        ("x", 7, 2),
        ("a", 1, None),
    ]


# Copies


def test_a_fork_goes_its_own_way() -> None:
    view = Ports()
    derivation = Derivation(view)
    derivation.update([process(desired(memory_mb=1), *instances(3))])
    copied = derivation.fork()

    copied.update([process(desired(memory_mb=1), *instances(4))])
    derivation.update([process(desired(memory_mb=1), *instances(2))])

    assert derivation.values == {"z": 2 * PORTS + 1}
    assert copied.values == {"z": 4 * PORTS + 6}
    derivation._check([process(desired(memory_mb=1), *instances(2))])
    copied._check([process(desired(memory_mb=1), *instances(4))])


def test_cells_that_are_as_they_were_are_not_derived_again() -> None:
    derived = Counter[str]()

    class OfCells(Ports):
        def derive_cell(self, cell: CellPresence) -> dict[str, int]:
            derived[cell.cell_id] += 1
            return {cell.zone: cell.capacity.memory_mb if cell.capacity else 0}

    derivation = Derivation(OfCells())
    derivation.update_cells([cell("one"), cell("two")])
    derivation.update_cells([cell("one"), cell("two", memory_mb=5)])

    assert derived == {"one": 1, "two": 2}
    assert derivation.values == {"z1": 1005}


# What a view need not say


def test_by_default_the_state_of_a_key_is_its_value_and_cells_contribute_nothing() -> None:
    assert Ports().value("z", 5) == 5
    assert Ports().derive_cell(cell()) == {}


# What a change says


@pytest.mark.parametrize(
    ("before", "after", "went", "came"),
    [
        (None, ("a", "b"), (), ("a", "b")),
        (("a", "b", "c"), ("a", "d", "c"), ("b",), ("d",)),
        (("a",), None, ("a",), ()),
        (1, 2, (1,), (2,)),
        ((1000001,), (int("1000001"),), (), ()),
    ],
)
def test_a_change_has_what_came_and_what_went(before: Any, after: Any, went: Any, came: Any) -> None:
    change: Change[str, Any] = Change("key", before, after, 1, Cause.EVENT)
    assert (change.went, change.came) == (went, came)


class OfMany(Ports):
    """Contributes to ten names of its process, which those with a longer annotation share."""

    def terms(self, process: Process, before: Any) -> Any:  # noqa: ARG002
        lrp = process.desired
        return None if lrp is None else (tuple(f"{lrp.annotation}{at}" for at in range(10)), lrp.memory_mb)

    def instance(self, rows: tuple[ActualLRP, ...], terms: Any) -> Sequence[Share[str, int]]:
        return [Share(terms[0], terms[1]), Share((rows[0].address,), 1)]


def test_many_names_that_are_shared_are_folded_for_each_process_and_published_once() -> None:
    derivation = Derivation(OfMany())
    one, other = (
        process(desired(guid, memory_mb=memory, annotation="x"), running(guid, address="here"))
        for guid, memory in (("p", 1), ("q", 2))
    )
    deltas = derivation.update([one, other])

    assert sorted(delta.key for delta in deltas) == sorted([*(f"x{at}" for at in range(10)), "here"])
    assert derivation.values == {**{f"x{at}": 3 for at in range(10)}, "here": 2}

    deltas = derivation.update([process(None, running("p", address="here")), process(None, running("q"))])
    assert {delta.after for delta in deltas} == {None}
    assert derivation.values == {}


def test_steps_of_many_names_that_cannot_be_folded_are_kept_too() -> None:
    view = OfMany()
    derivation = Derivation(view)
    derivation.update([process(desired(memory_mb=1), running(address="here"))])
    view.stuck = True
    for memory in (2, 3):
        derivation.update([process(desired(memory_mb=memory), running(address="here"))])
    assert derivation.values["0"] == 1
    view.stuck = False

    derivation.update([process(desired(memory_mb=5), running(address="here"))])

    assert derivation.values == {**{str(at): 5 for at in range(10)}, "here": 1}
    assert derivation.failures == {}


def test_by_default_nothing_is_alike() -> None:
    assert not Ports().alike(1, 1)


def test_names_of_one_share_that_have_other_states_are_folded_for_each_state() -> None:
    class Ranges(OfMany):
        def terms(self, process: Process, before: Any) -> Any:  # noqa: ARG002
            first = int(process.guid)
            return tuple(map(str, range(first, first + 10))), 1

    derivation = Derivation(Ranges())
    derivation.update([process(desired("0"), running("0"))])
    derivation.update([process(desired("5"), running("5"))])

    assert [derivation.values[str(at)] for at in range(15)] == [1] * 5 + [2] * 5 + [1] * 5


def test_contributions_that_add_up_to_the_same_are_no_change() -> None:
    derivation = Derivation(Ports())
    rows = [running(index=index, availability_zone="z") for index in range(2)]
    derivation.update([process(desired(memory_mb=1), *rows)])
    swapped = [replace(row, ports=other.ports) for row, other in zip(rows, reversed(rows), strict=True)]

    assert derivation.update([process(desired(memory_mb=1), *swapped)]) == []


def test_contributions_that_add_up_to_nothing_are_no_key() -> None:
    derivation = Derivation(Ports())
    assert derivation.update([process(desired(memory_mb=0), *instances(2))]) == []
    assert derivation.values == {}
