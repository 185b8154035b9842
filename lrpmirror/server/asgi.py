"""The few types and keys of ASGI that the server side uses, and whole replies."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

CHUNKS: Final = "lrpmirror.chunks"
"""An extension of ASGI that the server here offers where it sends chunks: once the head has been sent, a body message
may have `chunks`, a list of bytes, for its `body`.

Each is sent as a chunk of its own, all in one write; plain ASGI leaves where chunks end to the server.
"""

OFFER: Final = "offer"
"""In that extension: a function that sends chunks without waiting, and returns whether the client took all of them.

It may be called when nothing else is being sent. If it returns False, a message with no `chunks` has to be sent next,
which waits for the client to take the rest.
"""

TEXT: Final = b"text/plain; charset=utf-8"


async def send_whole(send: Send, status: int, content_type: bytes, body: bytes, *headers: Header) -> None:
    """Send a reply with a whole body."""
    about = [(b"content-length", b"%d" % len(body)), (b"content-type", content_type), *headers]
    await send({"type": "http.response.start", "status": status, "headers": about})
    await send({"type": "http.response.body", "body": body})


async def send_not_found(send: Send) -> None:
    """Send a 404, in the words of a BBS."""
    await send_whole(send, 404, TEXT, b"404 page not found\n")


async def send_not_allowed(send: Send, allowed: bytes) -> None:
    """Send a 405 that names the methods which are allowed."""
    await send_whole(send, 405, TEXT, b"Method Not Allowed\n", (b"allow", allowed))


def with_headers(send: Send, *more: Header) -> Send:
    """Return what sends with more headers."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sending
