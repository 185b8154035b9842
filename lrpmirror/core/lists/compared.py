"""What of a list has been compared with the mirror: the input of the preparation of views."""

from collections.abc import Iterable

from lrpmirror.core.derived.dirty import Dirty, mark_row, merge, terms_of
from lrpmirror.core.rows.changes import Delta, RowKey, row_key
from lrpmirror.core.rows.store import Store, row_order
from lrpmirror.model import ActualLRP


class Compared:
    """What was compared since `watch` was called, and the deltas by process."""

    def __init__(self) -> None:
        self._dirty: dict[str, Dirty] | None = None
        self._by_process: dict[str, list[Delta[RowKey, ActualLRP]]] | None = None

    def watch(self) -> None:
        """Record what is compared from now on."""
        self._dirty = {}

    def row(self, *sides: ActualLRP | None) -> None:
        """Record that a row was compared: as it was, as it will be, and as it was removed. O(1)."""
        self._by_process = None
        if self._dirty is not None:
            for side in sides:
                if side is not None:
                    mark_row(self._dirty, side)

    def desired(self, process_guids: Iterable[str]) -> None:
        """Record that desired LRPs were compared. O(desired LRPs)."""
        if self._dirty is not None:
            merge(self._dirty, terms_of(process_guids))

    def take(self) -> dict[str, Dirty]:
        """Return what was compared since the last call, as dirty parts by process. O(1)."""
        dirty, self._dirty = self._dirty or {}, {}
        return dirty

    def rows(self, store: Store, deltas: Iterable[Delta[RowKey, ActualLRP]], guid: str) -> tuple[ActualLRP, ...]:
        """Return the rows that a process will have once `deltas` are written.

        O(rows of the process); O(deltas) in the first call after a row was compared.
        """
        if self._by_process is None:
            self._by_process = {}
            for delta in deltas:
                row = delta.after or delta.before
                if row is not None:  # pragma: no branch - one side is always there
                    self._by_process.setdefault(row.process_guid, []).append(delta)
        differing = self._by_process.get(guid)
        rows = store.process(guid)
        if not differing:
            return rows
        replaced = {delta.key for delta in differing}
        staying = [row for row in rows if row_key(row) not in replaced]
        return tuple(
            sorted([*staying, *(delta.after for delta in differing if delta.after is not None)], key=row_order)
        )
