"""What of a mirror can outlive it, as one value.

Tombstones are not in it: a mirror that begins with an image takes no event until it has read a list of its own.
"""

from msgspec import Struct

from lrpmirror.core.rows.changes import row_key
from lrpmirror.core.rows.store import Store
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP

__all__ = ["ExportedState"]


class ExportedState(Struct, frozen=True, kw_only=True):
    """The state of a mirror at one revision; the rows and desired LRPs in no promised order."""

    revision: int
    actual_lrps: tuple[ActualLRP, ...]
    desired_lrps: tuple[DesiredLRP, ...]
    retained: tuple[DesiredLRP, ...]
    """The desired LRPs that a list did not have while their domain was not fresh; see `core.lists.retained`."""
    domains: frozenset[str]
    cells: tuple[CellPresence, ...]

    def indexed(self) -> Store:
        """Return a store of it. O(rows), without a pause: for a thread of its own."""
        store = Store()
        for row in self.actual_lrps:
            key = row_key(row)
            # A file can have a row twice.
            store.put(key, store.get(key), row)
        for lrp in self.desired_lrps:
            store.put_desired(lrp)
        store.domains = self.domains
        return store
