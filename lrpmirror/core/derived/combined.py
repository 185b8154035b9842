"""An adapter that makes an `InstanceView` of a `View`, so that one derivation serves both forms."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

from lrpmirror.core.derived.view import InstanceView, Share, Step, View
from lrpmirror.model import ActualLRP

K = TypeVar("K", bound=Hashable)
C = TypeVar("C")
V = TypeVar("V")


class Combined(InstanceView[K, C, V]):
    """A `View` as an `InstanceView`: only processes contribute, and the state is the mapping of all contributions."""

    def __init__(self, view: View[K, C, V]) -> None:
        self.value = view.combine  # type: ignore[assignment, method-assign]  # the state is its argument
        self.derive = view.derive

    def instance(self, rows: tuple[ActualLRP, ...], terms: Any) -> Sequence[Share[K, C]]:
        """Never called: a `View` is derived by process."""
        raise NotImplementedError  # pragma: no cover - as it says

    def fold(self, state: Mapping[str, C] | None, steps: Sequence[Step[C]]) -> Mapping[str, C] | None:
        """Return the contributions by source."""
        now = {} if state is None else dict(state)
        for step in steps:
            if step.after is None:
                del now[step.source]
            else:
                now[step.source] = step.after
        return now or None
