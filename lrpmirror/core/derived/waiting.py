"""What one subscriber has not been sent yet, by key, and where there is much of it: in parts.

A dict of 300,000 keys takes 20 ms to be rebuilt when it grows, and the mailboxes of several subscribers grow together.
"""

from collections.abc import Hashable, Iterator
from heapq import merge
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from lrpmirror.core.rows.changes import Cause

__all__ = ["Later", "Waiting"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

PARTS: Final = 64
"""A power of two."""

MASK: Final = PARTS - 1

EACH: Final = 32
"""How many keys of each part are looked at to find those that came first."""


class Waiting(Struct, Generic[V], gc=False):
    """What a subscriber was last sent of a key, and what is there now; `number` is the place among those in parts."""

    seen: V | None
    now: V | None
    revision: int
    cause: Cause
    since: float
    number: int = 0


def _number(item: tuple[Any, Waiting[Any]]) -> int:
    return item[1].number


class Later(Generic[K, V]):
    """Keys in the order in which they were added, in parts of which each is in that order, too. O(1) each."""

    def __init__(self) -> None:
        self._parts: tuple[dict[K, Waiting[V]], ...] = tuple([{} for _ in range(PARTS)])
        self._added = self._left = 0

    def __len__(self) -> int:
        return self._left

    def offer(self, key: K, change: Waiting[V]) -> None:
        """Record a change of a key, as `Mailbox.offer` does."""
        part = self._part(key)
        waiting = part.get(key)
        if waiting is None:
            if change.seen != change.now:
                self._added += 1
                self._left += 1
                change.number = self._added
                part[key] = change
        elif waiting.seen == change.now:
            del part[key]
            self._left -= 1
        else:
            waiting.now, waiting.revision, waiting.cause = change.now, change.revision, change.cause

    def take_first(self) -> dict[K, Waiting[V]]:
        """Remove and return, in order, some of the keys that were added first: at least one, if there is any.

        O(PARTS · EACH), once for about half as many keys.
        """
        found: list[tuple[K, Waiting[V]]] = []
        last = self._added
        for part in self._parts:
            first = list(islice(part.items(), EACH))
            found += first
            if len(first) == EACH:
                # What follows in this part came later than that, maybe before what was found in others.
                last = min(last, first[-1][1].number)
        found = sorted([item for item in found if item[1].number <= last], key=_number)
        for key, _ in found:
            del self._part(key)[key]
        self._left -= len(found)
        return dict(found)

    def items(self) -> Iterator[tuple[K, Waiting[V]]]:
        """Return all keys with what waits of each, in order. O(PARTS), then O(log PARTS) each."""
        return merge(*(part.items() for part in self._parts), key=_number)

    def _part(self, key: K) -> dict[K, Waiting[V]]:
        return self._parts[hash(key) & MASK]
