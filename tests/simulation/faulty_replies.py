"""Faulty replies: an application around the BBS's, which applies the active faults to requests."""

from collections.abc import Callable
from random import Random
from typing import Final

import trio

from lrpmirror.server.app import BBSApp
from lrpmirror.server.asgi import ASGIApp, Message, Receive, Scope, Send
from lrpmirror.server.lists import LISTS
from lrpmirror.wire import encode
from simulation.active_faults import ActiveFaults
from simulation.history import History

__all__ = ["GARBAGE", "HIDDEN", "FaultyReplies"]

GARBAGE: Final = b"\x12\xff\xff\x03not a record"
"""A body that begins like a record of a list and is malformed."""

HIDDEN: Final = {
    "parts": ("/v1/desired_lrp_scheduling_infos/list", "/v1/desired_lrp_routing_infos/list"),
    "rows": ("/v1/actual_lrps/list",),
    "streams": ("/v1/events/lrp_instances.r1", "/v1/events.r1"),
    "guids": ("/v1/actual_lrps/list_by_process_guids",),
    "ping": ("/v1/ping",),
}
"""The paths that an older server does not know."""


class FaultyReplies:
    """Answers as the application does, or with an active fault."""

    def __init__(
        self, app: BBSApp, active_faults: ActiveFaults, history: History, rng: Random, clock: Callable[[], float]
    ) -> None:
        self._app = app
        self._active_faults = active_faults
        self._history = history
        self._rng = rng
        self._clock = clock
        self.moment = 0.0
        """The longest delay of each list, before its state is read and again after."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        trouble, path = self._active_faults.now, scope.get("path", "")
        if trouble("unavailable") or trouble("fail-over"):
            await _reply(send, 503, b"text/plain", b"")
        elif (old := trouble("older server")) and path in HIDDEN[old.choice]:
            await _reply(send, 404, b"text/plain; charset=utf-8", b"404 page not found\n")
        elif path in LISTS:
            await self._list(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _list(self, scope: Scope, receive: Receive, send: Send) -> None:
        trouble = self._active_faults.now
        if self.moment:
            await trio.sleep(self._rng.uniform(0, self.moment))
            send = _DelayedReply(send, self._rng.uniform(0, self.moment))
        slow = trouble("slow lists")
        if slow and slow.choice == "before":
            await trio.sleep(slow.amount)
        if refused := trouble("refused lists"):
            await _refuse(send, refused.choice)
            return
        if trouble("empty lists"):
            await _reply(send, 200, b"application/x-protobuf", b"")
            return
        app: ASGIApp = self._app
        if lag := trouble("lagging lists"):
            app = BBSApp(self._history.past(self._clock() - lag.amount))
        if broken := trouble("truncated lists"):
            send = _Truncated(send, broken.amount)
        if slow and slow.choice == "after":
            send = _DelayedReply(send, slow.amount)
        await app(scope, receive, send)


class _DelayedReply:
    """Delays the head of a reply; the state has been read by then."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send = send
        self._seconds = seconds

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await trio.sleep(self._seconds)
        await self._send(message)


class _Truncated:
    """Sends a share of the body and swallows the rest: a server closes the connection of a reply without its end."""

    def __init__(self, send: Send, share: float) -> None:
        self._send = send
        self._share = share
        self._ended = False

    async def __call__(self, message: Message) -> None:
        if self._ended:
            return
        if message["type"] == "http.response.body":
            self._ended = True
            body = message.get("body", b"")
            message = {**message, "body": body[: int(len(body) * self._share)], "more_body": True}
        await self._send(message)


async def _refuse(send: Send, how: str) -> None:
    match how:
        case "502":
            await _reply(send, 502, b"text/html", b"<html>Bad Gateway</html>")
        case "proxy":
            await _reply(send, 404, b"text/plain", b"unknown route", (b"x-cf-routererror", b"unknown_route"))
        case "garbage":
            await _reply(send, 200, b"application/x-protobuf", GARBAGE)
        case "html":
            await _reply(send, 200, b"text/html", b"<html>Please log in</html>")
        case kind:
            await _reply(send, 200, b"application/x-protobuf", encode.error_reply(kind, "by the plan"))


async def _reply(send: Send, status: int, kind: bytes, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", kind), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
