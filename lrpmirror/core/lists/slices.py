"""How much of a list one step handles before other tasks get a turn: a list can have a million rows."""

from collections.abc import Iterator
from typing import Final, TypeVar

T = TypeVar("T")

SLICE: Final = 200
"""How many rows or events one step handles: about a millisecond's work."""

MANY: Final = 4_000
"""How many keys one step looks up, which is much less work for each."""


def slices(items: list[T], size: int) -> Iterator[list[T]]:
    """Return the items in lists of that size. O(size) each."""
    return (items[start : start + size] for start in range(0, len(items), size))
