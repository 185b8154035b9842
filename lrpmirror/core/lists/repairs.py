"""The processes that are to be read again, because an event about them could not be decided."""

from collections.abc import Callable, Iterable
from typing import Final

from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.rows.reconcile import RepairReason

__all__ = ["ROWS", "Repairs"]

TRIES: Final = 3
"""How often a process is read again by itself in vain before it is left to the next list."""

ROWS: Final = 2_000
"""How many rows the processes have that are read at once, where they are several: they are committed in one go."""


class Repairs:
    """Doubts by process, until a read settles them. Bounded.

    Beyond `limit` processes the oldest doubt is left to the next list. So is a process that the server refuses to tell
    of: it must not keep the others waiting.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._reasons: dict[str, tuple[RepairReason, ...]] = {}
        self._tries: dict[str, int] = {}
        self._undesired: set[str] = set()
        self._narrowed: int | None = None
        self.dropped = 0
        self.raised = 0
        """How often a doubt was raised."""

    def __len__(self) -> int:
        return len(self._reasons)

    def add(self, process_guid: str, reason: RepairReason) -> None:
        """Put a process on the list. O(1)."""
        self.raised += 1
        reasons = self._reasons.get(process_guid)
        if reasons is None:
            self._reasons[process_guid] = (reason,)
            if len(self._reasons) > self._limit:
                self._drop(next(iter(self._reasons)))
        elif reason not in reasons:
            self._reasons[process_guid] = tuple(sorted((*reasons, reason)))

    def add_undesired(self, process_guid: str) -> None:
        """Have the desired LRP read of a process that runs without a known one; once, until the next list. O(1)."""
        # A server that makes up processes without end has them read at the next list.
        if len(self._undesired) < self._limit and process_guid not in self._undesired:
            self._undesired.add(process_guid)
            self.add(process_guid, RepairReason.DESIRED)

    def reasons_of(self, process_guid: str) -> tuple[RepairReason, ...]:
        """Return why a process is to be read again, in order; nothing where it is not. O(1)."""
        return self._reasons.get(process_guid, ())

    def clear(self) -> None:
        """Forget all doubts: a list of everything is about to settle them."""
        self._reasons.clear()
        self._tries.clear()
        self._undesired.clear()
        self._narrowed = None

    def take(
        self, most: int, *, has_rivals: Callable[[str], bool], rows: Callable[[str], int] = lambda _: 1
    ) -> Scope | None:
        """Take the oldest doubts, as what to read; None where nothing is in doubt any more. O(most).

        As many as there are, up to `most` processes, so that a mass restart is read back in seconds; and of so few rows
        that their commit takes no longer than any other. `rows` tells how many a process has.

        Rivals are often parted by the event that comes next, and then need no read. After a refusal it takes fewer at
        once, so that the one that was refused is found.
        """
        if self._narrowed is not None:
            most = min(most, self._narrowed)
        chosen: set[str] = set()
        desired: set[str] = set()
        read = 0
        while self._reasons and len(chosen) + len(desired) < most:
            guid = next(iter(self._reasons))
            read += rows(guid)
            if chosen and read > ROWS:
                break
            reasons = set(self._reasons.pop(guid))
            if RepairReason.DESIRED in reasons:
                desired.add(guid)
                reasons.discard(RepairReason.DESIRED)
            if reasons and (reasons != {RepairReason.RIVALS} or has_rivals(guid)):
                chosen.add(guid)
        return Scope(frozenset(chosen), frozenset(desired)) if chosen or desired else None

    def failed(self, scope: Scope, *, refused: bool) -> None:
        """Put what could not be read on the list again, behind the others. O(scope · log scope).

        `refused` says that it may be the fault of one of the processes: then it is read again in smaller batches, and a
        process that is refused by itself not for ever.
        """
        guids = _guids(scope)
        for guid in sorted(scope.rows or ()):
            self.add(guid, RepairReason.AMBIGUOUS)
        for guid in sorted(scope.desired or ()):
            self.add(guid, RepairReason.DESIRED)
        if refused and len(guids) > 1:
            self._narrowed = len(guids) // 2
        elif refused:
            self._count_try(guids)

    def settled(self, scope: Scope) -> None:
        """Record that a scope was read. O(scope)."""
        for guid in _guids(scope):
            self._tries.pop(guid, None)
        if self._narrowed is not None:
            # No more than doubled, for the one that was refused may be in the next batch.
            self._narrowed = 2 * self._narrowed if len(self._reasons) > self._narrowed else None

    def _count_try(self, guids: Iterable[str]) -> None:
        for guid in guids:
            self._tries[guid] = self._tries.get(guid, 0) + 1
            if self._tries[guid] >= TRIES:
                del self._tries[guid]
                self._drop(guid)

    def _drop(self, guid: str) -> None:
        del self._reasons[guid]
        self.dropped += 1


def _guids(scope: Scope) -> frozenset[str]:
    return (scope.rows or frozenset()) | (scope.desired or frozenset())
