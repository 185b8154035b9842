"""Metric tags, from a list of their own: joined with the desired LRPs of the other, or read again."""

from random import Random

import pytest
from core_support import (
    bare,
    changed,
    claimed,
    desired,
    removed,
    repair_reasons,
    row,
    running,
    settle,
    synced,
    take_list,
    unclaimed,
)

from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.lists.slices import SLICE
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.session import Session, Tuning
from lrpmirror.events import DesiredLRPRemoved, Event
from lrpmirror.model import DesiredLRP, MetricTagValue

TAGS = {"source_id": MetricTagValue("app")}


@pytest.mark.parametrize(
    ("known", "tags"),
    [(desired("d", 1, metric_tags=TAGS), TAGS), (desired("d", 0, metric_tags=TAGS), {}), (None, {})],
)
def test_without_a_routing_part_the_tags_of_that_version_stay_and_the_process_is_read_again(
    known: DesiredLRP | None, tags: object
) -> None:
    session = synced(*([] if known is None else [known]))
    snapshot = session.begin_list(0)
    snapshot.list_scheduling_parts([desired("d", 1)])
    settle(snapshot)
    session.end_list(snapshot, 0)

    kept = session.knowledge.store.desired("p")
    assert kept is not None
    assert kept.metric_tags == tags
    assert session.take_repairs() == Scope(frozenset(), frozenset({"p"}))


def test_a_part_that_is_gone_before_the_other_is_listed_is_not_missed() -> None:
    session = synced(desired("d", 1, metric_tags=TAGS))
    snapshot = session.begin_list(0)
    snapshot.list_scheduling_parts([desired("d", 1), desired("e", process_guid="q")])
    snapshot.list_metric_tags([desired("d", 1, metric_tags=TAGS)])
    snapshot.list_desired([desired("e", process_guid="q")])
    settle(snapshot)
    session.end_list(snapshot, 0)

    assert session.take_repairs() is None


@pytest.mark.parametrize("step", [0, 1, 2, 3, 9])
def test_what_goes_while_a_first_list_is_read_or_settled_is_not_in_the_mirror(step: int) -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    snapshot = session.begin_list(0)
    gone = running("gone", 3, index=7), desired("dg", process_guid="q")
    stays = [row(f"e{number}", process_guid=f"p{number}") for number in range(SLICE)]
    snapshot.list_rows([*stays, gone[0]])
    snapshot.list_desired([*(desired(f"d{number}", process_guid=f"p{number}") for number in range(SLICE)), gone[1]])
    going: list[Event] = [removed(gone[0]), DesiredLRPRemoved(gone[1])]
    for at, _ in enumerate(snapshot.settle()):
        session.events(going if at == step else [], 0)
    session.events(going, 0)
    commit = session.end_list(snapshot, 0)

    assert commit is not None
    assert "gone" not in {delta.key for delta in commit.actual_lrps}
    assert "q" not in {delta.key for delta in commit.desired_lrps}
    assert session.knowledge.store.get("gone") is None
    assert session.knowledge.store.desired("q") is None
    assert len(session.knowledge.store) == SLICE
    session.knowledge.store._check()


def test_what_goes_before_a_first_list_is_whole_is_not_in_the_mirror() -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    commit = take_list(
        session, [running("a", 2)], [desired()], meanwhile=[removed(running("a", 2)), DesiredLRPRemoved(desired())]
    )

    assert commit is None
    assert session.freshness.phase == "live"


def test_what_is_written_again_while_a_first_list_is_read_is_indexed_as_it_is_last() -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    snapshot = session.begin_list(0)
    snapshot.list_rows([unclaimed("a", 0)])
    snapshot.list_rows([claimed("a", 1)])
    session.events([changed(claimed("a", 1), running("a", 2))], 0)
    settle(snapshot)
    session.end_list(snapshot, 0)

    session.knowledge.store._check()
    assert session.knowledge.store.process("p") == (bare(running("a", 2)),)


def test_two_rows_that_a_first_list_has_for_one_slot_are_read_again() -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    take_list(session, [running("a", 2), running("b", 2)], [desired()])

    assert repair_reasons(session) == {"p": {RepairReason.RIVALS}}


def test_metric_tags_come_from_the_routing_part() -> None:
    session = synced()
    snapshot = session.begin_list(0)
    snapshot.list_desired([desired("d", 1, instances=2)])
    snapshot.list_metric_tags([desired("d", 1, metric_tags=TAGS), desired("x", process_guid="unknown")])
    settle(snapshot)
    session.end_list(snapshot, 0)

    assert session.knowledge.store.desired("p") == desired("d", 1, instances=2, metric_tags=TAGS)
    assert repair_reasons(session) == {}


def test_a_routing_part_of_another_version_is_used_and_read_again() -> None:
    session = synced()
    snapshot = session.begin_list(0)
    snapshot.list_desired([desired("d", 1)])
    snapshot.list_metric_tags([desired("d", 2, metric_tags=TAGS)])
    settle(snapshot)
    session.end_list(snapshot, 0)

    assert session.knowledge.store.desired("p") == desired("d", 1, metric_tags=TAGS)
    assert repair_reasons(session) == {"p": {RepairReason.DESIRED}}


def test_a_routing_part_of_another_record_or_without_tags_changes_nothing() -> None:
    session = synced()
    snapshot = session.begin_list(0)
    snapshot.list_desired([desired("d", 1), desired("e", process_guid="q", metric_tags=TAGS)])
    snapshot.list_metric_tags([desired("other", 1, metric_tags=TAGS), desired("e", process_guid="q")])
    settle(snapshot)
    session.end_list(snapshot, 0)

    assert session.knowledge.store.desired("p") == desired("d", 1)
    assert session.knowledge.store.desired("q") == desired("e", process_guid="q", metric_tags=TAGS)
