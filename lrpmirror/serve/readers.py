"""The readers of a replica's streams: none waits for a slow one, and large commits are paced.

The differences of a resynchronisation can be more than a reader may leave unread, so they are given in slices, as fast
as they are taken. Many readers are served in rounds: each gets all that has come since the last one, in one write.
Where most readers are behind, or turns are late, new streams are refused, and then the youngest are closed, a few at a
time.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import trio

from lrpmirror.events import Event, SourceStatus
from lrpmirror.server import LIMIT, EncodedEvent, EncodedStatus, MirrorOnly, StreamKind, Subscription
from lrpmirror.server.streams import Encoded

logger: Final = logging.getLogger("lrpmirror.serve")

SLICE: Final = 256  # how many events subscribers are given at once
ROOM: Final = LIMIT - 2 * SLICE  # unread events of a subscriber that is given the next slice of a large commit
TURNS: Final = 50  # checks that all have room, before the slow ones are given the next slice nevertheless
TURN: Final = 0.002  # seconds between two of these checks
MANY: Final = 100  # how many readers get each event by itself; more get events in rounds
PACE: Final = 1e-4  # seconds for each of many readers between two rounds: how long an event may wait for others
GROWING: Final = 3  # rounds in a row that took away less than came, for readers to be behind by what waits
TURN_OF_ROUND: Final = 0.002  # seconds of a round before other tasks have a turn

GLANCE: Final = 0.5  # seconds between two checks of the load
LATE: Final = 2.0  # seconds that a turn may be late
BEHIND: Final = LIMIT // 4  # how many events most readers may be behind
FAR_BEHIND: Final = LIMIT  # how many events most readers are behind when some of them are closed
SHARE: Final = 0.1  # the share of them that is closed at each check
CALM: Final = 5.0  # seconds without overload before new streams are accepted again


class Load:
    """Judges the load by how far the readers are behind, and how late the process is."""

    def __init__(self) -> None:
        self.trouble = ""  # why new streams are refused; empty where they are taken
        self.refused = 0  # how many streams were refused
        self.shed = 0  # how many streams were closed to relieve the others
        self._well_since = 0.0

    def look(self, behind: Sequence[int], late: float, now: float) -> int:
        """Judge, and return how many of the youngest readers are to be closed. O(readers · log readers)."""
        most = sorted(behind)[len(behind) // 2] if behind else 0
        if most <= BEHIND and late <= LATE:
            if self.trouble and now - self._well_since >= CALM:
                self.trouble = ""
                logger.warning("the replica keeps up with its %d streams again, and takes new ones", len(behind))
            return 0
        self._well_since = now
        known = self.trouble
        self.trouble = f"most of the {len(behind)} streams are {most} events behind, and turns are {late:.1f} s late"
        if not known:
            logger.warning("the replica does not keep up, and refuses new streams: %s", self.trouble)
        if most <= FAR_BEHIND:
            return 0
        number = max(1, int(len(behind) * SHARE))
        self.shed += number
        return number


class Readers:
    """The subscriptions of a replica: their number, and how far behind they are."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self.load = Load()  # whether the readers are kept up with
        self.due = 0.0  # when the next round begins, where there are many
        self._in_round = False
        self._waited = 0
        self._growing = 0
        self._open: list[tuple[Subscription, int]] = []
        self._handed_out = 0
        self._waiting: deque[tuple[StreamKind | None, Encoded]] = deque()
        self.news = trio.Event()  # set while events wait for `hand_out`
        self.dropped = 0  # how many subscribers were closed because they had fallen behind

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, kind: StreamKind, cell_id: str) -> Subscription:
        """Return a new subscription to the events from now on. O(1)."""
        subscription = Subscription(kind, cell_id)
        self._open = [(each, since) for each, since in self._open if not each.closed]
        self._open.append((subscription, self._handed_out + len(self._waiting)))
        return subscription

    def want(self, kind: StreamKind) -> bool:
        """Return whether that stream has readers. O(subscribers)."""
        return any(each.kind == kind and not each.closed for each, _ in self._open)

    def pending(self, kind: StreamKind) -> list[int]:
        """Return how many events each reader of a stream has not taken yet. O(subscribers)."""
        return [len(each) for each, _ in self._open if each.kind == kind and not each.closed]

    def put(self, kind: StreamKind, events: Iterable[Event | MirrorOnly]) -> None:
        """Give events to the readers of a stream: at once where they are few, else slice by slice, by `hand_out`."""
        self._waiting.extend((kind, EncodedEvent(event)) for event in events)
        self._hand_out_few()

    def put_status(self, status: SourceStatus, now: float) -> None:
        """Send all readers the age of the state behind the events so far."""
        self._waiting.append((None, EncodedStatus(status, now)))
        self._hand_out_few()

    def _hand_out_few(self) -> None:
        if len(self._waiting) <= SLICE and len(self._open) <= MANY and not self._in_round:
            self.hand_out()
        else:
            self.news.set()

    def hand_out(self) -> bool:
        """Give the next slice to the readers; return whether there is more. O(slice · readers)."""
        for subscription, items in self._next_slice():
            for item in items:
                subscription.add(item)
        self._end_slice()
        return bool(self._waiting)

    def round(self) -> Iterator[None]:
        """Give the next slice to the readers and send it at once to those that take it, one reader a step."""
        self._in_round = True
        # Rounds in a row in which more has come than one takes away: a large commit only gets less.
        waiting = len(self._waiting)
        self._growing = self._growing + 1 if waiting > max(self._waited, SLICE) else 0
        self._waited = waiting
        self.due = self._clock() + (PACE * len(self._open) if len(self._open) > MANY else 0.0)
        for subscription, items in self._next_slice():
            subscription.send(items)
            yield
        self._in_round = False
        self._end_slice()

    def _next_slice(self) -> Iterator[tuple[Subscription, list[Encoded]]]:
        """Take the next slice of what waits; yield each present reader with its part of it."""
        slice_ = [self._waiting.popleft() for _ in range(min(SLICE, len(self._waiting)))]
        first, self._handed_out = self._handed_out, self._handed_out + len(slice_)
        of_kind: dict[StreamKind, list[Encoded]] = {}
        for subscription, since in self._open:
            kind = subscription.kind
            if since <= first:
                if kind not in of_kind:
                    of_kind[kind] = _of_kind(slice_, kind)
                items = of_kind[kind]
            else:
                items = _of_kind(slice_[since - first :], kind)
            if items:
                yield subscription, items

    def _end_slice(self) -> None:
        if any(each.closed for each, _ in self._open):
            self.dropped += sum(each.fell_behind for each, _ in self._open)
            self._open = [(each, since) for each, since in self._open if not each.closed]
        if not self._waiting and self.news.is_set():
            self.news = trio.Event()

    def have_room(self) -> bool:
        """Return whether every reader has room, if what waits is a whole slice or more. O(subscribers)."""
        return len(self._waiting) < SLICE or all(len(each) <= ROOM for each, _ in self._open)

    def look(self, late: float) -> None:
        """Judge whether the readers are kept up with, where this comes `late` by so many seconds; O(readers)."""
        waiting = len(self._waiting) if self._growing >= GROWING else 0
        behind = [len(each) + waiting for each, _ in self._open]
        for subscription, _ in self._open[len(self._open) - self.load.look(behind, late, self._clock()) :]:
            subscription.close()

    def close(self) -> None:
        """Close all subscriptions: their readers have to list anew."""
        self._waiting.clear()
        for subscription, _ in self._open:
            subscription.close()
        self._open = []


def _of_kind(items: Iterable[tuple[StreamKind | None, Encoded]], kind: StreamKind) -> list[Encoded]:
    return [item for of, item in items if of is None or of == kind]


async def hand_out(readers: Readers) -> None:
    """Give events to many readers, and large commits slice by slice, for ever; who is too slow falls behind."""
    while True:
        await readers.news.wait()
        await trio.sleep_until(readers.due)
        await _in_turns(readers.round())
        for _ in range(TURNS):
            if readers.have_room():
                break
            await trio.sleep(TURN)


async def _in_turns(steps: Iterator[None]) -> None:
    """Take the steps, and give way to others every few milliseconds."""
    end = time.perf_counter() + TURN_OF_ROUND
    for _ in steps:
        if time.perf_counter() >= end:
            await trio.lowlevel.checkpoint()
            end = time.perf_counter() + TURN_OF_ROUND


async def watch_load(readers: Readers) -> None:
    """Check at an interval whether the readers are kept up with."""
    while True:
        due = trio.current_time() + GLANCE
        await trio.sleep_until(due)
        readers.look(trio.current_time() - due)
