"""The events that a replica makes of a commit: as a BBS would have sent them, and enough for whoever follows."""

from collections.abc import Iterable, Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from replica_support import rows_of
from sim_support import OTHER_NET, TAGS, A, B, C, diego, run, silent, types, wanted

from lrpmirror import ActualLRP, Tuning
from lrpmirror.core.lists.scope import EVERYTHING
from lrpmirror.core.rows.changes import Delta, RowKey, row_key
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.session import Session
from lrpmirror.events import (
    ActualLRPChanged,
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.model import ActualLRPGroup, ActualLRPState, DesiredLRP, Presence
from lrpmirror.serve.events import desired_events, group_events, row_events
from lrpmirror.server import MirrorOnly
from lrpmirror.sim import Autopilot, Diego, Rates
from lrpmirror.wire import decode, encode

BUSY = Rates(
    deploys=1, scalings=1, crashes=2, routable_changes=1, placement_failures=0.5, evacuations=0.2, cell_losses=0.1
)


def deltas(before: Iterable[ActualLRP], after: Iterable[ActualLRP]) -> list[Delta[RowKey, ActualLRP]]:
    old, new = ({row_key(row): row for row in rows} for rows in (before, after))
    keys = dict.fromkeys([*old, *new])
    return [Delta(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]


def notified(simulated: Diego, before: Sequence[ActualLRP]) -> list[Event | MirrorOnly]:
    return row_events(deltas(before, simulated.actual_lrps()))


def one_running() -> tuple[Diego, list[ActualLRP]]:
    simulated = diego()
    simulated.desire(wanted())
    run(simulated, A)
    return simulated, simulated.actual_lrps()


def carried(event: Event | MirrorOnly) -> Event:
    """What the wire brings a mirror of an event."""
    if isinstance(event, MirrorOnly):
        event = event.event
    return decode.event_payload(event.type, encode.event(event))


def following(rows: Iterable[ActualLRP]) -> Session:
    """A follower that has listed these rows."""
    session = Session(Tuning(), Random(0))
    session.stream_opened(0.0)
    list_again(session, rows)
    return session


def list_again(session: Session, rows: Iterable[ActualLRP]) -> None:
    snapshot = session.begin_list(0.0, EVERYTHING)
    rows = tuple(rows)
    snapshot.list_rows(rows)
    snapshot.list_desired(DesiredLRP(process_guid=guid) for guid in {row.process_guid for row in rows})
    for _ in snapshot.settle():
        pass
    session.end_list(snapshot, 0.0)


def rows_by_epoch(rows: Iterable[ActualLRP]) -> dict[RowKey, ActualLRP]:
    return {row_key(row): row for row in rows}


# As a BBS tells it


def test_a_new_version_is_told_as_changed_from_what_was_told_last() -> None:
    simulated, before = one_running()
    simulated.start("p", 0, A, OTHER_NET, routable=False, internal_routes=before[0].internal_routes, metric_tags=TAGS)
    after = simulated.actual_lrps()
    assert notified(simulated, before) == [ActualLRPInstanceChanged(before[0], after[0])]


def test_a_new_row_is_told_as_created_and_a_missing_one_as_removed() -> None:
    simulated, before = one_running()
    simulated.update_desired("p", instances=2)
    assert types(map(carried, notified(simulated, before))) == ["created"]
    before = simulated.actual_lrps()
    simulated.remove("p", 1)
    assert notified(simulated, before) == [ActualLRPInstanceRemoved(before[1])]


def test_an_unclaim_is_told_as_created_and_removed_of_the_version_before() -> None:
    simulated, before = one_running()
    simulated.crash("p", 0, A)
    (free,) = simulated.actual_lrps()
    assert notified(simulated, before) == [ActualLRPInstanceCreated(free), ActualLRPInstanceRemoved(before[0])]


def test_an_unclaim_after_versions_that_were_missed_is_still_no_removal_to_a_follower() -> None:
    simulated, before = one_running()
    for _ in range(2):
        simulated.crash("p", 0, A)
        run(simulated, A)
    simulated.evacuate_claimed("p", 0, A)
    created, removed = notified(simulated, before)
    assert isinstance(created, ActualLRPInstanceCreated)
    assert isinstance(removed, ActualLRPInstanceRemoved)
    assert removed.actual_lrp.tag_index == created.actual_lrp.tag_index - 1
    follower = following(before)
    events: list[Event] = [created, removed]
    follower.events(map(carried, events), 0.0)
    assert list(follower.knowledge.store.process("p")) == simulated.actual_lrps()
    assert not follower.repairs


def test_an_evacuation_is_told_as_one_move_and_then_the_row_that_is_free() -> None:
    simulated, before = one_running()
    simulated.evacuate_running("p", 0, A)
    moved, free = notified(simulated, before)
    assert isinstance(moved, ActualLRPInstanceChanged)
    assert (moved.before.presence, moved.after.presence) == (Presence.ORDINARY, Presence.EVACUATING)
    assert isinstance(free, ActualLRPInstanceCreated)
    assert free.actual_lrp.epoch == before[0].epoch
    follower = following(before)
    events: list[Event] = [moved, free]
    follower.events(map(carried, events), 0.0)
    assert rows_by_epoch(follower.knowledge.store.process("p")) == rows_by_epoch(simulated.actual_lrps())
    assert not follower.repairs


def test_a_lost_cell_is_told_as_a_change_of_presence_in_the_same_version() -> None:
    simulated, before = one_running()
    simulated.lose_cell("cell-a")
    simulated.converge()
    events = notified(simulated, before)
    suspect = next(event for event in events if isinstance(event, ActualLRPInstanceChanged))
    assert suspect.before.tag_index == suspect.after.tag_index
    assert suspect.after.presence is Presence.SUSPECT
    assert types(map(carried, events)) == ["changed", "created"]


def test_what_a_diff_does_not_carry_follows_for_mirrors_only_as_a_created_of_the_whole_row() -> None:
    _, (row,) = one_running()
    later = replace(row, tag_index=row.tag_index + 1, since=row.since + 1, metric_tags={"other": "tag"})
    assert row_events([Delta(row.epoch, row, later)]) == [
        ActualLRPInstanceChanged(row, later),
        MirrorOnly(ActualLRPInstanceCreated(later)),
    ]


def test_what_was_read_after_its_diff_is_told_to_mirrors_only() -> None:
    _, (row,) = one_running()
    events = row_events([Delta(row.epoch, silent(row), row)])
    assert events == [MirrorOnly(ActualLRPInstanceCreated(row))]
    follower = following([silent(row)])
    follower.events(map(carried, events), 0.0)
    assert follower.knowledge.store.process("p") == (row,)


def test_a_row_without_an_epoch_is_told_like_any_other() -> None:
    _, (row,) = one_running()
    old = replace(row, epoch="", tag_index=0)
    later = replace(old, since=old.since + 1, metric_tags={"other": "tag"})
    follower = following([old])
    follower.events(map(carried, row_events(deltas([old], [later]))), 0.0)
    assert follower.knowledge.store.process("p") == (later,)


def test_an_instance_that_is_found_running_and_not_ready_is_not_told_as_created_which_would_send_it_requests() -> None:
    _, (row,) = one_running()
    unready = replace(row, routable=False)
    created, changed = row_events([Delta(row.epoch, None, unready)])
    assert created == MirrorOnly(ActualLRPInstanceCreated(unready))
    assert isinstance(changed, ActualLRPInstanceChanged)
    assert (changed.before.state, changed.before.tag_index) == (ActualLRPState.CLAIMED, row.tag_index - 1)
    assert changed.before.routable is False, "the emitter reads it without looking whether it is there"
    assert changed.after == unready
    # Where the BBS itself told so, it is passed on.
    assert row_events([Delta(row.epoch, None, unready)], created=True) == [ActualLRPInstanceCreated(unready)]


def test_an_instance_whose_leaving_was_missed_is_withdrawn_beside_the_one_that_has_its_row() -> None:
    _, (row,) = one_running()
    later = replace(row, instance_guid="another", tag_index=row.tag_index + 3)
    events = row_events([Delta(row.epoch, row, later)])
    assert events == [ActualLRPInstanceChanged(row, later), ActualLRPInstanceRemoved(row)]
    follower = following([row])
    follower.events(map(carried, events), 0.0)
    assert follower.knowledge.store.process("p") == (later,)
    groups = group_events([Delta(row.epoch, row, later)], lambda _: (later,))
    assert types(map(carried, groups)) == ["removed", "created"]


def test_the_trace_of_the_event_is_passed_on() -> None:
    _, (row,) = one_running()
    (event,) = row_events([Delta(row.epoch, None, row)], "trace-1")
    assert event == ActualLRPInstanceCreated(row, "trace-1")


def test_what_runs_is_told_before_what_is_gone_but_after_what_it_takes_the_place_of() -> None:
    simulated = diego()
    simulated.desire(wanted(instances=3))
    run(simulated, A, 0)
    run(simulated, B, 1)
    before = rows_of(simulated.actual_lrps())
    in_place_of_the_second = replace(before[1], epoch="new", tag_index=0, instance_guid="other")
    events = row_events(deltas(before, [before[2], in_place_of_the_second]))
    assert types(map(carried, events)) == ["removed", "created", "removed"]
    first, _, last = events
    assert isinstance(first, ActualLRPInstanceRemoved)
    assert isinstance(last, ActualLRPInstanceRemoved)
    assert (first.actual_lrp.index, last.actual_lrp.index) == (1, 0)


# Desired LRPs


def test_a_desired_lrp_is_told_as_created_changed_and_removed() -> None:
    one, two = (DesiredLRP(process_guid="p", epoch="e", tag_index=index) for index in (0, 1))
    assert desired_events(Delta("p", None, one)) == [DesiredLRPCreated(one)]
    assert desired_events(Delta("p", one, two), "t") == [DesiredLRPChanged(one, two, "t")]
    assert desired_events(Delta("p", two, None)) == [DesiredLRPRemoved(two)]


def test_another_record_for_the_same_process_is_told_as_a_removal_and_a_creation() -> None:
    one, other = (DesiredLRP(process_guid="p", epoch=epoch) for epoch in "ab")
    assert desired_events(Delta("p", one, other)) == [DesiredLRPRemoved(one), DesiredLRPCreated(other)]


# Groups


def test_the_group_stream_tells_of_the_slot_that_changed_only() -> None:
    simulated, before = one_running()
    simulated.evacuate_running("p", 0, A)
    events = group_events(
        deltas(before, simulated.actual_lrps()), lambda guid: simulated.actual_lrps(process_guid=guid)
    )
    assert types(map(carried, events)) == ["created", "changed"]
    assert events[0].actual_lrp_group.instance is None  # type: ignore[union-attr]
    assert isinstance(events[1], ActualLRPChanged)
    assert events[1].after.evacuating is None


def test_the_group_stream_says_nothing_of_rows_that_no_slot_shows() -> None:
    simulated, _ = one_running()
    simulated.lose_cell("cell-a")
    simulated.converge()
    before = simulated.actual_lrps()
    simulated.claim("p", 0, C)
    assert group_events(deltas(before, simulated.actual_lrps()), lambda _: simulated.actual_lrps()) == []


def test_the_group_stream_tells_of_a_replacement_that_runs_and_then_of_what_it_replaces() -> None:
    simulated, _ = one_running()
    simulated.lose_cell("cell-a")
    simulated.converge()
    before = simulated.actual_lrps()
    run(simulated, C)
    events = group_events(deltas(before, simulated.actual_lrps()), lambda _: simulated.actual_lrps())
    assert types(map(carried, events)) == ["created", "removed"]


def test_the_group_stream_tells_of_a_change_of_presence_and_of_what_was_read_later_to_mirrors_only() -> None:
    simulated, before = one_running()
    simulated.lose_cell("cell-a")
    simulated.converge()
    (event,) = group_events(deltas(before, simulated.actual_lrps()), lambda _: simulated.actual_lrps())
    assert isinstance(event, MirrorOnly)
    (row,) = before
    (event,) = group_events([Delta(row.epoch, silent(row), row)], lambda _: (row,))
    assert event == MirrorOnly(ActualLRPChanged(ActualLRPGroup(silent(row), None), ActualLRPGroup(row, None)))


def test_the_group_stream_fills_a_slot_with_what_is_not_ready_as_created_only_where_the_bbs_did() -> None:
    _, (row,) = one_running()
    unready = replace(row, routable=False)
    delta: Delta[RowKey, ActualLRP] = Delta(row.epoch, None, unready)
    (found,) = group_events([delta], lambda _: (unready,))
    assert isinstance(found, ActualLRPChanged)
    assert found.before.resolve().state is ActualLRPState.CLAIMED
    assert types(map(carried, group_events([delta], lambda _: (unready,), from_event=True))) == ["created"]


# The law


@given(seed=st.integers(0, 2**16), first=st.integers(5, 60), steps=st.lists(st.integers(1, 20), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_whoever_follows_the_events_ends_in_the_state_that_they_were_made_from(
    seed: int, first: int, steps: list[int]
) -> None:
    simulated = Diego(seed=seed)
    pilot = Autopilot(simulated, seed=seed, apps=6, cells=3, rates=BUSY)
    pilot.run(first)
    before = simulated.actual_lrps()
    follower = following(before)
    for step in steps:
        pilot.run(step)
        after = simulated.actual_lrps()
        follower.events(map(carried, row_events(deltas(before, after))), 0.0)
        # What a follower doubts, it reads; a doubt about a start is about nothing that it does not have here.
        doubted = {guid for guid, why in follower.repairs._reasons.items() if RepairReason.AMBIGUOUS in why}
        expected = [row for row in after if row.process_guid not in doubted]
        found = follower.knowledge.store.select(cell_id=None, state=None, domain=None)
        assert rows_by_epoch(row for row in found if row.process_guid not in doubted) == rows_by_epoch(expected)
        follower.knowledge.store._check()
        list_again(follower, after)
        before = after


@given(seed=st.integers(0, 2**16), first=st.integers(5, 60), steps=st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_whoever_follows_the_group_events_ends_in_the_same_groups(seed: int, first: int, steps: int) -> None:
    simulated = Diego(seed=seed)
    pilot = Autopilot(simulated, seed=seed, apps=6, cells=3, rates=BUSY)
    pilot.run(first)
    before = simulated.actual_lrps()
    groups = {(one.resolve().process_guid, one.resolve().index): one for one in simulated.actual_lrp_groups()}
    pilot.run(steps)
    events = group_events(
        deltas(before, simulated.actual_lrps()), lambda guid: simulated.actual_lrps(process_guid=guid)
    )
    slots = {(key, slot): getattr(one, slot) for key, one in groups.items() for slot in ("instance", "evacuating")}
    for event in map(carried, events):
        one = event.after if isinstance(event, ActualLRPChanged) else event.actual_lrp_group  # type: ignore[union-attr]
        for slot in ("instance", "evacuating"):
            row = getattr(one, slot)
            if row is None:
                continue
            key = ((row.process_guid, row.index), slot)
            if not event.type.endswith("removed"):
                slots[key] = row
            elif slots.get(key) == row:
                slots[key] = None
    wanted_slots = {
        ((one.resolve().process_guid, one.resolve().index), slot): getattr(one, slot)
        for one in simulated.actual_lrp_groups()
        for slot in ("instance", "evacuating")
    }
    assert {key: row for key, row in slots.items() if row} == {key: row for key, row in wanted_slots.items() if row}
