"""Paths beside those of a BBS, and who answers them: a table from path to ASGI application."""

from collections.abc import Callable, Mapping

from lrpmirror.mirror import Mirror
from lrpmirror.serve.replica import Replica
from lrpmirror.server.asgi import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Routes", "not_found", "routed", "send_whole"]

Routes = Callable[[Mirror, Replica], Mapping[str, ASGIApp]]
"""Makes a table for a mirror and its replica."""


def routed(table: Mapping[str, ASGIApp], *, fallback: ASGIApp) -> ASGIApp:
    """Return an application that asks whom the table has for a path, and `fallback` for all others.

    Lifespan messages go to `fallback`.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = table.get(scope["path"], fallback) if scope["type"] == "http" else fallback
        await chosen(scope, receive, send)

    return app


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
    """Answer 404 to every request; an ASGI application."""
    if scope["type"] == "http":
        await send_whole(send, 404, b"text/plain; charset=utf-8", b"404 page not found\n")


async def send_whole(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    """Send a reply whose body is there."""
    headers = [
        (b"cache-control", b"no-store"),
        (b"content-length", b"%d" % len(body)),
        (b"content-type", content_type),
    ]
    head: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(head)
    await send({"type": "http.response.body", "body": body})
