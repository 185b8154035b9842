"""The server's side of a TLS handshake: a client that is refused is told why."""

from typing import Final, TypeVar

import trio

__all__ = ["shake_hands"]

S = TypeVar("S", bound=trio.abc.HalfCloseableStream)

FAREWELL: Final = 1.0
"""How many seconds a refused client has to read why."""

READ: Final = 65536
"""How much is read of it at once meanwhile."""


async def shake_hands(stream: trio.SSLStream[S]) -> None:
    """Agree on keys. A client that is refused, such as for its certificate, is sent the alert, as a BBS sends it.

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
