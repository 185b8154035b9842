"""Changes of one kind, brought to those who want them: by callback, or to be iterated."""

from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from typing import Generic, Self, TypeVar

import trio

from lrpmirror.core.changes import Cause, Change, Delta
from lrpmirror.core.subscriptions import Hub, Lag, Mailbox
from lrpmirror.errors import MirrorClosed
from lrpmirror.mirror._subscription import Callback, ErrorPolicy, Subscription

__all__ = ["Changes", "Feed"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Changes(Generic[K, V]):
    """Batches of changes, to be iterated with `async for`.

    A batch is what has changed since the one before, one change a key. The iteration ends when the mirror is closed.
    """

    def __init__(self, clock: Callable[[], float], where: Callable[[V], bool] | None) -> None:
        self._clock = clock
        self._ready = trio.Event()
        self._closed = False
        self.mailbox: Mailbox[K, V] = Mailbox(self._wake, where)

    @property
    def lag(self) -> Lag:
        """How far behind the iteration is: pending keys, and the age of the oldest in seconds. O(1)."""
        return self.mailbox.lag(self._clock())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Change[K, V]]:
        while not self.mailbox:
            if self._closed:
                await trio.lowlevel.checkpoint()
                raise StopAsyncIteration
            self._ready = trio.Event()
            await self._ready.wait()
        await trio.lowlevel.checkpoint()
        return self.mailbox.take()

    def end(self) -> None:
        """End the iteration once what has changed so far is taken."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._ready.set()


class Feed(Generic[K, V]):
    """Where changes of one kind are published and subscribed to.

    `topic` says for whom a delta is, of those who want some topics only; `present` gives what is there, of some topics
    or all, as deltas from nothing.
    """

    def __init__(
        self,
        topic: Callable[[Delta[K, V]], Hashable],
        present: Callable[[frozenset[Hashable] | None], Iterable[Delta[K, V]]],
        nursery: trio.Nursery,
        clock: Callable[[], float],
    ) -> None:
        self._hub: Hub[K, V] = Hub(topic)
        self._present = present
        self._nursery = nursery
        self._clock = clock
        self._revision = 0
        self._closed = False
        self._subscriptions: dict[Subscription[K, V], None] = {}
        self._iterations: dict[Changes[K, V], None] = {}

    def publish(self, deltas: Iterable[Delta[K, V]], revision: int, cause: Cause) -> None:
        """Tell everyone who wants to know; waits for nobody."""
        self._revision = revision
        self._hub.publish(deltas, revision, cause, self._clock())

    def subscribe(
        self,
        callback: Callback[K, V],
        topics: Iterable[Hashable] | None,
        where: Callable[[V], bool] | None,
        *,
        replay: bool,
        errors: ErrorPolicy,
    ) -> Subscription[K, V]:
        """Call back on changes, in a task of its own, until it is cancelled or the feed is closed."""
        self._check_open()
        wanted = None if topics is None else frozenset(topics)
        subscription: Subscription[K, V] = Subscription(
            callback, self._clock, where=where, errors=errors, forget=lambda: self._forget(subscription, wanted)
        )
        self._subscriptions[subscription] = None
        self._begin(subscription.mailbox, wanted, replay=replay)
        self._nursery.start_soon(subscription.run)
        return subscription

    @asynccontextmanager
    async def changes(
        self, topics: Iterable[Hashable] | None, where: Callable[[V], bool] | None, *, replay: bool
    ) -> AsyncIterator[Changes[K, V]]:
        """Iterate over changes, for as long as the block lasts."""
        self._check_open()
        wanted = None if topics is None else frozenset(topics)
        iteration: Changes[K, V] = Changes(self._clock, where)
        self._iterations[iteration] = None
        self._begin(iteration.mailbox, wanted, replay=replay)
        try:
            yield iteration
        finally:
            self._hub.remove(iteration.mailbox, wanted)
            self._iterations.pop(iteration, None)

    def lags(self) -> list[Lag]:
        """Return how far behind each subscriber is. O(subscribers)."""
        return [one.lag for one in self._subscriptions] + [one.lag for one in self._iterations]

    def close(self) -> None:
        """Publish no more: iterations end, callbacks are not called again."""
        self._closed = True
        for subscription in tuple(self._subscriptions):
            subscription.cancel()
        for iteration in self._iterations:
            iteration.end()

    def _begin(self, mailbox: Mailbox[K, V], topics: frozenset[Hashable] | None, *, replay: bool) -> None:
        if replay:
            now = self._clock()
            for delta in self._present(topics):
                mailbox.offer(delta, self._revision, Cause.REPLAY, now)
        self._hub.add(mailbox, topics)

    def _forget(self, subscription: Subscription[K, V], topics: frozenset[Hashable] | None) -> None:
        self._hub.remove(subscription.mailbox, topics)
        self._subscriptions.pop(subscription, None)

    def _check_open(self) -> None:
        if self._closed:
            raise MirrorClosed("there will be no more changes: the mirror is closed, or the view was dropped")
