"""Derived state: values by key that follow from the processes, kept up to date process by process.

A view says which keys a process contributes to and with what, and how the contributions to a key combine into its
value. After each commit only the processes that it touched are derived again, and only the keys whose contributions
differ are combined again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar

from msgspec import Struct

from lrpmirror.core.changes import Delta
from lrpmirror.core.groups import groups_of
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP

__all__ = ["Derivation", "Process", "View"]

K = TypeVar("K", bound=Hashable)
C = TypeVar("C")
V = TypeVar("V")
S = TypeVar("S", bound=Hashable)
T = TypeVar("T")


class Process(Struct, frozen=True, dict=True):
    """One process as a view sees it: what should run, and what does.

    `desired` is what the server has. `routed` is the same; but where the desired LRP was missing from a list while its
    domain was not fresh, it is the last one known, since such a list does not say that it is gone.
    """

    guid: str
    desired: DesiredLRP | None
    routed: DesiredLRP | None
    rows: tuple[ActualLRP, ...]
    """By index, then presence."""
    domain_fresh: bool
    """Whether the domain's owner vouches that its desired LRPs are complete. See `View.follows_domains`."""

    @cached_property
    def groups(self) -> tuple[ActualLRPGroup, ...]:
        """The rows as groups, by index, by the server's rule."""
        return groups_of(self.rows)


class View(ABC, Generic[K, C, V]):
    """How a kind of derived state follows from the processes. Subclass it and give it to `Mirror.view`.

    Both methods must be functions of their arguments alone: no I/O, no clock, nothing remembered. They are called while
    an event is being applied, so they should be quick. Contributions and values are compared with `==`, so they should
    be frozen.
    """

    follows_domains = False
    """Set it where `derive` looks at `Process.domain_fresh`.

    Then a domain that turns fresh or stale derives its processes again.
    """

    reads_secrets = True
    """Whether `derive` looks at what a state file leaves out of desired LRPs: their `detail`, and the routes of other
    routers than `cf-router`, `tcp-router` and `internal-router`.

    Clear it where not: after a warm start the processes need not be derived again when the first list brings it.
    """

    @abstractmethod
    def derive(self, process: Process) -> Mapping[K, C]:
        """Return the keys that a process contributes to, and its contribution to each."""

    @abstractmethod
    def combine(self, key: K, contributions: Mapping[str, C]) -> V | None:
        """Return the value of a key from its contributions, by process guid; there is at least one. None: no value."""

    def derive_cell(self, cell: CellPresence) -> Mapping[K, C]:  # noqa: ARG002 - for subclasses
        """Return what a cell that is there contributes, under the name `cell/CELL_ID` among the contributions.

        By default nothing.
        """
        return {}

    def same(self, before: V, after: V) -> bool:
        """Tell whether a value has not changed as far as subscribers care. By default: when it is equal.

        `before` is the value that they were last told.
        """
        return before == after


