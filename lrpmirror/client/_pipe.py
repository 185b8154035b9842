"""A connection as bytes in and out, plain or TLS, that returns everything one read of the network brought.

A BBS writes each event as a TLS record; `trio.SSLStream` would return one for each turn of the scheduler.
"""

import math
import os
import socket
import ssl
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Final, Protocol

import httpx
import trio

from lrpmirror.errors import MirrorForked
from lrpmirror.forks import notify_when_forked

_READ_SIZE: Final = 120 * 1024
"""Bytes read at once. From 128 KiB on, malloc asks the kernel for the buffer each time, which takes five times as long
as a small read."""

_RECORD: Final = 16 * 1024  # what a TLS record can hold, which is all that OpenSSL returns at once

SocketOption = tuple[int, int, int]

KEEP_ALIVE: Final[tuple[SocketOption, ...]] = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
)
"""A vanished peer is noticed after a minute, on systems with per-socket settings."""


class Pipe(Protocol):
    """Bytes both ways. Errors are httpx's, as its own transports raise them."""

    async def send(self, data: bytes, timeout: float) -> None:
        """Send everything."""

    async def receive(self, timeout: float) -> bytes:
        """Return what the next read of the network brings; empty at its end."""

    async def close(self) -> None:
        """Close at once, without a TLS close_notify; safe when cancelled and when called twice."""


class HandshakeCutError(httpx.ConnectError):
    """The peer closed or reset the connection before the end of the TLS handshake, without an alert."""


class PlainPipe:
    """Bytes over TCP."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        notify_when_forked(self)

    def forked(self, _: MirrorForked) -> None:
        """Leave the connection to the parent process: the socket stays open while any process has it open."""
        descriptor = self._stream.socket.detach()
        if descriptor >= 0:
            os.close(descriptor)

    async def send(self, data: bytes, timeout: float) -> None:
        """Send everything."""
        try:
            with _limit(timeout):
                await self._stream.send_all(data)
        except trio.TooSlowError as exc:
            raise httpx.WriteTimeout("") from exc
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise httpx.WriteError(_text(exc)) from exc

    async def receive(self, timeout: float) -> bytes:
        """Return what the next read of the network brings; empty at its end."""
        try:
            with _limit(timeout):
                below = self._stream.socket
                while below.fileno() >= 0:
                    # trio's own stream reads before it waits: in vain, each time that an event comes alone, and the
                    # callbacks for the event before wait for it.
                    await trio.lowlevel.wait_readable(below)
                    with suppress(BlockingIOError):
                        return os.read(below.fileno(), _READ_SIZE)
                # It is closed, or of a network that is simulated.
                return bytes(await self._stream.receive_some(_READ_SIZE))
        except trio.TooSlowError as exc:
            raise httpx.ReadTimeout("") from exc
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise httpx.ReadError(_text(exc)) from exc

    async def close(self) -> None:
        """Close at once."""
        await trio.aclose_forcefully(self._stream)


class TLSPipe:
    """Bytes over TLS over another pipe: OpenSSL between two memory buffers."""

    def __init__(self, below: PlainPipe, context: ssl.SSLContext, host: str) -> None:
        self._below = below
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._failure: ssl.SSLError | None = None
        self._ended = False
        self._drained = False  # whether nothing can be decrypted before more has come

    async def handshake(self, timeout: float) -> None:
        """Do the TLS handshake; raises httpx.ConnectError caused by OpenSSL's error, HandshakeCutError without one."""
        # Sent and received outside of what handles OpenSSL's errors: that it wants to read is the cause of nothing.
        try:
            while not self._agreed():
                await self._flush(timeout)
                await self._fill(timeout)
        except (httpx.ReadError, httpx.WriteError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as exc:
            raise HandshakeCutError(_text(exc)) from exc
        except ssl.SSLError as exc:
            # What is left to send is the alert that tells the server why.
            with suppress(httpx.WriteError):
                await self._flush(timeout)
            raise httpx.ConnectError(_text(exc)) from exc
        await self._flush(timeout)

    async def send(self, data: bytes, timeout: float) -> None:
        """Send everything."""
        self._tls.write(data)
        await self._flush(timeout)

    async def receive(self, timeout: float) -> bytes:
        """Return all that is there after the next read of the network; empty at its end."""
        while True:
            # To be told so by OpenSSL costs an exception, each time that an event comes alone.
            if not self._drained:
                data = self._decrypted()
                if data:
                    return data
                if self._failure:
                    raise httpx.ReadError(_text(self._failure)) from self._failure
                if self._ended:
                    return b""
            await self._flush(timeout)
            await self._fill(timeout)

    async def close(self) -> None:
        """Close at once."""
        await self._below.close()

    def _agreed(self) -> bool:
        """Advance the handshake with the bytes received; return whether it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _decrypted(self) -> bytes:
        """Return what can be decrypted now, and record the end or the error that follows it."""
        pieces: list[bytes] = []
        try:
            while piece := self._tls.read(_RECORD):
                pieces.append(piece)
                # Asked only behind the first: an event that comes alone is most of what comes at a quiet time.
                if len(pieces) == 1 and not self._incoming.pending:
                    self._drained = True
                    return piece
            self._ended = True
        except ssl.SSLWantReadError:
            self._drained = True
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended = True
        except ssl.SSLError as exc:
            self._failure = self._failure or exc
        return b"".join(pieces)

    async def _fill(self, timeout: float) -> None:
        data = await self._below.receive(timeout)
        self._drained = False
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self, timeout: float) -> None:
        data = self._outgoing.read()
        if data:
            await self._below.send(data, timeout)


_WITHOUT: Final = nullcontext()


def _limit(timeout: float) -> AbstractContextManager[object]:
    """Return a context with this timeout; nothing is set up for an infinite one, as for each read of a stream."""
    return trio.fail_after(timeout) if timeout < math.inf else _WITHOUT


async def connect(host: str, port: int, context: ssl.SSLContext | None, timeout: float) -> Pipe:
    """Open a connection with TCP keep-alive, and TLS with a context, within `timeout`; raises httpx.ConnectError."""
    try:
        with trio.fail_after(timeout):
            stream = await trio.open_tcp_stream(host, port)
            plain = PlainPipe(stream)
            try:
                for option in KEEP_ALIVE:
                    stream.setsockopt(*option)
                if context is None:
                    return plain
                # A trailing dot is for the resolver: certificates and servers know the name without it.
                pipe = TLSPipe(plain, context, host.removesuffix("."))
                await pipe.handshake(math.inf)
            except BaseException:
                await plain.close()
                raise
            return pipe
    except trio.TooSlowError as exc:
        raise httpx.ConnectTimeout("") from exc
    except (OSError, httpx.NetworkError) as exc:
        if isinstance(exc, httpx.ConnectError):
            raise
        raise httpx.ConnectError(_text(exc)) from exc


def _text(exc: BaseException) -> str:
    return str(exc) or str(exc.__cause__ or type(exc).__name__)
