"""Faults of single requests: lists that are slow or break off, streams that fall silent and stay open."""

import random
from collections import Counter

import trio

from lrpmirror.server.asgi import ASGIApp, Message, Receive, Scope, Send
from lrpmirror.server.lists import LISTS
from lrpmirror.server.streams import STREAMS
from lrpmirror.sim.plan import FaultPlan


class FaultyReplies:
    """An ASGI application around another, which injects a plan's faults into single requests, until `calm`.

    `mishaps` is counted by the plan's names.
    """

    def __init__(self, app: ASGIApp, plan: FaultPlan, mishaps: Counter[str]) -> None:
        self._app = app
        self._plan = plan
        self._mishaps = mishaps
        # Not the generator for what happens to the server, whose times are to be the same whatever is asked.
        self._rng = random.Random(plan.seed + 1)
        self._half_open: set[trio.CancelScope] = set()
        self._calm = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with a fault or without."""
        path = scope.get("path", "")
        if path in LISTS and not self._calm:
            await self._list(scope, receive, send)
        elif path in STREAMS and not self._calm and self._rng.random() < self._plan.half_open_streams:
            self._mishaps["half_open_streams"] += 1
            await self._half_open_stream(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def calm(self) -> None:
        """Inject no more faults. Streams that have gone silent, or were about to, are closed."""
        self._calm = True
        for scope in self._half_open:
            scope.cancel()

    async def _list(self, scope: Scope, receive: Receive, send: Send) -> None:
        early = late = 0.0
        if self._rng.random() < self._plan.slow_lists:
            self._mishaps["slow_lists"] += 1
            slowness = self._rng.uniform(0, self._plan.slowness)
            early, late = self._rng.choice([(slowness, 0.0), (0.0, slowness)])
        if self._rng.random() < self._plan.truncated_lists:
            send = _Truncated(send, self._rng, self._mishaps)
        await trio.sleep(early)
        await self._app(scope, receive, _late(send, late))

    async def _half_open_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        end = trio.current_time() + self._rng.uniform(*self._plan.lasting)

        async def send_until_then(message: Message) -> None:
            if trio.current_time() >= end:
                await trio.sleep_forever()
            await send(message)

        with trio.CancelScope() as stream:
            self._half_open.add(stream)
            try:
                await self._app(scope, receive, send_until_then)
            finally:
                self._half_open.remove(stream)


def _late(send: Send, seconds: float) -> Send:
    """Return a `send` that waits before the head: the state has been read by then."""

    async def send_late(message: Message) -> None:
        if message["type"] == "http.response.start":
            await trio.sleep(seconds)
        await send(message)

    return send_late


class _Truncated:
    """Sends a part of the body and swallows the rest: a server closes the connection of a reply without its end."""

    def __init__(self, send: Send, rng: random.Random, mishaps: Counter[str]) -> None:
        self._send = send
        self._rng = rng
        self._mishaps = mishaps
        self._began = False
        self._ended = False

    async def __call__(self, message: Message) -> None:
        if self._ended:
            return
        body = message.get("body", b"")
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if (body or self._began) and (last or self._rng.random() < 0.5):  # noqa: PLR2004 - a coin
            self._ended = True
            self._mishaps["truncated_lists"] += 1
            message = {**message, "body": body[: self._rng.randrange(len(body) or 1)], "more_body": True}
        self._began = self._began or bool(body)
        await self._send(message)
