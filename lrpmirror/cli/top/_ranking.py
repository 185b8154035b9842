"""A view of a mirror kept in an order, so that its first lines are found without a look at the rest."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from threading import Lock
from typing import Any, Final, Generic, TypeVar

from sortedcontainers import SortedList

from lrpmirror.core.rows.changes import Change

V = TypeVar("V")

_SLICE: Final = 500
"""How many changes are taken before a reader gets a turn."""

Rank = tuple[Any, ...]


class Ranking(Generic[V]):
    """The keys of a view by rank, those that have a text in them; and what all of its values add up to.

    `rank` gives what a key is sorted by in an order, `text_of` the text that a filter searches, `parts` what a value
    adds to `totals`. One thread takes the changes, another one reads. A change costs O(log keys).
    """

    def __init__(
        self,
        rank: Callable[[str, V, str], Rank],
        text_of: Callable[[str, V], str],
        parts: Callable[[V], Mapping[Any, int]],
        order: str,
    ) -> None:
        self._rank = rank
        self._text_of = text_of
        self._parts = parts
        self._order = order
        self._text = ""
        self._lock = Lock()
        self._values: dict[str, V] = {}
        self._ranks: dict[str, Rank] = {}
        self._sorted: SortedList = SortedList()
        self._totals: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._sorted)

    @property
    def totals(self) -> Counter[Hashable]:
        """What all values add up to, also of those that are not listed. O(kinds of parts)."""
        with self._lock:
            return Counter(self._totals)

    @property
    def all(self) -> int:
        """How many keys there are, listed or not. O(1)."""
        return len(self._values)

    def get(self, key: str) -> V | None:
        """Return the value of a key, listed or not; None where there is none. O(1)."""
        return self._values.get(key)

    def first(self, count: int) -> list[tuple[str, V]]:
        """Return the first keys and their values. O(count)."""
        with self._lock:
            return [(key, self._values[key]) for _, key in self._sorted.islice(stop=count)]

    def follow(self, batches: Iterable[list[Change[str, V]]]) -> None:
        """Take batches of changes until there are no more."""
        for batch in batches:
            for first in range(0, len(batch), _SLICE):
                with self._lock:
                    for change in batch[first : first + _SLICE]:
                        self._take(change.key, change.after)

    def arrange(self, order: str, text: str) -> None:
        """List by another order, or what has another text in it. O(keys log keys), where either differs."""
        if (order, text) == (self._order, self._text):
            return
        with self._lock:
            self._order, self._text = order, text
            self._ranks = {
                key: self._rank(key, value, order) for key, value in self._values.items() if self._fits(key, value)
            }
            self._sorted = SortedList((rank, key) for key, rank in self._ranks.items())

    def _take(self, key: str, value: V | None) -> None:
        before = self._values.pop(key, None)
        if before is not None:
            self._totals.subtract(self._parts(before))
        rank = self._ranks.pop(key, None)
        if rank is not None:
            self._sorted.remove((rank, key))
        if value is not None:
            self._values[key] = value
            self._totals.update(self._parts(value))
            if self._fits(key, value):
                self._ranks[key] = rank = self._rank(key, value, self._order)
                self._sorted.add((rank, key))

    def _fits(self, key: str, value: V) -> bool:
        return not self._text or self._text.lower() in self._text_of(key, value).lower()
