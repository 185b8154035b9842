"""Applying events: whose the rows of an event are afterwards, and what a move of an instance commits."""

import pytest
from core_support import EVACUATING, SUSPECT, bare, changed, desired, running, synced, unclaimed
from msgspec.structs import replace

from lrpmirror.core.rows.changes import Commit
from lrpmirror.core.rows.reconcile import Outcome, RepairReason
from lrpmirror.core.session import Session
from lrpmirror.events import ActualLRPCreated, ActualLRPInstanceChanged, DesiredLRPRemoved, Event
from lrpmirror.model import ActualLRP, ActualLRPGroup, ModificationTag
from lrpmirror.wire import decode, encode
from lrpmirror.wire.lazy import LazyActualLRP


def from_wire(before: ActualLRP, after: ActualLRP) -> ActualLRPInstanceChanged:
    """Return a diff as it comes over the wire."""
    event = changed(before, after)
    decoded = decode.event_payload(event.type, encode.event(event))
    assert isinstance(decoded, ActualLRPInstanceChanged)
    return decoded


def listed(row: ActualLRP) -> ActualLRP:
    return decode.actual_lrp(encode.actual_lrp(row))


class Seen:
    """An observer, which keeps the events."""

    def __init__(self) -> None:
        self.events: list[tuple[Event, Outcome, Commit | None]] = []

    def event(self, event: Event, outcome: Outcome, commit: Commit | None) -> None:
        self.events.append((event, outcome, commit))

    def listed(self, commit: Commit) -> None:
        """Not called."""


def stored(session: Session, epoch: str = "a") -> ActualLRP | None:
    return session.knowledge.store.get(epoch)


def test_the_row_of_a_diff_that_nobody_follows_is_stored_itself() -> None:
    session = synced(listed(running()), desired())
    for index in (3, 4):
        event = from_wire(running("a", index - 1), running("a", index))
        session.events([event], 0)
        assert stored(session) is event.after, "it was copied"
        assert stored(session) == running("a", index)


def test_the_row_of_a_diff_that_is_followed_stays_as_it_came() -> None:
    observed, listing = synced(listed(running()), desired()), synced(listed(running()), desired())
    observed.observers = (seen := Seen(),)
    listing.begin_list(0)
    for session in (observed, listing):
        event = from_wire(running(), running("a", 3))
        session.events([event], 0)
        assert stored(session) == running("a", 3)
        assert event.after == bare(running("a", 3))
    assert len(seen.events) == 1


def test_an_event_that_two_mirrors_apply_is_each_ones_own() -> None:
    one = synced(listed(running()), desired())
    other = synced(listed(running(internal_routes=("other.internal",))), desired())
    event = from_wire(running(), running("a", 3))

    one.events([event], 0)
    other.events([event], 0)

    assert stored(one) == running("a", 3)
    assert stored(other) == running("a", 3, internal_routes=("other.internal",))


@pytest.mark.parametrize(
    "known",
    [
        running(),
        listed(bare(running())),
        replace(listed(running()), internal_routes=("new",)),
        replace(listed(running()), metric_tags={"new": "1"}),
    ],
    ids=["not from the wire", "without any", "other routes", "other tags"],
)
def test_a_row_that_is_stored_itself_has_the_routes_and_tags_that_were_there(known: ActualLRP) -> None:
    session = synced(known, desired())
    session.events([from_wire(running(), running("a", 3))], 0)
    assert stored(session) == replace(known, tag_index=3)


def test_a_diff_on_one_that_had_nothing_to_take_over_takes_over_nothing() -> None:
    session = synced(desired())
    for index in (2, 3):
        event = from_wire(running("a", index - 1), running("a", index))
        session.events([event], 0)
        assert stored(session) is event.after
        assert stored(session) == bare(running("a", index))


def test_a_newer_version_in_the_slot_of_another_row_has_its_process_read_again() -> None:
    session = synced(running(), replace(running("b", 0, instance="k"), presence=SUSPECT), desired())
    session.events([from_wire(running(), replace(running("a", 3), presence=SUSPECT))], 0)
    assert RepairReason.RIVALS in session.repairs.reasons_of("p")


def test_a_group_of_two_rows_without_a_desired_lrp_has_that_read() -> None:
    session = synced(running("c", index=1), desired())
    session.events([DesiredLRPRemoved(desired())], 0)
    group = ActualLRPGroup(running(), replace(running("b", 0, instance="k"), presence=EVACUATING))

    (commit,) = session.events([ActualLRPCreated(group)], 0)

    assert len(commit.actual_lrps) == 2
    assert RepairReason.DESIRED in session.repairs.reasons_of("p")


def test_a_diff_that_was_read_takes_over_nothing() -> None:
    read, long = from_wire(running(), running("a", 3)), from_wire(running(), running("a", 3, crash_reason="x" * 2_000))
    assert read.after.metric_tags == {}
    for event in (read, long):
        row = event.after.taking_over(listed(running()))
        assert row is not event.after
        assert row.metric_tags == running().metric_tags
        assert event.after.metric_tags == {}


def test_a_row_that_is_not_from_the_wire_is_copied() -> None:
    row = bare(running("a", 3))
    assert row.taking_over(running()) == running("a", 3)
    assert row == bare(running("a", 3))
    record = listed(bare(running("a", 3)))
    assert record.taking_over(listed(running())) == running("a", 3)
    assert isinstance(record, LazyActualLRP)
    assert not record.carried


@pytest.mark.parametrize("known", [True, False], ids=["desired", "not desired"])
def test_a_move_is_one_commit_and_one_decision(known: bool) -> None:
    session = synced(listed(running()), *[desired()] * known)
    moved = replace(running("b", 0), presence=1)

    (commit,) = session.events([from_wire(running(), moved)], 7)

    assert [(delta.key, delta.after) for delta in commit.actual_lrps] == [("b", moved), ("a", None)]
    assert commit.revision == session.knowledge.revision
    (decision,) = session.knowledge.decisions.of("p")
    assert (decision.at, decision.outcome, decision.tag, decision.stored) == (
        7,
        Outcome.APPLIED,
        ModificationTag("b", 0),
        None,
    )
    assert (RepairReason.DESIRED in session.repairs.reasons_of("p")) is not known


def test_a_move_onto_a_record_that_is_there_says_what_it_was() -> None:
    session = synced(running(), unclaimed("b", 1), desired())

    (commit,) = session.events([changed(running(), running("b", 2))], 0)

    assert [delta.before for delta in commit.actual_lrps] == [unclaimed("b", 1), running()]
    (decision,) = session.knowledge.decisions.of("p")
    assert decision.stored == ModificationTag("b", 1)


@pytest.mark.parametrize("index", [-7, 0, 5])
def test_a_process_is_written_whatever_the_indexes_of_its_rows(index: int) -> None:
    other = running("z", instance="k", index=9)
    session = synced(running("a", index=index), other, desired())
    store = session.knowledge.store

    session.events([changed(running("a", index=index), running("a", 3, index=index))], 0)
    one = store.get("a")
    assert one == running("a", 3, index=index)
    for key, rest in (("z", (one,)), ("a", ())):
        store._check()
        left = store.get(key)
        assert left is not None
        store.remove(key, left)
        assert store.process("p") == rest
    store._check()
