"""The event streams: the head, then one message of the body for each event, until either side has enough."""

from collections.abc import Mapping
from typing import Final

import trio
from google.protobuf.message import DecodeError

from lrpmirror.server.asgi import Receive, Send
from lrpmirror.server.subscription import StreamKind, Subscription
from lrpmirror.wire import text
from lrpmirror.wire.proto.events_pb2 import EventsByCellId

__all__ = ["STREAMS", "cell_of", "stream_events"]

STREAMS: Final[Mapping[str, StreamKind]] = {
    "/v1/events/lrp_instances.r1": "instances",
    "/v1/events/lrp_instances": "instances",
    "/v1/events.r1": "groups",
    "/v1/events": "groups",
}
"""The paths of the streams, newer first. Both versions of one are answered alike."""

BURST: Final = 64
"""How many events are sent in one write at most."""

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


async def stream_events(subscription: Subscription, receive: Receive, send: Send, *, bursts: bool = False) -> None:
    """Send a subscription's events until the reader leaves or falls behind; the body is never ended in order.

    With `bursts` the server understands `chunks`: what has come in together is sent together, each event still in a
    chunk of its own.

    The subscription was made before the head is sent: whoever has seen the head misses nothing. It is closed here. A
    reader that falls behind is left in the middle, also while a write to it is stuck: the write is cancelled, and a
    server that honours that closes the connection.
    """
    try:
        async with trio.open_nursery() as nursery:
            news = _News(subscription, nursery.cancel_scope)
            await send({"type": "http.response.start", "status": 200, "headers": _HEAD})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            nursery.start_soon(_watch_for_disconnect, receive, nursery.cancel_scope)
            await _send_all(subscription, news, send, BURST if bursts else 1)
    finally:
        subscription.on_change = None
        subscription.close()


class _News:
    """Wakes the sender when there is something to send, and stops it when the subscription has been closed."""

    def __init__(self, subscription: Subscription, scope: trio.CancelScope) -> None:
        self._subscription = subscription
        self._scope = scope
        self._event = trio.Event()
        subscription.on_change = self._changed
        self._changed()

    def _changed(self) -> None:
        if self._subscription.closed:
            self._scope.cancel()
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = trio.Event()


async def _send_all(subscription: Subscription, news: _News, send: Send, at_once: int) -> None:
    number = 0
    while True:
        burst = subscription.take_encoded(at_once)
        if not burst:
            await news.wait()
            continue
        frames: list[bytes] = []
        now = trio.current_time()
        for told in burst:
            frames.append(told.frame(number, now))
            # What is for mirrors only is no event of the protocol.
            number += not told.mirror_only
        content = {"body": frames[0]} if at_once == 1 else {"chunks": frames}
        await send({"type": "http.response.body", "more_body": True, **content})


async def _watch_for_disconnect(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
