"""The processes that are to be read again, because an event about them could not be decided."""

from collections.abc import Callable

from lrpmirror.core.reconcile import Doubt
from lrpmirror.core.shadow import Scope

__all__ = ["Repairs"]


class Repairs:
    """Doubts by process, until a read settles them. Bounded.

    Beyond `limit` processes the oldest doubt is left to the next list.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._doubts: dict[str, set[Doubt]] = {}
        self.dropped = 0
        self.raised = 0
        """How often a doubt was raised."""

    def __len__(self) -> int:
        return len(self._doubts)

    def add(self, process_guid: str, doubt: Doubt) -> None:
        """Put a process on the list. O(1)."""
        self.raised += 1
        self._doubts.setdefault(process_guid, set()).add(doubt)
        if len(self._doubts) > self._limit:
            del self._doubts[next(iter(self._doubts))]
            self.dropped += 1

    def doubts_of(self, process_guid: str) -> tuple[Doubt, ...]:
        """Return why a process is to be read again; nothing where it is not. O(doubts)."""
        doubts = self._doubts.get(process_guid)
        return () if doubts is None else tuple(sorted(doubts))

    def clear(self) -> None:
        """Forget all doubts: a list of everything is about to settle them."""
        self._doubts.clear()

    def take(self, most: int, *, has_rivals: Callable[[str], bool]) -> Scope | None:
        """Take the oldest doubts, as what to read; None where nothing is in doubt any more. O(most).

        Rivals are often parted by the event that comes next, and then need no read.
        """
        rows: set[str] = set()
        desired: set[str] = set()
        while self._doubts and len(rows) + len(desired) < most:
            guid = next(iter(self._doubts))
            doubts = self._doubts.pop(guid)
            if Doubt.DESIRED in doubts:
                desired.add(guid)
                doubts.discard(Doubt.DESIRED)
            if doubts and (doubts != {Doubt.RIVALS} or has_rivals(guid)):
                rows.add(guid)
        return Scope(frozenset(rows), frozenset(desired)) if rows or desired else None

    def put_back(self, scope: Scope) -> None:
        """Put what could not be read on the list again."""
        for guid in sorted(scope.rows or ()):
            self.add(guid, Doubt.AMBIGUOUS)
        for guid in sorted(scope.desired or ()):
            self.add(guid, Doubt.DESIRED)
