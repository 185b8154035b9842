"""Mailboxes in which much waits: nothing of them is rebuilt in one piece, and the order is kept."""

import gc
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any
from unittest.mock import patch

from core_support import law
from hypothesis import given
from hypothesis import strategies as st

from lrpmirror.core.derived import subscriptions, waiting
from lrpmirror.core.derived.subscriptions import Lag, Mailbox
from lrpmirror.core.rows.changes import Cause, Delta

MANY = 60_000


def filled() -> Mailbox[int, str]:
    mailbox: Mailbox[int, str] = Mailbox(lambda: None)
    for key in range(MANY):
        mailbox.offer(Delta(key, None, "a"), 1, Cause.EVENT, key)
    return mailbox


def tables(of: object, seen: set[int]) -> Iterator[dict[Any, Any]]:
    """Yield the dicts that an object is made of, as the garbage collector sees it."""
    for part in gc.get_referents(of):
        if id(part) in seen or isinstance(part, type) or callable(part):
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            yield part
        yield from tables(part, seen)


def test_no_table_of_a_mailbox_grows_with_all_that_waits() -> None:
    assert max(map(len, tables(filled(), set()))) <= MANY / 10


def test_very_many_changes_are_taken_in_the_order_in_which_they_began_to_wait() -> None:
    mailbox = filled()
    assert (len(mailbox), mailbox.lag(1)) == (MANY, Lag(MANY, 1))

    for key in range(1, MANY, 2):
        mailbox.offer(Delta(key, "a", None), 2, Cause.EVENT, MANY)

    taken = [mailbox.take_oldest().key for _ in range(MANY // 4)]
    assert mailbox.lag(MANY) == Lag(MANY // 4, MANY / 2)
    taken += [change.key for change in mailbox.take(1000)]
    taken += [change.key for change in mailbox.take()]

    assert taken == [*range(0, MANY, 2)]
    assert (len(mailbox), mailbox.lag(1)) == (0, Lag(0, 0))


def test_of_very_much_a_key_that_changes_again_is_delivered_with_its_last_value() -> None:
    mailbox = filled()
    mailbox.offer(Delta(MANY - 1, "a", "b"), 2, Cause.EVENT, MANY)
    assert [(change.after, change.revision) for change in mailbox.take()[-2:]] == [("a", 1), ("b", 2)]


def test_where_the_last_of_the_first_keys_returns_to_what_was_seen_the_next_ones_follow() -> None:
    mailbox = filled()
    for _ in range(subscriptions.FEW - 1):
        mailbox.take_oldest()
    mailbox.offer(Delta(subscriptions.FEW - 1, "a", None), 2, Cause.EVENT, MANY)
    assert len(mailbox) == MANY - subscriptions.FEW
    assert mailbox.take_oldest().key == subscriptions.FEW


def test_a_subscriber_that_left_waits_for_nothing_however_much_it_was() -> None:
    mailbox = filled()
    mailbox.forget()
    assert (len(mailbox), mailbox.lag(1), mailbox.take()) == (0, Lag(0, 0), [])


writes = st.tuples(st.just("write"), st.integers(0, 40), st.sampled_from([None, 1, 2]))
takes = st.tuples(st.sampled_from(["oldest", "some", "all"]), st.integers(1, 8), st.none())


@law(100)
@given(st.lists(st.one_of(writes, writes, writes, writes, takes), max_size=150), st.sampled_from([1, 2, 5]))
def test_much_that_waits_is_delivered_as_a_little_is(history: list[tuple[str, int, int | None]], few: int) -> None:
    rung = count(), count()
    mailboxes: list[Mailbox[int, int]] = [Mailbox(partial(next, bell)) for bell in rung]
    values: dict[int, int | None] = {}
    for revision, (act, number, value) in enumerate(history):
        outcomes: list[Any] = []
        for mailbox, most in zip(mailboxes, (few, 1000), strict=True):
            told: list[Any] = []
            with patch.object(subscriptions, "FEW", most), patch.object(waiting, "EACH", 2):
                if act == "write":
                    mailbox.offer(Delta(number, values.get(number), value), revision, Cause.EVENT, revision)
                elif act == "oldest":
                    told = [mailbox.take_oldest()] if mailbox else []
                else:
                    told = mailbox.take(number if act == "some" else None)
            outcomes.append((told, len(mailbox), mailbox.lag(revision)))
        assert outcomes[0] == outcomes[1]
        if act == "write":
            values[number] = value
    assert next(rung[0]) == next(rung[1])
