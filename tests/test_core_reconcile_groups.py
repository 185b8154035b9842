"""What each event of the group stream does to the rows, slot by slot."""

from core_support import EVACUATING, SUSPECT, Bench, running, unclaimed

from lrpmirror.core.rows.reconcile import Outcome, RepairReason
from lrpmirror.events import ActualLRPChanged, ActualLRPCreated, ActualLRPRemoved
from lrpmirror.model import ActualLRP, ActualLRPGroup


def instance(one: ActualLRP) -> ActualLRPGroup:
    return ActualLRPGroup(one)


def evacuating(one: ActualLRP) -> ActualLRPGroup:
    return ActualLRPGroup(None, one)


def leaving(epoch: str = "b", tag_index: int = 0) -> ActualLRP:
    return running(epoch, tag_index, presence=EVACUATING)


def test_a_slot_that_is_filled_makes_its_row_and_does_not_change_the_other() -> None:
    bench = Bench(leaving())

    assert bench.apply(ActualLRPCreated(instance(unclaimed("a", 0)))) == [Outcome.APPLIED]
    assert bench.rows == [unclaimed("a", 0), leaving()]


def test_a_slot_that_is_written_replaces_its_row_whole() -> None:
    bench = Bench(running("a", 2), leaving())
    after = running("a", 3, internal_routes=("new.internal",))

    assert bench.apply(ActualLRPChanged(instance(running("a", 2)), instance(after))) == [Outcome.APPLIED]
    assert bench.rows == [after, leaving()]
    assert bench.repairs == []


def test_a_slot_that_is_emptied_removes_its_row_whatever_its_version() -> None:
    bench = Bench(running("a", 5), leaving())

    assert bench.apply(ActualLRPRemoved(instance(running("a", 2)))) == [Outcome.APPLIED]
    assert bench.rows == [leaving()]


def test_the_evacuating_slot_is_handled_by_itself() -> None:
    bench = Bench(running("a", 2))

    bench.apply(ActualLRPCreated(evacuating(leaving())))
    assert bench.rows == [running("a", 2), leaving()]
    bench.apply(ActualLRPChanged(evacuating(leaving()), evacuating(leaving("b", 1))))
    assert bench.rows == [running("a", 2), leaving("b", 1)]
    bench.apply(ActualLRPRemoved(evacuating(leaving("b", 1))))
    assert bench.rows == [running("a", 2)]


def test_both_slots_of_one_event_are_applied() -> None:
    bench = Bench()
    both = ActualLRPGroup(running("a", 2), leaving())

    bench.apply(ActualLRPCreated(both))
    assert bench.rows == [running("a", 2), leaving()]
    bench.apply(ActualLRPRemoved(both))
    assert bench.rows == []


def test_an_event_with_no_slot_filled_changes_nothing() -> None:
    bench = Bench(running("a", 2))
    empty = ActualLRPGroup()

    events = ActualLRPCreated(empty), ActualLRPChanged(empty, empty), ActualLRPRemoved(empty)
    assert bench.apply(*events) == [Outcome.NOTED] * 3
    assert bench.rows == [running("a", 2)]


def test_a_slot_that_changes_its_record_loses_the_old_one() -> None:
    bench = Bench(running("a", 2, presence=SUSPECT))
    event = ActualLRPChanged(instance(running("a", 2, presence=SUSPECT)), instance(running("b", 1, "j")))

    assert bench.apply(event) == [Outcome.APPLIED]
    assert bench.rows == [running("b", 1, "j")]
    assert bench.apply(ActualLRPCreated(instance(running("a", 2)))) == [Outcome.TOMBSTONED]


def test_a_slot_that_changes_its_record_keeps_the_old_one_where_that_is_newer() -> None:
    bench = Bench(unclaimed("a", 3))

    bench.apply(ActualLRPChanged(instance(running("a", 2)), instance(running("b", 1, "j", presence=SUSPECT))))

    assert bench.rows == [unclaimed("a", 3), running("b", 1, "j", presence=SUSPECT)]


def test_a_removal_of_a_record_never_announced_is_remembered() -> None:
    bench = Bench()

    events = ActualLRPRemoved(instance(unclaimed("a", 2))), ActualLRPCreated(instance(unclaimed("a", 1)))
    assert bench.apply(*events) == [Outcome.TOMBSTONED, Outcome.TOMBSTONED]


def test_a_change_behind_a_newer_one_is_stale_and_twice_it_is_the_same() -> None:
    bench = Bench(running("a", 5))
    old = ActualLRPChanged(instance(running("a", 2)), instance(running("a", 3)))
    known = ActualLRPChanged(instance(running("a", 4)), instance(running("a", 5)))

    assert bench.apply(old, known) == [Outcome.STALE, Outcome.SAME]
    assert bench.rows == [running("a", 5)]


def test_a_change_of_presence_is_applied_at_an_equal_index() -> None:
    bench = Bench(running("a", 2))

    bench.apply(ActualLRPChanged(instance(running("a", 2)), instance(running("a", 2, presence=SUSPECT))))

    assert bench.rows == [running("a", 2, presence=SUSPECT)]


def test_a_change_of_a_slot_that_was_empty_is_a_creation() -> None:
    bench = Bench()

    assert bench.apply(ActualLRPChanged(ActualLRPGroup(), instance(unclaimed("a", 0)))) == [Outcome.APPLIED]
    assert bench.rows == [unclaimed("a", 0)]


def test_a_newer_version_of_a_removed_record_is_read_again() -> None:
    bench = Bench()
    bench.apply(ActualLRPRemoved(instance(running("a", 2))))

    event = ActualLRPChanged(instance(running("a", 3)), instance(unclaimed("a", 4)))
    assert bench.apply(event) == [Outcome.UNDECIDED]
    assert bench.rows == []
    assert bench.repairs == [("p", RepairReason.AMBIGUOUS)]


def test_an_unclaim_is_one_change() -> None:
    bench = Bench(running("a", 2))

    bench.apply(ActualLRPChanged(instance(running("a", 2)), instance(unclaimed("a", 3))))

    assert bench.rows == [unclaimed("a", 3)]


def test_rows_without_an_epoch_are_replaced_in_their_slot() -> None:
    bench = Bench(running("", 4))

    bench.apply(ActualLRPChanged(instance(running("", 4)), instance(running("", 1, routable=False))))
    assert bench.rows == [running("", 1, routable=False)]
    bench.apply(ActualLRPRemoved(instance(running("", 0))))
    assert bench.rows == []
