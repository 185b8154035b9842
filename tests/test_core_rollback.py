"""A server that was set back: what it lists in older versions is believed when a second list agrees, and not before."""

from random import Random

import pytest
from core_rollback_support import OLDER, WAIT, Record, knowing, listed, phase, set_back, state
from core_support import changed, claimed, desired, removed, running, synced, take_list, unclaimed
from msgspec.structs import replace

from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.lists.rollback import DETAILED
from lrpmirror.core.rows.changes import Cause
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import ConnectionFailed, ListNotBelieved
from lrpmirror.events import DesiredLRPChanged, DesiredLRPCreated, DesiredLRPRemoved, Event
from lrpmirror.model import ActualLRP


@pytest.mark.parametrize("name", OLDER)
def test_an_older_list_is_not_believed_once_and_leaves_everything_as_it_is(name: str) -> None:
    session, older = knowing(name)
    before, revision = state(session), session.knowledge.revision

    assert listed(session, *older, at=100) is None

    assert state(session) == before
    assert session.knowledge.revision == revision
    status = session.status(101)
    assert status.phase is Phase.STALE
    assert isinstance(status.trouble, ListNotBelieved)
    assert (status.age, status.state_age) == (1, 51), "the server lives; whether the state is its own is not known"
    assert session.guards.held
    assert session.guards.rollback.wants_stream(100)
    assert not session.guards.rollback.wants_stream(100.1)
    assert session.next_list(101) == WAIT - 1
    assert session.counts().lists_held == 0
    assert session.audit_wait(101) is None


@pytest.mark.parametrize("name", OLDER)
def test_a_second_list_later_and_on_a_stream_opened_since_is_the_state(name: str) -> None:
    session, older = knowing(name)

    commit = set_back(session, *older)

    assert commit is not None
    assert commit.cause is Cause.SNAPSHOT
    assert state(session) == older
    assert phase(session) is Phase.LIVE
    assert session.freshness.trouble is None
    counts = session.counts()
    assert (counts.rollbacks, counts.rolled_back) == (1, 1)
    assert counts.drift == 0
    rolled_back = session.guards.take_rollback()
    assert rolled_back is not None
    assert rolled_back.older + rolled_back.returned == 1
    assert session.guards.take_rollback() is None
    assert listed(session, *older, at=200) is None, "and it stays so"
    assert phase(session) is Phase.LIVE
    assert session.next_list(200) > 100


@pytest.mark.parametrize("name", OLDER)
@pytest.mark.parametrize(
    ("at", "opened_at"), [(100 + WAIT - 0.1, 101), (500, 100)], ids=["too early", "on the stream before"]
)
def test_a_second_list_that_may_come_from_the_same_server_that_lags_confirms_nothing(
    name: str, at: float, opened_at: float
) -> None:
    session, older = knowing(name)
    before = state(session)
    listed(session, *older, at=100)

    assert listed(session, *older, at=at, opened_at=opened_at) is None

    assert state(session) == before
    assert phase(session) is Phase.STALE
    assert listed(session, *older, at=600, opened_at=101) is not None
    assert state(session) == older


@pytest.mark.parametrize("name", OLDER)
def test_a_list_that_is_not_older_refutes_the_one_before(name: str) -> None:
    session, older = knowing(name)
    before = state(session)
    listed(session, *older, at=100)

    assert listed(session, *before, at=101) is None

    assert state(session) == before
    assert phase(session) is Phase.LIVE
    assert session.next_list(101) > 100
    assert listed(session, *older, at=200, opened_at=150) is None, "the next one is the first again"
    assert phase(session) is Phase.STALE


@pytest.mark.parametrize("name", OLDER)
def test_events_after_a_list_that_was_believed_go_on_from_it(name: str) -> None:
    session, older = knowing(name)
    (one,) = older[:1]
    set_back(session, *older)
    later = replace(one, tag_index=one.tag_index + 1, domain="new")

    event: Event = changed(one, later) if isinstance(one, ActualLRP) else DesiredLRPChanged(one, later)  # type: ignore[arg-type]
    session.events([event], 200)

    assert later in state(session)


@pytest.mark.parametrize("name", OLDER)
def test_events_since_the_second_list_was_asked_for_are_brought_on_top(name: str) -> None:
    session, older = knowing(name)
    (one,) = older[:1]
    later = replace(one, tag_index=one.tag_index + 1, domain="new")
    event: Event = changed(one, later) if isinstance(one, ActualLRP) else DesiredLRPChanged(one, later)  # type: ignore[arg-type]

    set_back(session, *older, meanwhile=[event])

    assert later in state(session)
    assert one not in state(session)


def test_an_event_that_overtakes_what_is_known_while_the_second_list_is_read_is_no_step_back() -> None:
    session = synced(running("a", 3), desired("d", 3))
    older = claimed("a", 1), desired("d", 1)
    listed(session, *older, at=100)
    snapshot = session.begin_list(105, opened_at=101)
    snapshot.list_rows(older[:1])
    snapshot.list_desired(older[1:])
    for _ in snapshot.settle():
        pass
    newest = running("a", 4, "j"), desired("d", 4, instances=7)
    session.events([changed(claimed("a", 1), newest[0]), DesiredLRPChanged(older[1], newest[1])], 106)

    session.end_list(snapshot, 106)

    assert [(one.epoch, one.tag_index) for one in state(session)] == [("a", 4), ("d", 4)]
    assert session.counts().rolled_back == 0
    assert phase(session) is Phase.LIVE


