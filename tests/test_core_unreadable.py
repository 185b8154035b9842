"""Events that say nothing: counted, and where there are several, made up for by an early list."""

from math import inf
from random import Random

from core_support import running, synced, take_list

from lrpmirror.core.session import Session, Tuning
from lrpmirror.events import UnreadableEvent


def early(session: Session, now: float) -> float:
    return session.unreadable.wait(now, session.freshness.synced_at)


NOTHING = UnreadableEvent("actual_lrp_instance_removed")


def test_one_unreadable_event_is_only_counted() -> None:
    session = synced(running())

    assert session.events([NOTHING], 1) == []

    assert early(session, 1) == inf
    assert session.counts().unreadable == 1
    assert session.counts().events == {"unreadable noted": 1}


def test_the_second_one_has_everything_listed_early_once_the_last_list_is_a_while_ago() -> None:
    session = synced(running())

    session.events([NOTHING, NOTHING], 10)

    assert early(session, 10) == 20
    assert early(session, 40) == 0
    assert session.next_list(10) == 20
    take_list(session, [running()], now=40)
    assert early(session, 40) == inf
    assert session.next_list(40) >= 225


def test_a_server_that_goes_on_so_is_listed_ever_more_rarely() -> None:
    session = synced(running())
    waits = []
    for _ in range(6):
        assert session.freshness.synced_at is not None
        now = session.freshness.synced_at
        session.events([NOTHING] * 1000, now)
        wait = early(session, now)
        waits.append(wait)
        take_list(session, [running()], now=now + wait)
    assert waits == [30, 60, 120, 240, 300, 300]

    take_list(session, [running()], now=10_000)
    session.events([NOTHING, NOTHING], 10_000)
    assert early(session, 10_000) == 30, "it had stopped"


def test_an_unreadable_event_during_the_first_list_counts_for_the_next() -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    session.events([NOTHING] * 5, 0)
    snapshot = session.begin_list(0)
    session.events([NOTHING] * 2, 0)
    assert early(session, 0) == inf
    for _ in snapshot.settle():
        pass
    session.end_list(snapshot, 0)
    assert early(session, 0) == 30
