"""The engine below all views: what is derived when, what is published, and what a view's failure does."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from views_support import (
    EVACUATING,
    RUNNING,
    cell,
    desired,
    process,
    row,
    running,
)

from lrpmirror.core.derived.derive import Derivation, Process, View
from lrpmirror.model import CellPresence
from lrpmirror.views import HTTPRoutes


class ByZone(View[str, int, int]):
    """How many instances run in each zone: a view of a user's own."""

    def derive(self, process: Process) -> Mapping[str, int]:
        return Counter(row.availability_zone for row in process.rows if row.state == RUNNING)

    def combine(self, key: str, contributions: Mapping[str, int]) -> int:  # noqa: ARG002
        return sum(contributions.values())


class Scripted(View[Any, Any, Any]):
    """A view that does what the test says, and counts what it is asked."""

    def __init__(
        self,
        derive: Callable[[Process], Mapping[Any, Any]],
        combine: Callable[[Any, Mapping[str, Any]], Any] = lambda _, contributions: tuple(contributions.values()),
    ) -> None:
        self._derive, self._combine = derive, combine
        self.derived: Counter[str] = Counter()
        self.combined: Counter[Any] = Counter()

    def derive(self, process: Process) -> Mapping[Any, Any]:
        self.derived[process.guid] += 1
        return self._derive(process)

    def combine(self, key: Any, contributions: Mapping[str, Any]) -> Any:
        self.combined[key] += 1
        return self._combine(key, contributions)


def noted(*guids: str) -> list[Process]:
    """Processes that there is nothing but a desired LRP of."""
    return [process(desired(guid, annotation=guid)) for guid in guids]


# A view in a few lines


def test_a_view_takes_two_methods() -> None:
    derivation = Derivation(ByZone())
    one = process(desired(), running(availability_zone="z1"), running(index=1, availability_zone="z2"))
    two = process(desired("q"), running("q", availability_zone="z1"))

    derivation.update([one, two])

    assert derivation.values == {"z1": 2, "z2": 1}
    assert derivation.failures == {}


def test_a_view_sees_the_rows_of_a_process_as_groups_too() -> None:
    ordinary, leaving = row(), running(presence=EVACUATING)

    (group,) = process(desired(), ordinary, leaving).groups

    assert (group.instance, group.evacuating) == (ordinary, leaving)


# What is derived and published


def test_only_the_keys_whose_contributions_differ_are_combined_again() -> None:
    table: dict[str, dict[str, int]] = {"p": {"x": 1, "y": 1}, "q": {"y": 1}}
    view = Scripted(lambda process: table[process.guid])
    derivation = Derivation(view)
    derivation.update(noted("p", "q"))
    assert view.combined == {"x": 1, "y": 1}

    table["p"] = {"x": 2, "y": 1}
    derivation.update(noted("p"))

    assert view.derived == {"p": 2, "q": 1}
    assert view.combined == {"x": 2, "y": 1}
    assert derivation.values == {"x": (2,), "y": (1, 1)}


def test_equal_values_publish_nothing() -> None:
    table = {"p": {"x": 1}}
    derivation = Derivation(Scripted(lambda process: table[process.guid], lambda *_: "always"))
    assert len(derivation.update(noted("p"))) == 1

    table["p"] = {"x": 2}

    assert derivation.update(noted("p")) == []


def test_no_value_is_no_key() -> None:
    table = {"p": {"x": 1}}
    derivation = Derivation(Scripted(lambda process: table[process.guid], lambda _, of: of["p"] % 2 or None))
    (came,) = derivation.update(noted("p"))
    table["p"] = {"x": 2}
    (went,) = derivation.update(noted("p"))
    table["p"] = {"x": 4}

    assert (came.before, came.after) == (None, 1)
    assert (went.before, went.after) == (1, None)
    assert derivation.update(noted("p")) == []
    assert derivation.values == {}


def test_a_process_that_is_gone_contributes_nothing_and_is_not_derived() -> None:
    view = Scripted(lambda _: {"x": 1})
    derivation = Derivation(view)
    derivation.update(noted("p"))

    (delta,) = derivation.update([Process("p", None, None, (), domain_fresh=True)])

    assert (delta.key, delta.after) == ("x", None)
    assert view.derived == {"p": 1}
    assert derivation.values == {}


def test_what_comes_is_published_before_what_changes_and_that_before_what_goes() -> None:
    table = {"p": {"gone": 1, "shared": 1, "changed": 1}, "q": {"shared": 1, "leaving": 1}}
    derivation = Derivation(Scripted(lambda process: table[process.guid]))
    derivation.update(noted("p", "q"))

    table.update({"p": {"changed": 2, "new": 1}, "q": {"shared": 1, "other": 1}})
    deltas = derivation.update(noted("p", "q"))

    assert [delta.key for delta in deltas] == ["new", "other", "changed", "shared", "gone", "leaving"]


