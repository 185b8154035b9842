"""The life cycle of a row: claimed, started, crashed, failed, retired, removed.

Each rule writes the rows and returns the emissions; "the row" is the ORDINARY one of the index. `Diego` says what each
raises.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.errors import RequestRefused, ResourceNotFound
from lrpmirror.model import EMPTY, ActualLRP, ActualLRPState, Presence, stored_text
from lrpmirror.server.writer import NO_INSTANCE, NO_NET, InstanceKey, NetInfo
from lrpmirror.sim.state import State, StopRequest
from lrpmirror.sim.transitions import HELD, Emission, Pair, emission

CRASHES_RESTARTED_AT_ONCE: Final = 3  # A row that has crashed this often waits for the convergence
CRASH_RESET_NS: Final = 5 * 60 * 1_000_000_000  # an instance that ran for longer starts to count its crashes anew


class Report(Struct, frozen=True):
    """A cell's report of an instance that runs, beside its key."""

    domain: str
    net: NetInfo
    internal_routes: Sequence[str] = ()
    metric_tags: Mapping[str, str] = EMPTY
    routable: bool = True
    availability_zone: str = ""

    def fields(self, instance: InstanceKey) -> dict[str, Any]:
        """Return the fields of a row that this instance runs in."""
        return {
            **fields_of(instance, self.net),
            "state": ActualLRPState.RUNNING,
            "internal_routes": tuple(self.internal_routes),
            "metric_tags": self.metric_tags,
            "routable": self.routable,
            "availability_zone": self.availability_zone,
        }


def fields_of(instance: InstanceKey, net: NetInfo) -> dict[str, Any]:
    """Return the fields of a row that say who holds it and where."""
    return {
        "instance_guid": instance.instance_guid,
        "cell_id": instance.cell_id,
        "address": net.address,
        "ports": net.ports,
        "instance_address": net.instance_address,
        "preferred_address": net.preferred_address,
        "instance_ipv6_address": net.instance_ipv6_address,
    }


def claim(state: State, process_guid: str, index: int, instance: InstanceKey) -> list[Emission]:
    """Let the instance claim an UNCLAIMED row, or the one that it has; ignored from that of the SUSPECT row."""
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


def start(state: State, process_guid: str, index: int, instance: InstanceKey, report: Report) -> list[Emission]:
    """Let the instance run in the row, which is made if there is none; SUSPECT and EVACUATING rows of the index go.

    Allowed for a row UNCLAIMED or CLAIMED by anyone, and for its own; ignored from the instance of the SUSPECT row.
    """
    if _is_suspect(state, process_guid, index, instance):
        return []
    before = state.slot(process_guid, index)
    row = state.row(process_guid, index)
    running = {**report.fields(instance), "placement_error": ""}
    pairs: list[Pair] = []
    if row is None:
        new = ActualLRP(
            process_guid=process_guid, index=index, domain=report.domain, since=state.now, epoch=state.guid()
        )
        pairs.append((None, state.put(replace(new, **running))))
    else:
        _check_startable(row, report.domain, instance)
        if any(getattr(row, name) != value for name, value in running.items()):
            pairs.append((row, state.write(row, **running)))
    for other in before:
        if other.presence is not Presence.ORDINARY:
            state.delete(other)
            pairs.append((other, None))
    return [emission(before, pairs)] if pairs else []


def crash(state: State, process_guid: str, index: int, instance: InstanceKey, reason: str) -> list[Emission]:
    """Record that the instance crashed; from the instance of a SUSPECT row, that row goes."""
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
    """Record that no cell was found for the row, which has to be UNCLAIMED."""
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
    """Remove the row if no instance holds it or its cell is unknown, else ask the cell."""
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


def _check_startable(row: ActualLRP, domain: str, instance: InstanceKey) -> None:
    free = row.state in (ActualLRPState.UNCLAIMED, ActualLRPState.CLAIMED)
    if row.domain != domain or not (free or InstanceKey.of(row) == instance):
        raise RequestRefused(
            "ActualLRPCannotBeStarted",
            f"{row.process_guid}/{row.index} is {row.state} in {row.domain!r}, not by that instance",
        )
