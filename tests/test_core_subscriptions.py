"""Mailboxes and hubs: what a subscriber gets, however slow it is."""

import weakref
from typing import Any

import pytest
from core_support import law
from hypothesis import given
from hypothesis import strategies as st

from lrpmirror.core.derived.subscriptions import Hub, Lag, Mailbox
from lrpmirror.core.rows.changes import Cause, Change, Delta

EVENT, SNAPSHOT, REPLAY = Cause.EVENT, Cause.SNAPSHOT, Cause.REPLAY


class Bell:
    rung = 0

    def __call__(self) -> None:
        self.rung += 1


def offer(mailbox: Mailbox[str, int], key: str, before: int | None, after: int | None, at: float = 0) -> None:
    mailbox.offer(Delta(key, before, after), 1, EVENT, at)


def steps(changes: list[Change[str, int]]) -> list[tuple[str, int | None, int | None]]:
    return [(change.key, change.before, change.after) for change in changes]


# One mailbox


def test_a_change_is_delivered_with_its_commit() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell())

    mailbox.offer(Delta("k", None, 1), 7, SNAPSHOT, 0)

    assert mailbox.take() == [Change("k", None, 1, 7, SNAPSHOT)]
    assert mailbox.take() == []


def test_a_key_that_changes_again_while_it_waits_is_delivered_once_with_the_latest_commit() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell())

    mailbox.offer(Delta("k", 1, 2), 7, SNAPSHOT, 0)
    mailbox.offer(Delta("k", 2, 3), 8, EVENT, 1)

    assert mailbox.take() == [Change("k", 1, 3, 8, EVENT)]


def test_a_value_that_returns_is_not_delivered() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell())
    offer(mailbox, "k", 1, 2)

    offer(mailbox, "k", 2, 1)

    assert len(mailbox) == 0
    assert mailbox.take() == []


def test_a_key_that_came_and_went_is_not_delivered() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell())
    offer(mailbox, "k", None, 2)
    offer(mailbox, "k", 2, None)

    assert mailbox.take() == []


def test_equal_values_are_not_delivered() -> None:
    bell = Bell()
    mailbox: Mailbox[str, int] = Mailbox(bell)

    offer(mailbox, "k", 1, 1)

    assert mailbox.take() == []
    assert bell.rung == 0


def test_the_bell_rings_when_the_mailbox_stops_being_empty_and_only_then() -> None:
    bell = Bell()
    mailbox: Mailbox[str, int] = Mailbox(bell)

    offer(mailbox, "k", None, 1)
    offer(mailbox, "l", None, 1)
    assert bell.rung == 1
    mailbox.take()
    offer(mailbox, "k", 1, 2)
    assert bell.rung == 2


def test_keys_are_delivered_in_the_order_in_which_they_began_to_wait() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell())
    for key, before, after in (("k", None, 1), ("l", None, 1), ("k", 1, 2), ("m", None, 1), ("l", 1, None)):
        offer(mailbox, key, before, after)

    assert [change.key for change in mailbox.take()] == ["k", "m"]


def test_to_a_subscriber_with_a_filter_a_value_that_does_not_satisfy_it_is_not_there() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell(), where=lambda value: value > 10)

    offer(mailbox, "k", None, 5)
    assert mailbox.take() == []
    offer(mailbox, "k", 5, 11)
    assert steps(mailbox.take()) == [("k", None, 11)]
    offer(mailbox, "k", 11, 6)
    assert steps(mailbox.take()) == [("k", 11, None)]
    offer(mailbox, "k", 6, 7)
    assert mailbox.take() == []


def test_the_lag_is_the_number_of_keys_and_the_age_of_the_oldest() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell())
    assert mailbox.lag(5) == Lag(0, 0.0)

    offer(mailbox, "k", None, 1, at=10)
    offer(mailbox, "l", None, 1, at=12)
    offer(mailbox, "k", 1, 2, at=14)

    assert mailbox.lag(15) == Lag(2, 5)
    mailbox.take()
    assert mailbox.lag(16) == Lag(0, 0.0)


def test_a_key_that_returned_to_what_was_seen_waits_anew_when_it_changes_again() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell())
    for key in "klmn":
        offer(mailbox, key, None, 1)
    taken = [mailbox.take_oldest().key]
    offer(mailbox, "l", 1, None)
    offer(mailbox, "l", None, 2)
    offer(mailbox, "m", 1, None)
    while mailbox:
        taken.append(mailbox.take_oldest().key)
    offer(mailbox, "m", None, 3)
    taken.append(mailbox.take_oldest().key)

    assert taken == ["k", "n", "l", "m"]


