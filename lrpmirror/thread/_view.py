"""A view of a mirror that runs in a thread of its own."""

import asyncio
from collections.abc import Callable, Hashable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from concurrent.futures import Executor
from typing import Any, Protocol, TypeVar, overload

from lrpmirror.core.derived.subscriptions import Lag
from lrpmirror.mirror import Changes, MirrorView
from lrpmirror.mirror._subscription import Callback, ErrorPolicy
from lrpmirror.thread._changes import ThreadChanges
from lrpmirror.thread._delivery import Delivery, ThreadSubscription, delivery_to
from lrpmirror.thread._portal import Portal

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")


class Deliver(Protocol):
    """Begins to deliver changes to a callback."""

    def __call__(
        self, callback: Callback[K, V], changes: Changes[K, V], delivery: Delivery, errors: ErrorPolicy
    ) -> ThreadSubscription[K, V]:
        """Return the subscription, which has begun. Raises MirrorClosed."""
        ...


class ThreadView(Mapping[K, V]):
    """Derived state as a read-only mapping, made by `MirrorThread.view`; may be used from any thread.

    Reading a key is O(1). Iterating goes over the keys, items or values as they are at its beginning, in O(keys).
    `dict(view)` looks up each key by itself and can find one gone meanwhile: use `copy()`.
    """

    def __init__(
        self, view: MirrorView[K, V], portal: Portal, deliver: Deliver, check_fresh: Callable[[float], None]
    ) -> None:
        self._view = view
        self._check_fresh = check_fresh
        self._portal = portal
        self._deliver = deliver

    def __getitem__(self, key: K) -> V:
        return self._view[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._view)

    def __len__(self) -> int:
        return len(self._view)

    def __contains__(self, key: object) -> bool:
        return key in self._view

    def __repr__(self) -> str:
        return repr(self._view)

    @overload
    def get(self, key: K, /, *, max_age: float | None = ...) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D, *, max_age: float | None = ...) -> V | D: ...

    def get(self, key: K, /, default: Any = None, *, max_age: float | None = None) -> Any:
        """Return the value of a key, or a default. O(1). With `max_age` it raises NotFresh: see `check_fresh`."""
        if max_age is not None:
            self._check_fresh(max_age)
        return self._view.get(key, default)

    def copy(self, *, max_age: float | None = None) -> dict[K, V]:
        """Return all keys and values of now, in one uninterruptible step. O(keys).

        With `max_age` it raises NotFresh as `MirrorThread.check_fresh` does.
        """
        if max_age is not None:
            self._check_fresh(max_age)
        return self._view.copy()

    def items(self) -> ItemsView[K, V]:
        """Return the keys with their values, as they are now. O(keys)."""
        return self._view.items()

    def values(self) -> ValuesView[V]:
        """Return the values, as they are now. O(keys)."""
        return self._view.values()

    @property
    def revision(self) -> int:
        """The last commit that this view includes; later reads are as new or newer. O(1)."""
        return self._view.revision

    @property
    def failures(self) -> Mapping[Any, Exception]:
        """What the view raises now, by process guid or by key; those keep the contributions or value that they had.

        O(failures).
        """
        return self._view.failures

    @property
    def lags(self) -> list[Lag]:
        """How far behind each subscriber is. O(subscribers)."""
        return self._view.lags

    def subscribe(
        self,
        callback: Callback[K, V],
        *,
        keys: Iterable[K] | None = None,
        where: Callable[[V], bool] | None = None,
        replay: bool = True,
        errors: ErrorPolicy = "raise",
        executor: Executor | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> ThreadSubscription[K, V]:
        """Call back on changes from now on; as `MirrorThread.subscribe`, with keys of the view."""
        delivery = delivery_to(callback, executor, loop, errors)
        return self._deliver(callback, self._view.changes(keys=keys, where=where, replay=replay), delivery, errors)

    def changes(
        self, *, keys: Iterable[K] | None = None, where: Callable[[V], bool] | None = None, replay: bool = True
    ) -> ThreadChanges[K, V]:
        """Iterate over changes, blocking: `with view.changes() as changes: for batch in changes: …`."""
        return ThreadChanges(self._view.changes(keys=keys, where=where, replay=replay), self._portal)

    def drop(self) -> None:
        """Stop updating the view: it stays as it is, and its subscriptions end once they have all changes."""
        self._portal.call(self._view.drop)
