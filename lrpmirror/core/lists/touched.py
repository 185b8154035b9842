"""The keys of a list in progress that have to be compared with the mirror's, which can be all of them."""

from collections import deque
from collections.abc import Hashable, Iterator
from itertools import chain, islice
from typing import Generic, TypeVar

from lrpmirror.core.lists.slices import MANY, SLICE
from lrpmirror.model import ActualLRP

__all__ = ["Touched"]

K = TypeVar("K", bound=Hashable)

Removed = ActualLRP | None
"""The row that was removed last, of which nothing else has the place."""


class Touched(Generic[K]):
    """Keys in the order in which they were touched, each with the row that was removed. O(1) each, but as said.

    In parts, so that nothing is rebuilt, copied or freed in one piece. A key that is touched again can be there again.
    """

    def __init__(self) -> None:
        self._parts: deque[dict[K, Removed]] = deque([{}])

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._parts)

    def add(self, key: K, removed: Removed = None) -> None:
        """Add a key."""
        self._last()[key] = removed

    def keep(self, key: K) -> None:
        """Add a key; if it is the last that was touched, with the row that it has."""
        self._last().setdefault(key)

    def clear(self) -> None:
        """Forget everything. O(keys)."""
        self._parts = deque([{}])

    def take(self, size: int) -> dict[K, Removed]:
        """Remove and return the keys that were touched first: at most so many, and one if there is any. O(MANY)."""
        part = self._parts[0]
        if len(part) > size:
            first = dict(islice(part.items(), size))
            for key in first:
                del part[key]
            return first
        self._parts.popleft()
        if not self._parts:
            self._parts.append({})
        return part

    def drained(self, few: int) -> Iterator[dict[K, Removed]]:
        """Remove and return what has been touched until now, a slice a step, where that is more than `few`."""
        left = len(self)
        while left > few:
            keys = self.take(SLICE)
            left, few = left - len(keys), 0
            yield keys

    def _last(self) -> dict[K, Removed]:
        part = self._parts[-1]
        if len(part) >= MANY:
            part = {}
            self._parts.append(part)
        return part
