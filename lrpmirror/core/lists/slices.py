"""How much of a list one step handles before other tasks get a turn: a list can have a million rows."""

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final, TypeVar

__all__ = ["MANY", "SLICE", "drained", "key_slices", "slices", "value_slices"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

SLICE: Final = 200
"""How many rows or events one step handles: about a millisecond's work."""

MANY: Final = 4_000
"""How many keys one step looks up, which is much less work for each."""


def slices(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """Return what the items are now in parts of that size. O(items), then O(size) each."""
    # Not a list: the garbage collector would go through it each time.
    items = tuple(items)
    return (items[start : start + size] for start in range(0, len(items), size))


def key_slices(tables: Iterable[dict[K, Any]], size: int) -> Iterator[Sequence[K]]:
    """Return the keys of dicts that nobody else writes to, in parts of that size. O(size) each.

    A copy of a dict takes less time than a tuple, and is nothing for the garbage collector, unless the dict is.
    """
    return chain.from_iterable(_parts_of(iter(table), size) for table in tables)


def value_slices(table: dict[Any, T], size: int) -> Iterator[Sequence[T]]:
    """Return the values of such a dict likewise."""
    return _parts_of(iter(table.values()), size)


def _parts_of(items: Iterator[T], size: int) -> Iterator[Sequence[T]]:
    while part := tuple(islice(items, size)):
        yield part


def drained(parts: deque[Sequence[T]], size: int) -> Iterator[Sequence[T]]:
    """Remove and return what is in parts, in parts of at most that size. O(size) each."""
    while parts:
        part = parts.popleft()
        yield from (part[start : start + size] for start in range(0, len(part), size))
