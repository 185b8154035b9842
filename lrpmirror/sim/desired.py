"""Desired LRPs: created, updated, removed, with the rows that follow from the number of instances; and the convergence.

The BBS corrects by it, periodically, what has become of both. Each of its events races all others.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Unpack

from msgspec.structs import replace

from lrpmirror.detail import DesiredLRPDetail
from lrpmirror.errors import RequestRefused, ResourceNotFound
from lrpmirror.events import (
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    ActualLRPRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
)
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, Presence
from lrpmirror.server.writes import DesiredUpdate, InstanceKey
from lrpmirror.sim.lifecycle import CRASHES_RESTARTED_AT_ONCE, removed, retire, unclaim_row
from lrpmirror.sim.state import SECOND, State, StopRequest
from lrpmirror.sim.transitions import HELD, Emission, changed, desired_emission, emission, race, slot_of

MAX_ANNOTATION: Final = 10 * 1024  # the longest annotation, in bytes
MAX_ROUTES: Final = 128 * 1024  # the longest routes, in bytes and in all

MAX_CPU_WEIGHT: Final = 100

MAX_RESTARTS: Final = 200  # A row that has crashed this often is not restarted
MAX_BACKOFF: Final = 16 * 60 * SECOND  # the longest wait before a restart, in nanoseconds

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


def crash_backoff(crash_count: int) -> int:
    """Return how long a CRASHED row waits, in nanoseconds: 30 seconds, doubled per crash after the third."""
    return min(30 * SECOND << max(0, crash_count - CRASHES_RESTARTED_AT_ONCE), MAX_BACKOFF)


def converge(state: State) -> list[Emission]:
    """Do one round of the periodic convergence. Linear in rows and desired LRPs."""
    emitted = [
        *_drop_evacuating_of_lost_cells(state),
        *_retire_surplus(state),
        *_settle_suspects(state),
        *_replace_lost(state),
        *_restart_crashed(state),
        *_create_missing(state),
    ]
    return race(emitted)


def _all(state: State, presence: Presence) -> Iterator[ActualLRP]:
    for rows in [*state.rows.values()]:
        yield from [row for (_, kind), row in rows.items() if kind is presence]


def _is_wanted(state: State, row: ActualLRP) -> bool:
    desired = state.desired.get(row.process_guid)
    return desired is not None and row.index < desired.instances


def _drop_evacuating_of_lost_cells(state: State) -> Iterator[Emission]:
    for row in _all(state, Presence.EVACUATING):
        if row.cell_id not in state.cells:
            yield removed(state, row)


def _retire_surplus(state: State) -> Iterator[Emission]:
    for row in _all(state, Presence.ORDINARY):
        if state.is_fresh(row.domain) and not _is_wanted(state, row):
            yield from retire(state, row.process_guid, row.index)


def _settle_suspects(state: State) -> Iterator[Emission]:
    for suspect in _all(state, Presence.SUSPECT):
        ordinary = state.row(suspect.process_guid, suspect.index)
        if ordinary is not None and ordinary.state is ActualLRPState.RUNNING:
            state.delete(suspect)
            yield _removed(suspect)
        elif suspect.cell_id in state.cells:
            state.delete(suspect)
            back = replace(suspect, presence=Presence.ORDINARY)
            yield Emission(instances=(changed(suspect, back),))
            if ordinary is not None:
                state.delete(ordinary)
                yield _removed(ordinary)
            state.put(back)


def _replace_lost(state: State) -> Iterator[Emission]:
    for row in _all(state, Presence.ORDINARY):
        if row.state not in HELD or row.cell_id in state.cells or row.process_guid not in state.desired:
            continue
        before = state.slot(row.process_guid, row.index)
        if any(each.presence is Presence.SUSPECT for each in before):
            yield emission(before, [(row, unclaim_row(state, row))])
            continue
        suspect = state.put(replace(row, presence=Presence.SUSPECT))
        replacement = state.create_unclaimed(row.process_guid, row.index, row.domain)
        yield Emission(instances=(changed(row, suspect), ActualLRPInstanceCreated(replacement)))


def _restart_crashed(state: State) -> Iterator[Emission]:
    for row in _all(state, Presence.ORDINARY):
        if row.state is not ActualLRPState.CRASHED or not _is_wanted(state, row):
            continue
        if row.crash_count < MAX_RESTARTS and row.since + crash_backoff(row.crash_count) <= state.now:
            before = state.slot(row.process_guid, row.index)
            yield emission(before, [(row, unclaim_row(state, row))])


def _create_missing(state: State) -> Iterator[Emission]:
    for wanted in [*state.desired.values()]:
        suspects = {index for index, kind in state.rows.get(wanted.process_guid, {}) if kind is Presence.SUSPECT}
        yield from create_missing(state, wanted, [index for index in range(wanted.instances) if index not in suspects])


def _removed(row: ActualLRP) -> Emission:
    return Emission((ActualLRPInstanceRemoved(row),), (ActualLRPRemoved(slot_of(row)),))