class Derivation(Generic[K, C, V]):
    """The values of one view, and the contributions that they come from."""

    def __init__(self, view: View[K, C, V]) -> None:
        self.view = view
        self.values: dict[K, V] = {}
        self._published: dict[K, V] = {}
        # A key can read like a process guid, so what failed where is kept apart.
        self._failed_sources: dict[str, Exception] = {}
        self._failed_keys: dict[K, Exception] = {}
        self._unreported: list[tuple[Any, Exception]] = []
        self._by_source: dict[str, Mapping[K, C]] = {}
        self._by_key: dict[K, dict[str, C]] = {}

    @property
    def failures(self) -> dict[Any, Exception]:
        """What the view raised last, by process guid (or `cell/CELL_ID`) for `derive`, by key for `combine`.

        Gone once it works. O(failures).
        """
        return {**self._failed_sources, **self._failed_keys}

    def published(self, key: K) -> V | None:
        """Return what subscribers were last told of a key, which the value is the same as, by `View.same`. O(1)."""
        return self._published[key] if key in self._published else self.values.get(key)

    def update(self, processes: Iterable[Process]) -> list[Delta[K, V]]:
        """Derive processes again and return what changed, what appears before what goes. O(their contributions).

        A process that the view fails on keeps what it contributed before; a key, its value. See `failures`.
        """
        touched: dict[K, int] = {}
        for process in processes:
            there = process.rows or process.desired is not None or process.routed is not None
            self._take(process.guid, self.view.derive if there else _nothing, process, touched)
        return self._combine(touched)

    def update_cells(self, cells: Iterable[CellPresence]) -> list[Delta[K, V]]:
        """Take the cells that are there now, all of them, and return what changed. O(cells)."""
        touched: dict[K, int] = {}
        present = {f"cell/{cell.cell_id}": cell for cell in cells}
        # No process is called so: the server admits no slash in a process guid.
        known = dict.fromkeys((*self._by_source, *self._failed_sources))
        for source in known:
            if source.startswith("cell/") and source not in present:
                self._take(source, _nothing, None, touched)
        for source, cell in present.items():
            self._take(source, self.view.derive_cell, cell, touched)
        return self._combine(touched)

    def take_failures(self) -> list[tuple[Any, Exception]]:
        """Return the failures that have begun since the last call, and what each is of."""
        unreported, self._unreported = self._unreported, []
        return unreported

    def _failed(self, failed: dict[S, Exception], what: S, error: Exception) -> None:
        # A failure that goes on is reported once, however often its process is derived again.
        if what not in failed:
            self._unreported.append((what, error))
        failed[what] = error

    def _take(self, source: str, derive: Callable[[T], Mapping[K, C]], of: T, touched: dict[K, int]) -> None:
        """Replace what a source contributes, and note in `touched` how each key is touched."""
        old = self._by_source.get(source, {})
        try:
            new = dict(derive(of))
            differing = [key for key, contribution in new.items() if key not in old or old[key] != contribution]
        except Exception as error:  # noqa: BLE001 - a view is foreign code; what it raises is reported
            self._failed(self._failed_sources, source, error)
            return
        self._failed_sources.pop(source, None)
        for key in differing:
            touched[key] = min(touched.get(key, _LEFT), _CHANGED if key in old else _CAME)
            self._by_key.setdefault(key, {})[source] = new[key]
        for key in old:
            if key not in new:
                touched.setdefault(key, _LEFT)
                contributions = self._by_key[key]
                del contributions[source]
                if not contributions:
                    del self._by_key[key]
        if new:
            self._by_source[source] = new
        else:
            self._by_source.pop(source, None)

    def _combine(self, touched: Mapping[K, int]) -> list[Delta[K, V]]:
        ranked: list[tuple[int, Delta[K, V]]] = []
        for key, rank in touched.items():
            before, after = self.published(key), None
            contributions = self._by_key.get(key)
            try:
                if contributions is not None:
                    after = self.view.combine(key, contributions)
                equal = before == after
                same = equal or (before is not None and after is not None and self.view.same(before, after))
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(self._failed_keys, key, error)
                continue
            self._failed_keys.pop(key, None)
            if after is None:
                self.values.pop(key, None)
            else:
                self.values[key] = after
            if before is not None and same and not equal:
                # Steps that are too small to tell can add up to one that is not.
                self._published[key] = before
            else:
                self._published.pop(key, None)
            if not same:
                ranked.append((_GONE if after is None else rank, Delta(key, before, after)))
        # A thing that moves from key to key is published where it comes to no later than it is withdrawn where it was.
        ranked.sort(key=_rank)
        return [delta for _, delta in ranked]

    def _check(self, processes: Iterable[Process], cells: Iterable[CellPresence] = ()) -> None:
        """Compare with a derivation made anew. O(everything); for tests."""
        fresh = Derivation(self.view)
        fresh.update(processes)
        fresh.update_cells(cells)
        assert fresh.values == self.values, "the view is not what follows from the processes"
        assert fresh._by_key == self._by_key, "a key has other contributions than follow from the processes"
        for key, before in self._published.items():
            assert self.view.same(before, self.values[key]), f"subscribers were not told of {key}"


_CAME, _CHANGED, _LEFT, _GONE = range(4)
"""How a key is touched: a source contributes to it that did not; or with something else; or some do no longer; or none
does, which is told last."""


def _rank(ranked: tuple[int, object]) -> int:
    return ranked[0]


def _nothing(_: object) -> Mapping[Any, Any]:
    return {}
