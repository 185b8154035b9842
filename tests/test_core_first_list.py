"""The first list of a mirror without any state: indexed as it arrives, with deltas that are made when read."""

from collections.abc import Callable
from random import Random

import pytest
from core_support import (
    Fold,
    changed,
    claimed,
    created,
    desired,
    law,
    removed,
    row,
    running,
    take_list,
    unclaimed,
)
from hypothesis import given
from hypothesis import strategies as st

from lrpmirror.core.lists.slices import SLICE
from lrpmirror.core.rows.changes import Arrivals, Commit, Delta
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import TimedOut
from lrpmirror.events import DesiredLRPChanged, DesiredLRPCreated, DesiredLRPRemoved, Event
from lrpmirror.model import ActualLRP, DesiredLRP

PROCESSES = SLICE + 10
"""So many that settling takes more than one step."""


def opened() -> Session:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    return session


def first_commit(*listed: ActualLRP) -> Commit:
    commit = take_list(opened(), listed, [desired()])
    assert commit is not None
    return commit


MEANWHILE: tuple[Callable[[int], Event], ...] = (
    lambda n: changed(unclaimed(f"e{n}", process_guid=f"p{n}"), claimed(f"e{n}", 1, f"i{n}", process_guid=f"p{n}")),
    lambda n: removed(unclaimed(f"e{n}", process_guid=f"p{n}")),
    lambda n: created(unclaimed(f"new{n}", process_guid=f"p{n}", index=1)),
    lambda n: DesiredLRPChanged(desired(f"d{n}", process_guid=f"p{n}"), desired(f"d{n}", 1, process_guid=f"p{n}")),
    lambda n: DesiredLRPRemoved(desired(f"d{n}", process_guid=f"p{n}")),
    lambda n: DesiredLRPCreated(desired(f"new{n}", process_guid=f"q{n}")),
)


@law(60)
@given(
    notified=st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from(MEANWHILE), st.sampled_from([0, 1, SLICE + 5])), max_size=8
    )
)
def test_its_deltas_fold_to_the_state_whatever_events_come_while_it_is_settled(
    notified: list[tuple[int, Callable[[int], Event], int]],
) -> None:
    session = opened()
    snapshot = session.begin_list(0)
    snapshot.list_rows(row(f"e{n}", process_guid=f"p{n}") for n in range(PROCESSES))
    snapshot.list_desired(desired(f"d{n}", process_guid=f"p{n}") for n in range(PROCESSES))

    def tell(turn: int) -> None:
        session.events([event(n) for due, event, n in notified if due == turn], 0)

    turn = 0
    tell(turn)
    for _ in snapshot.settle():
        turn += 1
        tell(turn)
    for rest in range(turn + 1, 7):
        tell(rest)
    commit = session.end_list(snapshot, 0)

    assert commit is not None
    fold = Fold()
    fold.take([commit])
    fold.agrees_with(session)
    session.knowledge.store._check()
    assert len(commit.actual_lrps) == len(tuple(commit.actual_lrps)) == len(session.knowledge.store)
    assert len(commit.desired_lrps) == len(tuple(commit.desired_lrps)) == session.knowledge.store.desired_count()
    assert {delta.before for delta in commit.actual_lrps} <= {None}
    assert {delta.before for delta in commit.desired_lrps} <= {None}


def test_a_row_that_is_listed_twice_is_published_once_as_it_was_listed_last() -> None:
    commit = first_commit(unclaimed("a"), claimed("a", 1))

    assert tuple(commit.actual_lrps) == (Delta("a", None, claimed("a", 1)),)


def test_its_deltas_are_read_as_often_and_as_one_likes() -> None:
    one, other = running("a"), running("b", index=1)
    deltas = first_commit(one, other).actual_lrps

    assert list(deltas) == list(deltas) == [Delta("a", None, one), Delta("b", None, other)]
    assert deltas[-1] == Delta("b", None, other)
    assert deltas[:1] == (Delta("a", None, one),)
    assert Delta("b", None, other) in deltas
    assert repr(deltas) == "<2 arrivals>"


def test_they_equal_the_same_deltas_in_a_tuple() -> None:
    deltas = first_commit(running("a")).actual_lrps

    assert deltas == tuple(deltas) == deltas == first_commit(running("a")).actual_lrps
    assert hash(deltas) == hash(tuple(deltas))
    assert deltas != first_commit(running("b")).actual_lrps
    assert deltas.__eq__(list(deltas)) is NotImplemented


def test_they_stay_what_they_were_when_the_state_goes_on() -> None:
    session = opened()
    commit = take_list(session, [running("a", 2)])
    assert commit is not None

    session.events([removed(running("a", 2))], 1)

    assert not len(session.knowledge.store)
    assert tuple(commit.actual_lrps) == (Delta("a", None, running("a", 2)),)


def test_an_empty_first_list_publishes_nothing() -> None:
    assert take_list(opened()) is None
    assert not Arrivals(tuple, str, (), (), 0)


def test_a_record_that_was_removed_during_the_list_stays_gone_after_a_late_event() -> None:
    session = opened()
    lrp = desired("d")
    take_list(
        session,
        meanwhile=[created(unclaimed("a")), removed(unclaimed("a")), DesiredLRPCreated(lrp), DesiredLRPRemoved(lrp)],
    )

    assert session.events([created(unclaimed("a")), DesiredLRPCreated(lrp)], 1) == []
    assert not len(session.knowledge.store)


@pytest.mark.parametrize("begun", [True, False])
def test_a_record_that_was_removed_before_the_request_stays_gone_after_a_late_event(begun: bool) -> None:
    """As where the list before it failed, of which nothing is left."""
    session = opened()
    lrp = desired("d")
    snapshot = session.begin_list(0) if begun else None
    session.events(
        [created(unclaimed("a")), removed(unclaimed("a")), DesiredLRPCreated(lrp), DesiredLRPRemoved(lrp)], 0
    )
    if snapshot is not None:
        session.list_failed(snapshot, TimedOut("the list took too long"))
    take_list(session)

    assert session.events([created(unclaimed("a")), DesiredLRPCreated(lrp)], 1) == []
    assert not len(session.knowledge.store)


def test_what_was_unclaimed_before_it_was_asked_for_is_there() -> None:
    """Its instance left, which a `removed` reports too."""
    session = opened()
    session.events([created(unclaimed("a", 3)), removed(running("a", 2))], 0)
    take_list(session, [unclaimed("a", 3)])
    session.events([changed(unclaimed("a", 3), claimed("a", 4))], 1)

    assert [row.tag_index for row in session.knowledge.store.process("p")] == [4]


@pytest.mark.parametrize("lrps", [[], [desired()]])
def test_the_desired_lrp_is_asked_for_of_a_process_that_runs_without_one(lrps: list[DesiredLRP]) -> None:
    session = opened()
    take_list(session, [running("a"), unclaimed("b", index=1), claimed("c", process_guid="q")], lrps)

    scope = session.take_repairs()

    assert (scope.desired if scope else None) == (None if lrps else frozenset({"p"}))
