"""A view of a mirror kept in an order: what is on the screen is found without a look at the rest."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Generic, TypeVar

import trio

from lrpmirror.core.changes import Change
from lrpmirror.mirror import MirrorView

__all__ = ["Ranking"]

V = TypeVar("V")

_SLICE: Final = 500
"""How many keys are taken before others get their turn."""

Rank = tuple[Any, ...]


class Ranking(Generic[V]):
    """The keys of a view by rank, those that have a text in them; and what all of its values add up to.

    `rank` gives what a key is sorted by in an order, `says` what a text is searched in, `parts` what a value adds to
    `totals`. A change costs O(log keys), and a copy within a list of pointers.
    """

    def __init__(
        self,
        rank: Callable[[str, V, str], Rank],
        says: Callable[[str, V], str],
        parts: Callable[[V], Mapping[Hashable, int]],
        order: str,
    ) -> None:
        self._rank = rank
        self._says = says
        self._parts = parts
        self._order = order
        self._text = ""
        self._values: dict[str, V] = {}
        self._ranks: dict[str, Rank] = {}
        self._sorted: list[tuple[Rank, str]] = []
        self.totals: Counter[Hashable] = Counter()
        """What all values add up to, also of those that are not listed."""

    def __len__(self) -> int:
        return len(self._sorted)

    def __getitem__(self, key: str) -> V:
        return self._values[key]

    def get(self, key: str) -> V | None:
        """Return the value of a key, listed or not; None where there is none. O(1)."""
        return self._values.get(key)

    def place(self, key: str) -> int | None:
        """Return where a key is; None where it is not. O(log keys)."""
        rank = self._ranks.get(key)
        return None if rank is None else bisect_left(self._sorted, (rank, key))

    def keys(self, first: int, count: int) -> list[str]:
        """Return the keys from a place on. O(count)."""
        return [key for _, key in self._sorted[first : first + count]]

    async def follow(self, view: MirrorView[str, V]) -> None:
        """Keep it as the view is; for ever."""
        async with view.changes() as changes:
            async for batch in changes:
                for some in _slices(batch):
                    for change in some:
                        self.take(change)
                    await trio.lowlevel.checkpoint()

    def take(self, change: Change[str, V]) -> None:
        """Take note of a change."""
        key, value = change.key, change.after
        before = self._values.pop(key, None)
        if before is not None:
            self.totals.subtract(self._parts(before))
        rank = self._ranks.pop(key, None)
        if rank is not None:
            del self._sorted[bisect_left(self._sorted, (rank, key))]
        if value is not None:
            self._values[key] = value
            self.totals.update(self._parts(value))
            if self._fits(key, value):
                self._ranks[key] = rank = self._rank(key, value, self._order)
                insort(self._sorted, (rank, key))

    async def arrange(self, order: str, text: str) -> None:
        """List by another order, or those that have another text in them, in slices: O(keys log keys) in all."""
        if (order, text) == (self._order, self._text):
            return
        self._order, self._text = order, text
        self._ranks, self._sorted = {}, []
        for some in _slices(list(self._values)):
            # What has changed since is where it belongs already.
            keys = [key for key in some if key in self._values and key not in self._ranks]
            for key in keys:
                if self._fits(key, self._values[key]):
                    self._ranks[key] = rank = self._rank(key, self._values[key], order)
                    self._sorted.append((rank, key))
            # Two runs that are sorted, which costs a comparison each.
            self._sorted.sort()
            await trio.lowlevel.checkpoint()

    def _fits(self, key: str, value: V) -> bool:
        return not self._text or self._text.lower() in self._says(key, value).lower()


def _slices(values: Sequence[Any]) -> Iterator[list[Any]]:
    left: Iterable[Any] = iter(values)
    while some := list(islice(left, _SLICE)):
        yield some
