"""The first list of a mirror without any state, with which nothing has to be compared.

It is indexed as it arrives, and its store becomes the mirror's. Its deltas are made when they are read.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from operator import attrgetter
from typing import Final

from lrpmirror.core.lists.slices import MANY, SLICE, slices
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
        self._rows: list[tuple[ActualLRP, ...]] = []
        self._lrps: list[tuple[DesiredLRP, ...]] = []

    def list_rows(self, rows: Iterable[ActualLRP], tombstones: TombstoneTable) -> list[str]:
        """Add rows, which are believed as they are; return the processes of which two claim one slot. O(rows)."""
        if len(tombstones):
            rows = list(rows)
            for row in rows:
                tombstones.discard(row_key(row))
        return self.tables.store.add(rows)

    def find(self, undesired: set[str]) -> Iterator[None]:
        """Collect all records, a slice a step; what is touched from here on has to be compared.

        Adds the processes to `undesired` that have a RUNNING row and no desired LRP.
        """
        tables = self.tables
        tables.touched.clear()
        tables.touched_desired.clear()
        for guids in slices(tables.store.processes(), SLICE):
            found = [tables.store.process(guid) for guid in guids]
            # In tuples, which the garbage collector passes by once it has seen that they hold nothing of its own.
            self._rows.append(tuple(chain.from_iterable(found)))
            for guid, rows in zip(guids, found, strict=True):
                if tables.desired(guid) is None and any(row.state == ActualLRPState.RUNNING for row in rows):
                    undesired.add(guid)
            yield
        for guids in slices(tables.desired_guids(), MANY):
            self._lrps.append(tuple([lrp for lrp in map(tables.desired, guids) if lrp is not None]))
            yield

    def deltas(self, rows: RowDeltas, desired: DesiredDeltas) -> tuple[RowDeltas, DesiredDeltas]:
        """Return all deltas of the list, given those of the rewritten keys. O(1)."""
        store = self.tables.store
        return (
            Arrivals(self._rows, row_key, self.rewritten, rows, len(store)),
            Arrivals(self._lrps, _process_guid, self.rewritten_desired, desired, store.desired_count()),
        )
