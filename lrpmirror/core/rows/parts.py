"""A dict in parts, which is never rebuilt, copied or freed in one piece, whatever its size.

A dict of 250,000 keys takes 20 ms to be rebuilt when it grows, and 10 ms to be copied. Each part takes a hundredth of
that. And a copy shares all parts with the original until one of the two writes to one. Where nothing is copied, a few
plain dicts are enough: the part of a key is then `parts[hash(key) & FEW_MASK]`.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Generic, Self, TypeVar, overload

__all__ = ["FEW_MASK", "PartedDict", "Parts", "few_parts", "reader_of"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")

PARTS: Final = 512
"""A power of two. Of 300,000 keys a part has 600, copied in 40 µs; a step of a list may write to a hundred parts."""

MASK: Final = PARTS - 1

_EMPTY: Final[dict[Any, Any]] = {}

FEW_PARTS: Final = 16
"""A power of two, likewise."""

FEW_MASK: Final = FEW_PARTS - 1

Parts = tuple[dict[K, V], ...]
"""Plain dicts, each with the keys of its part."""


def few_parts() -> Parts[K, V]:
    """Return a few empty dicts."""
    return tuple([{} for _ in range(FEW_PARTS)])


def reader_of(parts: Sequence[Mapping[K, V]]) -> Callable[[K], V | None]:
    """Return a function that returns the value of a key, or None. O(1)."""

    def get(key: K) -> V | None:
        return parts[hash(key) & FEW_MASK].get(key)

    return get


class PartedDict(Mapping[K, V], Generic[K, V]):
    """Keys and values, in no promised order. One owner writes; reads may come from any thread.

    Reading and writing a key is O(1); the first write to a part since `fork` copies it.
    """

    __slots__ = ("_mine", "_parts")

    def __init__(self, parts: Sequence[dict[K, V]] = (_EMPTY,) * PARTS) -> None:
        self._parts = [*parts]
        self._mine = bytearray(PARTS)

    def __getitem__(self, key: K) -> V:
        return self._parts[hash(key) & MASK][key]

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...

    def get(self, key: K, /, default: Any = None) -> Any:
        """Return the value of a key, or a default."""
        return self._parts[hash(key) & MASK].get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._parts[hash(key) & MASK]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._parts)

    def __setitem__(self, key: K, value: V) -> None:
        at = hash(key) & MASK
        (self._parts[at] if self._mine[at] else self._own(at))[key] = value

    def part(self, key: K) -> dict[K, V]:
        """Return the part of a key, to be read and written at once: `fork` invalidates it."""
        at = hash(key) & MASK
        return self._parts[at] if self._mine[at] else self._own(at)

    def to_write(self) -> tuple[list[dict[K, V]], bytearray, Callable[[int], dict[K, V]]]:
        """Return what `part` uses, for who writes many keys: the parts, which are owned, and what owns one."""
        return self._parts, self._mine, self._own

    def pop(self, key: K) -> V | None:
        """Remove a key and return its value; None where it is not there. O(1)."""
        at = hash(key) & MASK
        if key not in self._parts[at]:
            return None
        return (self._parts[at] if self._mine[at] else self._own(at)).pop(key)

    def copy(self) -> dict[K, V]:
        """Return everything as one dict, in one step that no other thread can interrupt. O(keys)."""
        found: dict[K, V] = {}
        # No bytecode runs between two parts, so the interpreter cannot switch to another thread.
        deque(map(found.update, self._parts), maxlen=0)
        return found

    def fork(self) -> Self:
        """Return an independent copy. O(parts): both share the parts that neither writes to."""
        self._mine = bytearray(PARTS)
        return type(self)(self._parts)

    def free_in_slices(self) -> Iterator[None]:
        """Free everything, one part a step."""
        for at in range(PARTS):
            self._parts[at] = _EMPTY
            self._mine[at] = False
            yield

    def parts(self) -> Iterator[dict[K, V]]:
        """Return the parts, which must not be written to. O(1) each."""
        return iter(self._parts)

    def _own(self, at: int) -> dict[K, V]:
        part = self._parts[at] = self._parts[at].copy()
        self._mine[at] = True
        return part
