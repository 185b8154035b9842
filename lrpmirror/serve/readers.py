"""Who reads the streams of a replica, and how they are told: nobody waits for the slow, and large commits are paced.

What a resynchronisation finds different can be more than a reader may leave unread; given at once, it would close every
stream. So it is given in slices, as fast as the readers take them.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

import trio

from lrpmirror.events import Event, SourceStatus
from lrpmirror.serve.load import GLANCE, Load
from lrpmirror.server import LIMIT, EncodedEvent, EncodedStatus, MirrorOnly, StreamKind, Subscription

__all__ = ["SLICE", "Readers", "hand_out", "watch_load"]

SLICE: Final = 256
"""How many events subscribers are given at once."""

ROOM: Final = LIMIT - 2 * SLICE
"""How many unread events a subscriber may have when it is given the next slice of a large commit."""

TURNS: Final = 50
"""How often it is looked whether all have room, before the slow ones are given the next slice nevertheless."""

TURN: Final = 0.002
"""Seconds between two of these looks."""

MANY: Final = 100
"""How many readers are told of each event by itself; more are told of what has come together."""

PACE: Final = 1e-4
"""Seconds for each reader, where there are many, from one time that they are told to the next."""


class Readers:
    """Who reads the streams of a replica: how many there are, and how far behind they are."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self.load = Load()
        """Whether the readers are kept up with."""
        self.due = 0.0
        """When they are to be told next, where there are many."""
        self._open: list[tuple[Subscription, int]] = []
        self._told = 0
        self._waiting: deque[tuple[StreamKind | None, EncodedEvent | EncodedStatus]] = deque()
        self.news = trio.Event()
        """Set while events wait for `hand_out`."""
        self.dropped = 0
        """How many subscribers were closed because they had fallen behind."""

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, kind: StreamKind, cell_id: str) -> Subscription:
        """Return a new subscription to what is told from now on. O(1)."""
        subscription = Subscription(kind, cell_id)
        self._open = [(each, since) for each, since in self._open if not each.closed]
        self._open.append((subscription, self._told + len(self._waiting)))
        return subscription

    def want(self, kind: StreamKind) -> bool:
        """Return whether anybody reads that stream. O(subscribers)."""
        return any(each.kind == kind and not each.closed for each, _ in self._open)

    def pending(self, kind: StreamKind) -> list[int]:
        """Return how many events each reader of a stream has not taken yet. O(subscribers)."""
        return [len(each) for each, _ in self._open if each.kind == kind and not each.closed]

    def tell(self, kind: StreamKind, events: Iterable[Event | MirrorOnly]) -> None:
        """Give events to the readers of a stream: at once where they are few, else slice by slice, by `hand_out`.

        All are told in the same order, and those who came later only of what was told later.
        """
        self._waiting.extend((kind, EncodedEvent(event)) for event in events)
        self._hand_out_few()

    def say(self, status: SourceStatus, now: float) -> None:
        """Say to all readers how old all is that they were told so far."""
        self._waiting.append((None, EncodedStatus(status, now)))
        self._hand_out_few()

    def _hand_out_few(self) -> None:
        if len(self._waiting) <= SLICE and (len(self._open) <= MANY or self._clock() >= self.due):
            self.hand_out()
        elif not self.news.is_set():
            self.news.set()

    def hand_out(self) -> bool:
        """Give the next slice to the readers; tell whether there is more. O(slice · readers)."""
        if len(self._open) > MANY:
            self.due = self._clock() + PACE * len(self._open)
        for kind, told in islice(self._waiting, SLICE):
            for subscription, since in self._open:
                if since > self._told:
                    continue
                if isinstance(told, EncodedStatus):
                    subscription.say(told)
                elif subscription.kind == kind:
                    subscription.tell(told)
            self._told += 1
        for _ in range(min(SLICE, len(self._waiting))):
            self._waiting.popleft()
        if any(each.closed for each, _ in self._open):
            self.dropped += sum(each.fell_behind for each, _ in self._open)
            self._open = [(each, since) for each, since in self._open if not each.closed]
        if not self._waiting and self.news.is_set():
            self.news = trio.Event()
        return bool(self._waiting)

    def have_room(self) -> bool:
        """Return whether every reader has taken enough for the next slice. O(subscribers)."""
        return all(len(each) <= ROOM for each, _ in self._open)

    def look(self, late: float) -> None:
        """Judge whether the readers are kept up with, where this comes `late` by so many seconds; O(readers)."""
        behind = [len(each) for each, _ in self._open]
        for subscription, _ in self._open[len(self._open) - self.load.look(behind, late, self._clock()) :]:
            subscription.close()

    def close(self) -> None:
        """Close all subscriptions: their readers have to list anew."""
        self._waiting.clear()
        for subscription, _ in self._open:
            subscription.close()
        self._open = []


async def hand_out(readers: Readers) -> None:
    """Bring large commits to the readers slice by slice, for ever, waiting for none of them for long.

    A reader has as much time for a slice as a BBS's would have for as many events in a burst; one that does not take it
    falls behind and is closed.
    """
    while True:
        await readers.news.wait()
        await trio.sleep_until(readers.due)
        while readers.hand_out():
            for _ in range(TURNS):
                await trio.sleep(TURN)
                if readers.have_room():
                    break


async def watch_load(readers: Readers) -> None:
    """Look again and again whether the readers are kept up with."""
    while True:
        due = trio.current_time() + GLANCE
        await trio.sleep_until(due)
        readers.look(trio.current_time() - due)
