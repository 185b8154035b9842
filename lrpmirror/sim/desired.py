"""Desired LRPs: created, updated, removed; and the rows that follow from the number of instances."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Unpack

from msgspec.structs import replace

from lrpmirror.detail import DesiredLRPDetail
from lrpmirror.errors import RequestRefused, ResourceNotFound
from lrpmirror.events import DesiredLRPChanged, DesiredLRPCreated, DesiredLRPRemoved
from lrpmirror.model import DesiredLRP, Presence
from lrpmirror.server.writes import DesiredUpdate, InstanceKey
from lrpmirror.sim.lifecycle import removed
from lrpmirror.sim.state import State, StopRequest
from lrpmirror.sim.transitions import HELD, Emission, desired_emission, emission

MAX_ANNOTATION: Final = 10 * 1024  # the longest annotation, in bytes
MAX_ROUTES: Final = 128 * 1024  # the longest routes, in bytes and in all

MAX_CPU_WEIGHT: Final = 100

_GUID = re.compile(r"[a-zA-Z0-9_-]+")

_CHECKS: Final[Mapping[str, Callable[[DesiredLRP], bool]]] = {
    "process_guid": lambda wanted: _GUID.fullmatch(wanted.process_guid) is not None,
    "domain": lambda wanted: bool(wanted.domain),
    "rootfs": lambda wanted: bool(wanted.root_fs),
    "memory_mb": lambda wanted: wanted.memory_mb >= 0,
    "disk_mb": lambda wanted: wanted.disk_mb >= 0,
    "max_pids": lambda wanted: wanted.max_pids >= 0,
    "cpu_weight": lambda wanted: wanted.detail is None or wanted.detail.cpu_weight <= MAX_CPU_WEIGHT,
}
_CHECKS_OF_UPDATES: Final[Mapping[str, Callable[[DesiredLRP], bool]]] = {
    "instances": lambda wanted: wanted.instances >= 0,
    "annotation": lambda wanted: len(wanted.annotation.encode()) <= MAX_ANNOTATION,
    "routes": lambda wanted: sum(map(len, wanted.routes.values())) <= MAX_ROUTES,
    "metric_tags": lambda wanted: not any(tag.static and tag.dynamic for tag in wanted.metric_tags.values()),
}


def desire(state: State, wanted: DesiredLRP) -> list[Emission]:
    """Create a desired LRP, and its UNCLAIMED rows. Raises RequestRefused: InvalidRequest or ResourceExists."""
    _check(wanted, {**_CHECKS, **_CHECKS_OF_UPDATES})
    if wanted.process_guid in state.desired:
        raise RequestRefused("ResourceExists", f"desired LRP {wanted.process_guid} exists")
    lrp = state.put_desired(replace(wanted, epoch=state.guid(), tag_index=0))
    return [desired_emission(DesiredLRPCreated(lrp)), *create_missing(state, lrp, range(lrp.instances))]


def update_desired(state: State, process_guid: str, **fields: Unpack[DesiredUpdate]) -> list[Emission]:
    """Write the given fields; make rows for a larger number of instances, stop those beyond a smaller one.

    Raises ResourceNotFound, and RequestRefused: InvalidRequest.
    """
    before = _existing(state, process_guid)
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    credentials = {name: given.pop(name) for name in ("image_username", "image_password") if name in given}
    after = replace(before, **given)
    if credentials:
        after = replace(after, detail=replace(after.detail or DesiredLRPDetail(), **credentials))
    _check(after, _CHECKS_OF_UPDATES)
    after = state.put_desired(replace(after, tag_index=before.tag_index + 1))
    rows = create_missing(state, after, range(before.instances, after.instances))
    rows += _stop_from(state, process_guid, after.instances) if after.instances < before.instances else []
    return [*rows, desired_emission(DesiredLRPChanged(before, after))]


def remove_desired(state: State, process_guid: str) -> list[Emission]:
    """Remove a desired LRP; rows that no instance holds go, the others are stopped. Raises ResourceNotFound."""
    gone = _existing(state, process_guid)
    del state.desired[process_guid]
    return [desired_emission(DesiredLRPRemoved(gone)), *_stop_from(state, process_guid, 0)]


def create_missing(state: State, wanted: DesiredLRP, indexes: Iterable[int]) -> list[Emission]:
    """Make an UNCLAIMED row for each of the indexes that has no ORDINARY one, in no particular order."""
    missing = [index for index in indexes if state.row(wanted.process_guid, index) is None]
    state.random.shuffle(missing)
    emitted: list[Emission] = []
    for index in missing:
        before = state.slot(wanted.process_guid, index)
        row = state.create_unclaimed(wanted.process_guid, index, wanted.domain)
        emitted.append(emission(before, [(None, row)]))
    return emitted


def _stop_from(state: State, process_guid: str, first: int) -> list[Emission]:
    """Remove the rows from an index on that no instance holds; ask the cells of the others. EVACUATING rows stay."""
    emitted: list[Emission] = []
    for row in [*state.rows.get(process_guid, {}).values()]:
        if row.index < first or row.presence is Presence.EVACUATING:
            continue
        if row.state in HELD:
            state.stop_requests.append(StopRequest(process_guid, row.index, InstanceKey.of(row)))
        else:
            emitted.append(removed(state, row))
    return emitted


def _existing(state: State, process_guid: str) -> DesiredLRP:
    found = state.desired.get(process_guid)
    if found is None:
        raise ResourceNotFound("ResourceNotFound", f"no desired LRP {process_guid}")
    return found


def _check(wanted: DesiredLRP, checks: Mapping[str, Callable[[DesiredLRP], bool]]) -> None:
    invalid = [f"Invalid field: {name}" for name, is_valid in checks.items() if not is_valid(wanted)]
    if invalid:
        raise RequestRefused("InvalidRequest", ", ".join(invalid))
