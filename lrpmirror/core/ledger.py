"""The store, written with a record of what changed."""

from typing import Final

from lrpmirror.core.changes import Delta, RowKey
from lrpmirror.core.store import Store
from lrpmirror.model import ActualLRP, DesiredLRP

__all__ = ["DesiredDeltas", "Ledger", "RowDeltas"]

RowDeltas = tuple[Delta[RowKey, ActualLRP], ...]
DesiredDeltas = tuple[Delta[str, DesiredLRP], ...]


class Ledger:
    """Writes to a store and remembers, for the commit to come, what each key was before it.

    Whoever writes has compared already: what is written differs from what is there. So only a key that is written twice
    before the commit can come out as it was.
    """

    def __init__(self, store: Store) -> None:
        self.store: Final = store
        self._rows: dict[RowKey, ActualLRP | None] = {}
        self._desired: dict[str, DesiredLRP | None] = {}
        self._twice = False

    def get(self, key: RowKey) -> ActualLRP | None:
        """Return the row of that identity."""
        return self.store.get(key)

    def put(self, key: RowKey, row: ActualLRP) -> bool:
        """Write a row; tell whether another row claims its slot."""
        self._note_row(key)
        return self.store.put(key, row)

    def remove(self, key: RowKey) -> None:
        """Remove a row."""
        self._note_row(key)
        self.store.remove(key)

    def desired(self, process_guid: str) -> DesiredLRP | None:
        """Return the desired LRP of a process."""
        return self.store.desired(process_guid)

    def put_desired(self, lrp: DesiredLRP) -> None:
        """Write a desired LRP."""
        self._note_desired(lrp.process_guid)
        self.store.put_desired(lrp)

    def remove_desired(self, process_guid: str) -> None:
        """Remove a desired LRP."""
        self._note_desired(process_guid)
        self.store.remove_desired(process_guid)

    def close(self) -> tuple[RowDeltas, DesiredDeltas]:
        """Return what differs from the state at the last call, and begin anew. O(what was written)."""
        rows: RowDeltas = ()
        desired: DesiredDeltas = ()
        # Most events write nothing, or one row: what has nothing to tell costs nothing.
        if self._rows:
            get = self.store.get
            rows = tuple([Delta(key, before, get(key)) for key, before in self._rows.items()])
            self._rows = {}
        if self._desired:
            lrp = self.store.desired
            desired = tuple([Delta(guid, before, lrp(guid)) for guid, before in self._desired.items()])
            self._desired = {}
        if self._twice:
            self._twice = False
            rows = tuple(delta for delta in rows if delta.before != delta.after)
            desired = tuple(delta for delta in desired if delta.before != delta.after)
        return rows, desired

    def _note_row(self, key: RowKey) -> None:
        if key in self._rows:
            self._twice = True
        else:
            self._rows[key] = self.store.get(key)

    def _note_desired(self, process_guid: str) -> None:
        if process_guid in self._desired:
            self._twice = True
        else:
            self._desired[process_guid] = self.store.desired(process_guid)
