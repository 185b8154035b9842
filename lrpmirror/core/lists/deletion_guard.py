"""The deletion guard: a list that would remove a large part of the state is not believed before a second one agrees.

A server that has just started with an empty cache, a database that is being restored, or a URL that leads elsewhere for
a moment answers like a server that has nothing. A router that follows the mirror should not lose every route to it.

The guard compares sizes, not records: where everything was replaced, as much is there as before. And it compares with
the size when the mirror was last live: while it is not, rows pile up whose removal it has missed.
"""

from msgspec import Struct

from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.rows.change_set import DesiredDeltas, RowDeltas
from lrpmirror.core.rows.store import Store
from lrpmirror.errors import ListNotBelieved


class Size(Struct, frozen=True):
    """How many rows, processes with rows, and desired LRPs there are."""

    rows: int
    processes: int
    desired: int

    def or_less(self, other: "Size") -> "Size":
        """Return the smaller number of each."""
        return Size(*map(min, _numbers(self), _numbers(other)))


def _numbers(size: Size) -> tuple[int, int, int]:
    return size.rows, size.processes, size.desired


def size_of(store: Store) -> Size:
    """Return the size of a store. O(1)."""
    return Size(len(store), store.process_count(), store.desired_count())


def size_after(store: Store, rows: RowDeltas, desired: DesiredDeltas) -> Size:
    """Return the size of a store once these deltas are written. O(deltas)."""
    before = size_of(store)
    growth: dict[str, int] = {}
    for delta in rows:
        if delta.after is None and delta.before is not None:
            growth[delta.before.process_guid] = growth.get(delta.before.process_guid, 0) - 1
        elif delta.before is None and delta.after is not None:
            growth[delta.after.process_guid] = growth.get(delta.after.process_guid, 0) + 1
    processes = before.processes
    for guid, number in growth.items():
        known = len(store.process(guid))
        processes += bool(known + number) - bool(known)
    lrps = sum((delta.after is not None) - (delta.before is not None) for delta in desired)
    return Size(before.rows + sum(growth.values()), processes, before.desired + lrps)


class DeletionGuard:
    """Judges lists of everything by how much they would remove. O(1) each."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._since: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the last list was not believed."""
        return self._since is not None

    def judge(self, before: Size, after: Size, now: float) -> ListNotBelieved | None:
        """Judge a list by the size before and after; return why it is not believed, or None where it is.

        Where a list was not believed, a second one that would remove too much as well is believed, from
        `Tuning.brake_wait` seconds later on.
        """
        excess = (
            self._excess("rows", before.rows, after.rows)
            or self._excess("processes", before.processes, after.processes)
            or self._excess("desired LRPs", before.desired, after.desired)
        )
        if not excess:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        elif self.wait(now) <= 0:
            self._since = None
            return None
        return ListNotBelieved(
            f"a list would remove {excess}: it is not believed unless another one, {self._tuning.brake_wait:g} s "
            "later, would too (see Tuning.brake_share)"
        )

    def wait(self, now: float) -> float:
        """Return in how many seconds the second list is to be requested."""
        return 0.0 if self._since is None else max(0.0, self._since + self._tuning.brake_wait - now)

    def _excess(self, what: str, before: int, after: int) -> str:
        """Return in words how many would be removed, where that is too many; else an empty text."""
        tuning = self._tuning
        lost = before - after
        if before < tuning.brake_rows or lost <= tuning.brake_share * before:
            return ""
        return f"{lost} of {before} {what}"
