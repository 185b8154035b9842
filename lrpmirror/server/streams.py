"""The event streams: what one reader has not been given yet, encoded once for all readers, and how it is sent.

A server never waits for a reader: one that falls behind by more than the limit is cut off and has to start anew.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import ClassVar, Final, Literal

import trio
from msgspec import Struct
from msgspec.structs import replace

from lrpmirror import events
from lrpmirror.events import Event, SourceStatus
from lrpmirror.server.asgi import Receive, Send
from lrpmirror.wire import encode, source, sse

StreamKind = Literal["instances", "groups"]  # the two streams of a BBS: of rows, and of groups of rows

LIMIT: Final = 1024  # how many events a BBS keeps for a reader

MOST: Final = 4 * LIMIT  # how many events are kept for a reader that keeps taking, but less than there are

STREAMS: Final[Mapping[str, StreamKind]] = {
    "/v1/events/lrp_instances.r1": "instances",
    "/v1/events/lrp_instances": "instances",
    "/v1/events.r1": "groups",
    "/v1/events": "groups",
}
"""The paths of the streams, newer first. Both versions of one are answered alike."""

BURST: Final = 64  # how many events are sent in one write at most
Offer = Callable[[list[bytes]], bool]  # sends chunks without waiting, and returns whether the reader took all of them

_HEAD: Final = [
    (b"cache-control", b"no-cache, no-store, must-revalidate"),
    (b"connection", b"keep-alive"),
    (b"content-type", b"text/event-stream; charset=utf-8"),
]


class MirrorOnly(Struct, frozen=True, gc=False):
    """An event that a BBS would not send, for followers that are mirrors: other readers of the stream do not see it."""

    event: Event


class EncodedEvent:
    """An event for any number of readers. It is encoded when it is sent to the first of them."""

    __slots__ = ("_tail", "event", "mirror_only")

    def __init__(self, event: Event | MirrorOnly) -> None:
        self.mirror_only = isinstance(event, MirrorOnly)
        """Whether readers other than mirrors do not see it; then it has no number either."""
        self.event: Event = event.event if isinstance(event, MirrorOnly) else event
        self._tail = b""

    def frame(self, number: int, now: float) -> bytes:  # noqa: ARG002 - as that of a status
        """Return the frame for a reader of which it is the event of that number. O(its bytes)."""
        tail = self._tail
        if not tail:
            tail = self._tail = self._encode()
        return tail if self.mirror_only else b"id: %d\n%s" % (number, tail)

    def _encode(self) -> bytes:
        name, payload = encode.event_name(self.event), encode.event(self.event)
        if self.mirror_only:
            return sse.encode_aside(name, payload)
        return sse.encode_frame(0, name, payload).removeprefix(b"id: 0\n")


class EncodedStatus(Struct):
    """The age of the state behind all events before it, for any number of readers; it grows until it is sent."""

    mirror_only: ClassVar = True

    status: SourceStatus
    at: float  # when that was its age

    def frame(self, number: int, now: float) -> bytes:  # noqa: ARG002 - it has no number
        """Return the frame with the present age. O(1)."""
        return source.comment(replace(self.status, age=self.status.age + max(0.0, now - self.at)))


Encoded = EncodedEvent | EncodedStatus


def concerns_cell(event: Event, cell_id: str) -> bool:
    """Return whether a reader of one cell gets the event: any of a desired LRP, or of a row that is or was on it."""
    match event:
        case events.ActualLRPInstanceCreated(actual_lrp=row) | events.ActualLRPInstanceRemoved(actual_lrp=row):
            return row.cell_id == cell_id
        case events.ActualLRPInstanceChanged(before=before, after=after):
            return cell_id in (before.cell_id, after.cell_id)
        case events.ActualLRPCrashed(cell_id=crashed_on):
            return crashed_on == cell_id
        case events.ActualLRPCreated(actual_lrp_group=group) | events.ActualLRPRemoved(actual_lrp_group=group):
            return group.resolve().cell_id == cell_id
        case events.ActualLRPChanged(before=old, after=new):
            return cell_id in (old.resolve().cell_id, new.resolve().cell_id)
        case _:
            return True


class Subscription:
    """The events of one reader, in order, from the moment it was made. Not for use from several threads.

    A reader is slow if it has taken nothing during as many events as the limit; not if it could not be offered them.
    `on_change` is called when there is something to take and when the subscription closes. `send_now`, where it is set,
    takes what there is and sends it without waiting, or else has it sent as `on_change` does.
    """

    def __init__(self, kind: StreamKind, cell_id: str = "", *, limit: int | None = LIMIT) -> None:
        self.kind: StreamKind = kind
        self.cell_id = cell_id
        self.on_change: Callable[[], None] | None = None
        self.send_now: Callable[[], None] | None = None
        self._limit = limit
        self._unread: deque[Encoded] = deque()
        self._events = 0
        self._since_taken = 0
        self.closed = False  # whether no more events come, for whatever reason
        self.fell_behind = False  # whether it was closed because the reader had not taken more events than the limit

    def __len__(self) -> int:
        """Return how many events the reader has not taken."""
        return self._events

    def put(self, event: Event) -> None:
        """Add an event as `add` does."""
        self.add(EncodedEvent(event))

    def add(self, item: Encoded) -> None:
        """Add an event or status that is encoded once for all readers. O(1).

        An event of another cell is left out; one too many closes the subscription. Of two statuses in a row the last is
        kept.
        """
        if self._append(item):
            self._changed()

    def send(self, items: Iterable[Encoded]) -> None:
        """Add events and statuses, and send them at once, by a system call, if the reader takes them. O(items)."""
        appended = [self._append(item) for item in items]
        if any(appended):
            (self.send_now or self._changed)()

    def _append(self, item: Encoded) -> bool:
        """Append it, if it is for this reader; return whether there is something new to take."""
        if self.closed:
            return False
        if isinstance(item, EncodedStatus):
            if self._unread and isinstance(self._unread[-1], EncodedStatus):
                self._unread[-1] = item
                return False
            self._unread.append(item)
            return True
        if self.cell_id and not concerns_cell(item.event, self.cell_id):
            return False
        if self._limit is not None and (self._since_taken >= self._limit or self._events >= MOST):
            self.fell_behind = True
            self.close()
            return False
        self._unread.append(item)
        self._events += 1
        self._since_taken += 1
        return True

    def take(self) -> Event | None:
        """Return the next event, or None if there is none now. O(1)."""
        while self._unread:
            taken = self.take_some(1)
            if taken:
                return taken[0]
        return None

    def take_some(self, most: int) -> list[Event]:
        """Return the next events, none if there are none now, and no more than `most`."""
        return [item.event for item in self.take_encoded(most) if isinstance(item, EncodedEvent)]

    def take_encoded(self, most: int) -> list[Encoded]:
        """Do as `take_some`, but encoded, with the statuses between the events."""
        items = [self._unread.popleft() for _ in range(min(most, len(self._unread)))]
        self._events -= sum(isinstance(item, EncodedEvent) for item in items)
        self._since_taken = 0
        return items

    def close(self) -> None:
        """End the subscription; what the reader has not taken is dropped."""
        if not self.closed:
            self.closed = True
            self._unread.clear()
            self._events = 0
            self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()


async def stream_events(subscription: Subscription, receive: Receive, send: Send, offer: Offer | None = None) -> None:
    """Send a subscription's events until the reader leaves or falls behind; the body is never ended in order.

    With `offer` the server understands `chunks`: what came together is sent together, each event in a chunk of its own,
    and a source with many readers can have them sent at once. A reader that has seen the head misses nothing. One that
    falls behind is left in the middle, also while a write to it is stuck: the write is cancelled.
    """
    try:
        async with trio.open_nursery() as nursery:
            sender = _Sender(subscription, nursery.cancel_scope, 1 if offer is None else BURST)
            await send({"type": "http.response.start", "status": 200, "headers": _HEAD})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            nursery.start_soon(_watch_for_disconnect, receive, nursery.cancel_scope)
            if offer is not None:
                subscription.send_now = partial(sender.send_by, offer)
            await sender.run(send)
    finally:
        subscription.on_change = None
        subscription.send_now = None
        subscription.close()


class _Sender:
    """Sends the events of a subscription: at once, on request and if the reader takes them, or else in a task."""

    def __init__(self, subscription: Subscription, scope: trio.CancelScope, at_once: int) -> None:
        self._subscription = subscription
        self._scope = scope
        self._at_once = at_once
        self._number = 0
        self._news = trio.Event()
        self._waits = False
        self._unfinished = False
        subscription.on_change = self._changed
        self._changed()

    def _changed(self) -> None:
        """Wake the task when there is something to send, and stop it when the subscription has been closed."""
        if self._subscription.closed:
            self._scope.cancel()
        self._waits = False
        self._news.set()

    async def run(self, send: Send) -> None:
        while True:
            frames = [] if self._unfinished else self._next()
            if frames or self._unfinished:
                self._unfinished = False
                content = {"body": frames[0]} if self._at_once == 1 else {"chunks": frames}
                await send({"type": "http.response.body", "more_body": True, **content})
                continue
            self._waits = True
            self._news = trio.Event()
            await self._news.wait()

    def send_by(self, offer: Offer) -> None:
        """Send without waiting, unless the task is sending; it is woken for what is left."""
        if not self._waits:
            return
        while frames := self._next():
            if not offer(frames):
                self._unfinished = True
                self._changed()
                return

    def _next(self) -> list[bytes]:
        frames: list[bytes] = []
        now = trio.current_time()
        for item in self._subscription.take_encoded(self._at_once):
            frames.append(item.frame(self._number, now))
            # What is for mirrors only is no event of the protocol.
            self._number += not item.mirror_only
        return frames


async def _watch_for_disconnect(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
