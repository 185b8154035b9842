"""A list in progress: what the server listed, with the events since then on top, against what the mirror has."""

import gc
import sys
import weakref
from itertools import pairwise
from random import Random

import pytest
from core_support import (
    changed,
    claimed,
    created,
    desired,
    many,
    removals,
    removed,
    repair_reasons,
    repair_scope,
    running,
    settle,
    synced,
    take_list,
    unclaimed,
)

from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.lists.slices import MANY, SLICE
from lrpmirror.core.lists.snapshot import FEW
from lrpmirror.core.lists.tables import ListTables
from lrpmirror.core.rows.changes import Cause, Delta
from lrpmirror.core.rows.dispatch import Tombstones
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import LimitExceeded
from lrpmirror.events import (
    ActualLRPCrashed,
    ActualLRPCreated,
    ActualLRPRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.model import ActualLRPGroup

# What a list brings


def test_the_differences_are_one_commit() -> None:
    session = synced(unclaimed("gone"), unclaimed("same", index=1), unclaimed("older", index=2), desired("old"))

    commit = take_list(
        session,
        [unclaimed("same", index=1), claimed("older", 1, index=2), unclaimed("new", index=3)],
        [desired("old", 1)],
    )

    assert commit is not None
    assert commit.cause is Cause.SNAPSHOT
    assert {delta.key: delta for delta in commit.actual_lrps} == {
        "gone": Delta("gone", unclaimed("gone"), None),
        "older": Delta("older", unclaimed("older", index=2), claimed("older", 1, index=2)),
        "new": Delta("new", None, unclaimed("new", index=3)),
    }
    assert commit.desired_lrps == (Delta("p", desired("old"), desired("old", 1)),)


def test_a_list_that_brings_nothing_new_is_no_commit_and_keeps_the_rows_that_are_there() -> None:
    session = synced(running(), desired())
    (kept,) = session.knowledge.store.process("p")

    assert take_list(session, [running()], [desired()]) is None
    assert session.knowledge.store.process("p")[0] is kept
    assert session.knowledge.revision == 1


def test_equal_rows_are_shared_with_the_mirror_also_when_the_indexes_are_made_anew() -> None:
    session = synced(running("kept", 2))
    (kept,) = session.knowledge.store.process("p")

    take_list(session, [running("kept", 2), *many(FEW + SLICE + 1)])

    assert session.knowledge.store.get("kept") is kept


@pytest.mark.parametrize("count", [1, FEW, FEW + SLICE + 2])
def test_few_differences_are_written_in_place_and_many_exchange_the_indexes(count: int) -> None:
    session = synced(running("kept", 2))
    before = session.knowledge.store

    commit = take_list(session, [running("kept", 2), *many(count)], [desired(process_guid="p1")])

    assert (session.knowledge.store is before) == (count <= FEW)
    assert commit is not None
    assert len(commit.actual_lrps) == count
    assert len(session.knowledge.store) == count + 1
    assert session.events([created(unclaimed("x", process_guid="x"))], 0), "the exchanged store takes events"
    assert session.knowledge.store.get("x") is not None


def test_the_first_list_is_indexed_aside_and_every_row_is_news() -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    empty = session.knowledge.store

    commit = take_list(session, many(SLICE + 1), [desired()])

    assert session.knowledge.store is not empty
    assert commit is not None
    assert len(commit.actual_lrps) == SLICE + 1
    assert commit.desired_lrps == (Delta("p", None, desired()),)


@pytest.mark.parametrize("count", [1, FEW + SLICE])
def test_what_was_listed_can_be_freed_in_slices_and_the_mirror_keeps_it(count: int) -> None:
    new = Session(Tuning(), Random(0))
    new.stream_opened(0)
    for session in (synced(running("old")), new):
        snapshot = session.begin_list(0)
        snapshot.list_rows(many(count))
        snapshot.list_desired([desired()])
        settle(snapshot)
        session.end_list(snapshot, 0)

        steps = list(snapshot.free_in_slices())

        # The first list's own indexes are the mirror's.
        assert (len(steps) > 1) is not snapshot.first
        assert len(session.knowledge.store) == count
        assert session.knowledge.store.desired_count() == 1
        session.knowledge.store._check()
        if not snapshot.first:
            assert snapshot._tables.get("e0") is None


def test_what_a_list_lacks_is_found_also_where_nearly_all_of_it_is_new() -> None:
    session = synced(running("old"))

    commit = take_list(session, many(MANY + 1), [desired()])

    assert commit is not None
    assert len(commit.actual_lrps) == MANY + 2
    assert session.knowledge.store.get("old") is None
    assert len(session.knowledge.store) == MANY + 1


def test_fresh_domains_survive_the_exchange_of_the_indexes() -> None:
    session = synced()
    snapshot = session.begin_list(0)
    snapshot.domains = frozenset({"apps"})
    settle(snapshot)
    session.end_list(snapshot, 0)

    take_list(session, many(FEW + SLICE + 2))

    assert session.knowledge.store.domains == {"apps"}


# What a list cannot be trusted with


def test_a_list_of_a_server_that_lags_never_moves_a_version_back() -> None:
    session = synced(running("a", 5), desired("d", 5))

    assert take_list(session, [claimed("a", 3)], [desired("d", 3)]) is None
    assert session.knowledge.store.process("p") == (running("a", 5),)
    assert session.knowledge.store.desired("p") == desired("d", 5)
    assert repair_reasons(session) == {}, "only a list can tell"


def test_a_lagging_row_keeps_its_version_also_when_the_indexes_are_made_anew() -> None:
    session = synced(running("a", 5), desired("d", 5))

    take_list(session, [claimed("a", 3), *many(FEW + SLICE + 2)], [desired("d", 3)])

    assert session.knowledge.store.get("a") == running("a", 5)
    assert session.knowledge.store.desired("p") == desired("d", 5)


def test_a_row_that_is_listed_loses_its_tombstone() -> None:
    session = synced(running("a", 2))
    session.events([removed(running("a", 2))], 0)

    take_list(session, [unclaimed("a", 3)])
    assert session.knowledge.store.process("p") == (unclaimed("a", 3),)

    session.events([changed(unclaimed("a", 3), claimed("a", 4))], 0)
    assert session.knowledge.store.process("p") == (claimed("a", 4),)


def test_a_row_that_is_listed_loses_also_a_tombstone_that_it_got_while_the_list_was_settled() -> None:
    session = synced()
    session.events([removed(running(f"gone{n}", process_guid="gone")) for n in range(3)], 0)
    snapshot = session.begin_list(100)
    back = unclaimed("gone0", 9, process_guid="gone")
    snapshot.list_rows([unclaimed("new", 5, process_guid="q"), back, *many(2 * SLICE)])
    settle(snapshot)
    # The instance left a row that the list has unclaimed, and that the mirror does not know.
    session.events([removed(claimed("new", 4, process_guid="q"))], 200)

    session.end_list(snapshot, 200)

    assert session.knowledge.store.get("new") is not None
    assert session.knowledge.tombstones.rows.keys() == ("gone1", "gone2")


@pytest.mark.parametrize("tombstones", [1, 5], ids=["fewer tombstones than rows", "more tombstones than rows"])
def test_a_row_that_is_listed_as_it_is_known_loses_its_tombstone(tombstones: int) -> None:
    session = synced(running("a", 2), running("other", index=1))
    session.events([removed(running(f"b{n}", 3)) for n in range(tombstones)], 0)
    session.events([changed(running("a", 2), running("b0", 5))], 0)
    assert "b0" in session.knowledge.tombstones.rows, "an instance moved to a record that had been removed"

    take_list(session, [*session.knowledge.store.process("p")], now=100)

    assert session.knowledge.store.get("b0") is not None
    assert "b0" not in session.knowledge.tombstones.rows
    assert len(session.knowledge.tombstones.rows) == tombstones, "that of the record which it left is there too"


def test_a_row_that_is_back_once_the_list_is_settled_loses_its_tombstone() -> None:
    session = synced(running("a", 2))
    session.events([removed(running("b", 3))], 0)
    snapshot = session.begin_list(100)
    snapshot.list_rows([running("a", 2)])
    settle(snapshot)
    session.events([changed(running("a", 2), running("b", 5))], 200)

    session.end_list(snapshot, 200)

    assert session.knowledge.store.get("b") is not None
    assert session.knowledge.tombstones.rows.keys() == ("a",)


def test_a_desired_lrp_that_is_listed_loses_its_tombstone() -> None:
    session = synced(desired("d", 1))
    take_list(session)

    take_list(session, [], [desired("d", 1)])
    session.events([DesiredLRPChanged(desired("d", 1), desired("d", 2))], 0)

    assert session.knowledge.store.desired("p") == desired("d", 2)


def test_what_a_list_did_not_have_is_not_brought_back_by_a_late_event() -> None:
    session = synced(running("a", 2), desired("d", 1))
    take_list(session)

    session.events([changed(claimed("a", 1), running("a", 2)), DesiredLRPChanged(desired("d", 0), desired("d", 1))], 0)

    assert session.knowledge.store.process("p") == ()
    assert session.knowledge.store.desired("p") is None


def test_a_record_that_a_list_replaced_is_not_brought_back_by_a_late_event() -> None:
    session = synced(desired("old", 4))
    take_list(session, [], [desired("new")])

    session.events([DesiredLRPChanged(desired("old", 3), desired("old", 4))], 0)

    assert session.knowledge.store.desired("p") == desired("new")


def test_a_process_desired_anew_while_it_is_listed_is_read_again_where_the_list_was_ahead() -> None:
    session = synced()
    notified: list[Event] = [
        DesiredLRPCreated(desired("old")),
        DesiredLRPRemoved(desired("old")),
        DesiredLRPCreated(desired("new")),
    ]

    take_list(session, [], [desired("new")], meanwhile=notified)

    assert repair_reasons(session) == {"p": {RepairReason.DESIRED}}
    take_list(session, [], [desired("new")], scope=repair_scope(session))
    assert session.knowledge.store.desired("p") == desired("new")


def test_a_process_with_an_undecided_event_in_a_list_is_read_again_after_it() -> None:
    session = synced()

    take_list(session, [claimed("a", 1)], meanwhile=[changed(claimed("a", 1), running("a", 2))])

    assert repair_reasons(session)["p"] >= {RepairReason.INCOMPLETE}


def test_two_rows_that_a_list_has_for_one_slot_are_read_again() -> None:
    session = synced(unclaimed("kept", process_guid="q"))
    both = [unclaimed("a"), unclaimed("b")]

    take_list(session, [unclaimed("kept", process_guid="q"), *both])
    assert repair_reasons(session) == {"p": {RepairReason.RIVALS}}
    assert repair_scope(session).rows == frozenset({"p"})

    take_list(session, [*both, *many(FEW + SLICE + 2)])
    assert repair_reasons(session) == {"p": {RepairReason.RIVALS}}


# A list of some processes


def test_a_list_of_some_processes_leaves_the_others_alone() -> None:
    session = synced(running("a", 2), unclaimed("b", process_guid="q"), desired(), desired("e", process_guid="q"))

    commit = take_list(session, [], [], scope=Scope(frozenset({"p"}), frozenset()))

    assert commit is not None
    assert commit.cause is Cause.REPAIR
    assert [delta.key for delta in commit.actual_lrps] == ["a"]
    assert commit.desired_lrps == ()
    assert session.knowledge.store.process("q") == (unclaimed("b", process_guid="q"),)


def test_a_list_of_some_desired_lrps_leaves_rows_alone() -> None:
    session = synced(running("a", 2), desired(), desired("e", process_guid="q"))

    commit = take_list(session, [], [desired("d", 3)], scope=Scope(frozenset(), frozenset({"p"})))

    assert commit is not None
    assert commit.actual_lrps == ()
    assert commit.desired_lrps == (Delta("p", desired(), desired("d", 3)),)


def test_events_of_other_processes_while_some_are_listed_go_to_the_mirror_only() -> None:
    session = synced()
    notified: list[Event] = [
        created(unclaimed("b", process_guid="q")),
        created(unclaimed("a")),
        DesiredLRPCreated(desired(process_guid="q")),
        ActualLRPCrashed(process_guid="p"),
    ]

    take_list(session, [], [], scope=Scope(frozenset({"p"}), frozenset()), meanwhile=notified)

    assert session.knowledge.store.get("a") == unclaimed("a")
    assert session.knowledge.store.get("b") == unclaimed("b", process_guid="q")
    assert session.knowledge.store.desired("q") == desired(process_guid="q")


def test_a_scope_admits_the_events_of_the_group_stream() -> None:
    scope = Scope(frozenset({"p"}), frozenset())

    assert scope.admits(ActualLRPCreated(ActualLRPGroup(unclaimed())))
    assert scope.admits(ActualLRPRemoved(ActualLRPGroup(None, unclaimed())))
    assert not scope.admits(ActualLRPCreated(ActualLRPGroup(unclaimed(process_guid="q"))))
    assert not scope.admits(ActualLRPCreated(ActualLRPGroup()))


def test_a_scope_admits_the_events_of_its_processes() -> None:
    scope = Scope(frozenset({"p"}), frozenset({"q"}))

    assert scope.admits(created(unclaimed()))
    assert not scope.admits(created(unclaimed(process_guid="q")))
    assert scope.admits(DesiredLRPCreated(desired(process_guid="q")))
    assert not scope.admits(DesiredLRPCreated(desired()))
    assert not scope.admits(ActualLRPCrashed(process_guid="p"))
    assert EVERYTHING.admits(created(unclaimed()))
    assert EVERYTHING.admits(DesiredLRPCreated(desired()))


# Bounds


def test_a_list_that_is_over_leaves_nothing_to_the_garbage_collector() -> None:
    session = synced(unclaimed())
    snapshot = session.begin_list(0)
    snapshot.list_rows([unclaimed(), unclaimed("b", process_guid="q")])
    session.events([changed(unclaimed(), claimed())], 0)
    for _ in snapshot.settle():
        pass
    session.end_list(snapshot, 0)
    gone = weakref.ref(snapshot)

    del snapshot

    assert gone() is None


def test_more_events_than_may_be_kept_begin_the_list_anew() -> None:
    session = synced(tuning=Tuning(in_flight_limit=2))
    snapshot = session.begin_list(0)
    for n in range(2):
        session.events([created(unclaimed(f"e{n}", index=n))], 0)
        snapshot.check_limit()
    for n in range(2, 6):
        session.events([created(unclaimed(f"e{n}", index=n))], 0)

    with pytest.raises(LimitExceeded, match="more than 2 events"):
        snapshot.check_limit()
    assert len(session.knowledge.store.process("p")) == 6, "the mirror goes on meanwhile"


def test_what_a_list_replaced_is_freed_bit_by_bit_and_whole_for_whoever_reads_it() -> None:
    session = synced(*many(5 * FEW))
    snapshot = session.begin_list(0)
    snapshot.list_rows(many(5 * FEW, tag_index=1))
    snapshot.list_desired([desired()])
    settle(snapshot)
    read, old = session.knowledge.store, weakref.ref(session.knowledge.store)
    session.end_list(snapshot, 0)

    assert len(list(snapshot.free_in_slices())) > 10
    read._check()
    assert len(read) == 5 * FEW
    del read
    assert old() is None, "nobody else holds it"
    session.knowledge.store._check()


def test_the_store_that_a_list_replaced_is_freed_in_slices() -> None:
    session = synced(*many(10 * FEW))
    snapshot = session.begin_list(0)
    snapshot.list_rows(many(10 * FEW, tag_index=1))
    snapshot.list_desired([desired()])
    settle(snapshot)
    session.end_list(snapshot, 0)
    gc.collect()
    blocks = [sys.getallocatedblocks()]
    blocks += [sys.getallocatedblocks() for _ in snapshot.free_in_slices()]

    freed = [before - after for before, after in pairwise(blocks)]
    # Of each row that was replaced there was at least the row, its epoch and what it was filed under.
    assert sum(freed) > 3 * 10 * FEW
    assert max(freed) < sum(freed) / 3


def test_a_desired_lrp_that_differs_no_more_leaves_no_tombstone() -> None:
    known, tombstones = desired("d", 1), Tombstones(limit=10, age=10)
    found = removals(Delta("p", known, None), Delta("q", known, desired("e", 1, process_guid="q")))

    found.desired("p", None, None)
    found.desired("q", None, None)
    found.write(tombstones, ListTables())

    assert (found.lost, found.found) == ({}, {})
    assert len(tombstones) == 0
