"""A reader's subscription: how much is kept for it, and from when on."""

from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest
import trio
from patience import PATIENCE

from lrpmirror.events import Event, UnknownEvent
from lrpmirror.server import BBSApp, StreamKind, Subscription
from lrpmirror.sim import Diego


def events(count: int) -> list[Event]:
    return [UnknownEvent("e", str(number).encode()) for number in range(count)]


@pytest.mark.parametrize("limit", [1, 3, 1024])
def test_just_as_many_events_are_kept_since_the_reader_came_as_the_limit_says(limit: int) -> None:
    subscription = Subscription("instances", limit=limit)
    notified: Sequence[Event] = events(limit + 1)
    for event in notified[:limit]:
        subscription.put(event)
    assert (len(subscription), subscription.closed) == (limit, False)
    assert subscription.take() == notified[0]
    for event in notified[1:]:
        subscription.put(event)
    assert (len(subscription), subscription.closed) == (2 * limit - 1, False)
    subscription.put(notified[0])
    assert (len(subscription), subscription.closed, subscription.fell_behind) == (0, True, True)


def test_what_happens_while_the_head_is_being_sent_is_in_the_stream() -> None:
    """A reader lists once it has seen the head; what comes between the two is for the stream to tell."""
    subscriptions: list[Subscription] = []
    sent: list[bytes] = []
    over = trio.Event()
    asked: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]

    class Source(Diego):
        def subscribe(self, kind: StreamKind, cell_id: str = "", *, limit: int | None = None) -> Subscription:
            subscriptions.append(super().subscribe(kind, cell_id, limit=limit))
            return subscriptions[-1]

    async def send(message: MutableMapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            for subscription in subscriptions:
                subscription.put(UnknownEvent("e", b"first"))
        elif message.get("body"):
            sent.append(message["body"])
            over.set()

    async def receive() -> MutableMapping[str, Any]:
        if asked:
            return asked.pop()
        await over.wait()
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/v1/events/lrp_instances.r1", "headers": []}

    async def main() -> None:
        with trio.fail_after(PATIENCE):
            await BBSApp(Source())(scope, receive, send)

    trio.run(main)
    assert len(sent) == 1
    assert b"event: e" in sent[0]
    assert subscriptions[0].closed
