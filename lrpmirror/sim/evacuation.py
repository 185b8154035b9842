"""How a cell that is going away hands over its instances.

An instance that runs keeps running, in an EVACUATING row, while the ORDINARY row of its index is given to another cell.
All but `evacuate_running` raise ResourceNotFound for an instance that is not known.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.detail import UpdateStrategy
from lrpmirror.errors import ResourceNotFound
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, Presence
from lrpmirror.server.writer import InstanceKey
from lrpmirror.sim.lifecycle import Report, crash_row, unclaim_row
from lrpmirror.sim.state import State
from lrpmirror.sim.transitions import HELD, Emission, Pair, emission


class Evacuation(Struct, frozen=True):
    """The answer to a cell, whether it keeps the container; and the emissions for the streams."""

    keep_container: bool
    emissions: tuple[Emission, ...] = ()


def evacuate_claimed(state: State, process_guid: str, index: int, instance: InstanceKey) -> Evacuation:
    """Give the row back; an EVACUATING or SUSPECT row goes."""
    row = _known(state, process_guid, index, instance)
    before = state.slot(process_guid, index)
    if row.presence is not Presence.ORDINARY:
        return _removed(state, before, row)
    return _emitted(before, [(row, unclaim_row(state, row))], keep=False)


def evacuate_crashed(state: State, process_guid: str, index: int, instance: InstanceKey, reason: str) -> Evacuation:
    """Record a crash, which is not announced where the row is free again; an EVACUATING or SUSPECT row goes."""
    row = _known(state, process_guid, index, instance)
    before = state.slot(process_guid, index)
    if row.presence is not Presence.ORDINARY:
        return _removed(state, before, row)
    return _emitted(before, [(row, crash_row(state, row, instance, reason))], keep=False)


def evacuate_stopped(state: State, process_guid: str, index: int, instance: InstanceKey) -> Evacuation:
    """Remove the instance's row."""
    row = _known(state, process_guid, index, instance)
    return _removed(state, state.slot(process_guid, index), row)


def remove_evacuating(state: State, process_guid: str, index: int, instance: InstanceKey) -> list[Emission]:
    """Remove the EVACUATING row of the instance."""
    row = _known(state, process_guid, index, instance)
    if row.presence is not Presence.EVACUATING:
        raise ResourceNotFound("ResourceNotFound", f"{process_guid}/{index} does not evacuate {instance.instance_guid}")
    return [*_removed(state, state.slot(process_guid, index), row).emissions]


def evacuate_running(state: State, process_guid: str, index: int, instance: InstanceKey, report: Report) -> Evacuation:
    """Move a running instance to an EVACUATING row, or tell its cell that it is no longer needed."""
    before = state.slot(process_guid, index)
    if not before:
        return Evacuation(False)
    target = state.holder(process_guid, index, instance)
    ordinary = state.row(process_guid, index)
    desired = state.desired.get(process_guid)
    replaced = (ActualLRPState.RUNNING, ActualLRPState.CRASHED)
    if ordinary is None or desired is None or (ordinary is not target and ordinary.state in replaced):
        return _drop(state, before, target, Presence.EVACUATING)
    if desired.detail is not None and desired.detail.update_strategy is UpdateStrategy.RECREATE:
        return _recreate(state, before, target, desired)
    if target is None:
        return _evacuate_stranger(state, process_guid, index, instance, report)
    if target.presence is Presence.EVACUATING:
        return Evacuation(True)
    if target.state not in HELD:
        return Evacuation(False)
    return _dance(state, before, target)


def _recreate(state: State, before: Sequence[ActualLRP], target: ActualLRP | None, desired: DesiredLRP) -> Evacuation:
    if target is None or target.presence is not Presence.ORDINARY:
        return _drop(state, before, target, Presence.EVACUATING, Presence.SUSPECT)
    if target.state not in HELD:
        return Evacuation(False)
    rows = state.rows[target.process_guid].values()
    running = sum(row.presence is Presence.ORDINARY and row.state is ActualLRPState.RUNNING for row in rows)
    if running < desired.instances:
        return Evacuation(True)
    return _emitted(before, [(target, unclaim_row(state, target))], keep=False)


def _evacuate_stranger(
    state: State, process_guid: str, index: int, instance: InstanceKey, report: Report
) -> Evacuation:
    """Evacuate an instance that has no row: one is made as its cell describes it, unless the place is taken."""
    before = state.slot(process_guid, index)
    if any(row.presence is Presence.EVACUATING for row in before):
        return Evacuation(False)
    row = ActualLRP(
        process_guid=process_guid,
        index=index,
        domain=report.domain,
        since=state.now,
        epoch=state.guid(),
        presence=Presence.EVACUATING,
        **report.fields(instance),
    )
    return _emitted(before, [(None, state.put(row))], keep=True)


def _dance(state: State, before: Sequence[ActualLRP], target: ActualLRP) -> Evacuation:
    """Move the instance into the EVACUATING row and free the row that it had."""
    occupied = state.row(target.process_guid, target.index, Presence.EVACUATING)
    moved = replace(
        target,
        presence=Presence.EVACUATING,
        state=ActualLRPState.RUNNING,
        placement_error="",
        crash_count=0,
        crash_reason="",
        since=state.now,
        epoch=state.guid() if occupied is None else occupied.epoch,
        tag_index=0 if occupied is None else occupied.tag_index + 1,
    )
    pairs: list[Pair] = [(target, state.put(moved))]
    if target.presence is Presence.SUSPECT:
        state.delete(target)
    else:
        pairs.append((None, unclaim_row(state, target)))
    return _emitted(before, pairs, keep=True)


def _drop(state: State, before: Sequence[ActualLRP], target: ActualLRP | None, *presences: Presence) -> Evacuation:
    if target is None or target.presence not in presences:
        return Evacuation(False)
    return _removed(state, before, target)


def _known(state: State, process_guid: str, index: int, instance: InstanceKey) -> ActualLRP:
    row = state.holder(process_guid, index, instance)
    if row is None or not instance:
        raise ResourceNotFound("ResourceNotFound", f"{instance.instance_guid} has no row of {process_guid}/{index}")
    return row


def _removed(state: State, before: Sequence[ActualLRP], row: ActualLRP) -> Evacuation:
    state.delete(row)
    return _emitted(before, [(row, None)], keep=False)


def _emitted(before: Sequence[ActualLRP], pairs: list[Pair], *, keep: bool) -> Evacuation:
    return Evacuation(keep, (emission(before, pairs),))
