"""What of a list has been compared with the mirror, for whoever brings views to what it leads to."""

from collections.abc import Iterable

from lrpmirror.core.derived.dirty import Dirty, mark_row, merge, terms_of
from lrpmirror.core.rows.changes import Delta, RowKey, row_key
from lrpmirror.core.rows.store import Store, row_order
from lrpmirror.model import ActualLRP

__all__ = ["Compared"]


class Compared:
    """What was compared since somebody wanted to know, and what differs by process."""

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
        """Return of which processes what was compared since the last call. O(1)."""
        dirty, self._dirty = self._dirty or {}, {}
        return dirty

    def rows(self, store: Store, deltas: Iterable[Delta[RowKey, ActualLRP]], guid: str) -> tuple[ActualLRP, ...]:
        """Return the rows of a process once these deltas are written. O(deltas) where one was compared since."""
        if self._by_process is None:
            self._by_process = {}
            for delta in deltas:
                one = delta.after or delta.before
                if one is not None:  # pragma: no branch - one side is always there
                    self._by_process.setdefault(one.process_guid, []).append(delta)
        differing = self._by_process.get(guid)
        rows = store.process(guid)
        if not differing:
            return rows
        other = {delta.key for delta in differing}
        kept = [row for row in rows if row_key(row) not in other]
        return tuple(sorted([*kept, *(delta.after for delta in differing if delta.after is not None)], key=row_order))
