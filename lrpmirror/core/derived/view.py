"""The forms of a view: how a kind of derived state follows from processes and their instances.

There are two forms. `View` is the simple one: what a process contributes, and how the contributions to a key combine.
`InstanceView` is the fine one, whose work is in proportion to the change: what one instance contributes, and how a
value changes with one contribution.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from typing import Any, ClassVar, Generic, TypeVar

from msgspec import Struct

from lrpmirror.core.rows.groups import groups_of
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP

__all__ = ["AnyView", "InstanceView", "Process", "Share", "Step", "View"]

K = TypeVar("K", bound=Hashable)
C = TypeVar("C")
V = TypeVar("V")


_index = attrgetter("index")


def rows_at(rows: tuple[ActualLRP, ...], index: int) -> tuple[ActualLRP, ...]:
    """Return the rows of one index, of those of a process. O(log rows)."""
    at = bisect_left(rows, index, key=_index)
    end = at
    while end < len(rows) and rows[end].index == index:
        end += 1
    return rows[at:end]


def by_index(rows: Sequence[ActualLRP]) -> Iterable[tuple[int, tuple[ActualLRP, ...]]]:
    """Return the rows of each index. O(rows)."""
    indexes = [row.index for row in rows]
    if len(set(indexes)) == len(indexes):
        # Nearly all instances have one row.
        return zip(indexes, zip(rows, strict=True), strict=True)
    return [(index, tuple(found)) for index, found in groupby(rows, _index)]


class Process(Struct, frozen=True, dict=True):
    """One process as a view sees it: what should run, and what does.

    `desired` is what the server has. `routed` is the same, except where the desired LRP was missing from a list while
    its domain was not fresh: then it is the last one known, since such a list does not prove that it is gone.
    """

    guid: str
    desired: DesiredLRP | None
    routed: DesiredLRP | None
    rows: tuple[ActualLRP, ...]
    """By index, then presence; two that claim one slot for a moment, by epoch."""
    domain_fresh: bool
    """Whether the domain's owner vouches that its desired LRPs are complete. See `View.follows_domains`."""

    def at(self, index: int) -> tuple[ActualLRP, ...]:
        """Return the rows of one index, by presence. O(log rows), and cached for the next view."""
        known = self._at.get(index)
        if known is None:
            known = self._at[index] = rows_at(self.rows, index)
        return known

    def decoded_at(self, index: int) -> tuple[ActualLRP, ...]:
        """Return the same rows, decoded: see `ActualLRP.decoded`."""
        known = self._decoded_at.get(index)
        if known is None:
            known = self._decoded_at[index] = tuple([row.decoded() for row in rows_at(self.rows, index)])
        return known

    @cached_property
    def instances(self) -> tuple[tuple[int, tuple[ActualLRP, ...]], ...]:
        """The rows of each index that has any, with the index, in order. Found once for all views."""
        return tuple(by_index(self.rows))

    @cached_property
    def decoded_instances(self) -> tuple[tuple[int, tuple[ActualLRP, ...]], ...]:
        """The same rows, decoded: see `ActualLRP.decoded`."""
        return tuple(by_index([row.decoded() for row in self.rows]))

    @cached_property
    def _at(self) -> dict[int, tuple[ActualLRP, ...]]:
        return {}

    @cached_property
    def _decoded_at(self) -> dict[int, tuple[ActualLRP, ...]]:
        return {}

    @cached_property
    def groups(self) -> tuple[ActualLRPGroup, ...]:
        """The rows as groups, by index, by the server's rule."""
        return groups_of(self.rows)


class AnyView(ABC, Generic[K, C, V]):
    """What both forms of a view have in common.

    All methods must be functions of their arguments alone: no I/O, no clock, nothing remembered. They are called while
    an event is being applied, so they should be quick. Contributions and values are compared with `==`, so they should
    be frozen. What one raises is logged; the process or key that it was raised for keeps what it had, and all else
    goes on.
    """

    follows_domains = False
    """Set it where the view looks at `Process.domain_fresh`.

    Then processes are derived again when their domain turns fresh or stale.
    """

    reads_secrets = True
    """Whether it looks at what a state file leaves out of desired LRPs: their `detail`, and the routes of other
    routers than `cf-router`, `tcp-router` and `internal-router`.

    Clear it where not: after a warm start the processes need not be derived again when the first list brings it.
    """

    def derive_cell(self, cell: CellPresence) -> Mapping[K, C]:  # noqa: ARG002 - for subclasses
        """Return what a cell that is there contributes, under the name `cell/CELL_ID` among the contributions.

        By default nothing.
        """
        return {}

    def same(self, before: V, after: V) -> bool:
        """Return whether a value has not changed as far as subscribers care. By default: when it is equal.

        `before` is the value that they were last sent.
        """
        return before == after


