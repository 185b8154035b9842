"""A mirror's state as one value, which can outlive the mirror.

Tombstones are not part of it: a mirror that is restored from such a value applies no event until it has read a list.
"""

from msgspec import Struct

from lrpmirror.core.rows.changes import row_key
from lrpmirror.core.rows.store import Store
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP


class ExportedState(Struct, frozen=True, kw_only=True):
    """The state of a mirror at one revision. Rows and desired LRPs are in no promised order."""

    revision: int
    actual_lrps: tuple[ActualLRP, ...]
    desired_lrps: tuple[DesiredLRP, ...]
    retained: tuple[DesiredLRP, ...]
    """The desired LRPs that a list lacked while their domain was not fresh; see `core.lists.retained`."""
    domains: frozenset[str]
    cells: tuple[CellPresence, ...]

    def indexed(self) -> Store:
        """Index it: return it as a store. O(rows) without a pause, so call it in a thread of its own."""
        store = Store()
        for row in self.actual_lrps:
            key = row_key(row)
            # A state file can have a row twice.
            store.put(key, store.get(key), row)
        for lrp in self.desired_lrps:
            store.put_desired(lrp)
        store.domains = self.domains
        return store
