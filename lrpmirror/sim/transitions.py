"""The events of a write on both streams, in the BBS's order, from the rows of one index before and after it."""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror import events
from lrpmirror.events import Event
from lrpmirror.model import EMPTY, ActualLRP, ActualLRPGroup, ActualLRPState, Presence
from lrpmirror.server.writes import InstanceKey

HELD: Final = (ActualLRPState.CLAIMED, ActualLRPState.RUNNING)  # the states in which an instance holds its row
Pair = tuple[ActualLRP | None, ActualLRP | None]  # a row before and after a write; None where there is none


class Emission(Struct, frozen=True):
    """The events that one goroutine of the server sends, in order, on each of the two streams."""

    instances: tuple[Event, ...] = ()
    groups: tuple[Event, ...] = ()


def desired_emission(event: events.DesiredLRPCreated | events.DesiredLRPChanged | events.DesiredLRPRemoved) -> Emission:
    """Return the emission of an event of a desired LRP, which both streams carry alike."""
    return Emission((event,), (event,))


def emission(before: Sequence[ActualLRP], pairs: Sequence[Pair], *, crash: bool = False) -> Emission:
    """Return what is sent about a write at one index, of which `before` are all rows before the write.

    `pairs` are the rows that it wrote; an instance that moves pairs its old row with its new one. `crash`: a reported
    crash is announced also where the row ends UNCLAIMED.
    """
    instances = [event for old, new in pairs for event in _instance_events(old, new, crash=crash)]
    touched = {(row.epoch, row.presence) for pair in pairs for row in pair if row is not None}
    after = [row for row in before if (row.epoch, row.presence) not in touched]
    after += [new for _, new in pairs if new is not None]
    old_group, new_group = group_of_rows(before), group_of_rows(after)
    groups = _slot_events(old_group.instance, new_group.instance, crash=crash)
    groups += _slot_events(old_group.evacuating, new_group.evacuating, crash=False)
    return Emission(_in_order(instances), _in_order(groups))


def race(emissions: Sequence[Emission]) -> list[Emission]:
    """Take the emissions apart, so that each single event races all others, as in a convergence."""
    apart: list[Emission] = []
    for each in emissions:
        apart += [Emission(instances=(event,)) for event in each.instances]
        apart += [Emission(groups=(event,)) for event in each.groups]
    return apart


def changed(before: ActualLRP, after: ActualLRP) -> events.ActualLRPInstanceChanged:
    """Return the `changed` of the instance stream: one key for both sides, no internal routes, no metric tags."""
    key = InstanceKey.of(after) or InstanceKey.of(before)

    def side(row: ActualLRP) -> ActualLRP:
        return replace(row, instance_guid=key.instance_guid, cell_id=key.cell_id, internal_routes=(), metric_tags=EMPTY)

    return events.ActualLRPInstanceChanged(side(before), side(after))


def slot_of(row: ActualLRP) -> ActualLRPGroup:
    """Return the row in its slot of a group, as the group stream shows it."""
    if row.presence is Presence.EVACUATING:
        return ActualLRPGroup(None, row)
    return ActualLRPGroup(row, None)


def group_of_rows(rows: Iterable[ActualLRP]) -> ActualLRPGroup:
    """Return the group of the rows of one (process, index), at most one of each presence, as a BBS makes it.

    The EVACUATING row has a slot of its own. For the other an ORDINARY row competes with a SUSPECT one: ORDINARY wins
    when it is RUNNING, or when the SUSPECT one neither runs nor is claimed.
    """
    found = {row.presence: row for row in rows}
    ordinary, suspect = found.get(Presence.ORDINARY), found.get(Presence.SUSPECT)
    instance = ordinary
    if suspect is not None and (
        ordinary is None or (ordinary.state is not ActualLRPState.RUNNING and suspect.state in HELD)
    ):
        instance = suspect
    return ActualLRPGroup(instance, found.get(Presence.EVACUATING))


def groups_of_rows(rows: Iterable[ActualLRP]) -> list[ActualLRPGroup]:
    """Return the groups of any rows, one for each (process, index), in the order of their first row. Linear."""
    slots: dict[tuple[str, int], list[ActualLRP]] = {}
    for row in rows:
        slots.setdefault((row.process_guid, row.index), []).append(row)
    return [group_of_rows(slot) for slot in slots.values()]


def _crashed(before: ActualLRP, after: ActualLRP) -> events.ActualLRPCrashed:
    return events.ActualLRPCrashed(
        process_guid=before.process_guid,
        index=before.index,
        domain=before.domain,
        instance_guid=before.instance_guid,
        cell_id=before.cell_id,
        crash_count=after.crash_count,
        crash_reason=after.crash_reason,
        since=after.since,
    )


def _instance_events(before: ActualLRP | None, after: ActualLRP | None, *, crash: bool) -> list[Event]:
    if before is None:
        return [] if after is None else [events.ActualLRPInstanceCreated(after)]
    if after is None:
        return [events.ActualLRPInstanceRemoved(before)]
    if after.state is ActualLRPState.CRASHED:
        return [_crashed(before, after), changed(before, after)]
    if after.state is ActualLRPState.UNCLAIMED and before.state is not ActualLRPState.UNCLAIMED:
        announced: list[Event] = [_crashed(before, after)] if crash else []
        return [*announced, events.ActualLRPInstanceCreated(after), events.ActualLRPInstanceRemoved(before)]
    return [changed(before, after)]


def _slot_events(before: ActualLRP | None, after: ActualLRP | None, *, crash: bool) -> list[Event]:
    if before == after:
        return []
    if before is None:
        return [] if after is None else [events.ActualLRPCreated(slot_of(after))]
    if after is None:
        return [events.ActualLRPRemoved(slot_of(before))]
    if after.state in HELD:
        key = InstanceKey.of(before)
        if key and key != InstanceKey.of(after):
            return [events.ActualLRPCreated(slot_of(after)), events.ActualLRPRemoved(slot_of(before))]
    write: list[Event] = [events.ActualLRPChanged(slot_of(before), slot_of(after))]
    if crash or after.state is ActualLRPState.CRASHED:
        return [_crashed(before, after), *write]
    return write


def _in_order(sent: list[Event]) -> tuple[Event, ...]:
    return tuple(sorted(sent, key=_urgency))


def _urgency(event: Event) -> int:
    match event:
        case events.ActualLRPCrashed():
            return 0
        case events.ActualLRPInstanceCreated(actual_lrp=row) | events.ActualLRPInstanceChanged(after=row):
            return 1 if row.state is ActualLRPState.RUNNING else 2
        case events.ActualLRPCreated(actual_lrp_group=group) | events.ActualLRPChanged(after=group):
            return 1 if group.resolve().state is ActualLRPState.RUNNING else 2
        case _:
            return 2
