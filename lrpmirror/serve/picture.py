"""What the page for people shows, as one value.

Cells and their instances, processes with trouble first, freshness, rates.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice

import trio
from msgspec import Struct

from lrpmirror.mirror import Mirror, MirrorView
from lrpmirror.model import ActualLRP, ActualLRPState, Presence
from lrpmirror.serve.health import readiness
from lrpmirror.serve.pulse import Pulse, Second
from lrpmirror.views import CellLoad, Health, ProcessHealth

__all__ = ["SEVERITY", "CellPicture", "Picture", "ProcessPicture", "detail_of", "letter", "natural", "take_picture"]

SLICE = 1_000
"""How many rows are looked at before others get their turn."""

TROUBLED = 200
"""How many processes are shown at most; those with the worst trouble first."""

SEVERITY = {
    health: rank
    for rank, health in enumerate(
        (
            Health.DOWN,
            Health.CRASHING,
            Health.UNPLACEABLE,
            Health.DEGRADED,
            Health.UNDESIRED,
            Health.HEALTHY,
            Health.STOPPED,
        )
    )
}
"""How far down the list of processes each health is."""


class CellPicture(Struct, frozen=True):
    """A cell: a letter for each instance on it (see `letter`), and the share of its memory that is reserved."""

    cell_id: str
    zone: str
    present: bool
    instances: str
    memory_share: float | None


class ProcessPicture(Struct, frozen=True):
    """A process, as the table has it."""

    process_guid: str
    health: str
    desired: int
    running: int
    detail: str


class Picture(Struct, frozen=True, kw_only=True):
    """All of it, at one moment."""

    ready: bool
    cause: str
    phase: str
    revision: int
    age: float | None
    listed_ago: float | None
    last_error: str
    desired_lrps: int
    totals: dict[str, int]
    """Instances by letter."""
    cells: list[CellPicture]
    waiting: str
    """A letter for each instance that is on no cell."""
    health: dict[str, int]
    """Processes by health."""
    processes: list[ProcessPicture]
    rates: tuple[Second, ...]


def letter(row: ActualLRP) -> str:
    """Return the letter that stands for an instance: by its presence where that is not ordinary, else by its state.

    `e`vacuating, `s`uspect; `r`unning, `c`laimed, `u`nclaimed, `x` for crashed; `?` for a state that is not known here.
    """
    if row.presence is Presence.EVACUATING:
        return "e"
    if row.presence is Presence.SUSPECT:
        return "s"
    return _LETTERS.get(row.state, "?")


_LETTERS = {
    ActualLRPState.RUNNING: "r",
    ActualLRPState.CLAIMED: "c",
    ActualLRPState.UNCLAIMED: "u",
    ActualLRPState.CRASHED: "x",
}


async def take_picture(
    mirror: Mirror, cells: MirrorView[str, CellLoad], processes: MirrorView[str, ProcessHealth], pulse: Pulse
) -> Picture:
    """Look at everything, in slices: O(rows + processes)."""
    on_cells: dict[str, list[str]] = {cell_id: [] for cell_id in cells}
    waiting: list[str] = []
    rows = iter(mirror.actual_lrps())
    while some := list(islice(rows, SLICE)):
        for row in some:
            (on_cells.setdefault(row.cell_id, []) if row.cell_id else waiting).append(letter(row))
        await trio.lowlevel.checkpoint()
    healths, troubled = await _processes(processes)
    status = mirror.status
    judged = readiness(status)
    return Picture(
        ready=judged.ready,
        cause=judged.cause,
        phase=judged.phase,
        revision=judged.revision,
        age=judged.age,
        listed_ago=None if status.synced_at is None else status.at - status.synced_at,
        last_error=judged.last_error,
        desired_lrps=status.desired_lrps,
        totals=dict(Counter(one for letters in (*on_cells.values(), waiting) for one in letters)),
        cells=[_cell(cell_id, cells.get(cell_id), on_cells[cell_id]) for cell_id in sorted(on_cells, key=natural)],
        waiting="".join(sorted(waiting)),
        health=healths,
        processes=troubled,
        rates=pulse.history(),
    )


async def _processes(processes: MirrorView[str, ProcessHealth]) -> tuple[dict[str, int], list[ProcessPicture]]:
    """Count the processes by health, and pick those that have the most trouble."""
    counted: Counter[str] = Counter()
    found: list[tuple[int, str, ProcessHealth]] = []
    guids: Iterator[str] = iter(processes)
    while some := list(islice(guids, SLICE)):
        for guid in some:
            value = processes.get(guid)
            if value is not None:
                counted[value.health] += 1
                found.append((SEVERITY[value.health], guid, value))
        await trio.lowlevel.checkpoint()
    found.sort(key=lambda one: one[:2])
    shown = [
        ProcessPicture(guid, value.health.value, value.desired, value.running, detail_of(value))
        for _, guid, value in found[:TROUBLED]
    ]
    return dict(counted), shown


def _cell(cell_id: str, load: CellLoad | None, letters: list[str]) -> CellPicture:
    if load is None:
        return CellPicture(cell_id, "", present=False, instances="".join(sorted(letters)), memory_share=None)
    share = load.memory_share
    rounded = None if share is None else round(share, 3)
    return CellPicture(cell_id, load.zone, load.present, "".join(sorted(letters)), rounded)


def detail_of(value: ProcessHealth) -> str:
    """Say what there is to say of a process beyond its counts."""
    said = []
    if value.placement_error:
        said.append(value.placement_error)
    if value.last_crash is not None:
        reason = f": {value.last_crash.reason}" if value.last_crash.reason else ""
        times = "once" if value.last_crash.count == 1 else f"{value.last_crash.count} times"
        said.append(f"index {value.last_crash.index} crashed {times}{reason}")
    for number, word in (
        (value.missing, "missing"),
        (value.extra, "too many"),
        (value.evacuating, "evacuating"),
        (value.suspect, "suspect"),
    ):
        if number:
            said.append(f"{number} {word}")
    return "; ".join(said)


def natural(name: str) -> tuple[str, int, str]:
    """Sort cell-2 before cell-10."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0), name
