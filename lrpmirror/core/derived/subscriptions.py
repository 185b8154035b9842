"""Subscribers: for each, the changes that it has not been sent yet.

A subscriber has no queue of events but a set of changed keys: a key that changes again while it waits is still one key.
So the memory is bounded by the number of keys, a slow subscriber sees fewer and larger steps, everyone ends on the last
value, and a value that returns to what the subscriber saw last is not delivered at all.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final, Generic, Protocol, TypeVar

from msgspec import Struct

from lrpmirror.core.derived.waiting import Later, Waiting
from lrpmirror.core.rows.changes import Cause, Change, Delta

__all__ = ["Deltas", "Hub", "Lag", "Mailbox"]

OLDEST: Final = 1_000
"""How many of the keys that have waited longest are looked up at once."""

FEW: Final = 4_000
"""Up to so many keys are in one dict."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lag(Struct, frozen=True):
    """How far behind a subscriber is."""

    pending: int
    """How many keys have changed that it has not been sent."""
    age: float
    """For how many seconds the oldest of them has waited; 0 when there is none."""


class Deltas(Protocol[K, V]):
    """Many deltas, made while they are iterated over; None for a key that ended as it was."""

    def __len__(self) -> int:
        """Return how many there are at most."""
        ...

    def __iter__(self) -> Iterator[Delta[K, V] | None]:
        """Iterate over them, in order."""
        ...


class _Backlog(Struct, Generic[K, V]):
    """Deltas that are still to be read, at most `left`; None for a key that ended as it was."""

    deltas: Iterator[Delta[K, V] | None]
    left: int
    revision: int
    cause: Cause
    at: float


class Mailbox(Generic[K, V]):
    """The changed keys that one subscriber has not been sent yet.

    A few changes are added at once. Many are put on the backlog, which the caller of `advance` reads in slices; what
    comes meanwhile queues behind them.

    `where` is a predicate on values: to this subscriber a value that does not satisfy it does not exist. `wake` is
    called whenever the mailbox stops being empty, or `where` has raised.
    """

    def __init__(self, wake: Callable[[], None], where: Callable[[V], bool] | None = None) -> None:
        self._wake = wake
        self._where = where
        self._pending: dict[K, Waiting[V]] = {}
        """In the order in which the keys began to wait; not empty where any wait behind these."""
        self._later: Later[K, V] | None = None
        """The keys that began to wait after those; None: there are none."""
        self._oldest: deque[tuple[K, Waiting[V]]] = deque()
        """The first of those pending, some of which may have returned to what the subscriber saw since."""
        self._backlog: deque[_Backlog[K, V]] = deque()
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._pending) + (0 if self._later is None else len(self._later))

    def offer(self, delta: Delta[K, V], revision: int, cause: Cause, at: float) -> None:
        """Record a change. O(1)."""
        before, after = self._visible(delta.before), self._visible(delta.after)
        pending = self._pending
        waiting = pending.get(delta.key)
        if waiting is None:
            if self._later is not None:
                self._later.offer(delta.key, Waiting(before, after, revision, cause, at))
                return
            if before == after:
                return
            pending[delta.key] = Waiting(before, after, revision, cause, at)
            if len(pending) == 1:
                self._wake()
            elif len(pending) >= FEW:
                self._later = Later()
        elif waiting.seen == after:
            if len(pending) == 1 and self._later is not None:
                self._taken_over()
            del pending[delta.key]
        else:
            waiting.now, waiting.revision, waiting.cause = after, revision, cause

    def receive(self, delta: Delta[K, V], revision: int, cause: Cause, at: float) -> None:
        """Record a change after those on the backlog. O(1)."""
        if self._backlog:
            self._backlog.append(_Backlog(iter((delta,)), 1, revision, cause, at))
        else:
            self.offer(delta, revision, cause, at)

    def defer(self, deltas: Iterator[Delta[K, V] | None], number: int, revision: int, cause: Cause, at: float) -> None:
        """Put many changes on the backlog. O(1)."""
        self._backlog.append(_Backlog(deltas, number, revision, cause, at))

    def advance(self, number: int) -> bool:
        """Read `number` deltas of the backlog; return whether any are left. O(number)."""
        while self._backlog and number > 0:
            first = self._backlog[0]
            deltas = list(islice(first.deltas, number))
            for delta in deltas:
                if delta is not None:
                    self.offer(delta, first.revision, first.cause, first.at)
            first.left -= len(deltas)
            if len(deltas) < number:
                self._backlog.popleft()
            number -= len(deltas)
        return bool(self._backlog)

    @property
    def is_behind(self) -> bool:
        """Whether there is a backlog. O(1)."""
        return bool(self._backlog)

    def forget(self) -> None:
        """Drop what is pending and the backlog: the subscriber has left."""
        self._later = None
        self._taken_over()
        self._backlog.clear()

    def take_failure(self) -> BaseException | None:
        """Return what `where` has raised since the last call. O(1).

        A value on which it raised does not exist for this subscriber. It is the subscriber's code, so what it raises
        must not reach the publisher.
        """
        failure, self._failure = self._failure, None
        return failure

    def take(self, most: int | None = None) -> list[Change[K, V]]:
        """Remove and return the pending changes, longest waiting first; at most `most`. O(changes returned)."""
        if most is not None and len(self) > most:
            return [self.take_oldest() for _ in range(most)]
        later, self._later = self._later, None
        items = chain(self._taken_over().items(), () if later is None else later.items())
        return [Change(key, change.seen, change.now, change.revision, change.cause) for key, change in items]

    def take_oldest(self) -> Change[K, V]:
        """Remove and return the change that has waited longest; there has to be one. O(1).

        For slow subscribers: the other keys go on coalescing meanwhile.
        """
        pending, oldest = self._pending, self._oldest
        if len(pending) == 1:
            if oldest or self._later is not None:
                pending = self._taken_over()
            key, change = pending.popitem()
            return Change(key, change.seen, change.now, change.revision, change.cause)
        while True:
            if not oldest:
                # What was removed leaves gaps at the front of a dict, which are passed once for all of these.
                oldest.extend(islice(pending.items(), OLDEST))
            key, change = oldest.popleft()
            if pending.get(key) is change:
                break
        del pending[key]
        return Change(key, change.seen, change.now, change.revision, change.cause)

    def _taken_over(self) -> dict[K, Waiting[V]]:
        """Return what is pending, and go on with what waits behind: an empty dict keeps the memory that it had."""
        later = self._later
        # Not emptied before that: another thread may ask for the lag.
        pending, self._pending, self._oldest = self._pending, {} if later is None else later.take_first(), deque()
        if not later:
            self._later = None
        return pending

    def lag(self, now: float) -> Lag:
        """Return how far behind the subscriber is. O(1); may be called from any thread."""
        while True:
            pending, later = self._pending, self._later
            try:
                oldest: Any = next(iter(pending.values()), None)
                behind = sum(backlog.left for backlog in self._backlog)
                if oldest is None:
                    oldest = next(iter(self._backlog), None)
            except RuntimeError:
                # The owner's thread added a key between `iter` and `next`.
                continue
            if oldest is None:
                return Lag(0, 0.0)
            waiting = len(pending) + (0 if later is None else len(later)) + behind
            return Lag(waiting, now - (oldest.at if isinstance(oldest, _Backlog) else oldest.since))

    def _visible(self, value: V | None) -> V | None:
        if value is None or self._where is None:
            return value
        try:
            return value if self._where(value) else None
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - foreign code; see take_failure
            self._failure = error
            self._wake()
            return None


