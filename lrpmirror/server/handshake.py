"""The server's side of a TLS handshake: a client that is refused gets the alert that says why."""

from typing import Final, TypeVar

import trio

S = TypeVar("S", bound=trio.abc.HalfCloseableStream)

FAREWELL: Final = 1.0
"""Seconds that a refused client has to read the alert."""

READ: Final = 65536
"""Bytes read from it at once meanwhile."""


async def shake_hands(stream: trio.SSLStream[S]) -> None:
    """Do the handshake. A client that is refused, such as for its certificate, is sent the alert, as a BBS sends it.

    Raises BrokenResourceError for a client that is refused, or leaves.
    """
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError:
        with trio.move_on_after(FAREWELL):
            await _send_alert(stream)
        raise


async def _send_alert(stream: trio.SSLStream[S]) -> None:
    # OpenSSL has written it, and trio raises before it sends what was written.
    alert = stream._outgoing.read()  # noqa: SLF001 - there is no public way to it
    below = stream.transport_stream
    if alert:
        await below.send_all(alert)
        # With TLS 1.3 the client has sent its request by now. A socket that is closed with that unread resets the
        # connection, which takes the alert away from the client, too.
        await below.send_eof()
        while await below.receive_some(READ):
            pass
