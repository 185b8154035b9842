"""An adapter that makes an `InstanceView` of a `View`, so that one derivation serves both forms."""

from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct

from lrpmirror.core.derived.view import InstanceView, Share, Step, View
from lrpmirror.model import ActualLRP

K = TypeVar("K", bound=Hashable)
C = TypeVar("C")
V = TypeVar("V")


class Contributions(Struct, Generic[C], gc=False):
    """What sources contribute to a key; the garbage collector would go through a dict of dicts again and again."""

    of: dict[str, C]


class Combined(InstanceView[K, C, V]):
    """A `View` as an `InstanceView`: only processes contribute, and the state is all contributions."""

    def __init__(self, view: View[K, C, V]) -> None:
        self._combine = view.combine
        self.derive = view.derive

    def instance(self, rows: tuple[ActualLRP, ...], terms: Any) -> Sequence[Share[K, C]]:
        """Never called: a `View` is derived by process."""
        raise NotImplementedError  # pragma: no cover - as it says

    def fold(self, state: Contributions[C] | None, steps: Sequence[Step[C]]) -> Contributions[C] | None:
        """Return the contributions by source."""
        now = {} if state is None else state.of.copy()
        for step in steps:
            if step.after is None:
                del now[step.source]
            else:
                now[step.source] = step.after
        return Contributions(now) if now else None

    def value(self, key: K, state: Contributions[C]) -> V | None:
        """Return what the view combines."""
        return self._combine(key, state.of)
