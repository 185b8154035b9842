"""The many deltas of a list that changes much, as a sequence that nothing has to copy."""

import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import chain, islice
from typing import Final, Generic, TypeVar, overload

from lrpmirror.core.rows.changes import Delta
from lrpmirror.core.rows.freeing import empty_in_slices

__all__ = ["DeltaTable", "ManyDeltas", "deltas_of", "freeing"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


FEW: Final = 1_000
"""Up to so many deltas are copied and freed in one piece."""


PART: Final = 20_000
"""How many deltas a part has: a dict of 180,000 takes 17 ms to be rebuilt when it grows."""


class DeltaTable(Generic[K, V]):
    """Deltas by key, in the order in which they were last written, in parts. O(parts) each."""

    def __init__(self) -> None:
        self.parts: list[dict[K, Delta[K, V]]] = [{}]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def values(self) -> Iterator[Delta[K, V]]:
        """Return the deltas in order."""
        return chain.from_iterable(part.values() for part in self.parts)

    def put(self, delta: Delta[K, V]) -> None:
        """Write the delta of its key."""
        self.discard(delta.key)
        if len(self.parts[-1]) >= PART:
            self.parts.append({})
        self.parts[-1][delta.key] = delta

    def discard(self, key: K) -> None:
        """Remove the delta of a key, if it has one."""
        for part in self.parts:
            part.pop(key, None)

    def free_in_slices(self) -> Iterator[None]:
        """Free the deltas, a slice a step."""
        return empty_in_slices(*self.parts)


class ManyDeltas(Sequence[Delta[K, V]], Generic[K, V]):
    """The deltas of a table, which nobody else writes to. An index is O(deltas before it).

    A tuple of 250,000 takes 4 ms to be made, and 20 ms when the garbage collector first sees it, both in one piece.
    """

    def __init__(self, table: DeltaTable[K, V]) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Delta[K, V]]:
        # As a generator it refers to the sequence: see `freeing`.
        yield from self.table.values()

    @overload
    def __getitem__(self, at: int) -> Delta[K, V]: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Delta[K, V], ...]: ...

    def __getitem__(self, at: int | slice) -> Delta[K, V] | tuple[Delta[K, V], ...]:
        if isinstance(at, slice):
            places = range(len(self))[at]
            if places.step == 1:
                return tuple(islice(self, places.start, places.stop))
            return tuple(self)[at]
        place = range(len(self))[at]
        return next(islice(self, place, None))

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, (ManyDeltas, tuple)) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<{len(self)} deltas>"


def deltas_of(table: DeltaTable[K, V]) -> Sequence[Delta[K, V]]:
    """Return the deltas of a table, to which nobody writes after that. O(FEW)."""
    return ManyDeltas(table) if len(table) > FEW else tuple(table.values())


def freeing(deltas: Sequence[Delta[K, V]]) -> Callable[[], Iterator[None]] | None:
    """Return what frees many deltas, a slice a step, if nothing refers to their sequence any more; None for a few."""
    if not isinstance(deltas, ManyDeltas):
        return None
    whole, table = weakref.ref(deltas), deltas.table
    return lambda: table.free_in_slices() if whole() is None else iter(())
