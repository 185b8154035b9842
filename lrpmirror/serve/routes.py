"""Paths beside those of a BBS: a table from path to ASGI application."""

from collections.abc import Callable, Mapping
from typing import Final

from lrpmirror.mirror import Mirror
from lrpmirror.serve.replica import Replica
from lrpmirror.server import asgi
from lrpmirror.server.asgi import ASGIApp, Receive, Scope, Send

PLAIN: Final = b"text/plain; charset=utf-8"

_HEADERS: Final = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]
"""The headers of every reply for browsers: no caching, no type sniffing, no framing, no referrer."""

Routes = Callable[[Mirror, Replica], Mapping[str, ASGIApp]]  # makes such a table for a mirror and its replica


def printable(text: str) -> str:
    """Return a text that can be sent: with escapes for what is no character, such as in the name of a file."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def routed(table: Mapping[str, ASGIApp], *, fallback: ASGIApp) -> ASGIApp:
    """Return an application that passes each path in the table to its application, all others to `fallback`.

    What is in the table can be read only, by GET or HEAD. Lifespan messages go to `fallback`.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = table.get(scope["path"]) if scope["type"] == "http" else None
        if chosen is None:
            await fallback(scope, receive, send)
        elif scope["method"] in {"GET", "HEAD"}:
            await chosen(scope, receive, send)
        else:
            await send_whole(send, 405, PLAIN, b"Method Not Allowed\n", (b"allow", b"GET, HEAD"))

    return app


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
    """Answer 404 to every request; an ASGI application."""
    if scope["type"] == "http":
        await send_whole(send, 404, PLAIN, b"404 page not found\n")


async def send_whole(send: Send, status: int, content_type: bytes, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send a reply with a whole body, for browsers too; `headers` beside those that all replies have."""
    await asgi.send_whole(send, status, content_type, body, *_HEADERS, *headers)
