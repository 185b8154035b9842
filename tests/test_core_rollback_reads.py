"""A server that was set back: what reads of some processes and single events make of it, and how it is explained."""

from collections.abc import Iterable

import pytest
from core_rollback_support import OLDER, WAIT, Record, knowing, listed, phase, set_back, state
from core_support import changed, claimed, created, desired, removed, running, synced, unclaimed
from msgspec.structs import replace

from lrpmirror.core.explain.decisions import ListOutcome
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import ListNotBelieved
from lrpmirror.events import DesiredLRPChanged, DesiredLRPCreated, DesiredLRPRemoved, Event

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
    ("known", "events", "reason"),
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
    known: list[Record], events: list[Event], reason: RepairReason
) -> None:
    session = synced(*known)
    session.events(events, 1)

    assert reason in session.repairs.reasons_of("p")


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


def test_a_repair_does_not_hide_what_a_list_has_shown() -> None:
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
    return [(one.outcome, one.why) for one in session.knowledge.decisions.of(guid)]


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
