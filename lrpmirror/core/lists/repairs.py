"""Repairs: the processes that are to be read again, for example because an event about them could not be decided."""

from collections.abc import Callable, Iterable
from typing import Final

from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.rows.reconcile import RepairReason

__all__ = ["ROWS", "Repairs"]

TRIES: Final = 3
"""After how many failed reads by itself a process is left to the next list."""

ROWS: Final = 2_000
"""How many rows the processes have that are read at once, where they are several: they are committed in one go."""


class Repairs:
    """The reasons for a repair by process, until a read settles them. Bounded.

    Beyond `limit` processes the one that waits longest is left to the next list. So is a process that the server
    refuses to list, so that it does not keep the others waiting.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._reasons: dict[str, tuple[RepairReason, ...]] = {}
        self._tries: dict[str, int] = {}
        self._undesired: set[str] = set()
        self._narrowed: int | None = None
        self.dropped = 0
        self.latest: tuple[RepairReason, ...] = ()
        """The reasons of the process of the latest request; whoever has read them may empty it."""

    def __len__(self) -> int:
        return len(self._reasons)

    def add(self, process_guid: str, reason: RepairReason) -> None:
        """Request that a process is read again. O(1)."""
        known = self._reasons
        reasons = known.get(process_guid)
        if reasons is None:
            known[process_guid] = reasons = (reason,)
            if len(known) > self._limit:
                self._drop(next(iter(known)))
        elif reason not in reasons:
            known[process_guid] = reasons = tuple(sorted((*reasons, reason)))
        self.latest = reasons

    def add_undesired(self, process_guid: str) -> None:
        """Request a read of the desired LRP of a process that runs without a known one; once until the next list.

        O(1).
        """
        # Bounded, for a server that makes up processes without end: the next list reads the others.
        if len(self._undesired) < self._limit and process_guid not in self._undesired:
            self._undesired.add(process_guid)
            self.add(process_guid, RepairReason.DESIRED)

    def reasons_of(self, process_guid: str) -> tuple[RepairReason, ...]:
        """Return the reasons why a process is to be read again, in order; empty where it is not. O(1)."""
        return self._reasons.get(process_guid, ())

    def reasons(self) -> dict[str, tuple[RepairReason, ...]]:
        """Return the reasons of now, by process. O(pending)."""
        return self._reasons.copy()

    def clear(self) -> None:
        """Drop all requests: a list of everything settles them."""
        self._reasons.clear()
        self._tries.clear()
        self._undesired.clear()
        self._narrowed = None

    def take(
        self, most: int, *, has_rivals: Callable[[str], bool], rows: Callable[[str], int] = lambda _: 1
    ) -> Scope | None:
        """Remove the oldest requests and return them as a scope to read; None where none is left. O(most).

        Up to `most` processes, so that a mass restart is read back in seconds; but only so many that their commit is as
        short as any other, where `rows` returns how many rows a process has.

        RIVALS are often resolved by the next event, and then need no read. After a refusal fewer are taken at once, to
        find the process that is refused.
        """
        if self._narrowed is not None:
            most = min(most, self._narrowed)
        chosen: set[str] = set()
        desired: set[str] = set()
        read = 0
        taken: list[str] = []
        for guid, pending in self._reasons.items():
            read += rows(guid)
            if len(chosen) + len(desired) >= most or (chosen and read > ROWS):
                break
            taken.append(guid)
            reasons = set(pending)
            if RepairReason.DESIRED in reasons:
                desired.add(guid)
                reasons.discard(RepairReason.DESIRED)
            if reasons and (reasons != {RepairReason.RIVALS} or has_rivals(guid)):
                chosen.add(guid)
        # Not one by one as they are found: the first key of a dict is looked for among all that were removed before it.
        for guid in taken:
            del self._reasons[guid]
        return Scope(frozenset(chosen), frozenset(desired)) if chosen or desired else None

    def failed(self, scope: Scope, *, refused: bool) -> None:
        """Request the processes of a failed read again, behind the others. O(scope · log scope).

        `refused` says that one of the processes may be the cause: then they are read in smaller batches, and one that
        is refused by itself is dropped after some tries.
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
            # Only doubled, since the refused one may be in the next batch.
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