class Restless(dict[str, Any]):
    """A dict into which another thread puts a key while it is first looked at."""

    looks = 0

    def values(self) -> Any:
        self.looks += 1
        if self.looks == 1:
            raise RuntimeError("dictionary changed size during iteration")
        return super().values()


def test_the_lag_can_be_asked_for_while_the_mailbox_is_written_by_another_thread() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell())
    offer(mailbox, "k", None, 1, at=10)
    mailbox._pending = Restless(mailbox._pending)

    assert mailbox.lag(15) == Lag(1, 5)


histories = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from("klm"), st.sampled_from([None, 1, 2, 11, 12])),
        st.tuples(st.just("take"), st.just(""), st.none()),
    ),
    max_size=40,
)


@law(400)
@given(
    initial=st.dictionaries(st.sampled_from("klm"), st.sampled_from([1, 2, 11])),
    history=histories,
    least=st.sampled_from([None, 10]),
)
def test_folding_the_deliveries_gives_the_state_however_writes_and_takes_interleave(
    initial: dict[str, int], history: list[tuple[str, str, int | None]], least: int | None
) -> None:
    state = dict(initial)
    mailbox: Mailbox[str, int] = Mailbox(Bell(), None if least is None else lambda value: value > least)
    notified: dict[str, int] = {}

    def take() -> None:
        for change in mailbox.take():
            assert change.before == notified.get(change.key), "each step begins at what was told last"
            assert change.before != change.after
            if change.after is None:
                del notified[change.key]
            else:
                notified[change.key] = change.after

    def visible() -> dict[str, int]:
        return {key: value for key, value in state.items() if least is None or value > least}

    for key, value in initial.items():
        mailbox.offer(Delta(key, None, value), 0, REPLAY, 0)
    for what, key, after in history:
        if what == "take":
            take()
            assert notified == visible()
            continue
        before = state.get(key)
        if after is None:
            state.pop(key, None)
        else:
            state[key] = after
        offer(mailbox, key, before, after)
        assert len(mailbox) <= 3, "the memory is bounded by the number of keys"
    take()

    assert notified == visible()
    assert mailbox.take() == []


# A hub


def first_letter(delta: Delta[str, int]) -> str:
    return delta.key[0]


def publish(hub: Hub[str, int], *keys: str) -> None:
    hub.publish([Delta(key, None, 1) for key in keys], 1, EVENT, 0)


def test_a_mailbox_for_all_topics_gets_everything_and_one_for_some_gets_those() -> None:
    hub: Hub[str, int] = Hub(first_letter)
    everything: Mailbox[str, int] = Mailbox(Bell())
    some: Mailbox[str, int] = Mailbox(Bell())
    hub.add(everything)
    hub.add(some, ["a", "b"])

    publish(hub, "a1", "b1", "c1")

    assert [change.key for change in everything.take()] == ["a1", "b1", "c1"]
    assert [change.key for change in some.take()] == ["a1", "b1"]


def test_two_mailboxes_of_one_topic_are_distinguished() -> None:
    hub: Hub[str, int] = Hub(first_letter)
    one: Mailbox[str, int] = Mailbox(Bell())
    other: Mailbox[str, int] = Mailbox(Bell())
    hub.add(one, ["a"])
    hub.add(other, ["a"])
    publish(hub, "a1")
    hub.remove(one, ["a"])

    publish(hub, "a2")

    assert [change.key for change in one.take()] == ["a1"]
    assert [change.key for change in other.take()] == ["a1", "a2"]


def test_a_mailbox_that_was_removed_gets_nothing_and_removing_it_again_is_harmless() -> None:
    hub: Hub[str, int] = Hub(first_letter)
    everything: Mailbox[str, int] = Mailbox(Bell())
    some: Mailbox[str, int] = Mailbox(Bell())
    hub.add(everything)
    hub.add(some, ["a"])
    for _ in range(2):
        hub.remove(everything)
        hub.remove(some, ["a"])

    publish(hub, "a1")

    assert everything.take() == []
    assert some.take() == []


def test_without_any_mailbox_nothing_is_even_looked_at() -> None:
    def unreadable(_delta: Delta[str, int]) -> str:
        raise AssertionError("nobody asked for a topic")

    hub: Hub[str, int] = Hub(unreadable)
    publish(hub, "a1")
    hub.add(Mailbox(Bell()))

    publish(hub, "a2")


