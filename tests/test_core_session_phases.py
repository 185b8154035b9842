"""The phases of a session, how fresh it says that it is, and after which delays it tries again."""

from collections import deque
from collections.abc import Callable
from itertools import product
from random import Random

import pytest
from core_support import LOST, created, desired, fresh, synced, take_list, unclaimed

from lrpmirror.core.freshness.state import Freshness
from lrpmirror.core.freshness.status import TRANSITIONS, Phase, Status, Step
from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.session import Session, Tuning
from lrpmirror.events import SourceStatus, UnknownEvent

Call = Callable[[Session], object]

CAUTIOUS = Tuning(brake_rows=1)
"""So that one row is enough for a list to be held back."""

CALLS: dict[str, Call] = {
    "restore": lambda session: session.restore(session.knowledge.export(), session.knowledge.export().indexed(), 0, 60),
    "open": lambda session: session.stream_opened(0),
    "lose": lambda session: session.stream_lost(LOST),
    "list": lambda session: take_list(session, [unclaimed("k")]),
    "hold": take_list,
    "repair": lambda session: take_list(session, scope=Scope(frozenset({"p"}), frozenset())),
    "fail a list": lambda session: session.list_failed(session.begin_list(0), LOST),
    "tell": lambda session: session.events([created(unclaimed())], 0),
    "lose the source": lambda session: session.freshness.source_reported(SourceStatus(1, "ConnectionFailed"), 0),
    "find the source": lambda session: session.freshness.source_reported(SourceStatus(1), 0),
    "close": Session.close,
}


def calls_of_a_shell(*, connected: bool, was_synced: bool, closed: bool) -> list[str]:
    """What a shell can do: lists and events need a stream, a repair needs a state, and it closes once.

    A list that is held back needs a state that it would remove.
    """
    if closed:
        return []
    if not connected:
        return ["open", "lose", "close"]
    calls = ["lose", "list", "fail a list", "tell", "lose the source", "find the source", "close"]
    return [*calls, *(["repair", "hold"] if was_synced else [])]


def test_the_table_of_transitions_is_total() -> None:
    assert TRANSITIONS.keys() == set(product(Phase, Step))


def test_a_step_that_cannot_happen_in_a_phase_is_a_mistake_of_the_callers() -> None:
    session = synced()
    session.close()

    with pytest.raises(AssertionError, match="closed cannot take the step opened"):
        session.stream_opened(1)
    assert session.freshness.phase is Phase.CLOSED


def test_every_call_that_can_be_made_has_a_transition_and_every_transition_can_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: set[tuple[Phase, Step]] = set()
    step = Freshness._step

    def recorded(freshness: Freshness, what: Step) -> None:
        taken.add((freshness.phase, what))
        step(freshness, what)

    monkeypatch.setattr(Freshness, "_step", recorded)
    seen: set[tuple[Phase, bool, bool, bool, bool]] = set()
    ways: deque[tuple[str, ...]] = deque([(), ("restore",)])
    while ways:
        way = ways.popleft()
        session = fresh(CAUTIOUS)
        connected = False
        for call in way:
            CALLS[call](session)
            connected = call not in ("lose", "close") and (connected or call == "open")
        was_synced = session.freshness.synced_at is not None
        state = (
            session.freshness.phase,
            connected,
            was_synced,
            session.freshness._outdated,
            bool(session.freshness._source_trouble),
        )
        if state in seen:
            continue
        seen.add(state)
        closed = session.freshness.phase is Phase.CLOSED
        for call in calls_of_a_shell(connected=connected, was_synced=was_synced, closed=closed):
            ways.append((*way, call))

    assert {phase for phase, *_ in seen} == set(Phase)
    possible = {way for way, after in TRANSITIONS.items() if after is not None}
    assert taken == possible - {(Phase.CLOSED, Step.CLOSED)}, "closing twice is allowed"


