"""The tables of a list in progress, to which the events since its request are applied."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from lrpmirror.core.lists.slices import key_slices
from lrpmirror.core.lists.touched import Touched
from lrpmirror.core.rows.changes import RowKey, RowPart
from lrpmirror.core.rows.freeing import empty_in_slices
from lrpmirror.core.rows.parts import FEW_MASK, Parts, few_parts, reader_of
from lrpmirror.core.rows.store import Store
from lrpmirror.model import ActualLRP, DesiredLRP

__all__ = ["IndexedTables", "ListTables", "NoTables"]


class ListTables:
    """The listed rows and desired LRPs by identity, and the keys that have to be compared with the mirror's.

    A list that changes nothing costs these dicts and nothing else.
    """

    def __init__(self) -> None:
        self._rows: Parts[RowKey, ActualLRP] = few_parts()
        self.parts = self._rows
        self.get = reader_of(self._rows)
        """Returns the row of that identity. O(1)."""
        self._lrps: dict[str, DesiredLRP] = {}
        self.touched: Final = Touched[RowKey]()
        """The keys to be compared."""
        self.touched_desired: Final = Touched[str]()

    def row_count(self) -> int:
        """Return how many rows there are. O(1)."""
        return sum(map(len, self._rows))

    def desired_count(self) -> int:
        """Return how many desired LRPs there are. O(1)."""
        return len(self._lrps)

    def keys_in_slices(self, size: int) -> Iterator[Sequence[RowKey]]:
        """Return the identities of the rows; those that come meanwhile can be among them. O(rows / 16) at most each."""
        return chain.from_iterable(key_slices([part.copy()], size) for part in self._rows)

    def desired_in_slices(self, size: int) -> Iterator[Sequence[str]]:
        """Return the process guids of the desired LRPs of now likewise. O(desired LRPs), then O(size) each."""
        return key_slices([self._lrps.copy()], size)

    def lacked(self, keys: Iterable[RowKey]) -> list[RowKey]:
        """Return the identities of which there is no row here. O(keys)."""
        rows = self._rows
        return [key for key in keys if key not in rows[hash(key) & FEW_MASK]]

    def place(self, key: RowKey, row: ActualLRP) -> None:
        """Write a row without touching it. O(1)."""
        self._rows[hash(key) & FEW_MASK][key] = row

    def put(
        self,
        key: RowKey,
        old: ActualLRP | None,  # noqa: ARG002 - of others
        row: ActualLRP,
        part: RowPart | None = None,  # noqa: ARG002 - as above
    ) -> bool:
        """Write the row of that identity, which is `old` now; return whether another claims its slot."""
        self.touched.add(key)
        self.place(key, row)
        # Rivals are found when the row is written to a store.
        return False

    def remove(self, key: RowKey, old: ActualLRP) -> None:
        """Remove the row of that identity, which is `old` now."""
        del self._rows[hash(key) & FEW_MASK][key]
        self.touched.add(key, old)

    def desired(self, process_guid: str) -> DesiredLRP | None:
        """Return the desired LRP of a process. O(1)."""
        return self._lrps.get(process_guid)

    def place_desired(self, lrp: DesiredLRP) -> None:
        """Write a desired LRP without touching it."""
        self._lrps[lrp.process_guid] = lrp

    def put_desired(self, lrp: DesiredLRP) -> None:
        """Insert or replace the desired LRP of its process."""
        self.touched_desired.add(lrp.process_guid)
        self.place_desired(lrp)

    def remove_desired(self, process_guid: str) -> None:
        """Remove the desired LRP of a process, which is there."""
        del self._lrps[process_guid]
        self.touched_desired.add(process_guid)

    def touch(self, keys: Iterable[RowKey], guids: Iterable[str]) -> None:
        """Add keys to those that have to be compared. O(keys)."""
        for key in keys:
            self.touched.keep(key)
        for guid in guids:
            self.touched_desired.add(guid)

    def free_in_slices(self) -> Iterator[None]:
        """Free what was listed, a slice a step; records that the mirror has by now live on there."""
        return empty_in_slices(*self._rows, self._lrps)


class IndexedTables(ListTables):
    """The same with a store, which becomes the mirror's: for a first list, which has nothing to compare with."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.parts = self.store.parts
        self.get = self.store.get
        self.desired = self.store.desired  # type: ignore[assignment, method-assign]  # as cheap as the store's own
        self.desired_count = self.store.desired_count  # type: ignore[method-assign]  # as above
        self.place_desired = self.store.put_desired  # type: ignore[assignment, method-assign]  # as above

    def row_count(self) -> int:
        """Return how many rows there are. O(1)."""
        return len(self.store)

    def put(self, key: RowKey, old: ActualLRP | None, row: ActualLRP, part: RowPart | None = None) -> bool:
        """Write the row of that identity, which is `old` now; return whether another claims its slot."""
        self.touched.add(key)
        return self.store.put(key, old, row, part)

    def remove(self, key: RowKey, old: ActualLRP) -> None:
        """Remove the row of that identity, which is `old` now."""
        self.store.remove(key, old)
        self.touched.add(key, old)

    def remove_desired(self, process_guid: str) -> None:
        """Remove the desired LRP of a process, which is there."""
        self.store.remove_desired(process_guid)
        self.touched_desired.add(process_guid)


class NoTables:
    """Tables that store nothing: events that are applied to them leave only tombstones."""

    parts: Final[Parts[RowKey, ActualLRP]] = few_parts()

    def get(self, key: RowKey) -> ActualLRP | None:  # noqa: ARG002 - of others
        """Return nothing."""
        return None

    def put(self, *_: object) -> bool:
        """Store nothing; no other row claims the slot."""
        return False

    def remove(self, key: RowKey, old: ActualLRP) -> None:
        """Never called, as there is nothing to remove."""

    def desired(self, process_guid: str) -> DesiredLRP | None:  # noqa: ARG002 - of others
        """Return nothing."""
        return None

    def put_desired(self, lrp: DesiredLRP) -> None:
        """Store nothing."""

    def remove_desired(self, process_guid: str) -> None:
        """Never called, as there is nothing to remove."""