def test_of_what_was_removed_nothing_is_kept_and_nothing_is_looked_at() -> None:
    class Topic(str):
        """A text that can be watched for who still has it."""

        __slots__ = ("__weakref__",)

    def unreadable(_delta: Delta[str, int]) -> str:
        raise AssertionError("nobody asked for a topic")

    hub: Hub[str, int] = Hub(unreadable)
    kept: list[weakref.ref[object]] = []
    for number in range(3):
        mailbox: Mailbox[str, int] = Mailbox(Bell())
        topic = Topic(number)
        hub.add(mailbox, [topic])
        hub.remove(mailbox, [topic])
        kept += [weakref.ref(mailbox), weakref.ref(topic)]
        del mailbox, topic

    publish(hub, "a1")
    assert [one() for one in kept] == [None] * 6


class Outcome(BaseException):
    """What is no Exception, as an asyncio.CancelledError is none."""


@pytest.mark.parametrize("error", [ZeroDivisionError("no 2"), Outcome("no 2")])
def test_a_filter_that_fails_hides_the_value_and_is_reported_once(error: BaseException) -> None:
    def where(value: int) -> bool:
        if value == 2:
            raise error
        return True

    bell = Bell()
    mailbox: Mailbox[str, int] = Mailbox(bell, where)
    offer(mailbox, "k", None, 2)

    assert len(mailbox) == 0
    assert bell.rung == 1
    assert mailbox.take_failure() is error
    assert mailbox.take_failure() is None

    offer(mailbox, "k", 2, 3)

    assert [(change.before, change.after) for change in mailbox.take()] == [(None, 3)]


def test_a_filter_that_is_interrupted_has_not_failed() -> None:
    def where(_: int) -> bool:
        raise KeyboardInterrupt

    mailbox: Mailbox[str, int] = Mailbox(Bell(), where)
    with pytest.raises(KeyboardInterrupt):
        offer(mailbox, "k", None, 2)
    assert mailbox.take_failure() is None


# A backlog


def deltas(number: int) -> list[Delta[str, int] | None]:
    return [Delta(str(at), None, at) if at % 2 else None for at in range(number)]


def test_many_changes_are_gone_through_bit_by_bit() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell())
    mailbox.defer(iter(deltas(10)), 10, 7, SNAPSHOT, 3)
    assert mailbox.lag(5) == Lag(10, 2)

    assert mailbox.advance(4)
    assert len(mailbox) == 2
    assert mailbox.lag(5) == Lag(8, 2)
    assert mailbox.is_behind

    while mailbox.advance(4):
        pass
    assert steps(mailbox.take()) == [(str(at), None, at) for at in (1, 3, 5, 7, 9)]
    assert mailbox.lag(5) == Lag(0, 0)


def test_what_comes_meanwhile_queues_behind_them() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell())
    mailbox.defer(iter(deltas(10)), 10, 7, SNAPSHOT, 0)
    mailbox.receive(Delta("9", 9, 90), 8, EVENT, 1)
    mailbox.receive(Delta("1", 1, None), 9, EVENT, 2)

    while mailbox.advance(1):
        pass

    assert steps(mailbox.take()) == [("3", None, 3), ("5", None, 5), ("7", None, 7), ("9", None, 90)]


def test_the_backlog_of_a_subscriber_that_left_is_dropped() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell())
    mailbox.defer(iter(deltas(10)), 10, 7, SNAPSHOT, 0)
    mailbox.forget()
    assert not mailbox.advance(4)
    assert len(mailbox) == 0


def test_of_very_many_changes_a_limited_number_is_taken() -> None:
    mailbox: Mailbox[str, int] = Mailbox(Bell())
    for key in "abc":
        offer(mailbox, key, None, 1)
    assert [change.key for change in mailbox.take(2)] == ["a", "b"]
    assert [change.key for change in mailbox.take(2)] == ["c"]


def test_many_deltas_are_put_on_the_backlogs_of_their_subscribers() -> None:
    hub: Hub[str, int] = Hub(lambda delta: delta.key)
    everything, some, others = (Mailbox[str, int](Bell()) for _ in range(3))
    hub.add(everything)
    hub.add(some, ["3", "4", "none"])
    hub.add(others, ["none"])

    behind = hub.publish_many(deltas(6), 7, SNAPSHOT, 0)

    assert set(behind) == {everything, some, others}
    for mailbox in behind:
        while mailbox.advance(2):
            pass
    assert [len(mailbox) for mailbox in (everything, some, others)] == [3, 1, 0]
