"""Events that arrive while a list is read, compared and committed: they are in the result, in their order."""

from collections.abc import Callable

import pytest
from core_support import (
    Fold,
    bare,
    changed,
    claimed,
    created,
    desired,
    law,
    many,
    removed,
    repair_reasons,
    running,
    settle,
    synced,
    take_list,
    unclaimed,
)
from hypothesis import given
from hypothesis import strategies as st

from lrpmirror.core.lists.slices import SLICE
from lrpmirror.core.lists.snapshot import FEW
from lrpmirror.core.rows.changes import Commit, Delta
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.session import Session
from lrpmirror.events import DesiredLRPChanged, DesiredLRPCreated, DesiredLRPRemoved, Event
from lrpmirror.model import ActualLRP, DesiredLRP


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
    last = 2 * FEW - 1
    gone = desired("d900", 1, process_guid="p900"), desired(f"d{last}", 1, process_guid=f"p{last}")
    snapshot = session.begin_list(0)
    snapshot.list_desired(lrps(1))
    for turn, _ in enumerate(snapshot.settle()):
        # In the middle of comparing, and in the middle of building the new indexes.
        if turn in (4, 14):
            session.events([DesiredLRPRemoved(gone[turn == 14])], 0)
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
    assert repair_reasons(session) == {"p": {RepairReason.RIVALS}}
