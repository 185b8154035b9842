"""How old the state is: what proves life, what makes the state current, and what is wrong."""

from random import Random

import pytest
from core_support import LOST, created, synced, take_list, unclaimed

from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import NotFresh, ServiceUnavailable, TimedOut, UpstreamStale
from lrpmirror.events import SourceStatus

NO_PING = TimedOut("no answer to a ping")


def ages(session: Session, now: float) -> tuple[float | None, float | None, float | None]:
    status = session.status(now)
    return status.age, status.silence, status.state_age


def test_there_is_no_age_before_there_was_anything() -> None:
    assert ages(Session(Tuning(), Random(0)), 5) == (None, None, None)


def test_while_live_each_proof_of_life_makes_the_state_current() -> None:
    session = synced(unclaimed())
    assert ages(session, 10) == (10, 10, 10)

    session.freshness.pinged(12)
    assert ages(session, 14) == (2, 14, 2), "a ping says nothing about the stream"
    session.events([], 20)
    assert ages(session, 21) == (1, 1, 1)
    take_list(session, [unclaimed()], scope=Scope(frozenset({"p"}), frozenset()), now=30)
    assert session.status(31).age == 1
    session.stream_replaced(40)
    assert ages(session, 41) == (1, 1, 1)


def test_an_open_stream_without_a_list_is_a_sign_of_life_and_no_state() -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(10)

    assert ages(session, 12) == (2, 2, None)


def test_a_stream_that_was_open_beside_the_lost_one_is_no_sign_of_life_of_now() -> None:
    session = synced(unclaimed())
    session.freshness.pinged(12)
    session.stream_lost(LOST)

    session.stream_opened(10)

    assert ages(session, 20) == (8, 10, 8)


def test_after_a_gap_the_state_ages_whatever_the_server_sends_until_the_lists_are_committed() -> None:
    session = synced(unclaimed())
    session.events([], 10)
    session.stream_lost(LOST)
    assert ages(session, 15) == (5, 5, 5)

    session.stream_opened(20)
    session.freshness.pinged(21)
    session.events([created(unclaimed("b"))], 22)
    assert ages(session, 23) == (1, 1, 13)

    take_list(session, [unclaimed(), unclaimed("b")], now=30)
    assert ages(session, 31) == (1, 1, 1)


def test_behind_a_replica_the_state_is_as_old_as_the_replica_reports_plus_the_time_since() -> None:
    session = synced(unclaimed())
    session.freshness.source_reported(SourceStatus(7), 10)
    assert ages(session, 12) == (2, 2, 9)

    session.events([created(unclaimed("b"))], 20)
    session.freshness.pinged(21)
    assert ages(session, 22) == (1, 2, 19), "neither says how old it is"
    session.freshness.source_reported(SourceStatus(0.5), 23)
    assert ages(session, 23) == (0, 0, 0.5)


def test_a_source_that_has_lost_the_bbs_makes_the_mirror_stale_with_its_trouble_and_age() -> None:
    session = synced(unclaimed())
    session.freshness.source_reported(SourceStatus(4, "ConnectionFailed"), 10)

    status = session.status(11)
    assert (status.phase, status.state_age) == (Phase.STALE, 5)
    assert isinstance(status.trouble, UpstreamStale)
    assert status.trouble.trouble == "ConnectionFailed"
    session.freshness.source_reported(SourceStatus(14, "ConnectionFailed"), 20)
    assert session.status(20).state_age == 14
    assert session.counts().errors == {"UpstreamStale": 1}
    session.freshness.source_reported(SourceStatus(15, "ServiceUnavailable"), 21)
    assert isinstance(session.freshness.trouble, UpstreamStale)
    assert session.freshness.trouble.trouble == "ServiceUnavailable"
    session.freshness.source_reported(SourceStatus(0), 30)
    status = session.status(30)
    assert (status.phase, status.state_age, status.trouble) == (Phase.LIVE, 0, None)


def test_a_list_of_a_source_that_has_lost_the_bbs_is_as_old_as_the_source_reports() -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    session.freshness.source_reported(SourceStatus(20, "ConnectionFailed"), 1)
    take_list(session, [unclaimed()], now=5)

    status = session.status(5)
    assert (status.phase, status.state_age) == (Phase.STALE, 24)
    assert isinstance(status.trouble, UpstreamStale)


def test_a_list_that_fails_at_a_stale_source_stays_the_trouble_when_the_source_is_current_again() -> None:
    session = synced(unclaimed())
    session.freshness.source_reported(SourceStatus(4, "ConnectionFailed"), 10)
    session.list_failed(session.begin_list(11), LOST)
    session.freshness.source_reported(SourceStatus(0), 12)
    assert (session.freshness.phase, session.freshness.trouble) == (Phase.LIVE, LOST)


def test_the_source_status_of_one_stream_does_not_hold_for_the_next() -> None:
    session = synced(unclaimed())
    session.freshness.source_reported(SourceStatus(7), 10)
    session.stream_replaced(15)
    assert ages(session, 16) == (1, 1, 1)
    session.freshness.source_reported(SourceStatus(3), 14)
    assert ages(session, 16) == (1, 1, 5)


def test_a_closed_mirror_keeps_its_age() -> None:
    session = synced(unclaimed())
    session.close()

    assert ages(session, 60) == (60, 60, 60)


