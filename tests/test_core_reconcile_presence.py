"""What evacuations, lost cells and their return do to the rows: one instance, two records; presence without version."""

import pytest
from core_support import (
    APPLIED,
    EVACUATING,
    SAME,
    STALE,
    SUSPECT,
    TOMBSTONED,
    UNDECIDED,
    Bench,
    bare,
    changed,
    claimed,
    created,
    removed,
    running,
    unclaimed,
)

from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.events import Event

# Evacuation: one instance, two records


def test_an_evacuation_moves_the_instance_to_the_other_record_and_frees_the_first() -> None:
    bench = Bench(running("a", 2))
    leaving = running("b", 0, presence=EVACUATING)

    assert bench.apply(changed(running("a", 2), leaving), created(unclaimed("a", 3))) == [APPLIED, APPLIED]
    assert bench.rows == [unclaimed("a", 3), leaving]
    assert bench.repairs == []
    assert bench.store.instance("i") == leaving


def test_an_evacuation_in_the_other_order_ends_in_the_same_rows() -> None:
    bench = Bench(running("a", 2))
    leaving = running("b", 0, presence=EVACUATING)

    bench.apply(created(unclaimed("a", 3)), changed(running("a", 2), leaving))

    assert bench.rows == [unclaimed("a", 3), bare(leaving)]
    assert bench.reasons == {RepairReason.INCOMPLETE}


def test_the_record_that_an_instance_left_does_not_come_back_by_an_older_event() -> None:
    bench = Bench(claimed("a", 1))
    leaving = running("b", 0, presence=EVACUATING)

    outcomes = bench.apply(changed(running("a", 2), leaving), changed(claimed("a", 1), running("a", 2)))

    assert outcomes == [APPLIED, TOMBSTONED]
    assert bench.rows == [bare(leaving)]
    assert bench.reasons == {RepairReason.INCOMPLETE}, "a version was passed over, and with it perhaps its routes"


def test_an_evacuation_from_a_record_never_seen_remembers_that_its_instance_left() -> None:
    bench = Bench()
    leaving = running("b", 0, presence=EVACUATING)

    bench.apply(changed(running("a", 2), leaving), created(unclaimed("a", 0)), created(unclaimed("a", 3)))

    assert bench.rows == [unclaimed("a", 3), bare(leaving)]


def test_an_evacuation_that_was_seen_before_changes_nothing() -> None:
    bench = Bench(unclaimed("a", 3), running("b", 0, presence=EVACUATING))

    assert bench.apply(changed(running("a", 2), running("b", 0, presence=EVACUATING))) == [SAME]
    assert bench.repairs == []


def test_an_evacuation_older_than_the_record_that_it_made_is_stale() -> None:
    bench = Bench(running("b", 1, presence=EVACUATING, routable=False))

    assert bench.apply(changed(running("a", 2), running("b", 0, presence=EVACUATING))) == [STALE]
    assert bench.rows == [running("b", 1, presence=EVACUATING, routable=False)]


def test_an_evacuation_whose_record_is_gone_already_only_frees_the_first() -> None:
    bench = Bench(running("a", 2))
    leaving = running("b", 0, presence=EVACUATING)

    assert bench.apply(removed(leaving), changed(running("a", 2), leaving)) == [TOMBSTONED, APPLIED]
    assert bench.rows == []


def test_an_evacuation_from_a_record_that_is_known_to_be_gone_does_not_let_it_back() -> None:
    bench = Bench()
    leaving = running("b", 0, presence=EVACUATING)

    bench.apply(removed(unclaimed("a", 3)), changed(running("a", 2), leaving), created(unclaimed("a", 3)))

    assert bench.rows == [bare(leaving)]


def test_an_evacuation_into_the_record_of_another_leaving_instance_takes_its_place() -> None:
    bench = Bench(running("b", 0, "i", presence=EVACUATING), running("a", 5, "j"))
    leaving = running("b", 1, "j", presence=EVACUATING)

    bench.apply(changed(running("a", 5, "j"), leaving), created(unclaimed("a", 6)))

    assert bench.rows == [unclaimed("a", 6), leaving]
    assert bench.repairs == []


