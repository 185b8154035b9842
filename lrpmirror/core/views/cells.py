"""How full cells are."""

from collections.abc import Mapping

from msgspec import Struct

from lrpmirror.core.derive import Process, View
from lrpmirror.model import ActualLRP, ActualLRPState, CellCapacity, CellPresence, Presence

__all__ = ["CellLoad", "Cells"]


class CellLoad(Struct, frozen=True, kw_only=True):
    """The instances on a cell, and what they reserve.

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


class Cells(View[str, CellLoad, CellLoad]):
    """Cell id → the instances on it by state, what they reserve, and of what share.

    Also for cells that are there and empty.
    """

    reads_secrets = False

    def derive(self, process: Process) -> Mapping[str, CellLoad]:
        """Return what a process puts on each cell."""
        found: dict[str, list[ActualLRP]] = {}
        for row in process.rows:
            if row.cell_id and row.state in (ActualLRPState.CLAIMED, ActualLRPState.RUNNING):
                found.setdefault(row.cell_id, []).append(row)
        desired = process.routed
        memory_mb, disk_mb = (0, 0) if desired is None else (desired.memory_mb, desired.disk_mb)
        return {
            cell_id: CellLoad(
                running=sum(row.state == ActualLRPState.RUNNING for row in rows),
                claimed=sum(row.state == ActualLRPState.CLAIMED for row in rows),
                evacuating=sum(row.presence is Presence.EVACUATING for row in rows),
                suspect=sum(row.presence is Presence.SUSPECT for row in rows),
                memory_mb=memory_mb * len(rows),
                disk_mb=disk_mb * len(rows),
                unsized=len(rows) if desired is None else 0,
            )
            for cell_id, rows in found.items()
        }

    def derive_cell(self, cell: CellPresence) -> Mapping[str, CellLoad]:
        """Return what a cell says of itself."""
        return {cell.cell_id: CellLoad(present=True, zone=cell.zone, capacity=cell.capacity)}

    def combine(self, key: str, contributions: Mapping[str, CellLoad]) -> CellLoad:
        """Add up what all processes put on the cell."""
        loads = contributions.values()
        own = contributions.get(f"cell/{key}", _UNKNOWN)
        return CellLoad(
            running=sum(load.running for load in loads),
            claimed=sum(load.claimed for load in loads),
            evacuating=sum(load.evacuating for load in loads),
            suspect=sum(load.suspect for load in loads),
            memory_mb=sum(load.memory_mb for load in loads),
            disk_mb=sum(load.disk_mb for load in loads),
            unsized=sum(load.unsized for load in loads),
            present=own.present,
            zone=own.zone,
            capacity=own.capacity,
        )


_UNKNOWN = CellLoad()


def _share(part: int, whole: int | None) -> float | None:
    return part / whole if whole else None