class Hub(Generic[K, V]):
    """Distributes the deltas of one kind to mailboxes.

    Each delta has a topic; a mailbox subscribes to all topics or to some. A delta costs nothing for mailboxes of other
    topics.
    """

    def __init__(self, topic: Callable[[Delta[K, V]], Hashable]) -> None:
        self._topic = topic
        self._for_all: dict[Mailbox[K, V], None] = {}
        self._by_topic: dict[Hashable, dict[Mailbox[K, V], None]] = {}

    def __bool__(self) -> bool:
        """Whether there is any mailbox."""
        return bool(self._for_all or self._by_topic)

    def add(self, mailbox: Mailbox[K, V], topics: Iterable[Hashable] | None = None) -> None:
        """Subscribe a mailbox to topics, or to all. O(topics)."""
        if topics is None:
            self._for_all[mailbox] = None
            return
        for topic in topics:
            self._by_topic.setdefault(topic, {})[mailbox] = None

    def remove(self, mailbox: Mailbox[K, V], topics: Iterable[Hashable] | None = None) -> None:
        """Unsubscribe a mailbox, which was added with the same topics. O(topics)."""
        if topics is None:
            self._for_all.pop(mailbox, None)
            return
        for topic in topics:
            mailboxes = self._by_topic.get(topic)
            if mailboxes is not None:
                mailboxes.pop(mailbox, None)
                if not mailboxes:
                    del self._by_topic[topic]

    def publish(self, deltas: Iterable[Delta[K, V]], revision: int, cause: Cause, at: float) -> None:
        """Add deltas to the mailboxes of their topics. O(deltas · their mailboxes); O(1) where there is no mailbox."""
        if not self:
            return
        for delta in deltas:
            for mailbox in self._for_all:
                mailbox.receive(delta, revision, cause, at)
            if self._by_topic:
                for mailbox in self._by_topic.get(self._topic(delta), ()):
                    mailbox.receive(delta, revision, cause, at)

    def publish_many(self, deltas: Deltas[K, V], revision: int, cause: Cause, at: float) -> list[Mailbox[K, V]]:
        """Put many deltas on the backlogs of the subscribed mailboxes; return these. O(mailboxes)."""
        behind = list(self._for_all)
        for mailbox in behind:
            mailbox.defer(iter(deltas), len(deltas), revision, cause, at)
        topics: dict[Mailbox[K, V], set[Hashable]] = {}
        for topic, mailboxes in self._by_topic.items():
            for mailbox in mailboxes:
                topics.setdefault(mailbox, set()).add(topic)
        for mailbox, wanted in topics.items():
            mailbox.defer(self._of(deltas, wanted), len(deltas), revision, cause, at)
        return [*behind, *topics]

    def _of(self, deltas: Iterable[Delta[K, V] | None], topics: set[Hashable]) -> Iterator[Delta[K, V] | None]:
        return (delta if delta is not None and self._topic(delta) in topics else None for delta in deltas)
