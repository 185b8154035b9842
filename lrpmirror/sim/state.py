"""The database of the simulated BBS, with its virtual clock, seeded guids and requests to cells; it has no rules."""

import random
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.errors import ResourceNotFound
from lrpmirror.model import ActualLRP, ActualLRPState, CellPresence, DesiredLRP, Presence
from lrpmirror.server.writes import InstanceKey

SECOND: Final = 1_000_000_000  # nanoseconds in a second
START: Final = 1_795_000_000_000_000_000  # where a simulation starts by default: in 2026, in nanoseconds since 1970


class StopRequest(Struct, frozen=True):
    """What the BBS asked of a cell: to stop this instance, and then to remove its row."""

    process_guid: str
    index: int
    instance: InstanceKey


class Backup(Struct, frozen=True):
    """The content of a database at one moment: an opaque value for `Diego.restore`."""

    rows: Mapping[str, Mapping[tuple[int, Presence], ActualLRP]]
    desired: Mapping[str, DesiredLRP]
    domains: Mapping[str, int | None]


class State:
    """Rows, desired LRPs, domains and cells; frozen records, replaced by the rules that write them.

    `rows` is keyed by process guid, then by (index, presence). `domains` has when each ceases to be fresh, None for
    never.
    """

    def __init__(self, seed: int, now: int = START) -> None:
        self.now = now
        self.random = random.Random(seed)
        self.rows: dict[str, dict[tuple[int, Presence], ActualLRP]] = {}
        self.desired: dict[str, DesiredLRP] = {}
        self.domains: dict[str, int | None] = {}
        self.cells: dict[str, CellPresence] = {}
        self.stop_requests: list[StopRequest] = []
        self.on_write: Callable[[ActualLRP | DesiredLRP], None] | None = None
        """Called with every version of every record as it is written."""
        self._earlier: dict[tuple[str, int], ActualLRP] = {}

    def guid(self) -> str:
        """Return a guid that no record had before, by the seed."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def row(self, process_guid: str, index: int, presence: Presence = Presence.ORDINARY) -> ActualLRP | None:
        """Return the row of that key, if there is one."""
        return self.rows.get(process_guid, {}).get((index, presence))

    def existing_row(self, process_guid: str, index: int) -> ActualLRP:
        """Return the ORDINARY row of that key; raise ResourceNotFound if there is none."""
        row = self.row(process_guid, index)
        if row is None:
            raise ResourceNotFound("ResourceNotFound", f"no actual LRP {process_guid}/{index}")
        return row

    def slot(self, process_guid: str, index: int) -> tuple[ActualLRP, ...]:
        """Return the rows of that index, at most three, by presence."""
        rows = self.rows.get(process_guid, {})
        return tuple(rows[index, presence] for presence in Presence if (index, presence) in rows)

    def holder(self, process_guid: str, index: int, instance: InstanceKey) -> ActualLRP | None:
        """Return the row of that index which the instance holds, in whatever presence."""
        return next((row for row in self.slot(process_guid, index) if InstanceKey.of(row) == instance), None)

    def put(self, row: ActualLRP) -> ActualLRP:
        """Keep the row under its key, in the place of what was there; return it."""
        self.rows.setdefault(row.process_guid, {})[row.index, row.presence] = row
        if self.on_write is not None:
            self.on_write(row)
        return row

    def put_desired(self, wanted: DesiredLRP) -> DesiredLRP:
        """Keep the desired LRP, in the place of what was there; return it."""
        self.desired[wanted.process_guid] = wanted
        if self.on_write is not None:
            self.on_write(wanted)
        return wanted

    def write(self, row: ActualLRP, **changes: Any) -> ActualLRP:
        """Write an ORDINARY row as the BBS does: the changes, since now, and a tag index that is one higher."""
        self._earlier[row.process_guid, row.index] = row
        return self.put(replace(row, **changes, since=self.now, tag_index=row.tag_index + 1))

    def earlier(self, process_guid: str, index: int, *, unclaimed: bool) -> ActualLRP | None:
        """Return the ORDINARY row one write earlier, if the same instance held it, or with `unclaimed` none did."""
        row, before = self.row(process_guid, index), self._earlier.get((process_guid, index))
        if row is None or before is None or before.epoch != row.epoch:
            return None
        same = InstanceKey.of(before) == InstanceKey.of(row)
        return before if same or (unclaimed and before.state is ActualLRPState.UNCLAIMED) else None

    def delete(self, row: ActualLRP) -> None:
        """Take the row out."""
        rows = self.rows[row.process_guid]
        del rows[row.index, row.presence]
        if row.presence is Presence.ORDINARY:
            self._earlier.pop((row.process_guid, row.index), None)
        if not rows:
            del self.rows[row.process_guid]

    def create_unclaimed(self, process_guid: str, index: int, domain: str) -> ActualLRP:
        """Make a new UNCLAIMED row, in a new epoch."""
        return self.put(
            ActualLRP(
                process_guid=process_guid, index=index, domain=domain, since=self.now, epoch=self.guid(), routable=False
            )
        )

    def backup(self) -> Backup:
        """Return what is in the database now. O(rows)."""
        return Backup({guid: dict(rows) for guid, rows in self.rows.items()}, dict(self.desired), dict(self.domains))

    def restore(self, backup: Backup) -> None:
        """Have what was in the database then; the cells, which are not in it, are as they are. O(rows)."""
        self.rows = {guid: dict(rows) for guid, rows in backup.rows.items()}
        self.desired, self.domains = dict(backup.desired), dict(backup.domains)
        self.stop_requests.clear()
        self._earlier.clear()

    def is_fresh(self, domain: str) -> bool:
        """Return whether the owner of the domain vouches for its desired LRPs now."""
        expiry = self.domains.get(domain, 0)
        return expiry is None or expiry > self.now
