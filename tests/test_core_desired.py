"""What each event of a desired LRP does: one record per process, the newest version of the newest record."""

from collections.abc import Callable

import pytest
from core_support import APPLIED, SAME, STALE, TOMBSTONED, UNDECIDED, Bench, desired

from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.rows.tombstones import Tombstone
from lrpmirror.detail import DesiredLRPDetail
from lrpmirror.events import DesiredLRPChanged, DesiredLRPCreated, DesiredLRPRemoved, Event
from lrpmirror.model import DesiredLRP, MetricTagValue


def created(lrp: DesiredLRP) -> Event:
    return DesiredLRPCreated(lrp)


def changed(lrp: DesiredLRP) -> Event:
    return DesiredLRPChanged(lrp, lrp)


def removed(lrp: DesiredLRP) -> Event:
    return DesiredLRPRemoved(lrp)


def test_a_desired_lrp_is_created_changed_and_removed() -> None:
    bench = Bench()

    assert bench.apply(created(desired()), changed(desired("d", 1, instances=3))) == [APPLIED, APPLIED]
    assert bench.store.desired("p") == desired("d", 1, instances=3)
    assert bench.apply(removed(desired("d", 1))) == [APPLIED]
    assert bench.store.desired("p") is None
    assert bench.repairs == []


def test_an_older_version_is_stale_and_the_one_at_hand_is_known() -> None:
    bench = Bench(desired("d", 2))

    assert bench.apply(changed(desired("d", 1)), changed(desired("d", 2)), created(desired("d", 0))) == [
        STALE,
        SAME,
        STALE,
    ]
    assert bench.store.desired("p") == desired("d", 2)


@pytest.mark.parametrize("taking_over", [created, changed])
@pytest.mark.parametrize("late", [created, changed])
def test_a_record_that_another_took_the_place_of_is_gone_and_no_late_event_brings_it_back(
    taking_over: Callable[[DesiredLRP], Event], late: Callable[[DesiredLRP], Event]
) -> None:
    bench = Bench(desired("old", 1))
    new = desired("new", instances=2)

    assert bench.apply(taking_over(new)) == [APPLIED]
    assert bench.apply(late(desired("old", 1)), late(desired("old", 7)), removed(desired("old", 7))) == [
        TOMBSTONED,
        TOMBSTONED,
        STALE,
    ]
    assert bench.store.desired("p") == new


def test_the_same_version_from_an_event_completes_the_one_from_a_list() -> None:
    bench = Bench(desired("d", 2))

    assert bench.apply(changed(desired("d", 2, annotation="whole"))) == [APPLIED]
    assert bench.store.desired("p") == desired("d", 2, annotation="whole")


def test_a_diff_of_a_record_never_seen_is_the_whole_record_and_is_read_again_as_it_may_be_gone() -> None:
    bench = Bench()

    assert bench.apply(changed(desired("d", 4))) == [APPLIED]
    assert bench.store.desired("p") == desired("d", 4)
    assert bench.repairs == [("p", RepairReason.DESIRED)]


@pytest.mark.parametrize("late", [created(desired("d", 0)), changed(desired("d", 7))])
def test_a_removed_record_never_comes_back(late: Event) -> None:
    bench = Bench(desired("d", 1))

    assert bench.apply(removed(desired("d", 1)), late) == [APPLIED, TOMBSTONED]
    assert bench.store.desired("p") is None


def test_a_removal_that_overtakes_the_whole_life_of_its_record_wins() -> None:
    bench = Bench()

    assert bench.apply(removed(desired("d", 2)), created(desired("d", 0)), changed(desired("d", 2))) == [
        SAME,
        TOMBSTONED,
        TOMBSTONED,
    ]
    assert bench.store.desired("p") is None


def test_a_removal_behind_the_next_record_of_the_process_leaves_that_alone() -> None:
    bench = Bench(desired("old", 1))

    assert bench.apply(created(desired("new")), removed(desired("old", 1))) == [APPLIED, STALE]
    assert bench.store.desired("p") == desired("new")


@pytest.mark.parametrize("event", [created(desired("other")), changed(desired("other", 3))])
def test_a_record_in_the_place_of_another_that_was_not_removed_is_read_again(event: Event) -> None:
    bench = Bench(desired("d", 1))

    assert bench.apply(event) == [APPLIED]
    assert bench.repairs == [("p", RepairReason.DESIRED)]


def test_a_record_that_a_list_did_not_have_but_that_was_written_since_is_read_again() -> None:
    bench = Bench()
    bench.tombstones.desired.add("d", Tombstone(3))

    assert bench.apply(changed(desired("d", 3)), changed(desired("d", 4))) == [TOMBSTONED, UNDECIDED]
    assert bench.store.desired("p") is None
    assert bench.repairs == [("p", RepairReason.DESIRED)]


def test_a_whole_record_from_an_event_is_made_as_a_list_has_it() -> None:
    """In lists the server fills in the deprecated metrics guid from the tag `source_id`, in events it does not."""
    tags = {"source_id": MetricTagValue("app")}
    bench = Bench(desired("d", 1, metric_tags=tags, detail=DesiredLRPDetail(metrics_guid="app")))

    notified = changed(desired("d", 1, metric_tags=tags, detail=DesiredLRPDetail()))

    assert bench.apply(notified) == [SAME]
    assert bench.apply(created(desired("e", 0, process_guid="q", detail=DesiredLRPDetail()))) == [APPLIED]


def test_records_without_an_epoch_are_always_believed() -> None:
    bench = Bench(desired("", 5))

    assert bench.apply(changed(desired("", 1))) == [APPLIED]
    assert bench.store.desired("p") == desired("", 1)
    assert bench.apply(removed(desired("", 0)), created(desired("", 0))) == [APPLIED, APPLIED]


def test_a_record_with_an_epoch_replaces_one_without() -> None:
    bench = Bench(desired("", 5))

    assert bench.apply(created(desired("d", 0))) == [APPLIED]
    assert bench.store.desired("p") == desired("d", 0)
    assert bench.repairs == []