def test_fresh_is_what_was_the_servers_state_so_long_ago_at_most() -> None:
    session = synced(unclaimed())
    session.status(10).check_fresh(10)
    session.stream_lost(LOST)
    session.status(10).check_fresh(10)

    with pytest.raises(
        NotFresh, match=r"the mirror is stale and has a state that is 11.0 s old, not 10 s or less: the event"
    ) as caught:
        session.status(11).check_fresh(10)

    assert (caught.value.phase, caught.value.age) == ("stale", 11)
    assert caught.value.__cause__ is LOST


def test_nothing_is_fresh_before_there_is_a_state() -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    session.list_failed(session.begin_list(0), ServiceUnavailable("503"))

    with pytest.raises(NotFresh, match=r"the mirror is syncing and has no state yet: 503") as caught:
        session.status(0).check_fresh(1e9)

    assert (caught.value.phase, caught.value.age) == ("syncing", None)
    assert isinstance(caught.value.__cause__, ServiceUnavailable)


def test_a_live_mirror_that_has_received_nothing_for_too_long_is_not_fresh() -> None:
    session = synced(unclaimed())
    with pytest.raises(NotFresh, match=r"the mirror is live and has a state that is 20.0 s old") as caught:
        session.status(20).check_fresh(10)
    assert caught.value.__cause__ is None

    session.freshness.ping_failed(NO_PING)
    with pytest.raises(NotFresh) as caught:
        session.status(20).check_fresh(10)
    assert caught.value.__cause__ is NO_PING


def test_the_trouble_is_what_is_wrong_now() -> None:
    session = synced(unclaimed())
    assert session.status(0).trouble is None

    session.stream_lost(LOST)
    assert session.status(0).trouble is LOST
    session.stream_opened(1)
    assert session.status(1).trouble is LOST, "the state is still the old one"
    take_list(session, [unclaimed()], now=2)
    assert session.status(2).trouble is None
    assert session.status(2).last_error is LOST


def test_a_list_or_a_replacement_that_fails_is_trouble_of_a_mirror_that_stays_live() -> None:
    session = synced(unclaimed())
    error = ServiceUnavailable("503")

    session.list_failed(session.begin_list(0), error)
    assert (session.freshness.phase, session.freshness.trouble) == (Phase.LIVE, error)
    take_list(session, [unclaimed()], now=2)
    session.replacement_failed(LOST)
    assert (session.freshness.phase, session.freshness.trouble, session.freshness.last_error) == (
        Phase.LIVE,
        LOST,
        LOST,
    )
    take_list(session, [unclaimed()], now=2)
    assert session.freshness.trouble is None


def test_a_ping_that_fails_is_trouble_until_one_is_answered_or_the_stream_is_another() -> None:
    session = synced(unclaimed())
    session.freshness.ping_failed(NO_PING)
    assert (session.freshness.trouble, session.freshness.last_error) == (NO_PING, NO_PING)

    take_list(session, [unclaimed()], now=2)
    assert session.freshness.trouble is NO_PING
    session.freshness.pinged(3)
    assert session.freshness.trouble is None

    session.freshness.ping_failed(NO_PING)
    session.stream_replaced(4)
    assert session.freshness.trouble is None
    session.freshness.ping_failed(NO_PING)
    session.stream_lost(LOST)
    assert session.freshness.trouble is LOST


class Most(Random):
    """Draws the upper bound, which so can be seen."""

    def uniform(self, _a: float, b: float) -> float:
        return b


def test_a_replacement_is_tried_again_ever_later_until_one_succeeds_and_lists_have_their_own_delay() -> None:
    session = Session(Tuning(first_delay=1, most_delay=4), Most())
    session.stream_opened(0)
    take_list(session)

    assert [session.replacement_failed(LOST) for _ in range(4)] == [1, 2, 4, 4]
    assert session.list_failed(session.begin_list(0), LOST) == 1
    session.stream_replaced(1)
    assert session.replacement_failed(LOST) == 1


def test_a_repair_is_tried_again_ever_later_until_one_succeeds_and_not_at_the_cost_of_the_lists() -> None:
    session = Session(Tuning(first_delay=1, most_delay=8), Most())
    session.stream_opened(0)
    take_list(session)
    scope = Scope(frozenset({"p"}), frozenset())

    assert [session.list_failed(session.begin_list(0, scope), LOST) for _ in range(3)] == [1, 2, 4]
    assert session.list_failed(session.begin_list(0), LOST) == 1
    take_list(session, scope=scope)
    assert session.list_failed(session.begin_list(0, scope), LOST) == 1


def test_a_list_is_of_use_until_its_stream_is_lost() -> None:
    session = synced(unclaimed())
    snapshot = session.begin_list(0)
    assert session.is_listing(snapshot)

    session.stream_lost(LOST)

    assert not session.is_listing(snapshot)


def test_an_error_that_is_kept_keeps_nothing_of_what_it_passed_through() -> None:
    def raised(error: BaseException) -> None:
        with pytest.raises(type(error)):
            raise error
        assert error.__traceback__ is not None

    error, cause, root = TimedOut("no answer"), OSError("unreachable"), OSError("root")
    group = ExceptionGroup("some", [root])
    error.__cause__, cause.__context__ = cause, group
    # A loop, as errors that are raised again and again can have.
    root.__context__ = error
    for one in (root, group, cause, error):
        raised(one)
    session = Session(Tuning(), Random(0))

    session.freshness.noted(error)

    assert session.freshness.last_error is error
    assert error.__cause__ is cause, "what it came from stays told"
    assert [one.__traceback__ for one in (error, cause, group, root)] == [None] * 4
