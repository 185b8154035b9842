"""How full cells are."""

from typing import Any

import pytest
from views_support import (
    CLAIMED,
    CRASHED,
    EVACUATING,
    SUSPECT,
    cell,
    desired,
    process,
    row,
    running,
    value_of,
    values_of,
)

from lrpmirror.core.derived.derive import CELLS, Derivation
from lrpmirror.model import CellCapacity, CellPresence
from lrpmirror.views import CellLoad, Cells


def on(cell_id: str, guid: str = "p", index: int = 0, **fields: Any) -> Any:
    return running(guid, index, cell_id=cell_id, **fields)


def test_instances_are_counted_on_the_cell_of_their_row_by_state_and_presence() -> None:
    rows = (
        on("one", index=0),
        on("one", index=1, state=CLAIMED),
        on("one", index=2, presence=EVACUATING),
        on("one", index=3, presence=SUSPECT),
        on("two", index=2),
    )

    found = values_of(Cells(), process(desired(instances=4), *rows))

    assert found["one"] == CellLoad(running=3, claimed=1, evacuating=1, suspect=1)
    assert found["one"].instances == 4
    assert found["two"] == CellLoad(running=1)


def test_rows_that_are_on_no_cell_or_do_not_run_there_count_nowhere() -> None:
    assert values_of(Cells(), process(desired(), row(), on("one", index=1, state=CRASHED), on("", index=2))) == {}


def test_a_cell_reserves_what_the_desired_lrps_of_all_its_instances_say() -> None:
    small, large = desired("small", memory_mb=64, disk_mb=128), desired("large", memory_mb=512, disk_mb=1024)

    found = value_of(
        Cells(),
        process(small, on("one", "small", 0), on("one", "small", 1, state=CLAIMED)),
        process(large, on("one", "large", presence=EVACUATING)),
    )

    assert (found.memory_mb, found.disk_mb, found.unsized) == (640, 1280, 0)


def test_instances_whose_desired_lrp_is_not_known_are_counted_apart() -> None:
    found = value_of(Cells(), process(None, on("one", index=0), on("one", index=1)))

    assert (found.running, found.memory_mb, found.unsized) == (2, 0, 2)


def test_a_desired_lrp_that_is_still_believed_gives_the_size() -> None:
    found = value_of(Cells(), process(None, on("one"), routed=desired(memory_mb=64)))

    assert (found.memory_mb, found.unsized) == (64, 0)


def test_the_shares_are_of_what_the_cell_has() -> None:
    lrp = desired(instances=5, memory_mb=100, disk_mb=1000)

    found = value_of(
        Cells(),
        process(lrp, *(on("one", index=i) for i in range(5))),
        cells=[cell("one", memory_mb=1000, disk_mb=2000, containers=10)],
    )

    assert found.memory_share == pytest.approx(0.5)
    assert found.disk_share == pytest.approx(2.5)
    assert found.container_share == pytest.approx(0.5)
    assert (found.present, found.zone, found.capacity) == (True, "z1", CellCapacity(1000, 2000, 10))


@pytest.mark.parametrize("cells", [[], [CellPresence(cell_id="one")], [cell("one", memory_mb=0, disk_mb=0)]])
def test_without_a_known_capacity_there_is_no_share(cells: list[CellPresence]) -> None:
    found = value_of(Cells(), process(desired(memory_mb=1), on("one")), cells=cells)

    assert found.memory_share is None
    assert found.disk_share is None


def test_a_cell_that_is_there_and_empty_has_a_value() -> None:
    assert values_of(Cells(), cells=[cell("empty")]) == {
        "empty": CellLoad(present=True, zone="z1", capacity=CellCapacity(1000, 2000, 10))
    }


def test_a_cell_appears_changes_and_disappears_with_its_presence() -> None:
    derivation = Derivation(Cells())

    (came,) = derivation.update_cells([cell("one")])
    assert derivation.update_cells([cell("one")]) == []
    (grew,) = derivation.update_cells([cell("one", memory_mb=2000)])
    (went,) = derivation.update_cells([])

    assert (came.before, came.after and came.after.present) == (None, True)
    assert grew.after is not None
    assert grew.after.capacity == CellCapacity(2000, 2000, 10)
    assert (went.before, went.after) == (grew.after, None)


def test_a_cell_that_is_lost_keeps_its_instances_and_is_no_longer_present() -> None:
    derivation = Derivation(Cells())
    derivation.update([process(desired(), on("one"))])
    derivation.update_cells([cell("one"), cell("two")])

    (delta,) = derivation.update_cells([cell("two")])

    assert (delta.key, delta.after) == ("one", CellLoad(running=1))


def test_an_instance_that_moves_is_counted_where_it_comes_to_before_it_is_withdrawn_where_it_was() -> None:
    derivation = Derivation(Cells())
    derivation.update([process(desired("p"), on("one")), process(desired("q"), on("one", "q"))])

    deltas = derivation.update([process(desired("p"), on("two"))])

    assert [delta.key for delta in deltas] == ["two", "one"]


def test_many_cells_are_derived_in_slices_as_they_are_at_once() -> None:
    cells = [cell(f"c{n}") for n in range(2 * CELLS + 50)]
    at_once, sliced = Derivation(Cells()), Derivation(Cells())
    at_once.update_cells(cells)

    sizes = [len(sliced.values) for _ in sliced.update_cells_in_slices(cells)]

    assert sizes == [CELLS, 2 * CELLS, len(cells)]
    assert sliced.values == at_once.values
    assert [len(sliced.values) for _ in sliced.update_cells_in_slices(cells[CELLS:])] == [len(cells) - CELLS]
    assert not list(sliced.update_cells_in_slices(cells[CELLS:]))
