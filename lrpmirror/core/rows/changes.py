"""What a commit changed, as values."""

from collections.abc import Callable, Container, Hashable, Iterator, Sequence
from enum import StrEnum
from itertools import chain
from typing import Any, Generic, TypeVar, overload

from msgspec import Struct

from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP

__all__ = ["Arrivals", "Cause", "Change", "Commit", "Delta", "RowKey", "row_key"]

RowKey = str | tuple[str, int, int]
"""What names a row for as long as it lives: its epoch.

Or, for old records that have none, (process guid, index, presence).
"""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def row_key(row: ActualLRP) -> RowKey:
    """Return the identity of a row: its epoch where it has one. O(1)."""
    return row.epoch or (row.process_guid, row.index, int(row.presence))


class Cause(StrEnum):
    """Why something changed."""

    EVENT = "event"
    """The server said so on the stream."""
    SNAPSHOT = "snapshot"
    """A list of everything differed."""
    REPAIR = "repair"
    """A read of single processes that were in doubt differed."""
    REPLAY = "replay"
    """It was there when the subscriber came."""


class Delta(Struct, Generic[K, V], frozen=True, gc=False):
    """One key's step within a commit, from `before` to `after`; None on either side is "not there"."""

    key: K
    before: V | None
    after: V | None


class Arrivals(Sequence[Delta[K, V]]):
    """What a mirror without any state gets from its first list: deltas from nothing, each made when it is read.

    Few programs read them, and making a quarter of a million took a tenth of the time in which they were listed.
    `parts` hold the values, of which those whose key is in `rewritten` are out of date; `later` are the deltas of
    these. Iterating is O(values), as is an index.
    """

    def __init__(
        self,
        parts: Sequence[Sequence[V]],
        key_of: Callable[[V], K],
        rewritten: Container[K],
        later: Sequence[Delta[K, V]],
        number: int,
    ) -> None:
        self._parts = parts
        self._key_of = key_of
        self._rewritten = rewritten
        self._later = later
        self._number = number

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[Delta[K, V]]:
        for value in chain.from_iterable(self._parts):
            key = self._key_of(value)
            if key not in self._rewritten:
                yield Delta(key, None, value)
        yield from self._later

    @overload
    def __getitem__(self, at: int) -> Delta[K, V]: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Delta[K, V], ...]: ...

    def __getitem__(self, at: int | slice) -> Delta[K, V] | tuple[Delta[K, V], ...]:
        return tuple(self)[at]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, (Arrivals, tuple)) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<{self._number} arrivals>"


class Commit(Struct, frozen=True, gc=False):
    """Everything that one input changed, at once. Revisions grow by one.

    Rows are keyed by their identity (see `row_key`), desired LRPs by process guid. Folding the deltas of all commits in
    order, key by key, gives the state. The deltas are in tuples, but those of the first list are made as they are read.
    `domains` and `cells` are the new ones where they changed, else None. `released` are the processes whose last
    desired LRP, kept while its domain was not fresh, is believed no longer.
    """

    revision: int
    cause: Cause
    actual_lrps: Sequence[Delta[RowKey, ActualLRP]] = ()
    desired_lrps: Sequence[Delta[str, DesiredLRP]] = ()
    domains: frozenset[str] | None = None
    cells: tuple[CellPresence, ...] | None = None
    released: tuple[str, ...] = ()


class Change(Struct, Generic[K, V], frozen=True, gc=False):
    """What a subscriber is told of one key: what it saw last, what is now, and the commit that made it so.

    `before` is what this subscriber was last told (None: nothing), `after` what is there now (None: gone). A slow
    subscriber skips what lay between. `revision` and `cause` are those of the latest commit that touched the key.
    """

    key: K
    before: V | None
    after: V | None
    revision: int
    cause: Cause

    @property
    def came(self) -> tuple[Any, ...]:
        """What is in `after` and was not in `before`, in order; of values that are no tuples, `after` where it differs.

        Of a route: the endpoints that are new, or that are otherwise than before. O(both), found when it is asked for.
        """
        return _without(self.after, self.before)

    @property
    def went(self) -> tuple[Any, ...]:
        """What was in `before` and is not in `after`, likewise."""
        return _without(self.before, self.after)


def _parts_of(value: Any) -> tuple[Any, ...]:
    if isinstance(value, tuple):
        return value
    return () if value is None else (value,)


def _without(one: Any, other: Any) -> tuple[Any, ...]:
    """Return what is in one value and not in another."""
    ones, others = _parts_of(one), _parts_of(other)
    # Nearly all of a long tuple is the very same in the other.
    known = set(map(id, others))
    return tuple([part for part in ones if id(part) not in known and part not in others])
