"""A feed: changes of one kind, delivered to subscribers by callback or by iteration."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic

import trio

from lrpmirror.core.derived.subscriptions import Deltas, Hub, Lag, Mailbox
from lrpmirror.core.derived.view import K, V
from lrpmirror.core.rows.changes import Cause, Delta
from lrpmirror.errors import MirrorClosed
from lrpmirror.mirror._subscription import AT_ONCE, SLICE, Callback, Changes, ErrorPolicy, Subscription


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
            behind = self._hub.publish_many(deltas, revision, cause, self._clock())
        elif deltas and self._readers:
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
        changes = self.changes(topics, where, replay=replay)
        subscription = Subscription(callback, changes, errors)
        changes.begin()
        self._nursery.start_soon(subscription.run)
        return subscription

    def changes(
        self, topics: Iterable[Hashable] | None, where: Callable[[V], bool] | None, *, replay: bool
    ) -> Changes[K, V]:
        """Return an iteration over changes, which begins when it is entered."""
        wanted = None if topics is None else frozenset(topics)

        def join(iteration: Changes[K, V]) -> None:
            if self._closed:
                raise MirrorClosed("there will be no more changes: the mirror is closed, or the view was dropped")
            self._readers[iteration] = None
            self._begin(iteration.mailbox, wanted, replay=replay)

        def forget(iteration: Changes[K, V]) -> None:
            self._hub.remove(iteration.mailbox, wanted)
            iteration.mailbox.forget()
            self._readers.pop(iteration, None)

        return Changes(self._clock, where, join, forget)

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

    def _begin(self, mailbox: Mailbox[K, V], topics: frozenset[Hashable] | None, *, replay: bool) -> None:
        if replay:
            number, deltas = self._present(topics)
            mailbox.defer(iter(deltas), number, self.revision, Cause.REPLAY, self._clock())
            if number > AT_ONCE or mailbox.advance(AT_ONCE + 1):
                self._nursery.start_soon(self._advance, [mailbox], None)
        self._hub.add(mailbox, topics)
