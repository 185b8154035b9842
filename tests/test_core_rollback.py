"""A server that was set back: what it lists in older versions is believed when a second list agrees, and not before."""

from collections.abc import Iterable, Sequence
from random import Random

import pytest
from core_support import (
    changed,
    claimed,
    created,
    desired,
    removed,
    running,
    synced,
    take_list,
    unclaimed,
)
from msgspec.structs import replace

from lrpmirror.core.explain.decisions import ListOutcome
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.lists.snapshot import FEW
from lrpmirror.core.rows.changes import Cause, Commit
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import ConnectionFailed, ListNotBelieved
from lrpmirror.events import DesiredLRPChanged, DesiredLRPCreated, DesiredLRPRemoved, Event
from lrpmirror.model import ActualLRP, DesiredLRP

Record = ActualLRP | DesiredLRP

WAIT = Tuning().rollback_wait


def listed(
    session: Session,
    *records: Record,
    at: float,
    opened_at: float = 0,
    meanwhile: Sequence[Event] = (),
    scope: Scope = EVERYTHING,
) -> Commit | None:
    """List these, on a stream that was opened then."""
    snapshot = session.begin_list(at, scope, opened_at=opened_at)
    if meanwhile:
        session.events(meanwhile, at)
    snapshot.list_rows([one for one in records if isinstance(one, ActualLRP)])
    snapshot.list_desired([one for one in records if isinstance(one, DesiredLRP)])
    for _ in snapshot.settle():
        pass
    commit = session.end_list(snapshot, at)
    session.knowledge.store._check()
    return commit


def state(session: Session) -> list[Record]:
    store = session.knowledge.store
    rows = store.select(cell_id=None, state=None, domain=None)
    return [*sorted(rows, key=lambda row: row.epoch), *store.select_desired(app_guid=None, domain=None)]


def phase(session: Session) -> Phase:
    return session.status(0).phase


def set_back(session: Session, *records: Record, meanwhile: Sequence[Event] = ()) -> Commit | None:
    """List these twice, as it takes for them to be believed."""
    assert listed(session, *records, at=100) is None
    return listed(session, *records, at=100 + WAIT, opened_at=101, meanwhile=meanwhile)


# What is known, and what an older list has; and whether it is older

OLDER: dict[str, tuple[list[Record], list[Event], list[Record]]] = {
    "an older row": ([running("a", 7)], [], [claimed("a", 1)]),
    "an older desired LRP": ([desired("d", 7)], [], [desired("d", 1)]),
    "a row that was removed": ([running("a", 2)], [removed(running("a", 2))], [running("a", 2)]),
    "an older version of a row that was removed": ([running("a", 2)], [removed(running("a", 2))], [claimed("a", 1)]),
    "a desired LRP that was removed": ([desired("d", 1)], [DesiredLRPRemoved(desired("d", 1))], [desired("d", 1)]),
    "a desired LRP in whose place is another": (
        [desired("d", 1)],
        [DesiredLRPRemoved(desired("d", 1)), DesiredLRPCreated(desired("e"))],
        [desired("d", 1)],
    ),
    "a row from which the instance has moved": (
        [running("a", 2)],
        [changed(running("a", 2), running("b", 0))],
        [running("a", 2)],
    ),
    "an older row beside one that never was": ([running("a", 7), claimed("b", 1, "j", index=1)], [], [claimed("a", 1)]),
    "an older row beside one that is newer": (
        [running("a", 7), unclaimed("b", index=1)],
        [],
        [claimed("a", 1), claimed("b", 1, "j", index=1)],
    ),
}


def knowing(name: str) -> tuple[Session, list[Record]]:
    known, events, older = OLDER[name]
    session = synced(*known)
    session.events(events, 50)
    return session, older


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
    many = [running(f"e{n}", 7, f"i{n}", process_guid=f"p{n}") for n in range(FEW + 100)]
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


def test_a_server_that_always_lags_a_little_is_asked_ever_more_rarely_and_its_news_are_taken() -> None:
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