def test_a_record_that_was_removed_after_it_was_known_to_live_on_is_read_again_when_it_returns() -> None:
    bench = Bench(running("a", 3))
    bench.apply(changed(running("a", 3), running("b", 0, presence=EVACUATING)), removed(unclaimed("a", 2)))

    bench.apply(created(unclaimed("a", 4)))

    assert bench.repairs == [("p", RepairReason.AMBIGUOUS)]


# Cell lost and back: presence without a version


def lost() -> list[Event]:
    return [changed(running("a", 2), running("a", 2, presence=SUSPECT)), created(unclaimed("b", 0))]


@pytest.mark.parametrize("order", [1, -1])
def test_a_lost_cell_makes_its_row_suspect_and_brings_a_replacement_in_either_order(order: int) -> None:
    bench = Bench(running("a", 2))

    bench.apply(*lost()[::order])

    assert bench.rows == [unclaimed("b", 0), running("a", 2, presence=SUSPECT)]
    assert not bench.store.has_rivals("p")
    assert bench.reasons <= {RepairReason.RIVALS}


def test_a_replacement_before_its_change_of_presence_is_a_rival_for_a_moment() -> None:
    bench = Bench(running("a", 2))

    bench.apply(lost()[1])

    assert bench.store.has_rivals("p")
    assert bench.repairs == [("p", RepairReason.RIVALS)]


@pytest.mark.parametrize("order", [1, -1])
def test_a_cell_that_comes_back_takes_its_slot_again_in_either_order(order: int) -> None:
    bench = Bench(running("a", 2, presence=SUSPECT), unclaimed("b", 0))
    back: list[Event] = [changed(running("a", 2, presence=SUSPECT), running("a", 2)), removed(unclaimed("b", 0))]

    bench.apply(*back[::order])

    assert bench.rows == [running("a", 2)]
    assert not bench.store.has_rivals("p")
    assert bench.reasons <= {RepairReason.RIVALS}


def test_a_replacement_that_starts_takes_over_from_the_suspect() -> None:
    bench = Bench(running("a", 2, presence=SUSPECT), unclaimed("b", 0))

    bench.apply(changed(unclaimed("b", 0), running("b", 1, "j")), removed(running("a", 2, presence=SUSPECT)))

    assert bench.rows == [bare(running("b", 1, "j"))]


def test_an_evacuated_suspect_leaves_nothing_behind() -> None:
    bench = Bench(running("a", 2, presence=SUSPECT))

    bench.apply(changed(running("a", 2, presence=SUSPECT), running("b", 0, presence=EVACUATING)))

    assert bench.rows == [running("b", 0, presence=EVACUATING)]


def test_two_changes_of_presence_out_of_order_are_read_again() -> None:
    bench = Bench(running("a", 2))
    to, back = changed(running(), running(presence=SUSPECT)), changed(running(presence=SUSPECT), running())

    assert bench.apply(back, to) == [SAME, APPLIED]
    assert bench.reasons == {RepairReason.AMBIGUOUS}


def test_a_change_between_two_presences_that_the_row_has_not_is_not_applied_but_read() -> None:
    bench = Bench(running("a", 2))

    assert bench.apply(changed(running("a", 2, presence=SUSPECT), running("a", 2, presence=EVACUATING))) == [UNDECIDED]
    assert bench.rows == [running("a", 2)]
    assert bench.reasons == {RepairReason.AMBIGUOUS}


def test_a_change_of_presence_older_than_the_row_is_not_applied() -> None:
    bench = Bench(running("a", 3))

    bench.apply(changed(running("a", 2), running("a", 2, presence=SUSPECT)))

    assert bench.rows == [running("a", 3)]


def test_a_change_of_presence_seen_twice_changes_nothing_more() -> None:
    bench = Bench(running("a", 2))
    to = changed(running("a", 2), running("a", 2, presence=SUSPECT))

    assert bench.apply(to, to) == [APPLIED, SAME]
    assert bench.rows == [running("a", 2, presence=SUSPECT)]


def test_a_whole_row_of_the_same_version_brings_what_diffs_left_out_and_keeps_the_presence() -> None:
    bench = Bench(bare(running("a", 2, presence=SUSPECT)))

    assert bench.apply(created(running("a", 2))) == [APPLIED]
    assert bench.rows == [running("a", 2, presence=SUSPECT)]
