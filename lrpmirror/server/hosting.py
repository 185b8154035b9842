"""An ASGI application on a loopback port, with the means to misbehave: to cut, to refuse, to fall silent."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from lrpmirror.background import background
from lrpmirror.errors import ConfigurationError
from lrpmirror.server.asgi import ASGIApp
from lrpmirror.server.http import Connection, Gate, Stream

__all__ = ["Host", "authority", "mutual_tls", "serve_app"]


def mutual_tls(*, ca: str | Path, cert: str | Path, key: str | Path) -> ssl.SSLContext:
    """Return a context for a server that demands a client certificate signed by `ca`, as a BBS does.

    Raises ConfigurationError for files that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(ca)
        context.load_cert_chain(cert, key)
    except OSError as exc:
        raise ConfigurationError(
            f"mutual_tls(ca={ca}, cert={cert}, key={key}): {exc}; give readable PEM files"
        ) from exc
    return context


def authority(host: str, port: int) -> str:
    """Return a host, by name or number, and its port as a URL has them: an IPv6 address has brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Host:
    """A running server. Made by `serve_app`; its methods are for the tasks of the same trio run."""

    def __init__(
        self, app: ASGIApp, nursery: trio.Nursery, address: str, port: int, tls: ssl.SSLContext | None
    ) -> None:
        self._app = app
        self._nursery = nursery
        self._address = address
        self._port = port
        self._tls = tls
        self._gate = Gate()
        self._connections: set[Connection] = set()
        self.failures: list[Exception] = []
        """What the application has raised."""
        self._accepting: trio.CancelScope | None = None
        self._closed = trio.Event()
        self._closed.set()

    @property
    def port(self) -> int:
        """The port, the same for as long as the server lives."""
        return self._port

    @property
    def url(self) -> str:
        """The URL that a client is given."""
        return f"{'http' if self._tls is None else 'https'}://{authority(self._address, self._port)}"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def streams(self) -> int:
        """How many event streams are open."""
        return sum(connection.streaming for connection in self._connections)

    def start_soon(self, task: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a task beside the server, for as long as the server lives at most; its exception ends the server."""
        self._nursery.start_soon(task, *args)

    def cut(self, *, streams_only: bool = False) -> int:
        """Close all connections now, or those with an event stream; return how many. New ones are still accepted."""
        doomed = [each for each in self._connections if each.streaming or not streams_only]
        for connection in doomed:
            connection.scope.cancel()
        return len(doomed)

    def pause(self) -> None:
        """Fall silent: connections stay and are accepted, but nothing is written on any."""
        self._gate.close()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._gate.open()

    async def refuse(self) -> None:
        """Close the port, so that new connections are refused; those that there are stay."""
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None
        await self._closed.wait()

    async def accept(self) -> None:
        """Listen, also again after `refuse`, on the same port. Raises ConfigurationError if the port cannot be had."""
        if self._accepting is not None:
            return
        # Who has not waited for `refuse` to end finds the port still in use.
        await self._closed.wait()
        try:
            listeners = await trio.open_tcp_listeners(self._port, host=self._address)
        except OSError as exc:
            raise ConfigurationError(
                f"cannot listen on {authority(self._address, self._port)}: {exc}; choose another"
            ) from exc
        self._port = listeners[0].socket.getsockname()[1]
        self._accepting = await self._nursery.start(self._accept, listeners)

    async def _accept(
        self,
        listeners: list[trio.SocketListener],
        task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        closed = self._closed = trio.Event()
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await trio.serve_listeners(self._serve, listeners, handler_nursery=self._nursery)
        closed.set()

    async def _serve(self, socket: trio.SocketStream) -> None:
        stream: Stream = socket
        if self._tls is not None:
            stream = trio.SSLStream(socket, self._tls, server_side=True, https_compatible=True)
        connection = Connection(self._app, stream, self._gate, self.failures)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


@asynccontextmanager
async def serve_app(
    app: ASGIApp, *, address: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Host]:
    """Serve the application while the context is open; port 0 takes a free one.

    Leaving closes every connection at once, also those with an open stream or a stuck write. What the block raises
    leaves it as it was raised; an exception of the application ends it in an ExceptionGroup. Raises ConfigurationError
    if the port cannot be had.
    """
    async with background() as nursery:
        host = Host(app, nursery, address, port, tls)
        await host.accept()
        yield host
    if host.failures:
        raise ExceptionGroup("the application failed", host.failures)
