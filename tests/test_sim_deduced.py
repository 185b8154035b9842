"""Recordings without written steps: each call is deduced from what the real BBS told of it, and made again."""

from collections import defaultdict, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sim_recordings_support import WAYS, Correspondence, Way, World, by_subject, events, records, subject_of
from sim_support import recording

from lrpmirror.events import (
    ActualLRPChanged,
    ActualLRPCrashed,
    ActualLRPCreated,
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    Event,
)
from lrpmirror.model import ActualLRP, Presence
from lrpmirror.server import InstanceKey, NetInfo
from lrpmirror.wire import decode

Whole = Mapping[tuple[str, int], ActualLRP]


def whole_rows(folder: Path) -> Whole:
    """Return rows by version, with the routes and tags that `changed` events leave out: the group stream has them."""
    groups = [
        event.after if isinstance(event, ActualLRPChanged) else event.actual_lrp_group
        for event in events(folder / "events.groups.sse")
        if isinstance(event, ActualLRPChanged | ActualLRPCreated)
    ]
    rows = [row for group in groups for row in (group.instance, group.evacuating) if row is not None]
    return {(row.epoch, row.tag_index): row for row in rows}


def call_again(bbs: Any, event: Event, whole: Whole) -> None:
    """Make the call whose first consequence the event is."""
    bbs.trace_id = getattr(event, "trace_id", "")
    match event:
        case DesiredLRPCreated(desired_lrp=wanted):
            bbs.desire(wanted)
        case DesiredLRPChanged(before=before, after=after):
            names = ("instances", "routes", "annotation", "metric_tags")
            changes = {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}
            bbs.update_desired(after.process_guid, **changes)
        case ActualLRPCrashed(process_guid=guid, index=index, instance_guid=instance, cell_id=cell, crash_reason=why):
            bbs.crash(guid, index, InstanceKey(instance, cell), why)
        case ActualLRPInstanceRemoved(actual_lrp=row):
            bbs.remove(row.process_guid, row.index, InstanceKey.of(row))
        case ActualLRPInstanceCreated(actual_lrp=row):
            report(bbs.start, row)
        case ActualLRPInstanceChanged(after=row) if row.presence is Presence.EVACUATING:
            report(bbs.evacuate_running, whole[row.epoch, row.tag_index])
        case ActualLRPInstanceChanged(after=row) if row.state == "RUNNING":
            report(bbs.start, whole[row.epoch, row.tag_index])
        case ActualLRPInstanceChanged(after=row) if row.state == "CLAIMED":
            bbs.claim(row.process_guid, row.index, InstanceKey.of(row))
        case ActualLRPInstanceChanged(after=row):
            bbs.fail(row.process_guid, row.index, row.placement_error)
        case _:
            raise AssertionError(f"nothing is known that begins with {event}")
    bbs.trace_id = ""


def report(call: Any, row: ActualLRP) -> None:
    call(
        row.process_guid,
        row.index,
        InstanceKey.of(row),
        NetInfo.of(row),
        domain=row.domain,
        internal_routes=row.internal_routes,
        metric_tags=row.metric_tags,
        routable=row.routable,
        availability_zone=row.availability_zone,
    )


def replay(folder: Path, world: World) -> None:
    same, whole = Correspondence(), whole_rows(folder)
    owed: dict[object, deque[Event]] = defaultdict(deque)
    for number, event in enumerate(events(folder / "events.instances.sse")):
        subject = subject_of(event)
        if not owed[subject]:
            world.diego.advance(1)
            call_again(world.bbs, event, whole)
            for emitted in world.emitted("instances"):
                owed[subject_of(emitted)].append(emitted)
        assert owed[subject], f"event {number}: the call has not told of {subject}"
        same.check(owed[subject].popleft(), event, f"event {number}")
    assert not any(owed.values()), "more was told than the real server told"

    ours, theirs = by_subject(world.emitted("groups")), by_subject(events(folder / "events.groups.sse"))
    assert ours.keys() == theirs.keys()
    for about, slots in ours.items():
        for our_event, their_event in zip(slots, theirs[about], strict=True):
            same.check(our_event, their_event, f"groups, {about}")

    listed = {(row.process_guid, row.index, row.presence): row for row in world.bbs.actual_lrps()}
    for record in records(folder / "expected" / "actual_lrps.pb"):
        row = decode.actual_lrp(record)
        same.check(listed.pop((row.process_guid, row.index, row.presence)), row, "expected rows")
    assert not listed


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["06-mixed", "07-routes"])
def test_the_calls_that_a_recording_betrays_have_the_recorded_consequences(name: str, way: Way) -> None:
    folder = recording(name)
    way(folder, lambda world: replay(folder, world))
