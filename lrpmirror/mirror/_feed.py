"""Changes of one kind: published to subscribers, who iterate over them or are called back in tasks of their own."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Iterator
from inspect import isawaitable
from typing import Any, Final, Generic, Literal, Self

import trio

from lrpmirror.background import is_failure
from lrpmirror.core.derived.subscriptions import Deltas, Hub, Lag, Mailbox
from lrpmirror.core.derived.view import K, V
from lrpmirror.core.rows.changes import Cause, Change, Delta
from lrpmirror.errors import MirrorClosed

logger = logging.getLogger("lrpmirror")

AT_ONCE: Final = 500  # up to so many changes are published at once, in less than a millisecond for each subscriber
SLICE: Final = 100  # how many of more are published in one step: each view has subscribers, and all have turns between
BATCH: Final = 2_000  # how many changes a batch of an iteration has at most

FILTER_FAILED: Final = "the filter `where` of a subscriber failed"

# The key is logged and not the values, which can hold what is not for logs.
FAILED_ON: Final = "a subscriber failed on the change of %s at revision %s"


Callback = Callable[[Change[K, V]], Awaitable[object] | object]
"""A subscriber's function: called with each change, and its result awaited if it is awaitable."""

ErrorPolicy = Literal["raise", "log", "cancel"]
"""What an error of a callback does: it ends the mirror's block, is logged, or is logged and ends the subscription."""


