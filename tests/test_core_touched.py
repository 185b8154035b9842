"""The keys that a list touches, and what it goes through in slices: nothing of it is in one piece."""

import gc
from collections.abc import Callable, Iterator
from itertools import chain
from random import Random
from typing import Any

import pytest
from core_support import many, settle, synced, unclaimed
from msgspec.structs import replace

from lrpmirror.core.lists.slices import MANY, SLICE, key_slices, value_slices
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.lists.touched import Touched
from lrpmirror.core.session import Session, Tuning
from lrpmirror.model import DesiredLRP

N = 20_000


def largest(*roots: object) -> int:
    """Return how much the largest container has that the garbage collector goes through."""
    known, parts, most = set[int](), [*roots], 0
    while parts:
        part = parts.pop()
        if id(part) not in known and not callable(part) and gc.is_tracked(part):
            known.add(id(part))
            held = gc.get_referents(part)
            most = max(most, len(held))
            parts += held
    return most


def test_touched_keys_come_in_the_order_in_which_they_were_touched() -> None:
    touched: Touched[int] = Touched()
    touched.add(-1)
    touched.keep(-1)
    touched.add(-1, many(1)[0])
    touched.keep(-1)
    assert touched.take(1) == {-1: many(1)[0]}
    assert touched.take(1) == {}

    for key in range(N):
        touched.add(key)

    assert (len(touched), list(touched)) == (N, [*range(N)])
    assert list(touched.drained(N)) == []
    first = touched.take(1000)
    touched.add(N)
    rest = list(touched.drained(0))
    assert [*chain(first, *rest)] == [*range(N + 1)]
    assert max(map(len, rest)) <= SLICE
    assert not touched


def test_what_is_touched_while_others_are_taken_is_left() -> None:
    touched: Touched[int] = Touched()
    for key in range(3 * SLICE):
        touched.add(key)

    for keys in touched.drained(0):
        touched.add(-min(keys))

    assert list(touched) == [0, -SLICE, -2 * SLICE]
    touched.clear()
    assert not list(touched)


@pytest.mark.parametrize(
    "parts",
    [
        lambda: key_slices([dict.fromkeys(map(str, range(N - 9))), dict.fromkeys(map(str, range(N - 9, N)))], 100),
        lambda: value_slices({str(at): at for at in range(N)}, 100),
    ],
)
def test_slices_are_nothing_that_the_collector_goes_through(parts: Callable[[], Iterator[Any]]) -> None:
    steps = parts()
    first = next(steps)

    assert largest(steps) <= 100
    assert [*map(int, chain(first, *steps))] == [*range(N)]


def listed(session: Session) -> PendingSnapshot:
    snapshot = session.begin_list(0)
    snapshot.list_rows(many(N))
    snapshot.list_desired(DesiredLRP(process_guid=f"p{at}") for at in range(N))
    return snapshot


def test_no_table_of_keys_that_a_list_touches_grows_with_the_list() -> None:
    snapshot = listed(synced(*many(1)))

    tables = snapshot._tables
    assert max(map(len, tables.touched._parts)) <= MANY
    assert max(map(len, tables.touched_desired._parts)) <= MANY


def test_of_what_a_first_list_commits_the_collector_goes_through_a_small_share() -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    snapshot = listed(session)
    settle(snapshot)

    commit = session.end_list(snapshot, 0)

    assert commit is not None
    assert (len(commit.actual_lrps), len(commit.desired_lrps)) == (N, N)
    assert largest(commit.actual_lrps, commit.desired_lrps) < N / 10


def test_the_store_that_a_large_list_builds_leaves_nothing_for_a_run_of_the_collector() -> None:
    rows = [unclaimed(f"e{at}", process_guid=f"p{at // 4}", index=at % 4) for at in range(N)]
    session = synced(*rows)
    snapshot = session.begin_list(0)
    snapshot.list_rows([replace(row, tag_index=1) for row in rows])
    # The objects that come and go in a program may be so many that the collector never runs by itself.
    gc.disable()
    try:
        settle(snapshot)
        assert snapshot.aside is not None
        tracked = sum(map(gc.is_tracked, snapshot.aside.rows_by_process()))
    finally:
        gc.enable()

    assert tracked < N / 40
