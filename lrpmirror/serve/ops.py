"""The paths for operators: metrics, health, and a page, one HTML file that requests the state each second."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

import msgspec
import trio

from lrpmirror.mirror import Mirror, MirrorView
from lrpmirror.serve.event_rates import EventRates
from lrpmirror.serve.health import alive, ready_app
from lrpmirror.serve.metrics import metrics_app
from lrpmirror.serve.page_model import page_model_of
from lrpmirror.serve.replica import Replica
from lrpmirror.server import Traffic
from lrpmirror.server.asgi import ASGIApp, Receive, Scope, Send, send_whole
from lrpmirror.views import CellLoad, Cells, Processes, ProcessHealth

_INLINE: Final = re.compile(rb"<(style|script)>(.*?)</\1>", re.DOTALL)

KEPT: Final = 0.9  # for how many seconds a page model answers all requests, so that many viewers cost as much as one


def ops_routes(
    mirror: Mirror, replica: Replica | None = None, *, servers: Mapping[str, Traffic] = MappingProxyType({})
) -> Mapping[str, ASGIApp]:
    """Return the applications for `/metrics`, of `servers` too, `/healthz`, `/readyz`, and with a replica `/`."""
    routes = {
        "/metrics": metrics_app(mirror, replica, servers),
        "/healthz": alive,
        "/readyz": ready_app(mirror, overload=lambda: "" if replica is None else replica.readers.load.trouble),
    }
    if replica is not None:
        routes |= page_routes(mirror, replica.event_rates, trio.lowlevel.current_clock().current_time)
    return routes


def page_routes(mirror: Mirror, event_rates: EventRates, clock: Callable[[], float]) -> Mapping[str, ASGIApp]:
    """Return the applications for `/` and `/page/state` for a mirror; `event_rates` is to be its observer."""
    html = files("lrpmirror.serve").joinpath("page.html").read_bytes()
    policy = content_policy(html)

    async def page(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
        await send_whole(send, 200, b"text/html; charset=utf-8", html, (b"content-security-policy", policy))

    taking = trio.Lock()
    taken_at, body = float("-inf"), b""
    views: tuple[MirrorView[str, CellLoad], MirrorView[str, ProcessHealth]] | None = None

    async def state(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
        nonlocal taken_at, body, views
        # One is made at a time, and only on request; the views with the first.
        async with taking:
            if clock() - taken_at > KEPT:
                views = views or (await mirror.view(Cells()), await mirror.view(Processes()))
                page_model = await page_model_of(mirror, *views, event_rates)
                body = await trio.to_thread.run_sync(msgspec.json.encode, page_model)
                taken_at = clock()
        await send_whole(send, 200, b"application/json", body)

    return {"/": page, "/page/state": state}


def content_policy(html: bytes) -> bytes:
    """Return a Content-Security-Policy by which no markup in the name of a cell is run or loaded."""
    allowed = {
        kind: b"'sha256-" + base64.b64encode(hashlib.sha256(text).digest()) + b"'"
        for kind, text in _INLINE.findall(html)
    }
    return (
        b"default-src 'none'; script-src %s; style-src %s; connect-src 'self'; img-src data:; base-uri 'none'; "
        b"form-action 'none'; frame-ancestors 'none'" % (allowed[b"script"], allowed[b"style"])
    )