def test_a_key_that_one_leaves_and_another_joins_counts_as_coming() -> None:
    table = {"p": {"x": 1}, "q": {"y": 1}}
    derivation = Derivation(Scripted(lambda process: table[process.guid]))
    derivation.update(noted("p", "q"))

    table.update({"p": {"y": 3}, "q": {"x": 2}})

    assert [(delta.key, delta.after) for delta in derivation.update(noted("p", "q"))] == [("y", (3,)), ("x", (2,))]


# Values that are the same


class Roughly(Scripted):
    """Steps below 10 are no change."""

    def same(self, before: int, after: int) -> bool:
        return abs(before - after) < 10


def rough(start: int) -> tuple[Derivation[Any, Any, Any], Callable[[int], list[tuple[Any, Any]]]]:
    now = {"x": start}
    derivation = Derivation(Roughly(lambda _: now, lambda _, of: of["p"] or None))

    def step(to: int) -> list[tuple[Any, Any]]:
        now["x"] = to
        return [(delta.before, delta.after) for delta in derivation.update(noted("p"))]

    step(start)
    return derivation, step


def test_a_value_that_is_the_same_is_kept_and_not_published() -> None:
    derivation, step = rough(100)

    assert step(105) == []

    assert derivation.values == {"x": 105}
    assert derivation.published("x") == 100


def test_steps_too_small_to_publish_add_up() -> None:
    derivation, step = rough(100)

    assert [step(to) for to in (105, 109, 111)] == [[], [], [(100, 111)]]
    assert derivation.published("x") == 111


def test_what_is_published_begins_where_the_last_ended() -> None:
    _, step = rough(100)

    assert step(105) == []
    assert step(200) == [(100, 200)]
    assert step(201) == []
    assert step(0) == [(200, None)]
    assert step(205) == [(None, 205)]


def test_a_value_that_is_again_what_was_published_is_remembered_no_longer() -> None:
    derivation, step = rough(100)
    step(105)
    step(100)

    assert derivation.published("x") == derivation.values["x"] == 100
    assert derivation._published == {}


# Cells


class Zones(Scripted):
    def derive_cell(self, cell: CellPresence) -> Mapping[str, str]:
        if cell.zone == "broken":
            raise ValueError(cell.cell_id)
        return {cell.zone: cell.cell_id}


def test_by_default_cells_contribute_nothing() -> None:
    assert Derivation(HTTPRoutes()).update_cells([cell("one")]) == []


def test_cells_contribute_under_a_name_of_their_own() -> None:
    derivation = Derivation(Zones(lambda _: {"z1": "process"}, lambda _, contributions: dict(contributions)))
    derivation.update(noted("one"))
    derivation.update_cells([cell("one")])

    assert derivation.values == {"z1": {"one": "process", "cell/one": "one"}}


def test_a_cell_that_the_view_fails_on_keeps_what_it_contributed_until_it_is_gone() -> None:
    derivation = Derivation(Zones(lambda _: {}))
    broken = CellPresence(cell_id="one", zone="broken")
    derivation.update_cells([cell("one"), cell("two")])

    assert derivation.update_cells([broken, cell("two")]) == []
    assert derivation.values == {"z1": ("one", "two")}
    assert derivation.failures.keys() == {"cell/one"}

    assert derivation.update_cells([cell("two")]) != []
    assert derivation.values == {"z1": ("two",)}
    assert derivation.failures == {}


def test_a_cell_that_never_contributed_is_forgotten_with_its_failure() -> None:
    derivation = Derivation(Zones(lambda _: {}))
    derivation.update_cells([CellPresence(cell_id="one", zone="broken")])
    assert derivation.failures.keys() == {"cell/one"}

    derivation.update_cells([])

    assert derivation.failures == {}


# A view that raises


def failing(broken: set[str]) -> Callable[[Process], Mapping[str, str]]:
    def derive(process: Process) -> Mapping[str, str]:
        if process.guid in broken:
            raise ValueError(process.guid)
        return {f"of-{process.guid}": process.desired.annotation if process.desired else ""}

    return derive


def test_a_process_that_the_view_fails_on_keeps_its_values_and_the_others_are_unharmed() -> None:
    broken: set[str] = set()
    derivation = Derivation(Scripted(failing(broken)))
    derivation.update(noted("p", "q"))
    broken.add("p")

    deltas = derivation.update(
        [process(desired("p", annotation="new")), process(desired("q", annotation="new")), *noted("r")]
    )

    assert [delta.key for delta in deltas] == ["of-r", "of-q"]
    assert derivation.values == {"of-p": ("p",), "of-q": ("new",), "of-r": ("r",)}


