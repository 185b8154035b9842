"""The load of cells."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.core.derived.view import InstanceView, Process, Share, Step
from lrpmirror.model import ActualLRP, ActualLRPState, CellCapacity, CellPresence, Presence

__all__ = ["CellLoad", "Cells"]


class CellLoad(Struct, frozen=True, kw_only=True, gc=False):
    """The instances on a cell, and the memory and disk that they reserve.

    An instance is on the cell of its row, CLAIMED or RUNNING, in whatever presence. `memory_mb` and `disk_mb` are what
    their desired LRPs reserve; `unsized` counts the instances whose desired LRP is not known, which are not in those
    sums. `zone` and `capacity` are the cell's own, where the BBS lists it as there (`present`); the shares are of that
    capacity, from 0, and can exceed 1.
    """

    running: int = 0
    claimed: int = 0
    evacuating: int = 0
    suspect: int = 0
    memory_mb: int = 0
    disk_mb: int = 0
    unsized: int = 0
    present: bool = False
    zone: str = ""
    capacity: CellCapacity | None = None

    @property
    def instances(self) -> int:
        """How many instances are on the cell."""
        return self.running + self.claimed

    @property
    def memory_share(self) -> float | None:
        """The share of the cell's memory that is reserved; None where its capacity is not known."""
        return _share(self.memory_mb, None if self.capacity is None else self.capacity.memory_mb)

    @property
    def disk_share(self) -> float | None:
        """The share of the cell's disk that is reserved; None where its capacity is not known."""
        return _share(self.disk_mb, None if self.capacity is None else self.capacity.disk_mb)

    @property
    def container_share(self) -> float | None:
        """The share of the cell's containers that is taken; None where its capacity is not known."""
        return _share(self.instances, None if self.capacity is None else self.capacity.containers)


_NO_LOAD: Final = CellLoad()


class _Size(Struct, frozen=True, gc=False):
    """What each instance of a process reserves; `running` is the load of a running one."""

    memory_mb: int
    disk_mb: int
    unsized: int
    running: CellLoad


_UNSIZED: Final = _Size(0, 0, 1, CellLoad(running=1, unsized=1))


class Cells(InstanceView[str, CellLoad, CellLoad]):
    """Cell id → the instances on it by state, what they reserve, and of what share.

    Also for cells that are there and empty.
    """

    reads_secrets = False
    reads = frozenset({"cell_id", "state", "presence"})

    def terms(self, process: Process, before: _Size | None) -> _Size:
        """Return what an instance of the process reserves."""
        desired = process.routed
        if desired is None:
            return _UNSIZED
        memory_mb, disk_mb = desired.memory_mb, desired.disk_mb
        if before is not None and (before.memory_mb, before.disk_mb, before.unsized) == (memory_mb, disk_mb, 0):
            return before
        return _Size(memory_mb, disk_mb, 0, CellLoad(running=1, memory_mb=memory_mb, disk_mb=disk_mb))

    def instance(self, rows: tuple[ActualLRP, ...], terms: _Size) -> Sequence[Share[str, CellLoad]]:
        """Return the load of an instance on its cell, or on its cells while it moves."""
        if len(rows) == 1:
            row = rows[0]
            if not row.cell_id or row.state not in _ON_CELL:
                return ()
            return (Share(_keys(row.cell_id), _load(row, terms)),)
        loads: dict[str, CellLoad] = {}
        for row in rows:
            cell_id = row.cell_id
            if cell_id and row.state in _ON_CELL:
                load = _load(row, terms)
                loads[cell_id] = _stepped(loads[cell_id], _NO_LOAD, load) if cell_id in loads else load
        return [Share(_keys(cell_id), load) for cell_id, load in loads.items()]

    def derive_cell(self, cell: CellPresence) -> Mapping[str, CellLoad]:
        """Return the zone and capacity that a cell reports."""
        return {cell.cell_id: CellLoad(present=True, zone=cell.zone, capacity=cell.capacity)}

    def fold(self, state: CellLoad | None, steps: Sequence[Step[CellLoad]]) -> CellLoad | None:
        """Add new contributions, and subtract old ones."""
        now = state or _NO_LOAD
        for step in steps:
            before, after = step.before or _NO_LOAD, step.after or _NO_LOAD
            if step.index < 0:
                # The cell's own report.
                now = replace(now, present=after.present, zone=after.zone, capacity=after.capacity)
            elif before is _NO_LOAD and not after.claimed and not after.evacuating + after.suspect:
                # Nearly all that a list brings.
                now = replace(
                    now,
                    running=now.running + after.running,
                    memory_mb=now.memory_mb + after.memory_mb,
                    disk_mb=now.disk_mb + after.disk_mb,
                    unsized=now.unsized + after.unsized,
                )
            else:
                now = _stepped(now, before, after)
        return now if now.present or now.instances else None


_ON_CELL: Final = (ActualLRPState.RUNNING, ActualLRPState.CLAIMED)
_RUNNING: Final = ActualLRPState.RUNNING
_ORDINARY: Final = Presence.ORDINARY


@lru_cache(maxsize=10_000)
def _keys(cell_id: str) -> tuple[str]:
    """Return the key of a cell as a tuple that all its shares have."""
    return (cell_id,)


def _load(row: ActualLRP, terms: _Size) -> CellLoad:
    running, presence = row.state == _RUNNING, row.presence
    if running and presence is _ORDINARY:
        return terms.running
    return CellLoad(
        running=int(running),
        claimed=int(not running),
        evacuating=int(presence is Presence.EVACUATING),
        suspect=int(presence is Presence.SUSPECT),
        memory_mb=terms.memory_mb,
        disk_mb=terms.disk_mb,
        unsized=terms.unsized,
    )


def _stepped(load: CellLoad, before: CellLoad, after: CellLoad) -> CellLoad:
    """Return a load with one part of it replaced by another."""
    return CellLoad(
        running=load.running - before.running + after.running,
        claimed=load.claimed - before.claimed + after.claimed,
        evacuating=load.evacuating - before.evacuating + after.evacuating,
        suspect=load.suspect - before.suspect + after.suspect,
        memory_mb=load.memory_mb - before.memory_mb + after.memory_mb,
        disk_mb=load.disk_mb - before.disk_mb + after.disk_mb,
        unsized=load.unsized - before.unsized + after.unsized,
        present=load.present,
        zone=load.zone,
        capacity=load.capacity,
    )


def _share(part: int, whole: int | None) -> float | None:
    return part / whole if whole else None
