"""How much of a list one step handles before other tasks get a turn: a list can have a million rows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

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