def test_a_failure_is_reported_once_with_its_process_and_again_only_after_it_has_worked() -> None:
    broken = {"p"}
    derivation = Derivation(Scripted(failing(broken)))
    reports = []
    for now_broken in ({"p"}, {"p"}, set(), {"p"}):
        broken.clear()
        broken.update(now_broken)
        derivation.update(noted("p", "q"))
        reports.append([(what, repr(error)) for what, error in derivation.take_failures()])
        assert derivation.failures.keys() == now_broken

    assert reports == [[("p", "ValueError('p')")], [], [], [("p", "ValueError('p')")]]


def test_a_view_that_works_again_has_the_value_of_now() -> None:
    broken = {"p"}
    derivation = Derivation(Scripted(failing(broken)))
    derivation.update(noted("p"))
    broken.clear()

    (delta,) = derivation.update([process(desired("p", annotation="new"))])

    assert (delta.before, delta.after) == (None, ("new",))


def test_the_failure_of_a_process_that_is_gone_is_forgotten_and_so_is_its_value() -> None:
    broken: set[str] = set()
    derivation = Derivation(Scripted(failing(broken)))
    derivation.update(noted("p"))
    broken.add("p")
    derivation.update(noted("p"))

    derivation.update([Process("p", None, None, (), domain_fresh=True)])

    assert derivation.failures == {}
    assert derivation.values == {}


def test_what_is_no_mapping_is_a_failure_too() -> None:
    derivation = Derivation(Scripted(lambda _: None))  # type: ignore[arg-type, return-value]

    assert derivation.update(noted("p")) == []
    assert isinstance(derivation.failures["p"], TypeError)


class Incomparable:
    """As arrays are."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")


def test_a_contribution_that_cannot_be_compared_leaves_nothing_half_done() -> None:
    table: dict[str, dict[str, Any]] = {"p": {"x": 1, "y": Incomparable()}}
    derivation = Derivation(Scripted(lambda process: table[process.guid], lambda _, of: len(of)))
    derivation.update(noted("p"))
    table["p"] = {"z": 1, "y": Incomparable()}

    assert derivation.update(noted("p")) == []
    assert derivation.failures.keys() == {"p"}
    assert derivation.values == {"x": 1, "y": 1}

    table["p"] = {}
    derivation.update(noted("p"))
    assert derivation.values == {}


def test_a_key_that_the_view_fails_to_combine_keeps_its_value_and_the_others_are_unharmed() -> None:
    table: dict[str, dict[str, int]] = {"p": {"x": 1, "y": 1}}
    derivation = Derivation(Scripted(lambda process: table[process.guid], lambda _, of: 10 // of["p"]))
    derivation.update(noted("p"))
    table["p"] = {"x": 0, "y": 2}

    assert [delta.key for delta in derivation.update(noted("p"))] == ["y"]
    assert derivation.values == {"x": 10, "y": 5}
    assert [what for what, _ in derivation.take_failures()] == ["x"]

    table["p"] = {"x": 5, "y": 2}
    assert [(delta.before, delta.after) for delta in derivation.update(noted("p"))] == [(10, 2)]
    assert derivation.failures == {}


def test_a_key_that_failed_and_has_no_contributions_left_is_gone() -> None:
    table: dict[str, dict[str, int]] = {"p": {"x": 1}}
    derivation = Derivation(Scripted(lambda process: table[process.guid], lambda _, of: 10 // of["p"]))
    derivation.update(noted("p"))
    table["p"] = {"x": 0}
    derivation.update(noted("p"))
    table["p"] = {}

    (delta,) = derivation.update(noted("p"))

    assert (delta.before, delta.after) == (10, None)
    assert derivation.failures == {}


def test_a_key_that_reads_like_a_process_guid_fails_on_its_own_account() -> None:
    table: dict[str, dict[str, Any]] = {}
    derivation = Derivation(Scripted(lambda process: table[process.guid], lambda _, of: 10 // of["p"][0]))
    reports: list[list[str]] = []
    for version in range(3):
        table["p"] = {"p": (0, version)}
        derivation.update(noted("p"))
        reports.append([what for what, _ in derivation.take_failures()])

    assert reports == [["p"], [], []]


def test_a_failure_to_compare_values_keeps_the_value() -> None:
    class Choosy(Scripted):
        def same(self, before: int, after: int) -> bool:
            raise ValueError((before, after))

    table: dict[str, dict[str, int]] = {"p": {"x": 1}}
    derivation = Derivation(Choosy(lambda process: table[process.guid], lambda _, of: of["p"]))
    derivation.update(noted("p"))
    table["p"] = {"x": 2}

    assert derivation.update(noted("p")) == []
    assert derivation.values == {"x": 1}
    assert derivation.failures.keys() == {"x"}
