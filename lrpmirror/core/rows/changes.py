"""Commits, deltas and changes, as values."""

from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar, overload

from msgspec import Struct

from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP

RowKey = str | tuple[str, int, int]
"""The identity of a row for as long as it lives: its epoch; for old records without one (guid, index, presence)."""

RowPart = dict[RowKey, ActualLRP]
"""Rows by identity, of one of the parts in which a table has them: see `few_parts`."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def row_key(row: ActualLRP) -> RowKey:
    """Return the identity of a row: its epoch where it has one. O(1)."""
    return row.epoch or (row.process_guid, row.index, int(row.presence))


class Cause(StrEnum):
    """Why something changed."""

    EVENT = "event"
    """An event of the stream."""
    SNAPSHOT = "snapshot"
    """A list of everything, which differed."""
    REPAIR = "repair"
    """A repair, the read of some processes, which differed."""
    REPLAY = "replay"
    """No change: it was there when the subscription began."""


class Delta(Struct, Generic[K, V], frozen=True, gc=False):
    """The change of one key by a commit, from `before` to `after`; None on either side: not there."""

    key: K
    before: V | None
    after: V | None


class Arrivals(Sequence[Delta[K, V]]):
    """The deltas of a mirror's first list, all from nothing, each made when it is read.

    Few programs read them, and making 250,000 took a tenth of the time of the list. `values` returns the values;
    those whose key is in `rewritten` are out of date, and `later` are the deltas of these. Iterating is O(values), as
    is an index.
    """

    def __init__(
        self,
        values: Callable[[], Iterable[V]],
        key_of: Callable[[V], K],
        rewritten: Container[K],
        later: Sequence[Delta[K, V]],
        number: int,
    ) -> None:
        self._values = values
        self._key_of = key_of
        self._rewritten = rewritten
        self._later = later
        self._number = number

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[Delta[K, V]]:
        for value in self._values():
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
    order, key by key, gives the state. The deltas are in tuples; those of the first list are made when they are read.
    `domains` and `cells` are the new ones where they changed, else None. `released` are the processes whose retained
    desired LRP (see `core.lists.retained`) is released.
    """

    revision: int
    cause: Cause
    actual_lrps: Sequence[Delta[RowKey, ActualLRP]] = ()
    desired_lrps: Sequence[Delta[str, DesiredLRP]] = ()
    domains: frozenset[str] | None = None
    cells: tuple[CellPresence, ...] | None = None
    released: tuple[str, ...] = ()


class EventCommits(Sequence[Commit]):
    """The commits of the events of one read; that of a single row is made when it is first read.

    Few programs read them all, and to make one took a twentieth of what it takes to apply an event.
    """

    def __init__(self, revision: int) -> None:
        self._before = revision
        self.written: Final[list[Commit | Delta[RowKey, ActualLRP]]] = []
        """The commits; for one that writes a single row, its delta."""

    @property
    def revision(self) -> int:
        """The revision of the last commit; before there is any, the one before the first."""
        return self._before + len(self.written)

    def __len__(self) -> int:
        return len(self.written)

    @overload
    def __getitem__(self, at: int) -> Commit: ...
    @overload
    def __getitem__(self, at: slice) -> list[Commit]: ...

    def __getitem__(self, at: int | slice) -> Commit | list[Commit]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        written = self.written[at]
        if isinstance(written, Commit):
            return written
        revision = self._before + 1 + range(len(self))[at]
        commit = self.written[at] = Commit(revision, Cause.EVENT, (written,))
        return commit

    def __eq__(self, other: object) -> bool:
        return self[:] == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # they grow

    def __repr__(self) -> str:
        return repr(self[:])


class Change(Struct, Generic[K, V], frozen=True, gc=False):
    """A change of one key as one subscriber sees it.

    `before` is what this subscriber was last sent (None: nothing), `after` what is there now (None: gone). A slow
    subscriber skips what lay between. `revision` and `cause` are those of the latest commit that touched the key.
    """

    key: K
    before: V | None
    after: V | None
    revision: int
    cause: Cause

    @property
    def came(self) -> tuple[Any, ...]:
        """The elements of `after` that are not in `before`, in order; for values that are no tuples, `after` itself.

        For a route: the endpoints that are new or have changed. O(both), computed at each read.
        """
        return _without(self.after, self.before)

    @property
    def went(self) -> tuple[Any, ...]:
        """The elements of `before` that are not in `after`, likewise."""
        return _without(self.before, self.after)


def _parts_of(value: Any) -> tuple[Any, ...]:
    if isinstance(value, tuple):
        return value
    return () if value is None else (value,)


def _without(value: Any, excluded: Any) -> tuple[Any, ...]:
    """Return the elements of one value that are not in another."""
    parts, others = _parts_of(value), _parts_of(excluded)
    # Nearly all elements of a long tuple are the same objects in the other.
    known = set(map(id, others))
    return tuple([part for part in parts if id(part) not in known and part not in others])