def test_the_doubt_outlives_the_stream_and_the_first_list_on_another_decides() -> None:
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


def test_a_removal_that_an_event_tells_of_after_a_list_is_told() -> None:
    session = synced(running("a", 2))
    listed(session, at=1)
    session.events([removed(running("a", 2))], 2)

    listed(session, running("a", 2), at=3)
    assert state(session) == []
    assert phase(session) is Phase.STALE


# Reads of some processes, and what makes them be asked for

P = Scope(frozenset({"p"}), frozenset({"p"}))


@pytest.mark.parametrize("name", OLDER)
def test_a_read_that_is_older_believes_nothing_and_asks_for_a_list_of_everything(name: str) -> None:
    session, older = knowing(name)
    before = state(session)

    assert listed(session, *older, at=100, scope=P) is None

    assert state(session) == before
    assert phase(session) is Phase.STALE
    assert isinstance(session.freshness.trouble, ListNotBelieved)
    assert session.guards.rollback.wants_list
    assert session.next_list(100) == 0
    assert RepairReason.OLDER not in session.repairs.reasons_of("p"), "no read is repeated"
    listed(session, *older, at=100, opened_at=0)
    assert not session.guards.rollback.wants_list
    listed(session, *older, at=100 + WAIT, opened_at=101)
    assert state(session) == older


def test_such_a_read_confirms_nothing() -> None:
    session = synced(running("a", 7))
    listed(session, claimed("a", 1), at=100)

    assert listed(session, claimed("a", 1), at=200, opened_at=200, scope=P) is None
    assert state(session) == [running("a", 7)]
    assert not session.guards.rollback.wants_list

    listed(session, claimed("a", 1), at=200, opened_at=200)
    assert state(session) == [claimed("a", 1)]


@pytest.mark.parametrize(
    ("known", "events", "doubt"),
    [
        ([running("a", 7)], [changed(unclaimed("a", 0), claimed("a", 1))], RepairReason.OLDER),
        ([running("a", 7)], [created(unclaimed("a", 3))], RepairReason.OLDER),
        ([desired("d", 7)], [DesiredLRPChanged(desired("d", 0), desired("d", 1))], RepairReason.DESIRED),
        (
            [running("a", 2)],
            [removed(running("a", 2)), changed(unclaimed("a", 0), claimed("a", 1))],
            RepairReason.OLDER,
        ),
        (
            [desired("d", 2)],
            [DesiredLRPRemoved(desired("d", 2)), DesiredLRPCreated(desired("d", 1))],
            RepairReason.DESIRED,
        ),
    ],
)
def test_an_event_that_is_older_than_what_is_known_has_the_process_read_again(
    known: list[Record], events: list[Event], doubt: RepairReason
) -> None:
    session = synced(*known)
    session.events(events, 1)

    assert doubt in session.repairs.reasons_of("p")


@pytest.mark.parametrize(
    "event", [removed(running("b", 0)), DesiredLRPRemoved(desired("e", 0)), removed(running("gone", 1))]
)
def test_a_removal_of_what_is_not_there_is_no_reason_to_read_again(event: Event) -> None:
    session = synced(running("a", 7), desired("d", 7))
    session.events([event], 1)

    assert session.repairs.reasons_of("p") == ()


def test_events_of_a_server_that_may_have_been_set_back_ask_for_nothing_while_that_is_being_decided() -> None:
    session = synced(claimed("a", 7))
    listed(session, claimed("a", 1), at=100)

    session.events([changed(claimed("a", 1), running("a", 2))], 101)

    assert session.repairs.reasons_of("p") == ()


# With the guard against mass deletion


