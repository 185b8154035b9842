"""The deltas of a list that changes much: a sequence as any, which nothing copies, and which is freed in slices."""

import gc
from random import Random

import pytest
from core_support import many, settle, synced

from lrpmirror.core.lists.deltas import DeltaTable, ManyDeltas, deltas_of, freeing
from lrpmirror.core.rows.changes import Delta

N = 5_000


def some(number: int = N) -> DeltaTable[int, str]:
    table: DeltaTable[int, str] = DeltaTable()
    for at in range(number):
        table.put(Delta(at, None, str(at)))
    return table


def test_a_table_has_the_last_delta_of_each_key_in_the_order_in_which_they_were_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lrpmirror.core.lists.deltas.PART", 2)
    table = some(7)

    table.discard(3)
    table.discard(99)
    table.put(Delta(1, None, "again"))

    assert [(delta.key, delta.after) for delta in table.values()] == [
        (0, "0"), (2, "2"), (4, "4"), (5, "5"), (6, "6"), (1, "again")
    ]  # fmt: skip
    assert len(table) == 6
    assert max(map(len, table.parts)) == 2
    assert len([*table.free_in_slices()]) > 1
    assert len(table) == 0


def test_many_deltas_are_the_sequence_that_a_tuple_of_them_is() -> None:
    deltas, plain = deltas_of(some()), tuple(some().values())
    rng = Random(0)

    assert isinstance(deltas, ManyDeltas)
    assert (len(deltas), tuple(deltas), deltas == plain, hash(deltas)) == (N, plain, True, hash(plain))
    assert deltas == deltas_of(some())
    assert deltas != [*plain]
    assert repr(deltas) == "<5000 deltas>"
    for at in (0, 7, -1, N - 1):
        assert deltas[at] == plain[at]
    for _ in range(200):
        start, stop = (rng.choice((None, rng.randint(-N - 9, N + 9))) for _ in range(2))
        step = rng.choice((None, 1, 3, -2))
        assert deltas[start:stop:step] == plain[start:stop:step]
    with pytest.raises(IndexError):
        deltas[N]


def test_few_deltas_are_a_tuple() -> None:
    deltas = deltas_of(some(3))

    assert deltas == tuple(some(3).values())
    assert isinstance(deltas, tuple)
    assert freeing(deltas) is None


def test_many_deltas_are_freed_in_slices_once_nobody_holds_them() -> None:
    table = some()
    deltas = deltas_of(table)
    free, reading = freeing(deltas), iter(deltas)
    assert free is not None
    next(reading)
    del deltas

    assert list(free()) == []
    assert len(list(reading)) == N - 1, "whoever reads them reads them all"
    del reading
    assert len(list(free())) > 1
    assert len(table) == 0


def test_of_what_a_large_list_commits_the_collector_goes_through_a_small_share() -> None:
    session = synced(*many(N))
    snapshot = session.begin_list(0)
    snapshot.list_rows(many(N, tag_index=1))
    settle(snapshot)

    commit = session.end_list(snapshot, 0)

    assert commit is not None
    assert len(commit.actual_lrps) == N
    known, parts, largest = set[int](), [commit.actual_lrps], 0
    while parts:
        part = parts.pop()
        if id(part) not in known and not callable(part) and gc.is_tracked(part):
            known.add(id(part))
            held = gc.get_referents(part)
            largest = max(largest, len(held))
            parts += held
    assert largest < N / 10


def test_the_deltas_of_a_list_that_is_not_committed_are_freed_in_slices() -> None:
    session = synced(*many(N))
    snapshot = session.begin_list(0)
    settle(snapshot)

    assert session.end_list(snapshot, 0) is None, "it would remove everything"
    assert len(list(snapshot.free_in_slices())) > 3
