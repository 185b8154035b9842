"""One reader of a stream: the events that it has not been given yet, at most so many.

A server never waits for a reader: one that falls behind by more than the limit is cut off and has to start anew with
a list.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Literal

from lrpmirror.events import (
    ActualLRPChanged,
    ActualLRPCrashed,
    ActualLRPCreated,
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    ActualLRPRemoved,
    Event,
)
from lrpmirror.server.encoded import EncodedEvent, EncodedStatus

StreamKind = Literal["instances", "groups"]
"""The two streams of a BBS: of rows, and of groups of rows."""

LIMIT: Final = 1024
"""How many events a BBS keeps for a reader."""

MOST: Final = 4 * LIMIT
"""How many events are kept for a reader that keeps taking, but less than there are."""


def concerns_cell(event: Event, cell_id: str) -> bool:
    """Return whether a reader that asked for one cell gets the event.

    Events of desired LRPs always; those of actual LRPs when the row they speak of, on either side, is on that cell.
    Rows that are UNCLAIMED are on none.
    """
    match event:
        case ActualLRPInstanceCreated(actual_lrp=row) | ActualLRPInstanceRemoved(actual_lrp=row):
            return row.cell_id == cell_id
        case ActualLRPInstanceChanged(before=before, after=after):
            return cell_id in (before.cell_id, after.cell_id)
        case ActualLRPCrashed(cell_id=crashed_on):
            return crashed_on == cell_id
        case ActualLRPCreated(actual_lrp_group=group) | ActualLRPRemoved(actual_lrp_group=group):
            return group.resolve().cell_id == cell_id
        case ActualLRPChanged(before=old, after=new):
            return cell_id in (old.resolve().cell_id, new.resolve().cell_id)
        case _:
            return True


class Subscription:
    """The events of one reader, in order, from the moment it was made.

    The source puts events in, the reader takes them out; neither waits for the other. A reader is slow if it
    has taken nothing during as many events as the limit; not if it could not be offered them, since the source had no
    time. `on_change` is called, without arguments, when there is something to take and when the subscription closes.
    `send_now`, where it is set, takes what there is and sends it without waiting, or else has it sent as `on_change`
    does. Not for use from several threads.
    """

    def __init__(self, kind: StreamKind, cell_id: str = "", *, limit: int | None = LIMIT) -> None:
        self.kind: StreamKind = kind
        self.cell_id = cell_id
        self.on_change: Callable[[], None] | None = None
        self.send_now: Callable[[], None] | None = None
        self._limit = limit
        self._told: deque[EncodedEvent | EncodedStatus] = deque()
        self._events = 0
        self._since_taken = 0
        self._closed = False
        self._fell_behind = False

    @property
    def closed(self) -> bool:
        """Whether no more events come, for whatever reason."""
        return self._closed

    @property
    def fell_behind(self) -> bool:
        """Whether it was closed because the reader had not taken more events than the limit."""
        return self._fell_behind

    def __len__(self) -> int:
        """Return how many events the reader has not taken."""
        return self._events

    def put(self, event: Event) -> None:
        """Keep the event for the reader, unless it is of another cell; close instead if it is one too many. O(1)."""
        self.tell(EncodedEvent(event))

    def tell(self, told: EncodedEvent) -> None:
        """Do as `put` with an event that other readers get too, and that is encoded once for all. O(1)."""
        if self._keep(told):
            self._changed()

    def say(self, said: EncodedStatus) -> None:
        """Add the age of the state behind all events so far; replaces the last status if no event came since.

        O(1).
        """
        if self._keep(said):
            self._changed()

    def send(self, several: Iterable[EncodedEvent | EncodedStatus]) -> None:
        """Add several events or statuses, and send them at once if the reader takes them. O(several).

        That is a system call: callers with many readers need checkpoints between them.
        """
        kept = [self._keep(told) for told in several]
        if any(kept):
            (self.send_now or self._changed)()

    def _keep(self, told: EncodedEvent | EncodedStatus) -> bool:
        """Keep it, if it is for this reader; return whether there is something new to take."""
        if self._closed:
            return False
        if isinstance(told, EncodedStatus):
            if self._told and isinstance(self._told[-1], EncodedStatus):
                self._told[-1] = told
                return False
            self._told.append(told)
            return True
        if self.cell_id and not concerns_cell(told.event, self.cell_id):
            return False
        if self._limit is not None and (self._since_taken >= self._limit or self._events >= MOST):
            self._fell_behind = True
            self.close()
            return False
        self._told.append(told)
        self._events += 1
        self._since_taken += 1
        return True

    def take(self) -> Event | None:
        """Return the next event, or None if there is none now. O(1)."""
        while self._told:
            events = self.take_some(1)
            if events:
                return events[0]
        return None

    def take_some(self, most: int) -> list[Event]:
        """Return the next events, none if there are none now, and no more than `most`."""
        return [told.event for told in self.take_encoded(most) if isinstance(told, EncodedEvent)]

    def take_encoded(self, most: int) -> list[EncodedEvent | EncodedStatus]:
        """Do as `take_some`, but encoded, with the statuses between the events."""
        taken = [self._told.popleft() for _ in range(min(most, len(self._told)))]
        self._events -= sum(isinstance(each, EncodedEvent) for each in taken)
        self._since_taken = 0
        return taken

    def close(self) -> None:
        """End the subscription; what the reader has not taken is dropped."""
        if not self._closed:
            self._closed = True
            self._told.clear()
            self._events = 0
            self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
