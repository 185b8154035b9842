"""A view of a mirror that runs in a thread of its own."""

import asyncio
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Executor
from typing import TypeVar

from lrpmirror.core.derived.subscriptions import Lag
from lrpmirror.mirror import MirrorView
from lrpmirror.mirror._subscription import Callback, ErrorPolicy
from lrpmirror.mirror._view import ViewReads
from lrpmirror.thread._changes import ThreadChanges
from lrpmirror.thread._delivery import ThreadSubscription, delivery_to
from lrpmirror.thread._runner import Runner

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ThreadView(ViewReads[K, V]):
    """Derived state as a read-only mapping, made by `MirrorThread.view`; may be used from any thread."""

    def __init__(self, view: MirrorView[K, V], runner: Runner, check_fresh: Callable[[float], None]) -> None:
        self._view = view
        self.derivation = view.derivation
        self._check_fresh = check_fresh
        self._runner = runner

    def __repr__(self) -> str:
        return repr(self._view)

    @property
    def revision(self) -> int:
        """The last commit that this view includes; later reads are as new or newer. O(1)."""
        return self._view.revision

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
        return self._runner.deliver(
            callback, self._view.changes(keys=keys, where=where, replay=replay), delivery, errors
        )

    def changes(
        self, *, keys: Iterable[K] | None = None, where: Callable[[V], bool] | None = None, replay: bool = True
    ) -> ThreadChanges[K, V]:
        """Iterate over changes, blocking: `with view.changes() as changes: for batch in changes: …`."""
        return ThreadChanges(self._view.changes(keys=keys, where=where, replay=replay), self._runner.portal)

    def drop(self) -> None:
        """Stop updating the view: it stays as it is, and its subscriptions end once they have all changes."""
        self._runner.portal.call(self._view.drop)
