"""The life of a row: claimed, started, crashed, failed, retired, removed, and handed over by a cell that goes away.

Each rule writes the rows and returns the emissions, which the method of `Diego` of that name sends; "the row" is the
ORDINARY one of the index. An instance of a cell that goes away keeps running, in an EVACUATING row, while the ORDINARY
row of its index is given to another cell; a rule of an evacuation also returns whether the cell is to keep the
container.
"""

from collections.abc import Sequence
from typing import Any, Final, Unpack

from msgspec import Struct
from msgspec.structs import asdict, replace

from lrpmirror.detail import UpdateStrategy
from lrpmirror.errors import RequestRefused, ResourceNotFound
from lrpmirror.model import EMPTY, ActualLRP, ActualLRPState, DesiredLRP, Presence, stored_text
from lrpmirror.server.writes import NO_INSTANCE, NO_NET, InstanceKey, InstanceReport, NetInfo
from lrpmirror.sim.state import State, StopRequest
from lrpmirror.sim.transitions import HELD, Emission, Pair, emission

CRASHES_RESTARTED_AT_ONCE: Final = 3  # A row that has crashed this often waits for the convergence
CRASH_RESET_NS: Final = 5 * 60 * 1_000_000_000  # an instance that ran for longer starts to count its crashes anew


def running_fields(instance: InstanceKey, net: NetInfo, report: InstanceReport) -> dict[str, Any]:
    """Return the fields of a row that this instance runs in, as its cell reports them."""
    fields: dict[str, Any] = {"metric_tags": EMPTY, "routable": True, "availability_zone": "", **report}
    fields.pop("domain", None)
    fields["internal_routes"] = tuple(report.get("internal_routes", ()))
    return {**fields_of(instance, net), **fields, "state": ActualLRPState.RUNNING}


def _domain_of(state: State, process_guid: str, index: int, report: InstanceReport) -> str:
    known = state.row(process_guid, index) or state.desired.get(process_guid)
    given = report.get("domain")
    return given if given is not None else "" if known is None else known.domain


def fields_of(instance: InstanceKey, net: NetInfo) -> dict[str, Any]:
    """Return the fields of a row that say who holds it and where."""
    return asdict(instance) | asdict(net)


def claim(state: State, process_guid: str, index: int, instance: InstanceKey) -> list[Emission]:
    """Let the instance claim an UNCLAIMED row, or the one that it has; ignored from that of the SUSPECT row.

    Raises ResourceNotFound, and RequestRefused: ActualLRPCannotBeClaimed.
    """
    if _is_suspect(state, process_guid, index, instance):
        return []
    row = state.existing_row(process_guid, index)
    if row.state is not ActualLRPState.UNCLAIMED and InstanceKey.of(row) != instance:
        raise RequestRefused("ActualLRPCannotBeClaimed", f"{process_guid}/{index} is {row.state}, not by that instance")
    if row.state is ActualLRPState.CLAIMED:
        return []
    before = state.slot(process_guid, index)
    after = state.write(row, state=ActualLRPState.CLAIMED, placement_error="", **fields_of(instance, NO_NET))
    return [emission(before, [(row, after)])]


def start(
    state: State,
    process_guid: str,
    index: int,
    instance: InstanceKey,
    net: NetInfo = NO_NET,
    **report: Unpack[InstanceReport],
) -> list[Emission]:
    """Let the instance run in the row, which is made if there is none; SUSPECT and EVACUATING rows of the index go.

    Allowed for a row UNCLAIMED or CLAIMED by anyone, and for its own; ignored from the instance of the SUSPECT row.
    Raises RequestRefused: ActualLRPCannotBeStarted.
    """
    if _is_suspect(state, process_guid, index, instance):
        return []
    before = state.slot(process_guid, index)
    row = state.row(process_guid, index)
    running = {**running_fields(instance, net, report), "placement_error": ""}
    domain = _domain_of(state, process_guid, index, report)
    pairs: list[Pair] = []
    if row is None:
        new = ActualLRP(process_guid=process_guid, index=index, domain=domain, since=state.now, epoch=state.guid())
        pairs.append((None, state.put(replace(new, **running))))
    else:
        free = row.state in (ActualLRPState.UNCLAIMED, ActualLRPState.CLAIMED)
        if row.domain != domain or not (free or InstanceKey.of(row) == instance):
            where = f"{process_guid}/{index} is {row.state} in {row.domain!r}"
            raise RequestRefused("ActualLRPCannotBeStarted", f"{where}, not by that instance")
        if any(getattr(row, name) != value for name, value in running.items()):
            pairs.append((row, state.write(row, **running)))
    for other in before:
        if other.presence is not Presence.ORDINARY:
            state.delete(other)
            pairs.append((other, None))
    return [emission(before, pairs)] if pairs else []


def crash(state: State, process_guid: str, index: int, instance: InstanceKey, reason: str = "") -> list[Emission]:
    """Record that the instance crashed; from the instance of a SUSPECT row, that row goes.

    Raises ResourceNotFound, and RequestRefused: ActualLRPCannotBeCrashed.
    """
    before = state.slot(process_guid, index)
    suspect = state.row(process_guid, index, Presence.SUSPECT)
    if suspect is not None and InstanceKey.of(suspect) == instance:
        state.delete(suspect)
        return [emission(before, [(suspect, None)])]
    row = state.existing_row(process_guid, index)
    return [emission(before, [(row, crash_row(state, row, instance, reason))], crash=True)]


