"""The event streams: the head, then one message of the body for each event, until either side ends it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import trio
from google.protobuf.message import DecodeError

from lrpmirror.server.asgi import Receive, Send
from lrpmirror.server.subscription import StreamKind, Subscription
from lrpmirror.wire import text
from lrpmirror.wire.proto.events_pb2 import EventsByCellId

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


def cell_of(body: bytes) -> str | None:
    """Return the cell that a stream's request is limited to, empty for none; None if the body cannot be read."""
    try:
        return text.parse(EventsByCellId, body).cell_id
    except DecodeError:
        return None


async def stream_events(
    subscription: Subscription, receive: Receive, send: Send, *, bursts: bool = False, offer: Offer | None = None
) -> None:
    """Send a subscription's events until the reader leaves or falls behind; the body is never ended in order.

    With `bursts` the server understands `chunks`: what came together is sent together, each event in a chunk of its
    own. With `offer` too, a source with many readers can have them sent at once. A reader that has seen the head misses
    nothing. One that falls behind is left in the middle, also while a write to it is stuck: the write is cancelled.
    """
    try:
        async with trio.open_nursery() as nursery:
            sender = _Sender(subscription, nursery.cancel_scope, BURST if bursts else 1)
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
        """Send events as they come, for ever."""
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
        """Take the next events, as frames."""
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
