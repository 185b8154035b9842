"""Writing to the store with a record of what changed."""

from collections.abc import Hashable, Sequence
from typing import Final, TypeVar

from lrpmirror.core.rows.changes import Delta, RowKey
from lrpmirror.core.rows.store import Store
from lrpmirror.model import ActualLRP, DesiredLRP

__all__ = ["ChangeSet", "DesiredDeltas", "RowDeltas"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

RowDeltas = Sequence[Delta[RowKey, ActualLRP]]
DesiredDeltas = Sequence[Delta[str, DesiredLRP]]


class ChangeSet:
    """Writes to a store and records, for the next commit, the value of each key before it.

    The caller has compared already: what is written differs from what is stored. So only a key that is written twice
    before the commit can end with its old value.
    """

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self.parts: Final = store.parts
        self.get: Final = store.get
        self.desired: Final = store.desired
        self.put: Final = store.put
        self.remove: Final = store.remove
        self.rows: Final[list[Delta[RowKey, ActualLRP]]] = []
        """The writes of rows since the last commit, in order."""
        self.lrps: Final[list[Delta[str, DesiredLRP]]] = []
        """The writes of desired LRPs since then."""
        # Rows are recorded by the store itself: a call between takes a thirtieth of applying an event.
        store.record = self.rows.append

    def put_desired(self, lrp: DesiredLRP) -> None:
        """Write a desired LRP."""
        self.lrps.append(Delta(lrp.process_guid, self._store.put_desired(lrp), lrp))

    def remove_desired(self, process_guid: str) -> None:
        """Remove a desired LRP."""
        self.lrps.append(Delta(process_guid, self.desired(process_guid), None))
        self._store.remove_desired(process_guid)

    def close(self) -> tuple[RowDeltas, DesiredDeltas]:
        """Return the deltas since the last call, and begin anew. O(writes)."""
        return _folded(self.rows) if self.rows else (), _folded(self.lrps) if self.lrps else ()


def _folded(written: list[Delta[K, V]]) -> tuple[Delta[K, V], ...]:
    """Return one delta for each key that has changed, and empty the list."""
    folded: dict[K, Delta[K, V]] = {}
    for delta in written:
        first = folded.get(delta.key)
        folded[delta.key] = delta if first is None else Delta(delta.key, first.before, delta.after)
    again = len(folded) < len(written)
    written.clear()
    deltas = folded.values()
    return tuple([delta for delta in deltas if delta.before != delta.after] if again else deltas)
