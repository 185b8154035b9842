"""The periodic convergence: what the server corrects by itself, each event racing all others."""

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from lrpmirror.events import ActualLRPInstanceCreated, ActualLRPInstanceRemoved
from lrpmirror.model import ActualLRP, ActualLRPState, Presence
from lrpmirror.sim.desired import create_missing
from lrpmirror.sim.lifecycle import CRASHES_RESTARTED_AT_ONCE, removed, retire, unclaim_row
from lrpmirror.sim.state import SECOND, State
from lrpmirror.sim.transitions import HELD, Emission, changed, emission, group_removed, race

MAX_RESTARTS: Final = 200  # A row that has crashed this often is not restarted
MAX_BACKOFF: Final = 16 * 60 * SECOND  # the longest wait before a restart, in nanoseconds


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
    return Emission((ActualLRPInstanceRemoved(row),), (group_removed(row),))
