"""Writing to a connection without a turn of the scheduler, as far as its client takes it at once.

An event that goes to a thousand readers is a thousand writes. A task that waits for each of them costs more than the
system's call, and over TLS, with trio's own stream, more than the encryption.
"""

import os
import ssl
from collections.abc import Awaitable, Callable

import trio

__all__ = ["write_quickly"]

Send = Callable[[bytes, Callable[[bytes], Awaitable[None]]], Awaitable[None]]
"""Sends bytes by a stream's method, as long as it takes."""


async def write_quickly(stream: trio.SocketStream | trio.SSLStream[trio.SocketStream], data: bytes, send: Send) -> None:
    """Write bytes, and `send` only what the client does not take at once. Nobody else may be writing."""
    if isinstance(stream, trio.SocketStream):
        rest = data[_written(stream, data) :]
        if rest:
            await send(rest, stream.send_all)
        return
    # trio has no such write. What it does is done here in its order, under its own lock: encrypt, and send what came of
    # it before anything else that is encrypted later, such as the answer to a client that renews its keys.
    lock = stream._inner_send_lock  # noqa: SLF001 - as said
    if lock.locked():
        await send(data, stream.send_all)
        return
    lock.acquire_nowait()
    try:
        try:
            stream._ssl_object.write(data)  # noqa: SLF001 - as said
        except ssl.SSLError as exc:
            # Also where it wants to read first, which only renegotiation does, and that is refused.
            raise trio.BrokenResourceError from exc
        encrypted = stream._outgoing.read()  # noqa: SLF001 - as said
        rest = encrypted[_written(stream.transport_stream, encrypted) :]
        if rest:
            await send(rest, stream.transport_stream.send_all)
    finally:
        lock.release()


def _written(stream: trio.SocketStream, data: bytes) -> int:
    """Write what can be written without waiting; return how much that was. What is wrong shows with the next write."""
    try:
        return os.write(stream.socket.fileno(), data)
    except OSError:
        return 0
