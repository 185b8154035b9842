"""What a list removes and brings back, found while it is compared, so that little is left for its commit to do.

A record that a list lacks gets a tombstone, and one that it has loses its own. A desired LRP that it lacks may be
retained (see `lrpmirror.core.lists.retained`).
"""

from collections.abc import Iterator
from typing import Final

from lrpmirror.core.lists.slices import MANY, slices
from lrpmirror.core.lists.tables import ListTables
from lrpmirror.core.rows.changes import RowKey
from lrpmirror.core.rows.dispatch import Tombstones
from lrpmirror.core.rows.freeing import empty_in_slices
from lrpmirror.core.rows.tombstones import Tombstone
from lrpmirror.model import ActualLRP, DesiredLRP

__all__ = ["Removals"]


class Removals:
    """What a list lacks of the mirror's state, and what it has of what was gone. O(1) each, but as said.

    `tombstones` are those that the mirror will have when the list is committed.
    """

    def __init__(self, tombstones: Tombstones) -> None:
        self._tombstones = tombstones
        self._rows: dict[RowKey, Tombstone] = {}
        # Rows that have a tombstone, and that the list may have.
        self._listed: dict[RowKey, None] = {}
        self._scanned_at = 0.0
        # Desired LRPs are known by process here, and tombstones by epoch.
        self._gone: dict[str, str] = {}
        self._desired: dict[RowKey, Tombstone] = {}
        self._epochs: dict[RowKey, None] = {}
        self.lost: Final[dict[str, DesiredLRP]] = {}
        """The mirror's desired LRPs that the list lacks, by process guid."""
        self.found: Final[dict[str, str]] = {}
        """The epochs of those that it has otherwise, by process guid."""

    def scan(self, tables: ListTables) -> Iterator[None]:
        """Find which rows that have a tombstone are listed, a slice a step."""
        rows = self._tombstones.rows
        self._scanned_at = rows.now
        few = tables.row_count() < len(rows)
        for keys in tables.keys_in_slices(MANY) if few else slices(rows.keys(), MANY):
            self._listed.update((key, None) for key in keys if key in rows and tables.get(key) is not None)
            yield

    def row(self, key: RowKey, lacked: ActualLRP | None) -> None:
        """Record the mirror's row that the list lacks, or None where it has the row; the last call for a key counts."""
        if lacked is not None:
            self._rows[key] = Tombstone(lacked.tag_index, lacked.instance_guid, presumed=True)
        else:
            self._rows.pop(key, None)
        if self._tombstones.rows.get(key) is not None:
            self._listed[key] = None

    def desired(self, guid: str, before: DesiredLRP | None, after: DesiredLRP | None) -> None:
        """Record how the list differs in the desired LRP of a process, likewise; twice None: not at all."""
        gone, found = self._gone.pop(guid, None), self.found.pop(guid, None)
        if gone is not None:
            self._desired.pop(gone, None)
        if found is not None:
            self._epochs.pop(found, None)
        self.lost.pop(guid, None)
        if before is not None and before.epoch and (after is None or after.epoch != before.epoch):
            self._gone[guid] = before.epoch
            self._desired[before.epoch] = Tombstone(before.tag_index, presumed=True)
        if after is not None:
            self.found[guid] = after.epoch
            self._epochs[after.epoch] = None
        elif before is not None:
            self.lost[guid] = before

    def write(self, tombstones: Tombstones, tables: ListTables) -> None:
        """Add and discard the tombstones, at the commit.

        O(tombstones of what is listed, and since the scan), and what a dict takes to be updated.
        """
        for key in (*self._listed, *tombstones.rows.keys_since(self._scanned_at)):
            if tables.get(key) is not None:
                tombstones.rows.discard(key)
        tombstones.rows.add_all(self._rows)
        tombstones.desired.add_all(self._desired)
        tombstones.desired.discard_all(self._epochs)
        # They are the mirror's now.
        self._rows, self._desired = {}, {}

    def free_in_slices(self) -> Iterator[None]:
        """Free everything, a slice a step."""
        return empty_in_slices(self._rows, self._listed, self._gone, self._desired, self._epochs, self.lost, self.found)
