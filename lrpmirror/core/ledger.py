"""The store, written with a record of what changed."""

from typing import Final

from lrpmirror.core.changes import Delta, RowKey
from lrpmirror.core.store import Store
from lrpmirror.model import ActualLRP, DesiredLRP

__all__ = ["Ledger"]

RowDeltas = tuple[Delta[RowKey, ActualLRP], ...]
DesiredDeltas = tuple[Delta[str, DesiredLRP], ...]


class Ledger:
    """Writes to a store and remembers, for the commit to come, what each key was before it."""

    def __init__(self, store: Store) -> None:
        self.store: Final = store
        self._rows: dict[RowKey, ActualLRP | None] = {}
        self._desired: dict[str, DesiredLRP | None] = {}

    def get(self, key: RowKey) -> ActualLRP | None:
        """Return the row of that identity."""
        return self.store.get(key)

    def put(self, key: RowKey, row: ActualLRP) -> bool:
        """Write a row; tell whether another row claims its slot."""
        self._rows.setdefault(key, self.store.get(key))
        return self.store.put(key, row)

    def remove(self, key: RowKey) -> None:
        """Remove a row."""
        self._rows.setdefault(key, self.store.get(key))
        self.store.remove(key)

    def desired(self, process_guid: str) -> DesiredLRP | None:
        """Return the desired LRP of a process."""
        return self.store.desired(process_guid)

    def put_desired(self, lrp: DesiredLRP) -> None:
        """Write a desired LRP."""
        self._desired.setdefault(lrp.process_guid, self.store.desired(lrp.process_guid))
        self.store.put_desired(lrp)

    def remove_desired(self, process_guid: str) -> None:
        """Remove a desired LRP."""
        self._desired.setdefault(process_guid, self.store.desired(process_guid))
        self.store.remove_desired(process_guid)

    def close(self) -> tuple[RowDeltas, DesiredDeltas]:
        """Return what differs from the state at the last call, and begin anew. O(what was written)."""
        rows, self._rows = self._rows, {}
        desired, self._desired = self._desired, {}
        store = self.store
        row_deltas = (Delta(key, before, store.get(key)) for key, before in rows.items())
        desired_deltas = (Delta(guid, before, store.desired(guid)) for guid, before in desired.items())
        # A key that was written and written back is no difference.
        return (
            tuple(delta for delta in row_deltas if delta.before != delta.after),
            tuple(delta for delta in desired_deltas if delta.before != delta.after),
        )