class View(AnyView[K, C, V]):
    """The simple form: two methods. Subclass it and give it to `Mirror.view`.

    A change of one row costs a call of `derive` with the whole process, and one of `combine` with all contributions of
    each key whose contribution differs: O(rows of the process + processes that share the key). Where a process has a
    thousand instances, or a key a thousand processes, `InstanceView` costs a thousandth.
    """

    @abstractmethod
    def derive(self, process: Process) -> Mapping[K, C]:
        """Return the keys that a process contributes to, and its contribution to each."""

    @abstractmethod
    def combine(self, key: K, contributions: Mapping[str, C]) -> V | None:
        """Return the value of a key from its contributions, by process guid; there is at least one. None: no value."""


class Share(Struct, Generic[K, C], frozen=True, gc=False):
    """A contribution, and the keys that it goes to. Keys that all instances share should be one tuple for all."""

    keys: tuple[K, ...]
    of: C


class Step(Struct, Generic[C], frozen=True, gc=False):
    """How one contribution to a key changes; None on either side is "none".

    `source` is the process guid, or `cell/CELL_ID`. `index` is that of the instance; -1 for what the process, or the
    cell, contributes as a whole.
    """

    source: str
    index: int
    before: C | None
    after: C | None


class InstanceView(AnyView[K, C, V]):
    """The fine form: what each instance contributes, and how a value changes with one contribution.

    An instance is one index of a process: its row, or its rows while it moves. A change of one row costs a call of
    `instance` with the rows of its index, and one of `fold` with the old contribution and the new one, whatever the
    process and the key weigh. One that changes the desired LRP in what `terms` takes of it derives all instances of the
    process again, but folds only those that differ.

    What `fold` keeps of a key is its state: by default that is the value itself.
    """

    reads: ClassVar[frozenset[str] | None] = None
    """The fields of a row that `instance` looks at, beside its process and index; None: any.

    Set it where `internal_routes` and `metric_tags` are none of them. Then an instance whose row differs in other
    fields only is not derived again; and the rows that `instance` gets are decoded, and may lack these two. It holds
    for the `instance` of its own class or a base's, not for one that a subclass overrides.
    """

    def terms(self, process: Process, before: Any) -> Any:  # noqa: ARG002 - for subclasses
        """Return what the view looks at of a process, but for its rows, read and ready; None: it contributes nothing.

        It should be of few, comparable fields: where it equals the one before (None: there was none), no row is derived
        again. By default the desired LRP, or the last one known: see `Process.routed`.
        """
        return process.routed

    @classmethod
    def fields_read(cls) -> frozenset[str] | None:
        """Return `reads`, if it holds for this class. O(base classes)."""
        declared, defined = (
            next(at for at, base in enumerate(cls.__mro__) if name in vars(base)) for name in ("reads", "instance")
        )
        return cls.reads if declared <= defined else None

    @abstractmethod
    def instance(self, rows: tuple[ActualLRP, ...], terms: Any) -> Sequence[Share[K, C]]:
        """Return what one instance contributes, and to which keys: each key once.

        `rows` are those of one index, by presence, of which there is at least one.
        """

    def whole(self, process_guid: str, terms: Any) -> Sequence[Share[K, C]]:  # noqa: ARG002 - for subclasses
        """Return what a process contributes beside its instances, and to which keys. By default nothing."""
        return ()

    @abstractmethod
    def fold(self, state: Any, steps: Sequence[Step[C]]) -> Any:
        """Return the state of a key after some contributions have changed; None where none is left.

        `state` is that before, which must not be written to; None where there was none. Keys of one share that have the
        same state get the same new one.
        """

    def value(self, key: K, state: Any) -> V | None:  # noqa: ARG002 - for subclasses
        """Return the value of a key from its state. None: no value. By default the state is the value."""
        found: V | None = state
        return found

    def alike(self, before: C, after: C) -> bool:  # noqa: ARG002 - for subclasses
        """Return whether one contribution can take the place of another without a change that subscribers care about.

        Must be so exactly where `same` is of values that differ in nothing else. By default never.
        """
        return False


class KeylessValue:
    """A mark of views whose value follows from the state alone: it is computed once for all keys of one share."""