def test_a_server_that_was_set_back_to_nearly_nothing_convinces_both_guards() -> None:
    tuning = Tuning(brake_rows=10, brake_wait=10)
    rows = [running(f"e{n}", 7, f"i{n}", process_guid=f"p{n}") for n in range(20)]
    session = synced(*rows, tuning=tuning)
    left = [replace(rows[0], tag_index=1)]

    listed(session, *left, at=100)
    assert session.next_list(100) == 10
    listed(session, *left, at=106, opened_at=106)
    assert len(state(session)) == 20
    assert session.counts().lists_held == 2
    listed(session, *left, at=110, opened_at=106)

    assert state(session) == left
    assert phase(session) is Phase.LIVE
    assert session.counts().rolled_back == 1


# What is said


def said(session: Session) -> str:
    return str(session.freshness.trouble)


def test_the_trouble_names_a_few_records_and_what_would_settle_it() -> None:
    rows = [running(f"e{n}", 7, f"i{n}", process_guid=f"p{n}") for n in range(9)]
    session = synced(*rows, desired("d", 4), running("gone", 3, "x", process_guid="q"))
    session.events([removed(running("gone", 3, "x", process_guid="q"))], 1)

    listed(
        session, desired("d", 2), running("gone", 3, "x", process_guid="q"), running("e0", 1, process_guid="p0"), at=2
    )
    assert said(session) == (
        "a list is older than what is known, in 3 records (q/0 gone:3 after its removal; p0/0 e0:1 after 7; p d:2 "
        "after 4): the server lags behind, or was set back; it is not believed unless another one, 5 s later and on "
        "another stream, is so too (see Tuning.rollback_wait)"
    )
    listed(session, *(replace(row, tag_index=1) for row in rows), at=3)
    assert said(session).count("after 7") == 5


def test_a_read_of_some_processes_does_not_hide_what_a_list_has_said() -> None:
    session = synced(running("a", 7), running("b", 7, "j", process_guid="q"))
    listed(session, claimed("a", 1), claimed("b", 1, "j", process_guid="q"), at=100)
    before = said(session)

    listed(session, claimed("a", 1), at=101, scope=P)

    assert said(session) == before
    assert "in 2 records" in before


def test_the_report_names_a_few_records_and_counts_the_rest() -> None:
    rows = [running(f"e{n}", 7, f"i{n}", process_guid=f"p{n}") for n in range(9)]
    session = synced(*rows, desired("d", 1))
    session.events([DesiredLRPRemoved(desired("d", 1))], 1)
    set_back(session, desired("d", 1), *(replace(row, tag_index=1) for row in rows))

    assert str(session.guards.take_rollback()) == (
        "the server was set back: what a second list had older as well is the state now, 9 records in older versions "
        "and 1 record that had been removed (p0/0 e0:1 after 7; p1/0 e1:1 after 7; p2/0 e2:1 after 7; p3/0 e3:1 after "
        "7; p4/0 e4:1 after 7; and 5 more)"
    )


def why(session: Session, guid: str = "p") -> Iterable[tuple[object, str]]:
    return [(one.outcome, one.why) for one in session.knowledge.explain(guid)]


def test_what_was_not_believed_and_then_was_is_explained() -> None:
    session = synced(running("a", 7), desired("d", 7))
    set_back(session, claimed("a", 1), desired("d", 1))

    assert why(session) == [
        (
            ListOutcome.OLDER,
            (
                f"a list had {epoch}:1, and {epoch}:7 is at hand: not believed unless another one, on another stream, "
                "agrees"
            ),
        )
        for epoch in "ad"
    ] + [
        (
            ListOutcome.ROLLED_BACK,
            f"the server was set back: a second list had {epoch}:1 too; {epoch}:7 was at hand",
        )
        for epoch in "ad"
    ]
    assert str(ListOutcome.ROLLED_BACK) == "rolled back"


def test_a_record_that_is_back_is_explained() -> None:
    session = synced(running("a", 2))
    session.events([removed(running("a", 2))], 1)
    set_back(session, running("a", 2))

    assert [text for _, text in why(session)][1:] == [
        (
            "a list had a:2, and an event has told that it is gone: not believed unless another one, on another "
            "stream, agrees"
        ),
        "the server was set back: a second list had a:2 too; nothing was at hand",
    ]
