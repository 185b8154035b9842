"""The deletion guard: a list that would remove a large part of the state is not believed before a second one agrees.

A server that has just come up with an empty cache, a database that is being restored, or a URL that leads elsewhere for
a moment answers like a server that has nothing. Whoever routes by the mirror should not lose every route to it.

What counts is what is lost on balance: where everything was replaced meanwhile, as much is there as before. And it is
compared with what there was when the mirror was last live: while it is not, rows pile up whose removal it has missed.
"""

from msgspec import Struct

from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.rows.change_set import DesiredDeltas, RowDeltas
from lrpmirror.core.rows.store import Store
from lrpmirror.errors import ListNotBelieved

__all__ = ["DeletionGuard", "Size", "size_after", "size_of"]


class Size(Struct, frozen=True):
    """How much there is."""

    rows: int
    processes: int
    desired: int

    def or_less(self, other: "Size") -> "Size":
        """Return the smaller number of each."""
        return Size(*map(min, _numbers(self), _numbers(other)))


def _numbers(size: Size) -> tuple[int, int, int]:
    return size.rows, size.processes, size.desired


def size_of(store: Store) -> Size:
    """Return how much a store has. O(1)."""
    return Size(len(store), store.process_count(), store.desired_count())


def size_after(store: Store, rows: RowDeltas, desired: DesiredDeltas) -> Size:
    """Return how much a store will have that is changed so. O(deltas)."""
    before = size_of(store)
    grown: dict[str, int] = {}
    for delta in rows:
        if delta.after is None and delta.before is not None:
            grown[delta.before.process_guid] = grown.get(delta.before.process_guid, 0) - 1
        elif delta.before is None and delta.after is not None:
            grown[delta.after.process_guid] = grown.get(delta.after.process_guid, 0) + 1
    processes = before.processes
    for guid, number in grown.items():
        known = len(store.process(guid))
        processes += bool(known + number) - bool(known)
    lrps = sum((delta.after is not None) - (delta.before is not None) for delta in desired)
    return Size(before.rows + sum(grown.values()), processes, before.desired + lrps)


class DeletionGuard:
    """Judges lists of everything by what would be lost. O(1) each."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._since: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the last list was not believed."""
        return self._since is not None

    def judge(self, before: Size, after: Size, now: float) -> ListNotBelieved | None:
        """Judge what a list would leave of how much; return why it is not believed, or None where it is.

        One that comes `brake_wait` after the first that was not, or later, and would remove too much as well, is.
        """
        much = (
            self._much("rows", before.rows, after.rows)
            or self._much("processes", before.processes, after.processes)
            or self._much("desired LRPs", before.desired, after.desired)
        )
        if not much:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        elif self.wait(now) <= 0:
            self._since = None
            return None
        return ListNotBelieved(
            f"a list would remove {much}: it is not believed unless another one, {self._tuning.brake_wait:g} s later, "
            "would too (see Tuning.brake_share)"
        )

    def wait(self, now: float) -> float:
        """Return in how many seconds the second list is to be asked for."""
        return 0.0 if self._since is None else max(0.0, self._since + self._tuning.brake_wait - now)

    def _much(self, what: str, before: int, after: int) -> str:
        """Say what would be lost where that is too much."""
        tuning = self._tuning
        lost = before - after
        if before < tuning.brake_rows or lost <= tuning.brake_share * before:
            return ""
        return f"{lost} of {before} {what}"
