"""What subscribers of a view were last sent, as a value of one moment."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from lrpmirror.core.rows.parts import PartedDict

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Notified(Generic[K, V]):
    """What subscribers had last been sent of each key at one moment: its value, or one that it is the same as."""

    def __init__(self, values: PartedDict[K, V], published: PartedDict[K, V]) -> None:
        self._values = values
        self._published = published

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def of(self, key: K) -> V | None:
        """Return what was last sent of a key. O(1)."""
        notified = self._published.get(key)
        return self._values.get(key) if notified is None else notified

    def free_in_slices(self) -> Iterator[None]:
        """Free everything, a slice a step."""
        yield from self._values.free_in_slices()
        yield from self._published.free_in_slices()
