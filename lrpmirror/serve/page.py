"""The page for people: one HTML file without anything from elsewhere, and the state that it asks for each second."""

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Final

import msgspec
import trio

from lrpmirror.mirror import Mirror
from lrpmirror.serve.picture import take_picture
from lrpmirror.serve.pulse import Pulse
from lrpmirror.serve.routes import send_whole
from lrpmirror.server.asgi import ASGIApp, Receive, Scope, Send
from lrpmirror.views import Cells, Processes

__all__ = ["page_routes"]

KEPT: Final = 0.9
"""For how many seconds a picture serves everyone who asks, so that many viewers cost as much as one."""


class _State:
    """Answers with the picture of the moment. One is taken at a time, and only when somebody looks."""

    def __init__(self, mirror: Mirror, pulse: Pulse, clock: Callable[[], float]) -> None:
        self._mirror = mirror
        self._pulse = pulse
        self._clock = clock
        self._cells = mirror.view(Cells())
        self._processes = mirror.view(Processes())
        self._taking = trio.Lock()
        self._taken_at = float("-inf")
        self._body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI calls it
        async with self._taking:
            if self._clock() - self._taken_at > KEPT:
                picture = await take_picture(self._mirror, self._cells, self._processes, self._pulse)
                self._body = await trio.to_thread.run_sync(msgspec.json.encode, picture)
                self._taken_at = self._clock()
        await send_whole(send, 200, b"application/json", self._body)


def page_routes(mirror: Mirror, pulse: Pulse, clock: Callable[[], float]) -> Mapping[str, ASGIApp]:
    """Return who answers `/` and `/page/state` for a mirror; `pulse` is to be its witness."""
    html = files("lrpmirror.serve").joinpath("page.html").read_bytes()

    async def page(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
        await send_whole(send, 200, b"text/html; charset=utf-8", html)

    return {"/": page, "/page/state": _State(mirror, pulse, clock)}
