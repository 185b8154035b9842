"""The first list of a mirror without any state, with which nothing has to be compared.

It is indexed as it arrives, and its store becomes the mirror's. Its deltas are made when they are read.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from operator import attrgetter
from typing import Final

from lrpmirror.core.lists.slices import MANY, SLICE, key_slices
from lrpmirror.core.lists.tables import IndexedTables
from lrpmirror.core.rows.change_set import DesiredDeltas, RowDeltas
from lrpmirror.core.rows.changes import Arrivals, RowKey, row_key
from lrpmirror.core.rows.tombstones import TombstoneTable
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP

__all__ = ["InitialSnapshot"]

_process_guid = attrgetter("process_guid")


class InitialSnapshot:
    """The settled part of a first list; `rewritten` are the keys that events touched after it was collected."""

    def __init__(self) -> None:
        self.tables: Final = IndexedTables()
        self.rewritten: set[RowKey] = set()
        self.rewritten_desired: set[str] = set()
        # Dicts, which the garbage collector does not look at as long as they hold nothing of its own.
        self._rows: list[dict[str, tuple[ActualLRP, ...]]] = []
        self._lrps: list[dict[str, DesiredLRP | None]] = []

    def list_rows(self, rows: Iterable[ActualLRP], tombstones: TombstoneTable) -> list[str]:
        """Add rows, which are believed as they are; return the processes of which two claim one slot. O(rows)."""
        if len(tombstones):
            rows = list(rows)
            for row in rows:
                tombstones.discard(row_key(row))
        return self.tables.store.add(rows)

    def find(self, undesired: dict[str, None]) -> Iterator[None]:
        """Collect all records, a slice a step; what is touched from here on has to be compared.

        Adds the processes to `undesired` that have a RUNNING row and no desired LRP.
        """
        tables = self.tables
        tables.touched.clear()
        tables.touched_desired.clear()
        for guids in key_slices(tables.store.processes_by_domain(), SLICE):
            found = {guid: tables.store.process(guid) for guid in guids}
            self._rows.append(found)
            for guid, rows in found.items():
                if tables.desired(guid) is None and any(row.state == ActualLRPState.RUNNING for row in rows):
                    undesired[guid] = None
            yield
        for guids in key_slices(tables.store.desired_by_domain(), MANY):
            self._lrps.append({guid: tables.desired(guid) for guid in guids})
            yield

    def deltas(self, rows: RowDeltas, desired: DesiredDeltas) -> tuple[RowDeltas, DesiredDeltas]:
        """Return all deltas of the list, given those of the rewritten keys. O(1)."""
        store = self.tables.store
        return (
            Arrivals(partial(_rows_of, self._rows), row_key, self.rewritten, rows, len(store)),
            Arrivals(
                partial(_lrps_of, self._lrps), _process_guid, self.rewritten_desired, desired, store.desired_count()
            ),
        )


def _rows_of(parts: list[dict[str, tuple[ActualLRP, ...]]]) -> Iterator[ActualLRP]:
    return (row for part in parts for rows in part.values() for row in rows)


def _lrps_of(parts: list[dict[str, DesiredLRP | None]]) -> Iterator[DesiredLRP]:
    return (lrp for part in parts for lrp in part.values() if lrp is not None)
