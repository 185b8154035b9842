"""The few words of ASGI that the server side uses."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

__all__ = ["CHUNKS", "ASGIApp", "Message", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
CHUNKS: Final = "lrpmirror.chunks"
"""An extension of ASGI that the server here offers: a body message may have `chunks`, a list of bytes, for its `body`.

Each is sent as a chunk of its own, all in one write; plain ASGI leaves where chunks end to the server.
"""

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
