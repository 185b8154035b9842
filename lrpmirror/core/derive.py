"""Derived state: values by key that follow from the processes, kept up to date process by process.

A view says which keys a process contributes to and with what, and how the contributions to a key combine into its
value. After each commit only the processes that it touched are derived again, and only the keys whose contributions
differ are combined again.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
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
        """Tell whether a value has not changed as far as subscribers care. By default: when it is equal."""
        return before == after


class Derivation(Generic[K, C, V]):
    """The values of one view, and the contributions that they come from."""

    def __init__(self, view: View[K, C, V]) -> None:
        self.view = view
        self.values: dict[K, V] = {}
        self.failures: dict[Any, Exception] = {}
        """What the view raised last, by process guid (or `cell/CELL_ID`) for `derive`, by key for `combine`.

        Gone once it works.
        """
        self._unreported: list[tuple[Any, Exception]] = []
        self._by_source: dict[str, Mapping[K, C]] = {}
        self._by_key: dict[K, dict[str, C]] = {}

    def update(self, processes: Iterable[Process]) -> list[Delta[K, V]]:
        """Derive processes again and return what changed, what appears before what goes. O(their contributions).

        A process that the view fails on keeps what it contributed before; a key, its value. See `failures`.
        """
        touched: dict[K, None] = {}
        for process in processes:
            if process.rows or process.desired is not None or process.routed is not None:
                try:
                    new = dict(self.view.derive(process))
                except Exception as error:  # noqa: BLE001 - a view is foreign code; what it raises is reported
                    self._failed(process.guid, error)
                    continue
            else:
                new = {}
            self.failures.pop(process.guid, None)
            self._replace(process.guid, new, touched)
        return self._combine(touched)

    def update_cells(self, cells: Iterable[CellPresence]) -> list[Delta[K, V]]:
        """Take the cells that are there now, all of them, and return what changed. O(cells)."""
        touched: dict[K, None] = {}
        present = {f"cell/{cell.cell_id}": cell for cell in cells}
        gone = [source for source in self._by_source if source.startswith("cell/") and source not in present]
        for source in gone:
            self._replace(source, {}, touched)
        for source, cell in present.items():
            try:
                new = dict(self.view.derive_cell(cell))
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(source, error)
                continue
            self.failures.pop(source, None)
            self._replace(source, new, touched)
        return self._combine(touched)

    def take_failures(self) -> list[tuple[Any, Exception]]:
        """Return the failures that have begun since the last call, and what each is of."""
        unreported, self._unreported = self._unreported, []
        return unreported

    def _failed(self, source: Any, error: Exception) -> None:
        # A failure that goes on is reported once, however often its process is derived again.
        if source not in self.failures:
            self._unreported.append((source, error))
        self.failures[source] = error

    def _replace(self, source: str, new: dict[K, C], touched: dict[K, None]) -> None:
        old = self._by_source.get(source, {})
        for key in old:
            if key not in new:
                touched[key] = None
                contributions = self._by_key[key]
                del contributions[source]
                if not contributions:
                    del self._by_key[key]
        for key, contribution in new.items():
            if key not in old or old[key] != contribution:
                touched[key] = None
                self._by_key.setdefault(key, {})[source] = contribution
        if new:
            self._by_source[source] = new
        else:
            self._by_source.pop(source, None)

    def _combine(self, touched: Iterable[K]) -> list[Delta[K, V]]:
        appearing: list[Delta[K, V]] = []
        going: list[Delta[K, V]] = []
        for key in touched:
            before, after = self.values.get(key), None
            contributions = self._by_key.get(key)
            if contributions is not None:
                try:
                    after = self.view.combine(key, contributions)
                except Exception as error:  # noqa: BLE001 - as above
                    self._failed(key, error)
                    continue
            self.failures.pop(key, None)
            if after is None:
                self.values.pop(key, None)
            else:
                self.values[key] = after
            if before is None and after is None:
                continue
            if before is None or after is None or not self.view.same(before, after):
                (going if after is None else appearing).append(Delta(key, before, after))
        # A thing that moves from key to key is published where it comes to no later than it is withdrawn where it was.
        return appearing + going

    def _check(self, processes: Iterable[Process], cells: Iterable[CellPresence] = ()) -> None:
        """Compare with a derivation made anew. O(everything); for tests."""
        fresh = Derivation(self.view)
        fresh.update(processes)
        fresh.update_cells(cells)
        assert fresh.values == self.values, "the view is not what follows from the processes"
