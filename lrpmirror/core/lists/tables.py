"""Where a list in progress is put, and where the events since then are applied to it."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

from lrpmirror.core.lists.slices import MANY
from lrpmirror.core.rows.changes import RowKey
from lrpmirror.core.rows.store import Store
from lrpmirror.model import ActualLRP, DesiredLRP

__all__ = ["IndexedTables", "ListTables", "NoTables"]


PARTS: Final = 16
"""A dict of a quarter of a million rows is rebuilt, and freed, in twenty milliseconds; its parts are one by one."""


class ListTables:
    """The listed rows and desired LRPs by identity, and the keys that have to be compared with the mirror's.

    A list that brings nothing new costs these dicts, and no more.
    """

    def __init__(self) -> None:
        self._rows: tuple[dict[RowKey, ActualLRP], ...] = tuple({} for _ in range(PARTS))
        self._lrps: dict[str, DesiredLRP] = {}
        self.touched: dict[RowKey, ActualLRP | None] = {}
        """The keys to be compared; with the row that was removed, whose place nothing else tells."""
        self.touched_desired: dict[str, None] = {}

    def row_count(self) -> int:
        """Return how many rows there are. O(1)."""
        return sum(map(len, self._rows))

    def desired_count(self) -> int:
        """Return how many desired LRPs there are. O(1)."""
        return len(self._lrps)

    def keys(self) -> list[RowKey]:
        """Return the identities of the rows. O(rows)."""
        return list(chain.from_iterable(self._rows))

    def desired_guids(self) -> list[str]:
        """Return the process guids of the desired LRPs. O(desired LRPs)."""
        return list(self._lrps)

    def get(self, key: RowKey) -> ActualLRP | None:
        """Return the row of that identity. O(1)."""
        return self._rows[hash(key) % PARTS].get(key)

    def lacked(self, keys: Iterable[RowKey]) -> list[RowKey]:
        """Return those of some identities that no row here has. O(keys)."""
        rows = self._rows
        return [key for key in keys if key not in rows[hash(key) % PARTS]]

    def place(self, key: RowKey, row: ActualLRP) -> bool:
        """Take a row that needs no comparing; tell whether another claims its slot, where that is known. O(1)."""
        self._rows[hash(key) % PARTS][key] = row
        # Rivals are looked for where the rows end up: in the mirror.
        return False

    def put(self, key: RowKey, old: ActualLRP | None, row: ActualLRP) -> bool:  # noqa: ARG002 - of others
        """Write the row of that identity, which is `old` now; tell whether another claims its slot, as `place`."""
        self.touched[key] = None
        return self.place(key, row)

    def remove(self, key: RowKey, old: ActualLRP) -> None:
        """Remove the row of that identity, which is `old` now."""
        del self._rows[hash(key) % PARTS][key]
        self.touched[key] = old

    def desired(self, process_guid: str) -> DesiredLRP | None:
        """Return the desired LRP of a process. O(1)."""
        return self._lrps.get(process_guid)

    def place_desired(self, lrp: DesiredLRP) -> None:
        """Take a desired LRP that needs no comparing."""
        self._lrps[lrp.process_guid] = lrp

    def put_desired(self, lrp: DesiredLRP) -> None:
        """Insert or replace the desired LRP of its process."""
        self.touched_desired[lrp.process_guid] = None
        self.place_desired(lrp)

    def remove_desired(self, process_guid: str) -> None:
        """Remove the desired LRP of a process, which is there."""
        del self._lrps[process_guid]
        self.touched_desired[process_guid] = None

    def touch(self, keys: Iterable[RowKey], guids: Iterable[str]) -> None:
        """Have keys compared. O(keys)."""
        for key in keys:
            self.touched.setdefault(key)
        self.touched_desired.update(dict.fromkeys(guids))

    def free_in_slices(self) -> Iterator[None]:
        """Let go of what was listed, some of it a step; what is the mirror's by now stays there."""
        tables: tuple[dict[Any, Any], ...] = (*self._rows, self._lrps)
        for table in tables:
            while table:
                for _ in range(min(MANY, len(table))):
                    table.popitem()
                yield


class IndexedTables(ListTables):
    """The same, indexed as they are filled: the mirror's store to be, where there is nothing to compare with."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.get = self.store.get  # type: ignore[assignment, method-assign]  # as cheap as the store's own
        self.desired = self.store.desired  # type: ignore[assignment, method-assign]  # as above
        self.desired_guids = self.store.desired_guids  # type: ignore[method-assign]  # as above
        self.desired_count = self.store.desired_count  # type: ignore[method-assign]  # as above
        self.place_desired = self.store.put_desired  # type: ignore[method-assign]  # as above

    def row_count(self) -> int:
        """Return how many rows there are. O(1)."""
        return len(self.store)

    def place(self, key: RowKey, row: ActualLRP) -> bool:
        """Take a row that needs no comparing; tell whether another claims its slot. As costly as a write to a store."""
        return self.store.put(key, self.store.get(key), row)

    def remove(self, key: RowKey, old: ActualLRP) -> None:
        """Remove the row of that identity, which is `old` now."""
        self.store.remove(key, old)
        self.touched[key] = old

    def remove_desired(self, process_guid: str) -> None:
        """Remove the desired LRP of a process, which is there."""
        self.store.remove_desired(process_guid)
        self.touched_desired[process_guid] = None


class NoTables:
    """Tables that keep nothing: of the events that are applied to them only the tombstones stay."""

    def get(self, key: RowKey) -> ActualLRP | None:  # noqa: ARG002 - of others
        """Return nothing."""
        return None

    def put(self, key: RowKey, old: ActualLRP | None, row: ActualLRP) -> bool:  # noqa: ARG002 - of others
        """Keep nothing; nobody else claims its slot."""
        return False

    def remove(self, key: RowKey, old: ActualLRP) -> None:
        """Never called, as there is nothing to remove."""

    def desired(self, process_guid: str) -> DesiredLRP | None:  # noqa: ARG002 - of others
        """Return nothing."""
        return None

    def put_desired(self, lrp: DesiredLRP) -> None:
        """Keep nothing."""

    def remove_desired(self, process_guid: str) -> None:
        """Never called, as there is nothing to remove."""
