"""A feed: changes of one kind, delivered to subscribers by callback or by iteration."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

import trio

from lrpmirror.core.derived.subscriptions import Deltas, Hub, Lag, Mailbox
from lrpmirror.core.rows.changes import Cause, Change, Delta
from lrpmirror.errors import MirrorClosed
from lrpmirror.mirror._subscription import Callback, ErrorPolicy, Subscription

AT_ONCE: Final = 500
"""Up to so many changes are published at once, which takes less than a millisecond for each subscriber."""

BATCH: Final = 2_000
"""How many changes a batch of an iteration has at most."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Changes(Generic[K, V]):
    """Batches of changes, to be iterated with `async for` for as long as an `async with` block lasts.

    A batch has what changed since the batch before, one change for each key; at most a few thousand, the rest is in the
    next batches. The iteration ends when the mirror is closed.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        where: Callable[[V], bool] | None,
        join: "Callable[[Changes[K, V]], None]",
        forget: "Callable[[Changes[K, V]], None]",
    ) -> None:
        self._clock = clock
        self._join = join
        self._forget = forget
        self._ready = trio.Event()
        self._closed = False
        self.mailbox: Mailbox[K, V] = Mailbox(self._wake, where)

    @property
    def lag(self) -> Lag:
        """How far behind the iteration is: pending keys, and the age of the oldest in seconds. O(1)."""
        return self.mailbox.lag(self._clock())

    def begin(self) -> None:
        """Collect changes from now on, as entering the block does. Raises MirrorClosed when the mirror is closed."""
        self._join(self)

    def leave(self) -> None:
        """Collect no more changes and end the iteration, as leaving the block does."""
        self._forget(self)
        self.end()

    async def __aenter__(self) -> Self:
        self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Change[K, V]]:
        await trio.lowlevel.checkpoint()
        # Checked and taken without an await in between, in which a key could change back.
        while True:
            failure = self.mailbox.take_failure()
            if failure is not None:
                raise failure
            if self.mailbox:
                return self.mailbox.take(BATCH)
            if self._closed:
                if not self.mailbox.advance(AT_ONCE) and not self.mailbox:
                    raise StopAsyncIteration
                await trio.lowlevel.checkpoint()
                continue
            self._ready = trio.Event()
            await self._ready.wait()

    def end(self) -> None:
        """End the iteration after the changes so far."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._ready.set()


class Feed(Generic[K, V]):
    """Publishes changes of one kind to its subscribers.

    `topic` returns the topic of a delta; `present` returns what is there, of some topics or of all, as deltas from
    nothing that are made when they are read.

    Many changes, and the replay of many keys for a new subscriber, are published in slices by a task of their own.
    """

    def __init__(
        self,
        topic: Callable[[Delta[K, V]], Hashable],
        present: Callable[[frozenset[Hashable] | None], tuple[int, Iterable[Delta[K, V]]]],
        nursery: trio.Nursery,
        clock: Callable[[], float],
        revision: int = 0,
    ) -> None:
        self._hub: Hub[K, V] = Hub(topic)
        self._present = present
        self._nursery = nursery
        self._clock = clock
        self._revision = revision
        self._closed = False
        self._subscriptions: dict[Subscription[K, V], None] = {}
        self._iterations: dict[Changes[K, V], None] = {}

    def publish(
        self,
        deltas: Deltas[K, V],
        revision: int,
        cause: Cause,
        free_in_slices: Callable[[], Iterator[None]] | None = None,
    ) -> None:
        """Notify every subscriber; waits for none. `free_in_slices` frees the deltas afterwards, a slice a step."""
        self._revision = revision
        behind: list[Mailbox[K, V]] = []
        if len(deltas) > AT_ONCE:
            behind = self._hub.publish_many(deltas, revision, cause, self._clock())
        elif deltas and (self._subscriptions or self._iterations):
            self._hub.publish([delta for delta in deltas if delta is not None], revision, cause, self._clock())
        if behind or free_in_slices is not None:
            self._nursery.start_soon(self._advance, behind, free_in_slices)

    def subscribe(
        self,
        callback: Callback[K, V],
        topics: Iterable[Hashable] | None,
        where: Callable[[V], bool] | None,
        *,
        replay: bool,
        errors: ErrorPolicy,
    ) -> Subscription[K, V]:
        """Call back on changes, in a task, until the subscription is cancelled or the feed is closed."""
        self._check_open()
        wanted = None if topics is None else frozenset(topics)
        subscription: Subscription[K, V] = Subscription(
            callback, self._clock, where=where, errors=errors, forget=lambda: self._forget(subscription, wanted)
        )
        self._subscriptions[subscription] = None
        self._begin(subscription.mailbox, wanted, replay=replay)
        self._nursery.start_soon(subscription.run)
        return subscription

    def changes(
        self, topics: Iterable[Hashable] | None, where: Callable[[V], bool] | None, *, replay: bool
    ) -> Changes[K, V]:
        """Return an iteration over changes, which begins when it is entered."""
        wanted = None if topics is None else frozenset(topics)

        def join(iteration: Changes[K, V]) -> None:
            self._check_open()
            self._iterations[iteration] = None
            self._begin(iteration.mailbox, wanted, replay=replay)

        def forget(iteration: Changes[K, V]) -> None:
            self._hub.remove(iteration.mailbox, wanted)
            iteration.mailbox.forget()
            self._iterations.pop(iteration, None)

        return Changes(self._clock, where, join, forget)

    def lags(self) -> list[Lag]:
        """Return how far behind each subscriber is. O(subscribers); may be called from any thread."""
        subscriptions, iterations = list(self._subscriptions), list(self._iterations)
        return [subscription.lag for subscription in subscriptions] + [iteration.lag for iteration in iterations]

    def close(self) -> None:
        """Stop publishing: iterations end, callbacks are not called again."""
        self._closed = True
        for subscription in tuple(self._subscriptions):
            subscription.cancel()
        for iteration in self._iterations:
            iteration.end()

    async def _advance(
        self, mailboxes: Iterable[Mailbox[K, V]], free_in_slices: Callable[[], Iterator[None]] | None
    ) -> None:
        """Publish the backlogs of some mailboxes, then free what they were made of."""
        for mailbox in mailboxes:
            while mailbox.advance(AT_ONCE):
                await trio.lowlevel.checkpoint()
        for _ in free_in_slices() if free_in_slices is not None else ():
            await trio.lowlevel.checkpoint()

    def _begin(self, mailbox: Mailbox[K, V], topics: frozenset[Hashable] | None, *, replay: bool) -> None:
        if replay:
            number, deltas = self._present(topics)
            mailbox.defer(iter(deltas), number, self._revision, Cause.REPLAY, self._clock())
            if number > AT_ONCE or mailbox.advance(AT_ONCE + 1):
                self._nursery.start_soon(self._advance, [mailbox], None)
        self._hub.add(mailbox, topics)

    def _forget(self, subscription: Subscription[K, V], topics: frozenset[Hashable] | None) -> None:
        self._hub.remove(subscription.mailbox, topics)
        subscription.mailbox.forget()
        self._subscriptions.pop(subscription, None)

    def _check_open(self) -> None:
        if self._closed:
            raise MirrorClosed("there will be no more changes: the mirror is closed, or the view was dropped")