def test_all_is_taken_back_also_when_the_indexes_are_made_anew() -> None:
    many = [running(f"e{n}", 7, f"i{n}", process_guid=f"p{n}") for n in range(DETAILED + 100)]
    session = synced(*many)
    older = [replace(row, tag_index=1, routable=False) for row in many]

    commit = set_back(session, *older)

    assert commit is not None
    assert len(commit.actual_lrps) == len(many)
    assert {row.tag_index for row in state(session)} == {1}
    assert session.counts().rolled_back == len(many)


def test_what_only_the_second_list_has_older_stays_and_is_asked_for_again_ever_more_rarely() -> None:
    session = synced(running("a", 7), running("b", 7, "j", index=1))
    listed(session, claimed("a", 1), running("b", 7, "j", index=1), at=100)

    commit = listed(session, claimed("a", 1), claimed("b", 1, "j", index=1), at=110, opened_at=109)

    assert commit is not None
    assert state(session) == [claimed("a", 1), running("b", 7, "j", index=1)]
    assert phase(session) is Phase.STALE
    assert isinstance(session.freshness.trouble, ListNotBelieved)
    assert not session.guards.held
    assert session.freshness.synced_at == 110
    assert session.next_list(110) == 2 * WAIT
    assert listed(session, claimed("a", 1), claimed("b", 1, "j", index=1), at=130, opened_at=129) is not None
    assert state(session) == [claimed("a", 1), claimed("b", 1, "j", index=1)]
    assert phase(session) is Phase.LIVE
    assert session.counts().rollbacks == 2


def test_a_server_that_always_lags_is_listed_ever_more_rarely_and_its_new_records_are_written() -> None:
    session = synced(*(running(f"e{n}", 7, f"i{n}", index=n) for n in range(20)))
    now, waits = 100.0, []
    for n in range(12):
        rows = [running(f"e{m}", 1 if m == n else 7, f"i{m}", index=m) for m in range(20)]
        listed(session, *rows, unclaimed(f"new{n}", index=20 + n), at=now, opened_at=now - 1)
        waits.append(session.next_list(now))
        now += waits[-1]

    assert waits == [5, 10, 20, 40, 80, 160, 320, 320, 320, 320, 320, 320]
    assert session.knowledge.store.get("new11") is not None
    assert session.knowledge.store.get("e11") == running("e11", 7, "i11", index=11)


# Streams that are lost in between


def test_unconfirmed_records_outlive_the_stream_and_the_first_list_on_another_decides() -> None:
    session = synced(running("a", 7))
    listed(session, claimed("a", 1), at=100)
    session.stream_lost(ConnectionFailed("cut"))
    session.stream_opened(101)
    assert phase(session) is Phase.RESYNCING

    listed(session, claimed("a", 1), at=101, opened_at=100.5)
    assert phase(session) is Phase.STALE, "it comes too early"
    assert session.next_list(101) == WAIT - 1
    assert not session.guards.rollback.wants_stream(100.5)

    take_list(session, [claimed("a", 1)], now=105)
    assert state(session) == [claimed("a", 1)]
    assert phase(session) is Phase.LIVE


def test_a_mirror_that_begins_with_the_state_of_before_is_set_back_too() -> None:
    exported = synced(running("a", 7), desired("d", 7)).knowledge.export()
    session = Session(Tuning(), Random(0))
    session.restore(exported, exported.indexed(), now=0, age=60)
    session.stream_opened(1)

    listed(session, claimed("a", 1), desired("d", 1), at=2)
    assert session.freshness.synced_at is None
    assert session.status(2).state_age == 62
    assert state(session) == [running("a", 7), desired("d", 7)]
    session.events([changed(claimed("a", 1), running("a", 2))], 3)

    listed(session, running("a", 2), desired("d", 1), at=7, opened_at=6)
    assert state(session) == [running("a", 2), desired("d", 1)]
    assert phase(session) is Phase.LIVE


def test_the_first_list_of_a_mirror_has_nothing_to_be_held_against() -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    session.events([removed(running("a", 2)), DesiredLRPRemoved(desired("d", 1))], 0)

    assert listed(session, running("a", 2), desired("d", 1), at=1) is not None
    assert phase(session) is Phase.LIVE


# What is no step back


@pytest.mark.parametrize(
    ("known", "events", "then"),
    [
        ([running("a", 2)], [removed(running("a", 2))], [unclaimed("a", 3)]),
        ([running("", 7)], [], [running("", 2)]),
        ([running("", 7)], [removed(running("", 7))], [running("", 7)]),
        ([desired("", 7)], [], [desired("", 2)]),
        ([desired("", 7)], [DesiredLRPRemoved(desired("", 7))], [desired("", 2)]),
        ([desired("d", 7)], [DesiredLRPCreated(desired("e"))], [desired("d", 7)]),
        ([running("a", 2)], [changed(running("a", 2), running("b", 0))], [running("b", 0), unclaimed("a", 3)]),
    ],
)
def test_what_may_be_newer_is_believed_at_once(known: list[Record], events: list[Event], then: list[Record]) -> None:
    session = synced(*known)
    session.events(events, 1)

    listed(session, *then, at=2)

    assert phase(session) is Phase.LIVE
    assert set(map(str, state(session))) == set(map(str, then))


def test_what_a_list_lacked_and_the_next_one_has_is_believed_at_once() -> None:
    session = synced(running("a", 2), desired("d", 1))
    listed(session, at=1)
    assert state(session) == []

    listed(session, running("a", 2), desired("d", 1), at=2)
    assert state(session) == [running("a", 2), desired("d", 1)]
    assert phase(session) is Phase.LIVE


def test_a_removal_by_an_event_after_a_list_is_published() -> None:
    session = synced(running("a", 2))
    listed(session, at=1)
    session.events([removed(running("a", 2))], 2)

    listed(session, running("a", 2), at=3)
    assert state(session) == []
    assert phase(session) is Phase.STALE
