"""Everything that a peer controls is bounded, and what is beyond a bound leaves the state as it is."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from core_support import created, desired, removals, running, synced, take_list, unclaimed

from lrpmirror.core.derived.subscriptions import Mailbox
from lrpmirror.core.explain.counters import MOST_OUTCOMES
from lrpmirror.core.lists.retained import Retained
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.changes import Cause, Delta
from lrpmirror.core.session import Tuning
from lrpmirror.errors import LimitExceeded
from lrpmirror.events import DesiredLRPCreated, Event, UnknownEvent
from lrpmirror.model import ActualLRP

ROWS = [unclaimed(f"e{n}", process_guid=f"p{n}") for n in range(5)]
LRPS = [desired(f"d{n}", process_guid=f"p{n}") for n in range(5)]


@pytest.mark.parametrize("tuning", [Tuning(list_limit=4), Tuning(row_limit=4)])
@pytest.mark.parametrize(
    ("take", "what"),
    [
        (lambda snapshot: snapshot.list_rows(ROWS), "rows"),
        (lambda snapshot: snapshot.list_desired(LRPS), "desired LRPs"),
    ],
)
def test_a_list_has_so_many_records_at_most(tuning: Tuning, take: Any, what: str) -> None:
    session = synced(unclaimed(), tuning=tuning)
    snapshot = session.begin_list(0)

    with pytest.raises(LimitExceeded, match=f"more than 4 {what}; the mirror stays as it is .see list_limit"):
        take(snapshot)

    assert len(session.knowledge.store) == 1


def test_an_unchanged_list_that_is_read_again_and_again_uses_no_more_memory() -> None:
    session = synced(tuning=Tuning(list_limit=5))
    snapshot = session.begin_list(0)

    for _ in range(10):
        snapshot.list_rows(ROWS)
        snapshot.list_desired(LRPS)
        snapshot.list_metric_tags([desired(f"d{n}", 7, process_guid=f"p{n}") for n in range(5)])

    assert len(snapshot.repairs) == 5


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (lambda guid: created(unclaimed(guid, process_guid=guid)), "rows"),
        (lambda guid: DesiredLRPCreated(desired(guid, process_guid=guid)), "desired LRPs"),
    ],
)
def test_events_create_so_many_records_at_most(record: Callable[[str], Event], what: str) -> None:
    session = synced(tuning=Tuning(row_limit=3))
    session.events([record(f"p{number}") for number in range(3)], 0)
    session.check_limits()

    session.events([record("one more")], 0)

    with pytest.raises(LimitExceeded, match=f"created more than 3 {what}.*see row_limit"):
        session.check_limits()
    assert session.knowledge.revision == 4


def test_types_of_events_that_a_server_makes_up_are_counted_together_beyond_a_number() -> None:
    session = synced()
    session.events([created(unclaimed())], 0)

    for number in range(3 * MOST_OUTCOMES):
        session.events([UnknownEvent(f"new{number}")], 0)
        session.check_limits()

    assert len(session.counts().events) == MOST_OUTCOMES
    assert sum(session.counts().events.values()) == 3 * MOST_OUTCOMES + 1
    assert session.counts().events["actual_lrp_instance_created applied"] == 1


def test_processes_without_a_desired_lrp_are_asked_for_up_to_a_number() -> None:
    session = synced(tuning=Tuning(repair_limit=3))

    session.events([created(running(f"e{n}", 0, process_guid=f"p{n}")) for n in range(9)], 0)

    assert len(session.repairs._undesired) == 3
    take_list(session)
    assert not session.repairs._undesired


def test_desired_lrps_of_stale_domains_are_retained_up_to_a_limit_and_the_oldest_released() -> None:
    retained = Retained(limit=3)

    released = [retained.apply_list(removals(Delta(lrp.process_guid, lrp, None)), frozenset()) for lrp in LRPS]

    assert released == [(), (), (), ("p0",), ("p1",)]
    assert retained.guids() == ["p2", "p3", "p4"]


def churn(rounds: int) -> Iterator[Delta[Any, ActualLRP]]:
    """Five rows are there at a time, each round in new records."""
    there: dict[str, ActualLRP] = {}
    for number in range(rounds):
        for key, row in there.items():
            yield Delta(key, row, None)
        there = {f"e{number}.{n}": unclaimed(f"e{number}.{n}", index=n) for n in range(5)}
        for key, row in there.items():
            yield Delta(key, None, row)


def test_a_subscriber_that_takes_nothing_has_no_more_pending_than_what_it_saw_and_what_there_is() -> None:
    mailbox: Mailbox[Any, ActualLRP] = Mailbox(lambda: None)
    deltas = churn(1000)
    for _ in range(5):
        mailbox.offer(next(deltas), 1, Cause.EVENT, 0)
    mailbox.take()

    most = 0
    for delta in deltas:
        mailbox.offer(delta, 1, Cause.EVENT, 0)
        most = max(most, len(mailbox))

    assert most == 5 + 5


def test_events_in_flight_are_bounded_while_a_list_is_read() -> None:
    session = synced(tuning=Tuning(in_flight_limit=2))
    snapshot: PendingSnapshot = session.begin_list(0)

    session.events([UnknownEvent("x")] * 10, 0)
    snapshot.check_limit()
    session.events([created(row) for row in ROWS], 0)

    assert len(snapshot._in_flight) == 3
    with pytest.raises(LimitExceeded, match="in_flight_limit"):
        snapshot.check_limit()