class Changes(AsyncIterator[list[Change[K, V]]], Generic[K, V]):
    """Batches of changes, to be iterated with `async for` for as long as an `async with` block lasts.

    A batch has what changed since the batch before, one change for each key; at most a few thousand, the rest is in the
    next batches. The iteration ends when the mirror is closed.
    """

    def __init__(
        self, feed: "Feed[K, V]", topics: frozenset[Hashable] | None, where: Callable[[V], bool] | None, *, replay: bool
    ) -> None:
        self._feed = feed
        self.topics = topics
        self.replay = replay
        self._ready = trio.Event()
        self.closed = False
        self.mailbox: Mailbox[K, V] = Mailbox(self._wake, where)

    @property
    def lag(self) -> Lag:
        """How far behind the iteration is: pending keys, and the age of the oldest in seconds. O(1)."""
        return self.mailbox.lag(self._feed.clock())

    def begin(self) -> None:
        """Collect changes from now on, as entering the block does. Raises MirrorClosed when the mirror is closed."""
        self._feed.add(self)

    def leave(self) -> None:
        """Collect no more changes and end the iteration, as leaving the block does."""
        self._feed.remove(self)
        self.end()

    async def __aenter__(self) -> Self:
        self.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    async def __anext__(self) -> list[Change[K, V]]:
        await trio.lowlevel.checkpoint()
        # Checked and taken without an await in between, in which a key could change back.
        while True:
            failure = self.mailbox.take_failure()
            if failure is not None:
                raise failure
            if self.mailbox:
                return self.mailbox.take(BATCH)
            if self.closed:
                if not self.mailbox.advance(AT_ONCE) and not self.mailbox:
                    raise StopAsyncIteration
                await trio.lowlevel.checkpoint()
                continue
            await self.filled()

    async def filled(self) -> None:
        """Wait until there are changes, or there will be none any more; called while there are none."""
        self._ready = trio.Event()
        await self._ready.wait()

    def end(self) -> None:
        """End the iteration after the changes so far."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._ready.set()


class Subscription(Generic[K, V]):
    """A callback that is called with changes, until it is cancelled or the mirror is closed."""

    def __init__(self, callback: Callback[K, V], changes: Changes[K, V], errors: ErrorPolicy) -> None:
        self._callback = callback
        self._changes = changes
        self._errors = errors
        self.mailbox = changes.mailbox

    @property
    def cancelled(self) -> bool:
        """Whether the subscription has ended."""
        return self._changes.closed

    @property
    def lag(self) -> Lag:
        """How far behind this subscriber is: pending keys, and the age of the oldest in seconds. O(1)."""
        return self._changes.lag

    def cancel(self) -> None:
        """End the subscription: no further change is delivered. May be called at any time, also from the callback."""
        self._changes.leave()

    async def run(self) -> None:
        """Deliver changes as they come. Run by the mirror."""
        try:
            while not self.cancelled:
                failure = self.mailbox.take_failure()
                if failure is not None:
                    self._failed(failure, FILTER_FAILED)
                elif self.mailbox:
                    # One at a time, so that keys that wait behind a slow call go on coalescing.
                    await self._deliver(self.mailbox.take_oldest())
                else:
                    await self._changes.filled()
        finally:
            self.cancel()

    async def _deliver(self, change: Change[K, V]) -> None:
        try:
            result: Any = self._callback(change)
            if result is not None and isawaitable(result):
                await result
            else:
                # The reader of the stream gets its turn between any two calls.
                await trio.lowlevel.checkpoint()
        except BaseException as error:
            if not is_failure(error):
                raise
            self._failed(error, FAILED_ON, change.key, change.revision)

    def _failed(self, error: BaseException, what: str, *args: object) -> None:
        if self._errors == "raise":
            raise error
        logger.error(what, *args, exc_info=error)
        if self._errors == "cancel":
            self.cancel()


class Feed(Generic[K, V]):
    """Publishes changes of one kind to its subscribers; many of them, and long replays, in slices by a task.

    `topic` returns the topic of a delta; `present` what is there, of some topics or all, as deltas made when read.
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
        self.clock = clock
        self.revision = revision  # up to which changes are published; set where there was none, or nobody to tell
        self._closed = False
        self._readers: dict[Changes[K, V], None] = {}

    @property
    def is_read(self) -> bool:
        """Whether anybody subscribes."""
        return bool(self._hub)

    def publish(
        self,
        deltas: Deltas[K, V],
        revision: int,
        cause: Cause,
        free_in_slices: Callable[[], Iterator[None]] | None = None,
    ) -> None:
        """Notify every subscriber; waits for none. `free_in_slices` frees the deltas afterwards, a slice a step."""
        self.revision = revision
        behind: list[Mailbox[K, V]] = []
        if len(deltas) > AT_ONCE:
            behind = self._hub.publish_many(deltas, revision, cause, self.clock())
        elif deltas and self._readers:
            self._hub.publish([delta for delta in deltas if delta is not None], revision, cause, self.clock())
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
        changes = self.changes(topics, where, replay=replay)
        subscription = Subscription(callback, changes, errors)
        changes.begin()
        self._nursery.start_soon(subscription.run)
        return subscription

    def changes(
        self, topics: Iterable[Hashable] | None, where: Callable[[V], bool] | None, *, replay: bool
    ) -> Changes[K, V]:
        """Return an iteration over changes, which begins when it is entered."""
        return Changes(self, None if topics is None else frozenset(topics), where, replay=replay)

    def add(self, reader: Changes[K, V]) -> None:
        """Collect changes for an iteration, which begins. Raises MirrorClosed when there will be none."""
        if self._closed:
            raise MirrorClosed("there will be no more changes: the mirror is closed, or the view was dropped")
        self._readers[reader] = None
        mailbox = reader.mailbox
        if reader.replay:
            number, deltas = self._present(reader.topics)
            mailbox.defer(iter(deltas), number, self.revision, Cause.REPLAY, self.clock())
            if number > AT_ONCE or mailbox.advance(AT_ONCE + 1):
                self._nursery.start_soon(self._advance, [mailbox], None)
        self._hub.add(mailbox, reader.topics)

    def remove(self, reader: Changes[K, V]) -> None:
        """Collect no more changes for an iteration."""
        self._hub.remove(reader.mailbox, reader.topics)
        reader.mailbox.forget()
        self._readers.pop(reader, None)

    def lags(self) -> list[Lag]:
        """Return how far behind each subscriber is. O(subscribers); may be called from any thread."""
        return [changes.lag for changes in list(self._readers)]

    def close(self) -> None:
        """Stop publishing: iterations end, callbacks are not called again."""
        self._closed = True
        for iteration in self._readers:
            iteration.end()

    async def _advance(
        self, mailboxes: Iterable[Mailbox[K, V]], free_in_slices: Callable[[], Iterator[None]] | None
    ) -> None:
        """Publish the backlogs of some mailboxes, then free what they were made of."""
        for mailbox in mailboxes:
            while mailbox.advance(SLICE):
                await trio.lowlevel.checkpoint()
        for _ in free_in_slices() if free_in_slices is not None else ():
            await trio.lowlevel.checkpoint()
