"""What of a list has been compared with the mirror: the input of the preparation of views."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from lrpmirror.core.derived.dirty import Dirty, mark_row, merge, terms_of
from lrpmirror.core.lists.slices import SLICE, drained
from lrpmirror.core.rows.changes import Delta, RowKey, row_key
from lrpmirror.core.rows.store import Store, row_order
from lrpmirror.model import ActualLRP, DesiredLRP


class Compared:
    """What was compared since `watch` was called, and the deltas by process."""

    def __init__(self) -> None:
        self._dirty: dict[str, Dirty] | None = None
        self._by_process: dict[str, list[Delta[RowKey, ActualLRP]]] | None = None
        # The deltas as they were found. To copy their dicts would take 10 ms in one piece, and as long to free them.
        self._rows: deque[Sequence[Delta[RowKey, ActualLRP]]] = deque()
        self._desired: deque[Sequence[Delta[str, DesiredLRP]]] = deque()

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

    def differ(self, deltas: Iterable[Delta[RowKey, ActualLRP]]) -> None:
        """Record the rows that differ, of some that were compared. O(deltas)."""
        self._rows.append(tuple(deltas))

    def desired(self, process_guids: Iterable[str], deltas: Iterable[Delta[str, DesiredLRP]]) -> None:
        """Record that desired LRPs were compared, and which of them differ. O(desired LRPs)."""
        self._desired.append(tuple(deltas))
        if self._dirty is not None:
            merge(self._dirty, terms_of(process_guids))

    def differences(
        self, size: int
    ) -> tuple[Iterator[Sequence[Delta[RowKey, ActualLRP]]], Iterator[Sequence[Delta[str, DesiredLRP]]]]:
        """Return, once, the deltas that were found so far, in parts; some may be out of date. O(size) each."""
        return drained(self._rows, size), drained(self._desired, size)

    def free_in_slices(self) -> Iterator[None]:
        """Free the deltas, a slice a step."""
        for parts in self.differences(SLICE):
            for _ in parts:
                yield

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