def crash_row(state: State, row: ActualLRP, instance: InstanceKey, reason: str) -> ActualLRP:
    """Write a crash into the row: UNCLAIMED again the first times, then CRASHED; return it with the whole reason."""
    if row.state not in HELD or InstanceKey.of(row) != instance:
        raise RequestRefused(
            "ActualLRPCannotBeCrashed", f"{row.process_guid}/{row.index} is {row.state}, or not by that instance"
        )
    ran_long = row.state is ActualLRPState.RUNNING and state.now - row.since > CRASH_RESET_NS
    count = 1 if ran_long else row.crash_count + 1
    written = state.write(
        row,
        state=ActualLRPState.UNCLAIMED if count < CRASHES_RESTARTED_AT_ONCE else ActualLRPState.CRASHED,
        crash_count=count,
        crash_reason=stored_text(reason),
        **fields_of(NO_INSTANCE, NO_NET),
    )
    return replace(written, crash_reason=reason)


def unclaim_row(state: State, row: ActualLRP) -> ActualLRP:
    """Take the instance out of the row and return it; routable, routes, tags and crashes stay."""
    return state.write(row, state=ActualLRPState.UNCLAIMED, **fields_of(NO_INSTANCE, NO_NET))


def fail(state: State, process_guid: str, index: int, reason: str) -> list[Emission]:
    """Record that no cell takes a free row. Raises ResourceNotFound, and RequestRefused: ActualLRPCannotBeFailed."""
    row = state.existing_row(process_guid, index)
    if row.state is not ActualLRPState.UNCLAIMED:
        raise RequestRefused("ActualLRPCannotBeFailed", f"{process_guid}/{index} is {row.state}")
    before = state.slot(process_guid, index)
    written = state.write(row, placement_error=stored_text(reason))
    return [emission(before, [(row, replace(written, placement_error=reason))])]


def remove(state: State, process_guid: str, index: int, instance: InstanceKey | None) -> list[Emission]:
    """Remove the row, if it is the instance's where one is given."""
    row = state.existing_row(process_guid, index)
    if instance is not None and InstanceKey.of(row) != instance:
        raise ResourceNotFound("ResourceNotFound", f"{process_guid}/{index} is not held by {instance.instance_guid}")
    return [removed(state, row)]


def retire(state: State, process_guid: str, index: int) -> list[Emission]:
    """Remove the row if no instance holds it or its cell is unknown, else ask the cell. Raises ResourceNotFound."""
    row = state.existing_row(process_guid, index)
    if row.state in HELD and row.cell_id in state.cells:
        state.stop_requests.append(StopRequest(process_guid, index, InstanceKey.of(row)))
        return []
    return [removed(state, row)]


def removed(state: State, row: ActualLRP) -> Emission:
    """Take the row out; return the emission."""
    before = state.slot(row.process_guid, row.index)
    state.delete(row)
    return emission(before, [(row, None)])


def _is_suspect(state: State, process_guid: str, index: int, instance: InstanceKey) -> bool:
    suspect = state.row(process_guid, index, Presence.SUSPECT)
    return suspect is not None and InstanceKey.of(suspect) == instance


class Evacuation(Struct, frozen=True):
    """The answer to a cell, whether it keeps the container; and the emissions for the streams."""

    keep_container: bool
    emissions: tuple[Emission, ...] = ()


def evacuate_claimed(state: State, process_guid: str, index: int, instance: InstanceKey) -> Evacuation:
    """Give a claimed row back; an EVACUATING or SUSPECT row goes. Raises ResourceNotFound."""
    row = _known(state, process_guid, index, instance)
    before = state.slot(process_guid, index)
    if row.presence is not Presence.ORDINARY:
        return _removed(state, before, row)
    return _emitted(before, [(row, unclaim_row(state, row))], keep=False)


def evacuate_crashed(
    state: State, process_guid: str, index: int, instance: InstanceKey, reason: str = ""
) -> Evacuation:
    """Record a crash, unannounced where the row is free again; other rows than ORDINARY go. Raises ResourceNotFound."""
    row = _known(state, process_guid, index, instance)
    before = state.slot(process_guid, index)
    if row.presence is not Presence.ORDINARY:
        return _removed(state, before, row)
    return _emitted(before, [(row, crash_row(state, row, instance, reason))], keep=False)


def evacuate_stopped(state: State, process_guid: str, index: int, instance: InstanceKey) -> Evacuation:
    """Remove the row of an instance that stopped. Raises ResourceNotFound."""
    row = _known(state, process_guid, index, instance)
    return _removed(state, state.slot(process_guid, index), row)


def remove_evacuating(state: State, process_guid: str, index: int, instance: InstanceKey) -> list[Emission]:
    """Remove the EVACUATING row of the instance. Raises ResourceNotFound."""
    row = _known(state, process_guid, index, instance)
    if row.presence is not Presence.EVACUATING:
        raise ResourceNotFound("ResourceNotFound", f"{process_guid}/{index} does not evacuate {instance.instance_guid}")
    return [*_removed(state, state.slot(process_guid, index), row).emissions]


def evacuate_running(
    state: State,
    process_guid: str,
    index: int,
    instance: InstanceKey,
    net: NetInfo = NO_NET,
    **report: Unpack[InstanceReport],
) -> Evacuation:
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
        # It is described as its cell reports it, unless the place is taken.
        if any(row.presence is Presence.EVACUATING for row in before):
            return Evacuation(False)
        stranger = ActualLRP(
            process_guid=process_guid,
            index=index,
            domain=_domain_of(state, process_guid, index, report),
            since=state.now,
            epoch=state.guid(),
            presence=Presence.EVACUATING,
            **running_fields(instance, net, report),
        )
        return _emitted(before, [(None, state.put(stranger))], keep=True)
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
