"""A view of a mirror: a mapping that is kept up to date, and its changes."""

import logging
from collections.abc import Callable, Hashable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from operator import attrgetter
from typing import Any, TypeVar, overload

import trio

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.derived.dirty import Dirty
from lrpmirror.core.derived.subscriptions import Lag
from lrpmirror.core.derived.view import AnyView, C, K, Process, V
from lrpmirror.core.preparation import Difference
from lrpmirror.core.rows.changes import Cause, Delta
from lrpmirror.errors import without_frames
from lrpmirror.mirror._feed import Callback, Changes, ErrorPolicy, Feed, Subscription
from lrpmirror.mirror._freeing import free_after
from lrpmirror.model import CellPresence

logger = logging.getLogger("lrpmirror")

D = TypeVar("D")


class ViewReads(Mapping[K, V]):
    """The reads of a view, from any thread: a key in O(1); all keys, items or values as they are now in O(keys).

    `dict(view)` asks for each key by itself, so in another thread than the mirror's it can find one gone: take `copy()`
    there. A subclass sets `derivation` and `_check_fresh`.
    """

    derivation: Derivation[K, Any, V]
    _check_fresh: Callable[[float], None]

    def __getitem__(self, key: K) -> V:
        return self.derivation.values[key]

    def __iter__(self) -> Iterator[K]:
        return iter(list(self.derivation.values))

    def __len__(self) -> int:
        return len(self.derivation.values)

    def __contains__(self, key: object) -> bool:
        return key in self.derivation.values

    @overload
    def get(self, key: K, /, *, max_age: float | None = ...) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D, *, max_age: float | None = ...) -> V | D: ...

    def get(self, key: K, /, default: Any = None, *, max_age: float | None = None) -> Any:
        """Return the value of a key, or a default. O(1). `max_age` is as in `Mirror.check_fresh`."""
        if max_age is not None:
            self._check_fresh(max_age)
        return self.derivation.values.get(key, default)

    def copy(self, *, max_age: float | None = None) -> dict[K, V]:
        """Return all keys and values of now, in one step. O(keys). `max_age` is as in `Mirror.check_fresh`."""
        if max_age is not None:
            self._check_fresh(max_age)
        return self.derivation.values.copy()

    def items(self) -> ItemsView[K, V]:
        """Return the keys with their values, as they are now. O(keys)."""
        return self.copy().items()

    def values(self) -> ValuesView[V]:
        """Return the values, as they are now. O(keys)."""
        return self.copy().values()

    @property
    def failures(self) -> Mapping[Any, Exception]:
        """What the view raises now, by process guid or by key; those keep what they had. O(failures)."""
        return dict(self.derivation.failures)


class MirrorView(ViewReads[K, V]):
    """Derived state as a read-only mapping, made by `Mirror.view`."""

    def __init__(
        self,
        view: AnyView[K, C, V],
        nursery: trio.Nursery,
        clock: Callable[[], float],
        check_fresh: Callable[[float], None],
        *,
        forget: Callable[[], None],
    ) -> None:
        self.derivation = Derivation(view)
        free_after(self, self.derivation.free_in_slices)
        self._name = type(view).__name__
        self._check_fresh = check_fresh
        self._forget = forget
        self._feed: Feed[K, V] = Feed(attrgetter("key"), self._present, nursery, clock)
        self.follows_domains = view.follows_domains
        self.reads_secrets = view.reads_secrets
        self.revision = 0
        """The last commit that this view includes; between two awaits that of the mirror."""

    def __repr__(self) -> str:
        return f"<view {self._name}: {len(self)} keys at revision {self.revision}>"

    @property
    def lags(self) -> list[Lag]:
        """How far behind each subscriber is. O(subscribers)."""
        return self._feed.lags()

    def subscribe(
        self,
        callback: Callback[K, V],
        *,
        keys: Iterable[K] | None = None,
        where: Callable[[V], bool] | None = None,
        replay: bool = True,
        errors: ErrorPolicy = "raise",
    ) -> Subscription[K, V]:
        """Call back on changes, as `Mirror.subscribe`, with keys of the view; changes of others cost nothing."""
        return self._feed.subscribe(callback, keys, where, replay=replay, errors=errors)

    def changes(
        self, *, keys: Iterable[K] | None = None, where: Callable[[V], bool] | None = None, replay: bool = True
    ) -> Changes[K, V]:
        """Iterate over changes: `async with view.changes() as changes: async for batch in changes: …`."""
        return self._feed.changes(keys, where, replay=replay)

    def drop(self) -> None:
        """Stop updating the view: it stays as it is, and its subscriptions end."""
        self._forget()
        self._feed.close()

    # For the mirror

    def begin(self, revision: int) -> None:
        """Record that the view is complete, and its revision."""
        self.revision = revision
        self._log_failures()
        self._feed.publish((), revision, Cause.REPLAY)

    def update(
        self,
        processes: Iterable[Process],
        dirty: Mapping[str, Dirty],
        cells: Iterable[CellPresence] | None,
        revision: int,
        cause: Cause,
    ) -> None:
        """Derive again what is dirty, and publish the changes."""
        deltas = self.derivation.update(processes, dirty)
        if cells is not None:
            deltas += self.derivation.update_cells(cells)
        self.revision = revision
        if self.derivation.unreported:
            self._log_failures()
        if deltas:
            self._feed.publish(deltas, revision, cause)
        else:
            self._feed.revision = revision

    def turn(self, difference: Difference[K, V] | None, revision: int, cause: Cause) -> None:
        """Record that the derivation has taken over a prepared one, and publish the difference."""
        self.revision = revision
        self._log_failures()
        if difference is not None:  # pragma: no branch - no view is begun while others are prepared
            self._feed.publish(difference, revision, cause, difference.free_in_slices)

    def _log_failures(self) -> None:
        for source, error in self.derivation.take_failures():
            logger.error("the view %s failed on %s and keeps what it had for it", self._name, source, exc_info=error)
            # `failures` keeps the error as long as it lasts; its frames would keep the view's local variables.
            without_frames(error)

    def _present(self, keys: frozenset[Hashable] | None) -> tuple[int, Iterable[Delta[K, V]]]:
        # What other subscribers were last sent, so that the next change has the same `before` for the new one.
        notified = self.derivation.notified()
        if keys is None:
            return len(notified), (Delta(key, None, notified.of(key)) for key in notified)
        wanted: list[Any] = [key for key in keys if key in notified]
        return len(wanted), [Delta(key, None, notified.of(key)) for key in wanted]
