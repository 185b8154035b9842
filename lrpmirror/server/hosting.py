"""An ASGI application on a port, within limits; with the means to misbehave: to cut, to refuse, to fall silent."""

import errno
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Final

import trio

from lrpmirror.background import background
from lrpmirror.client import TLS
from lrpmirror.client._tls import Identity, load_server
from lrpmirror.errors import ConfigurationError
from lrpmirror.server.asgi import ASGIApp
from lrpmirror.server.http import Connection, Gate, Stream
from lrpmirror.server.limits import Admission, Limits, Traffic

logger: Final = logging.getLogger("lrpmirror.server")

# Errors of a system that has no descriptor or memory left for one more connection.
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
PAUSE: Final = 0.1  # seconds without accepting after such an error
QUIET: Final = 60.0  # seconds in which the same problem is not logged again


class ServerTLS(Identity):
    """Mutual TLS for a server: a certificate and its key, and the authorities of the clients' certificates, all PEM.

    The files are looked at before each connection; a new set is taken up when it is whole and valid, and the one before
    serves until then, with a warning in the log. Raises ConfigurationError for a set that cannot be used at
    construction.
    """

    def __init__(self, *, ca: str | PathLike[str], cert: str | PathLike[str], key: str | PathLike[str]) -> None:
        super().__init__(TLS(ca=ca, cert=cert, key=key), loader=load_server)


def mutual_tls(*, ca: str | PathLike[str], cert: str | PathLike[str], key: str | PathLike[str]) -> ssl.SSLContext:
    """Return the context of a server that demands certificates by `ca`, as a BBS. Raises ConfigurationError."""
    return load_server(TLS(ca=ca, cert=cert, key=key)).context


def authority(host: str, port: int) -> str:
    """Return a host, by name or number, and its port as a URL has them: an IPv6 address has brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(eq=False, repr=False)
class Host:
    """A running server. Made by `serve_app`; its methods are for the tasks of the same trio run."""

    _app: ASGIApp
    _nursery: trio.Nursery
    _address: str
    port: int  # the same for as long as the server lives
    _tls: ssl.SSLContext | ServerTLS | None
    _admission: Admission

    def __post_init__(self) -> None:
        self.traffic = self._admission.traffic  # counters of connections and requests
        self._complained_at = float("-inf")
        self._gate = Gate()
        self._connections: set[Connection] = set()
        self._accepting: trio.CancelScope | None = None
        self._closed = trio.Event()
        self._closed.set()

    @property
    def url(self) -> str:
        """The URL that a client is given."""
        return f"{'http' if self._tls is None else 'https'}://{authority(self._address, self.port)}"

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
        self._gate.opened.set()

    async def refuse(self) -> None:
        """Close the port, so that new connections are refused; open ones stay."""
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
            listeners = await trio.open_tcp_listeners(self.port, host=self._address)
        except OSError as exc:
            raise ConfigurationError(
                f"cannot listen on {authority(self._address, self.port)}: {exc}; choose another"
            ) from exc
        self.port = listeners[0].socket.getsockname()[1]
        self._accepting = await self._nursery.start(self._accept, listeners)

    async def _accept(
        self,
        listeners: list[trio.SocketListener],
        task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        closed = self._closed = trio.Event()
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(self._accept_from, listener)
            task_status.started(nursery.cancel_scope)
        closed.set()

    async def _accept_from(self, listener: trio.SocketListener) -> None:
        """Take connections, for ever; close the port when cancelled."""
        async with listener:
            while True:
                try:
                    socket = await listener.accept()
                except OSError as error:
                    if error.errno not in EXHAUSTED:
                        raise
                    self._complain(f"no connection can be accepted: {error}; raise the limit of open files")
                    await trio.sleep(PAUSE)
                    continue
                if self._admission.make_room(len(self._connections)):
                    self.traffic.accepted += 1
                    self._start(socket)
                else:
                    self.traffic.refused += 1
                    self._complain(f"{len(self._connections)} connections are being answered: no more are taken")
                    await trio.aclose_forcefully(socket)

    def _complain(self, trouble: str) -> None:
        """Log a problem that may come a thousand times a second, at most once in a while."""
        if trio.current_time() - self._complained_at > QUIET:
            self._complained_at = trio.current_time()
            logger.warning("%s:%d: %s", self._address, self.port, trouble)

    def _start(self, socket: trio.SocketStream) -> None:
        stream: Stream = socket
        if self._tls is not None:
            context = self._tls.context() if isinstance(self._tls, ServerTLS) else self._tls
            stream = trio.SSLStream(socket, context, server_side=True, https_compatible=True)
        connection = Connection(self._app, stream, self._gate, self._admission)
        self._connections.add(connection)
        self.traffic.open += 1
        self._nursery.start_soon(self._serve, connection)

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self.traffic.open -= 1


@asynccontextmanager
async def serve_app(
    app: ASGIApp,
    *,
    address: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | ServerTLS | None = None,
    limits: Limits | None = None,
    traffic: Traffic | None = None,
) -> AsyncIterator[Host]:
    """Serve the application while the context is open; port 0 takes a free one.

    What the application raises is answered with 500 and costs that connection only; it is counted in `traffic`, and
    logged once for each kind. `limits` bound the clients. `tls` is a context, or files that are taken up again when
    they are replaced. Leaving closes every connection at once. Raises ConfigurationError if the port cannot be had.
    """
    async with background() as nursery:
        host = Host(app, nursery, address, port, tls, Admission(limits or Limits(), traffic or Traffic()))
        await host.accept()
        yield host
