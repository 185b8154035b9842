"""A list in progress: what the server listed, with the events since then on top, against what the mirror has."""

import weakref
from collections.abc import Callable
from random import Random

import pytest
from core_support import (
    Fold,
    bare,
    changed,
    claimed,
    created,
    desired,
    law,
    removed,
    row,
    running,
    synced,
    take_list,
    unclaimed,
)
from hypothesis import given
from hypothesis import strategies as st

from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.lists.slices import MANY, SLICE
from lrpmirror.core.lists.snapshot import FEW, PendingSnapshot
from lrpmirror.core.rows.changes import Cause, Commit, Delta
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import LimitExceeded
from lrpmirror.events import (
    ActualLRPCrashed,
    ActualLRPCreated,
    ActualLRPRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP, MetricTagValue


def doubts(session: Session) -> dict[str, set[RepairReason]]:
    return {guid: set(why) for guid, why in session.repairs._reasons.items()}


def many(count: int, tag_index: int = 0) -> list[ActualLRP]:
    return [unclaimed(f"e{n}", tag_index, process_guid=f"p{n % 400}", index=n) for n in range(count)]


def settle(snapshot: PendingSnapshot) -> None:
    for _ in snapshot.settle():
        pass


# What a list brings


def test_the_differences_are_one_commit() -> None:
    session = synced(unclaimed("gone"), unclaimed("same", index=1), unclaimed("older", index=2), desired("old"))

    commit = take_list(
        session,
        [unclaimed("same", index=1), claimed("older", 1, index=2), unclaimed("new", index=3)],
        [desired("old", 1)],
    )

    assert commit is not None
    assert commit.cause is Cause.SNAPSHOT
    assert {delta.key: delta for delta in commit.actual_lrps} == {
        "gone": Delta("gone", unclaimed("gone"), None),
        "older": Delta("older", unclaimed("older", index=2), claimed("older", 1, index=2)),
        "new": Delta("new", None, unclaimed("new", index=3)),
    }
    assert commit.desired_lrps == (Delta("p", desired("old"), desired("old", 1)),)


def test_a_list_that_brings_nothing_new_is_no_commit_and_keeps_the_rows_that_are_there() -> None:
    session = synced(running(), desired())
    (kept,) = session.knowledge.store.process("p")

    assert take_list(session, [running()], [desired()]) is None
    assert session.knowledge.store.process("p")[0] is kept
    assert session.knowledge.revision == 1


def test_equal_rows_are_shared_with_the_mirror_also_when_the_indexes_are_made_anew() -> None:
    session = synced(running("kept", 2))
    (kept,) = session.knowledge.store.process("p")

    take_list(session, [running("kept", 2), *many(FEW + SLICE + 1)])

    assert session.knowledge.store.get("kept") is kept


@pytest.mark.parametrize("count", [1, FEW, FEW + SLICE + 2])
def test_few_differences_are_written_in_place_and_many_exchange_the_indexes(count: int) -> None:
    session = synced(running("kept", 2))
    before = session.knowledge.store

    commit = take_list(session, [running("kept", 2), *many(count)], [desired(process_guid="p1")])

    assert (session.knowledge.store is before) == (count <= FEW)
    assert commit is not None
    assert len(commit.actual_lrps) == count
    assert len(session.knowledge.store) == count + 1
    assert session.events([created(unclaimed("x", process_guid="x"))], 0), "the exchanged store takes events"
    assert session.knowledge.store.get("x") is not None


def test_the_first_list_is_indexed_aside_and_every_row_is_news() -> None:
    session = Session(Tuning(), _rng())
    session.stream_opened(0)
    empty = session.knowledge.store

    commit = take_list(session, many(SLICE + 1), [desired()])

    assert session.knowledge.store is not empty
    assert commit is not None
    assert len(commit.actual_lrps) == SLICE + 1
    assert commit.desired_lrps == (Delta("p", None, desired()),)


@pytest.mark.parametrize("count", [1, FEW + SLICE])
def test_what_was_listed_can_be_let_go_of_bit_by_bit_and_the_mirror_keeps_it(count: int) -> None:
    new = Session(Tuning(), _rng())
    new.stream_opened(0)
    for session in (synced(running("old")), new):
        snapshot = session.begin_list(0)
        snapshot.list_rows(many(count))
        snapshot.list_desired([desired()])
        settle(snapshot)
        session.end_list(snapshot, 0)

        steps = list(snapshot.free_in_slices())

        # The first list's own indexes are the mirror's.
        assert (len(steps) > 1) is not snapshot.first
        assert len(session.knowledge.store) == count
        assert session.knowledge.store.desired_count() == 1
        session.knowledge.store._check()
        if not snapshot.first:
            assert not snapshot.listed("e0")


def test_what_a_list_lacks_is_found_also_where_nearly_all_of_it_is_new() -> None:
    session = synced(running("old"))

    commit = take_list(session, many(MANY + 1), [desired()])

    assert commit is not None
    assert len(commit.actual_lrps) == MANY + 2
    assert session.knowledge.store.get("old") is None
    assert len(session.knowledge.store) == MANY + 1


def test_fresh_domains_survive_the_exchange_of_the_indexes() -> None:
    session = synced()
    snapshot = session.begin_list(0)
    snapshot.domains = frozenset({"apps"})
    settle(snapshot)
    session.end_list(snapshot, 0)

    take_list(session, many(FEW + SLICE + 2))

    assert session.knowledge.store.domains == {"apps"}


# Events since the list was asked for


def test_events_between_request_and_reply_are_applied_on_top_in_their_order() -> None:
    session = synced(unclaimed())
    notified: list[Event] = [
        changed(unclaimed(), claimed()),
        changed(claimed(), running()),
        created(unclaimed("b", index=1)),
        removed(unclaimed("b", index=1)),
    ]

    commit = take_list(session, [unclaimed()], meanwhile=notified)

    assert commit is None
    assert session.knowledge.store.process("p") == (bare(running()),)


def test_a_list_newer_than_the_events_is_not_undone_by_them() -> None:
    session = synced(unclaimed())
    notified: list[Event] = [changed(unclaimed(), claimed()), changed(claimed(), running())]

    take_list(session, [running("a", 3)], meanwhile=notified)

    assert session.knowledge.store.process("p") == (running("a", 3),)


def test_an_event_during_the_list_settles_the_row_that_an_older_list_lacks() -> None:
    session = synced()

    take_list(session, [], meanwhile=[created(unclaimed("new"))])

    assert session.knowledge.store.process("p") == (unclaimed("new"),)


def test_a_row_removed_meanwhile_does_not_come_back_with_the_list() -> None:
    session = synced(running())

    take_list(session, [running()], meanwhile=[removed(running())])

    assert session.knowledge.store.process("p") == ()


def at_every_stage(
    session: Session, rows: list[ActualLRP], lrps: list[DesiredLRP], notified: list[Event], stage: int
) -> list[Commit | None]:
    """List with the events at one stage: 0 just after the request, 1 between two lists, then after each slice."""
    snapshot = session.begin_list(0)
    commits: list[Commit | None] = []
    at = 0

    def tell() -> None:
        nonlocal at
        if at == stage:
            commits.extend(session.events(notified, 0))
        at += 1

    tell()
    snapshot.list_rows(rows)
    tell()
    snapshot.list_desired(lrps)
    tell()
    for _ in snapshot.settle():
        tell()
    if at <= stage:
        commits.extend(session.events(notified, 0))
    return [*commits, session.end_list(snapshot, 0)]


def same_size(_count: int) -> list[ActualLRP]:
    return many(SLICE + 10)


@pytest.mark.parametrize("stage", range(0, 42, 3))
@pytest.mark.parametrize("listed", [same_size, many], ids=["nothing new", "much new"])
def test_events_that_arrive_at_any_stage_of_a_list_are_in_the_result(
    stage: int, listed: Callable[[int], list[ActualLRP]]
) -> None:
    had = many(SLICE + 10)
    session = synced(*had, desired(process_guid="p1"))
    fold = Fold()
    fold.rows = {one.epoch: one for one in had}
    fold.lrps = {"p1": desired(process_guid="p1")}
    fold.revision = session.knowledge.revision
    old, lost, kept = had[1], had[SLICE + 5], had[3]
    moved = claimed(old.epoch, 1, process_guid=old.process_guid, index=old.index)
    new = unclaimed("brand-new", process_guid="p9", index=77)
    notified: list[Event] = [
        changed(old, moved),
        removed(lost),
        created(new),
        created(kept),
        DesiredLRPChanged(desired(process_guid="p1"), desired("d", 1, process_guid="p1")),
        DesiredLRPCreated(desired("new", process_guid="p2")),
        DesiredLRPRemoved(desired("new", process_guid="p2")),
        DesiredLRPCreated(desired("third", process_guid="p3")),
    ]
    rows = listed(FEW + 2 * SLICE)

    fold.take(at_every_stage(session, rows, [desired(process_guid="p1")], notified, stage))

    session.knowledge.store._check()
    fold.agrees_with(session)
    assert session.knowledge.store.get(old.epoch) == moved
    assert session.knowledge.store.get(lost.epoch) is None
    assert session.knowledge.store.get("brand-new") == new
    assert len(session.knowledge.store) == len(rows)
    assert session.knowledge.store.desired("p1") == desired("d", 1, process_guid="p1")
    assert session.knowledge.store.desired("p2") is None
    assert session.knowledge.store.desired("p3") is not None


@law(60)
@given(at=st.lists(st.integers(0, 40), min_size=12, max_size=12), count=st.sampled_from([10, SLICE + 5, FEW + 900]))
def test_a_mirror_that_is_written_while_it_is_compared_ends_in_the_servers_state(at: list[int], count: int) -> None:
    """Twelve rows are claimed one after the other, each at its own slice of the list."""
    had = many(60)
    session = synced(*had)
    fold = Fold()
    fold.rows = {one.epoch: one for one in had}
    fold.revision = session.knowledge.revision
    server = {one.epoch: one for one in many(count)}
    snapshot = session.begin_list(0)
    snapshot.list_rows(server.values())

    def claim(turn: int) -> None:
        for n, due in enumerate(at):
            if due == turn:
                old = unclaimed(f"e{n}", 0, process_guid=f"p{n}", index=n)
                server[old.epoch] = claimed(old.epoch, 1, process_guid=f"p{n}", index=n)
                fold.take(session.events([changed(old, server[old.epoch])], 0))

    turn = 0
    claim(turn)
    for _ in snapshot.settle():
        turn += 1
        claim(turn)
    for rest in range(turn + 1, 41):
        claim(rest)
    fold.take([session.end_list(snapshot, 0)])

    session.knowledge.store._check()
    fold.agrees_with(session)
    assert {epoch: one for epoch, one in fold.rows.items() if epoch in server} == {
        epoch: one for epoch, one in server.items() if epoch in fold.rows
    }
    assert fold.rows.keys() == server.keys()


def test_events_that_arrive_while_earlier_ones_are_applied_are_not_lost() -> None:
    session = synced()
    snapshot = session.begin_list(0)
    session.events([created(unclaimed("a"))], 0)
    snapshot.list_rows([])

    slices = snapshot.settle()
    next(slices)
    session.events([created(unclaimed("b", index=1)), created(unclaimed("c", index=2))], 0)
    for _ in slices:
        pass
    session.end_list(snapshot, 0)

    assert [one.epoch for one in session.knowledge.store.process("p")] == ["a", "b", "c"]


def test_an_event_that_only_the_mirror_had_not_seen_moves_the_beginning_of_the_difference() -> None:
    """The list has the row newer than the event: the event is news for the mirror, after the two were compared."""
    had = many(2 * SLICE)
    session = synced(*had, *(desired(f"d{n}", process_guid=f"p{n}") for n in range(2 * SLICE)))
    old = had[0]
    then = claimed(old.epoch, 1, process_guid=old.process_guid, index=old.index)
    now = running(old.epoch, 2, process_guid=old.process_guid, index=old.index)
    snapshot = session.begin_list(0)
    snapshot.list_rows([now, *many(2 * SLICE, 2)[1:]])
    snapshot.list_desired([desired(f"d{n}", 2, process_guid=f"p{n}") for n in range(2 * SLICE)])
    settle(snapshot)

    events: list[Event] = [changed(old, then), DesiredLRPChanged(desired("d0"), desired("d0", 1, process_guid="p0"))]
    assert len(session.events(events, 0)) == 2
    commit = session.end_list(snapshot, 0)

    assert commit is not None
    assert next(delta for delta in commit.actual_lrps if delta.key == old.epoch).before == then
    assert next(lrp for lrp in commit.desired_lrps if lrp.key == "p0").before == desired("d0", 1, process_guid="p0")


def test_an_empty_mirror_that_is_written_while_it_is_listed_commits_what_it_lacks_only() -> None:
    session = synced()

    commit = take_list(session, [unclaimed("b", index=1)], meanwhile=[created(unclaimed("a"))])

    assert commit is not None
    assert commit.actual_lrps == (Delta("b", None, unclaimed("b", index=1)),)
    assert [one.epoch for one in session.knowledge.store.process("p")] == ["a", "b"]


def test_many_desired_lrps_are_compared_in_slices_and_written_while_they_are() -> None:
    def lrps(tag_index: int) -> list[DesiredLRP]:
        return [desired(f"d{n}", tag_index, process_guid=f"p{n}") for n in range(2 * FEW)]

    session = synced(*lrps(0))
    gone = desired("d900", 1, process_guid="p900"), desired("d3999", 1, process_guid="p3999")
    snapshot = session.begin_list(0)
    snapshot.list_desired(lrps(1))
    for turn, _ in enumerate(snapshot.settle()):
        # In the middle of comparing, and in the middle of building the new indexes.
        if turn in (4, 30):
            session.events([DesiredLRPRemoved(gone[turn == 30])], 0)
    commit = session.end_list(snapshot, 0)

    session.knowledge.store._check()
    assert commit is not None
    assert session.knowledge.store.desired_count() == 2 * FEW - 2
    assert {lrp.tag_index for lrp in session.knowledge.store.select_desired(app_guid=None, domain=None)} == {1}
    assert len(commit.desired_lrps) == 2 * FEW - 2


@pytest.mark.parametrize("turn", range(2, 34, 3))
def test_a_desired_lrp_that_goes_or_comes_while_the_indexes_are_made_anew(turn: int) -> None:
    session = synced(desired())
    rows = many(FEW + 2 * SLICE)
    snapshot = session.begin_list(0)
    snapshot.list_rows(rows)
    snapshot.list_desired([desired()])
    slices = snapshot.settle()
    for _ in range(turn):
        next(slices, None)
    session.events(
        [DesiredLRPRemoved(desired()), DesiredLRPCreated(desired("e", process_guid="q")), created(unclaimed("rival"))],
        0,
    )
    session.events([created(unclaimed("other"))], 0)
    for _ in slices:
        pass
    session.end_list(snapshot, 0)

    session.knowledge.store._check()
    assert session.knowledge.store.desired("p") is None
    assert session.knowledge.store.desired("q") == desired("e", process_guid="q")
    assert doubts(session) == {"p": {RepairReason.RIVALS}}


# What a list cannot be trusted with


def test_a_list_of_a_server_that_lags_never_moves_a_version_back() -> None:
    session = synced(running("a", 5), desired("d", 5))

    assert take_list(session, [claimed("a", 3)], [desired("d", 3)]) is None
    assert session.knowledge.store.process("p") == (running("a", 5),)
    assert session.knowledge.store.desired("p") == desired("d", 5)
    assert doubts(session) == {}, "only a list can tell"


def test_a_lagging_row_keeps_its_version_also_when_the_indexes_are_made_anew() -> None:
    session = synced(running("a", 5), desired("d", 5))

    take_list(session, [claimed("a", 3), *many(FEW + SLICE + 2)], [desired("d", 3)])

    assert session.knowledge.store.get("a") == running("a", 5)
    assert session.knowledge.store.desired("p") == desired("d", 5)


def test_a_row_that_is_listed_loses_its_tombstone() -> None:
    session = synced(running("a", 2))
    session.events([removed(running("a", 2))], 0)

    take_list(session, [unclaimed("a", 3)])
    assert session.knowledge.store.process("p") == (unclaimed("a", 3),)

    session.events([changed(unclaimed("a", 3), claimed("a", 4))], 0)
    assert session.knowledge.store.process("p") == (claimed("a", 4),)


def test_a_desired_lrp_that_is_listed_loses_its_tombstone() -> None:
    session = synced(desired("d", 1))
    take_list(session)

    take_list(session, [], [desired("d", 1)])
    session.events([DesiredLRPChanged(desired("d", 1), desired("d", 2))], 0)

    assert session.knowledge.store.desired("p") == desired("d", 2)


def test_what_a_list_did_not_have_is_not_brought_back_by_a_late_event() -> None:
    session = synced(running("a", 2), desired("d", 1))
    take_list(session)

    session.events([changed(claimed("a", 1), running("a", 2)), DesiredLRPChanged(desired("d", 0), desired("d", 1))], 0)

    assert session.knowledge.store.process("p") == ()
    assert session.knowledge.store.desired("p") is None


def test_a_record_that_a_list_replaced_is_not_brought_back_by_a_late_event() -> None:
    session = synced(desired("old", 4))
    take_list(session, [], [desired("new")])

    session.events([DesiredLRPChanged(desired("old", 3), desired("old", 4))], 0)

    assert session.knowledge.store.desired("p") == desired("new")


def test_a_process_desired_anew_while_it_is_listed_is_read_again_where_the_list_was_ahead() -> None:
    session = synced()
    notified: list[Event] = [
        DesiredLRPCreated(desired("old")),
        DesiredLRPRemoved(desired("old")),
        DesiredLRPCreated(desired("new")),
    ]

    take_list(session, [], [desired("new")], meanwhile=notified)

    assert doubts(session) == {"p": {RepairReason.DESIRED}}
    take_list(session, [], [desired("new")], scope=_taken(session))
    assert session.knowledge.store.desired("p") == desired("new")


def test_a_doubt_about_a_row_in_a_list_is_read_again_after_it() -> None:
    session = synced()

    take_list(session, [claimed("a", 1)], meanwhile=[changed(claimed("a", 1), running("a", 2))])

    assert doubts(session)["p"] >= {RepairReason.INCOMPLETE}


def test_two_rows_that_a_list_has_for_one_slot_are_read_again() -> None:
    session = synced(unclaimed("kept", process_guid="q"))
    both = [unclaimed("a"), unclaimed("b")]

    take_list(session, [unclaimed("kept", process_guid="q"), *both])
    assert doubts(session) == {"p": {RepairReason.RIVALS}}
    assert _taken(session).rows == frozenset({"p"})

    take_list(session, [*both, *many(FEW + SLICE + 2)])
    assert doubts(session) == {"p": {RepairReason.RIVALS}}


# Metric tags, from a list of their own


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

    assert doubts(session) == {"p": {RepairReason.RIVALS}}


def test_metric_tags_come_from_the_routing_part() -> None:
    session = synced()
    snapshot = session.begin_list(0)
    snapshot.list_desired([desired("d", 1, instances=2)])
    snapshot.list_metric_tags([desired("d", 1, metric_tags=TAGS), desired("x", process_guid="unknown")])
    settle(snapshot)
    session.end_list(snapshot, 0)

    assert session.knowledge.store.desired("p") == desired("d", 1, instances=2, metric_tags=TAGS)
    assert doubts(session) == {}


def test_a_routing_part_of_another_version_is_taken_and_read_again() -> None:
    session = synced()
    snapshot = session.begin_list(0)
    snapshot.list_desired([desired("d", 1)])
    snapshot.list_metric_tags([desired("d", 2, metric_tags=TAGS)])
    settle(snapshot)
    session.end_list(snapshot, 0)

    assert session.knowledge.store.desired("p") == desired("d", 1, metric_tags=TAGS)
    assert doubts(session) == {"p": {RepairReason.DESIRED}}


def test_a_routing_part_of_another_record_or_without_tags_changes_nothing() -> None:
    session = synced()
    snapshot = session.begin_list(0)
    snapshot.list_desired([desired("d", 1), desired("e", process_guid="q", metric_tags=TAGS)])
    snapshot.list_metric_tags([desired("other", 1, metric_tags=TAGS), desired("e", process_guid="q")])
    settle(snapshot)
    session.end_list(snapshot, 0)

    assert session.knowledge.store.desired("p") == desired("d", 1)
    assert session.knowledge.store.desired("q") == desired("e", process_guid="q", metric_tags=TAGS)


# A list of some processes


def test_a_list_of_some_processes_leaves_the_others_alone() -> None:
    session = synced(running("a", 2), unclaimed("b", process_guid="q"), desired(), desired("e", process_guid="q"))

    commit = take_list(session, [], [], scope=Scope(frozenset({"p"}), frozenset()))

    assert commit is not None
    assert commit.cause is Cause.REPAIR
    assert [delta.key for delta in commit.actual_lrps] == ["a"]
    assert commit.desired_lrps == ()
    assert session.knowledge.store.process("q") == (unclaimed("b", process_guid="q"),)


def test_a_list_of_some_desired_lrps_leaves_rows_alone() -> None:
    session = synced(running("a", 2), desired(), desired("e", process_guid="q"))

    commit = take_list(session, [], [desired("d", 3)], scope=Scope(frozenset(), frozenset({"p"})))

    assert commit is not None
    assert commit.actual_lrps == ()
    assert commit.desired_lrps == (Delta("p", desired(), desired("d", 3)),)


def test_events_of_other_processes_while_some_are_listed_go_to_the_mirror_only() -> None:
    session = synced()
    notified: list[Event] = [
        created(unclaimed("b", process_guid="q")),
        created(unclaimed("a")),
        DesiredLRPCreated(desired(process_guid="q")),
        ActualLRPCrashed(process_guid="p"),
    ]

    take_list(session, [], [], scope=Scope(frozenset({"p"}), frozenset()), meanwhile=notified)

    assert session.knowledge.store.get("a") == unclaimed("a")
    assert session.knowledge.store.get("b") == unclaimed("b", process_guid="q")
    assert session.knowledge.store.desired("q") == desired(process_guid="q")


def test_a_scope_admits_the_events_of_the_group_stream() -> None:
    scope = Scope(frozenset({"p"}), frozenset())

    assert scope.admits(ActualLRPCreated(ActualLRPGroup(unclaimed())))
    assert scope.admits(ActualLRPRemoved(ActualLRPGroup(None, unclaimed())))
    assert not scope.admits(ActualLRPCreated(ActualLRPGroup(unclaimed(process_guid="q"))))
    assert not scope.admits(ActualLRPCreated(ActualLRPGroup()))


def test_a_scope_admits_the_events_of_its_processes() -> None:
    scope = Scope(frozenset({"p"}), frozenset({"q"}))

    assert scope.admits(created(unclaimed()))
    assert not scope.admits(created(unclaimed(process_guid="q")))
    assert scope.admits(DesiredLRPCreated(desired(process_guid="q")))
    assert not scope.admits(DesiredLRPCreated(desired()))
    assert not scope.admits(ActualLRPCrashed(process_guid="p"))
    assert EVERYTHING.admits(created(unclaimed()))
    assert EVERYTHING.admits(DesiredLRPCreated(desired()))


# Bounds


def test_a_list_that_is_over_leaves_nothing_to_the_garbage_collector() -> None:
    session = synced(unclaimed())
    snapshot = session.begin_list(0)
    snapshot.list_rows([unclaimed(), unclaimed("b", process_guid="q")])
    session.events([changed(unclaimed(), claimed())], 0)
    for _ in snapshot.settle():
        pass
    session.end_list(snapshot, 0)
    gone = weakref.ref(snapshot)

    del snapshot

    assert gone() is None


def test_more_events_than_may_be_kept_begin_the_list_anew() -> None:
    session = synced(tuning=Tuning(in_flight_limit=2))
    snapshot = session.begin_list(0)
    for n in range(2):
        session.events([created(unclaimed(f"e{n}", index=n))], 0)
        snapshot.check_limit()
    for n in range(2, 6):
        session.events([created(unclaimed(f"e{n}", index=n))], 0)

    with pytest.raises(LimitExceeded, match="more than 2 events"):
        snapshot.check_limit()
    assert len(session.knowledge.store.process("p")) == 6, "the mirror goes on meanwhile"


def _taken(session: Session) -> Scope:
    scope = session.take_repairs()
    assert scope is not None
    return scope


def _rng() -> Random:
    return Random(0)
