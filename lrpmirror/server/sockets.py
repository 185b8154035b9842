"""What trio's streams do not do: writes without a turn of the scheduler, and the alert for a client that is refused."""

import os
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

S = TypeVar("S", bound=trio.abc.HalfCloseableStream)

MOST: Final = 65536  # how much is written at once: a slow reader has the whole time limit for each
FAREWELL: Final = 1.0  # seconds that a refused client has to read the alert
READ: Final = 65536  # bytes read from it at once meanwhile

# Sends bytes by a stream's method, as long as it takes.
Send = Callable[[bytes, Callable[[bytes], Awaitable[None]]], Awaitable[None]]


class QuickWriter:
    """Writes to a stream what its client takes at once, which saves a turn, and the rest when there is time to wait.

    Nothing else may write to the stream between `write` and the end of `finish`. With TLS the handshake is over.
    """

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream
        self._left = b""

    def write(self, data: bytes) -> bool:
        """Write what the client takes now; return whether that was all. If not, `finish` has to be called next."""
        for start in range(0, len(data), MOST):
            if not self._write(data[start : start + MOST]):
                self._left += data[start + MOST :]
                return False
        return True

    def leave(self, data: bytes) -> None:
        """Leave this to `finish`."""
        self._left = data

    async def finish(self, send: Send) -> None:
        """Send what is left."""
        stream = self._stream
        data, self._left = self._left, b""
        if isinstance(stream, trio.SSLStream):
            encrypted = stream._outgoing.read()  # noqa: SLF001 - see _encrypt
            if encrypted:
                # Read before it is waited: the lock is fair, and so what was encrypted first is sent first.
                async with stream._inner_send_lock:  # noqa: SLF001 - see _encrypt
                    await send(encrypted, stream.transport_stream.send_all)
        for start in range(0, len(data), MOST):
            await send(data[start : start + MOST], stream.send_all)

    def _write(self, data: bytes) -> bool:
        if isinstance(self._stream, trio.SocketStream):
            self._left = data[_written(self._stream, data) :]
            return not self._left
        return self._encrypt(self._stream, data)

    def _encrypt(self, stream: trio.SSLStream[trio.SocketStream], data: bytes) -> bool:
        # trio has no such write. What it does is done here in its order: encrypt, and send what came of it before
        # anything that is encrypted later, such as the answer to a client that renews its keys; and nothing before what
        # the handshake has left to be sent.
        if stream._inner_send_lock.locked() or stream._delayed_outgoing is not None:  # noqa: SLF001 - as said
            self._left = data
            return False
        outgoing = stream._outgoing  # noqa: SLF001 - as said
        try:
            stream._ssl_object.write(data)  # noqa: SLF001 - as said
        except ssl.SSLError:
            # The task that waits for the client gets the error, not the one that sends to all clients.
            self._left = data
            return False
        encrypted = outgoing.read()
        written = _written(stream.transport_stream, encrypted)
        if written == len(encrypted):
            return True
        # The next sender takes it from there, and sends it first.
        outgoing.write(encrypted[written:])
        return False


def _written(stream: trio.SocketStream, data: bytes) -> int:
    """Write what can be written without waiting; return the number of bytes. An error shows with the next write."""
    try:
        return os.write(stream.socket.fileno(), data)
    except OSError:
        return 0


async def shake_hands(stream: trio.SSLStream[S]) -> None:
    """Do the handshake, with the alert for a client that is refused. Raises BrokenResourceError if it fails."""
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError:
        # OpenSSL has written the alert, and trio raises before it sends what was written.
        alert = stream._outgoing.read()  # noqa: SLF001 - there is no public way to it
        below = stream.transport_stream
        if alert:
            with trio.move_on_after(FAREWELL):
                await below.send_all(alert)
                # With TLS 1.3 the client has sent its request by now. A socket that is closed with that unread resets
                # the connection, which takes the alert away from the client, too.
                await below.send_eof()
                while await below.receive_some(READ):
                    pass
        raise