@pytest.mark.parametrize(
    ("way", "phase"),
    [
        ([], Phase.CONNECTING),
        (["lose", "lose"], Phase.CONNECTING),
        (["open"], Phase.SYNCING),
        (["open", "fail a list"], Phase.SYNCING),
        (["open", "lose"], Phase.CONNECTING),
        (["open", "list"], Phase.LIVE),
        (["open", "list", "list", "repair"], Phase.LIVE),
        (["open", "list", "lose"], Phase.STALE),
        (["open", "list", "lose", "lose"], Phase.STALE),
        (["open", "list", "lose", "open"], Phase.RESYNCING),
        (["open", "list", "lose", "open", "repair"], Phase.RESYNCING),
        (["open", "list", "lose", "open", "lose"], Phase.STALE),
        (["open", "list", "lose", "open", "list"], Phase.LIVE),
        (["open", "list", "hold"], Phase.STALE),
        (["open", "list", "hold", "tell", "fail a list", "hold"], Phase.STALE),
        (["open", "list", "hold", "list"], Phase.LIVE),
        (["open", "list", "hold", "lose", "open", "hold"], Phase.STALE),
        (["open", "list", "lose", "open", "hold"], Phase.STALE),
        (["open", "list", "lose the source"], Phase.STALE),
        (["open", "list", "lose the source", "list"], Phase.STALE),
        (["open", "list", "lose the source", "list", "find the source"], Phase.LIVE),
        (["open", "list", "lose the source", "lose the source", "tell", "find the source"], Phase.LIVE),
        (["open", "list", "lose the source", "hold", "find the source"], Phase.STALE),
        (["open", "list", "hold", "lose the source", "find the source"], Phase.STALE),
        (["open", "list", "lose the source", "lose", "open", "list"], Phase.LIVE),
        (["open", "lose the source"], Phase.SYNCING),
        (["open", "lose the source", "list"], Phase.STALE),
        (["open", "lose the source", "list", "find the source"], Phase.LIVE),
        (["open", "lose the source", "find the source", "list"], Phase.LIVE),
        (["open", "list", "lose", "open", "lose the source", "list", "find the source"], Phase.LIVE),
        (["open", "list", "close", "find the source", "lose the source"], Phase.CLOSED),
        (["open", "list", "close", "close"], Phase.CLOSED),
        (["restore"], Phase.STALE),
        (["restore", "lose"], Phase.STALE),
        (["restore", "open"], Phase.RESYNCING),
        (["restore", "open", "tell", "fail a list"], Phase.RESYNCING),
        (["restore", "open", "lose"], Phase.STALE),
        (["restore", "open", "list"], Phase.LIVE),
        (["restore", "close"], Phase.CLOSED),
    ],
)
def test_the_phase_follows_from_the_steps(way: list[str], phase: Phase) -> None:
    session = fresh(CAUTIOUS)
    for call in way:
        CALLS[call](session)

    assert session.freshness.phase is phase
    assert session.status(0).phase is phase
    assert session.status(0).live == (phase is Phase.LIVE)


# Freshness


def test_before_any_sign_of_life_there_is_no_age() -> None:
    assert fresh().status(5).age is None
    assert fresh().status(5).synced_at is None


def test_the_age_is_that_of_the_last_sign_of_life() -> None:
    session = fresh()
    session.stream_opened(10)
    assert session.status(13).age == 3

    take_list(session, [unclaimed()], [desired()], now=20)
    session.events([UnknownEvent("something_new")], 24)

    assert session.status(25) == Status(
        phase=Phase.LIVE,
        revision=1,
        at=25,
        synced_at=20,
        alive_at=24,
        heard_at=24,
        current_at=24,
        trouble=None,
        last_error=None,
        actual_lrps=1,
        desired_lrps=1,
    )
    assert session.status(25).age == 1


def test_a_repair_is_a_sign_of_life_but_no_synchronisation() -> None:
    session = synced()

    take_list(session, scope=Scope(frozenset({"p"}), frozenset()), now=7)

    assert session.freshness.synced_at == 0
    assert session.freshness.alive_at == 7


def test_the_last_error_stays_readable_after_it_was_overcome() -> None:
    session = synced()
    session.stream_lost(LOST)
    assert session.status(0).last_error is LOST

    session.stream_opened(1)
    take_list(session, now=1)

    assert session.status(1).last_error is LOST


# Delays


class Most(Random):
    """Draws the upper bound, which so can be seen."""

    def uniform(self, _a: float, b: float) -> float:
        return b


def test_the_stream_is_tried_again_ever_later_until_one_has_lived() -> None:
    session = Session(Tuning(first_delay=1, most_delay=4), Most())

    assert [session.stream_lost(LOST) for _ in range(4)] == [1, 2, 4, 4]
    session.stream_opened(0)
    assert session.stream_lost(LOST) == 4, "a stream that opens but is of no use is no success"
    session.stream_opened(0)
    take_list(session, now=3)
    session.freshness.pinged(7)
    assert session.stream_lost(LOST) == 4, "it has not lived for longer than the delay before it"
    session.stream_opened(10)
    take_list(session, now=20)
    session.freshness.pinged(29)
    assert session.stream_lost(LOST) == 4, "nor for longer than its list took"
    session.stream_opened(30)
    take_list(session, now=33)
    take_list(session, now=36)
    session.freshness.pinged(38)
    assert [session.stream_lost(LOST) for _ in range(2)] == [1, 2], "counted once"


def test_a_stream_that_took_over_has_to_prove_itself_too() -> None:
    session = Session(Tuning(first_delay=1, most_delay=4), Most())
    session.stream_opened(0)
    take_list(session, now=1)
    assert session.stream_lost(LOST) == 1
    session.stream_opened(10)
    take_list(session, now=100)
    session.stream_replaced(100)
    assert session.stream_lost(LOST) == 2


def test_lists_are_tried_again_ever_later_until_one_of_everything_succeeds() -> None:
    session = Session(Tuning(first_delay=1, most_delay=4), Most())
    session.stream_opened(0)

    assert [session.list_failed(session.begin_list(0), LOST) for _ in range(3)] == [1, 2, 4]
    take_list(session)
    assert session.list_failed(session.begin_list(0), LOST) == 1


def test_the_next_list_is_due_at_an_interval_with_jitter() -> None:
    session = fresh(Tuning(resync_interval=100))

    due = [session.next_interval() for _ in range(200)]

    assert 75 <= min(due) < 80
    assert 120 < max(due) <= 125
