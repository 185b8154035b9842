"""One connection to one server: which it is, commands go out, replies come in their order; and what goes wrong.

A client of coredis passes a command to a task that writes and gets its reply from a task that reads, which costs more
than everything else about a command. Only its errors are used here, and the parser of hiredis, Redis's own.
"""

import random
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from typing import Any, Final

import trio

from lrpmirror.errors import LRPMirrorError, RelayRefused, RelayUnreachable, ServiceUnavailable
from lrpmirror.relay._address import Address
from lrpmirror.relay._format import Keys

CONNECT: Final = 5.0  # seconds that a connection may take, with its handshakes
ANSWER: Final = 5.0  # seconds that a command may take; the longest wait for a change is shorter

_PIECE: Final = 120 * 1024
"""Bytes that are read at once: from 128 KiB on malloc asks the kernel for the buffer each time."""


Encoded = tuple[int, bytes]  # the number of some parts of a command, and these as they are sent

NONE: Final = (0, b"")

_INCOMPLETE: Final = object()


class _Socket(trio.abc.AsyncResource):
    """Bytes over a socket. A stream of trio gives others a turn with every send, which takes as long as a command."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)

    def send_some(self, data: bytes) -> int:
        """Send what can be sent at once; return how many bytes that were."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    async def send_all(self, data: bytes) -> None:
        """Send everything."""
        rest = memoryview(data)
        while rest:
            await trio.lowlevel.wait_writable(self._socket)
            with suppress(BlockingIOError):
                rest = rest[self._socket.send(rest) :]

    async def receive_some(self, max_bytes: int) -> bytes:
        """Return what comes next; nothing at the end."""
        while True:
            # At first, since a reply is hardly ever there when it is asked for.
            await trio.lowlevel.wait_readable(self._socket)
            with suppress(BlockingIOError):
                return self._socket.recv(max_bytes)

    async def aclose(self) -> None:
        """Close it."""
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


class Connection:
    """Sends commands and takes their replies. Raises errors of coredis, OSErrors and those of trio's streams."""

    def __init__(self, stream: _Socket | trio.abc.Stream) -> None:
        self._stream = stream
        refusal = import_module("coredis.parser").Parser().parse_error
        self._parser = import_module("hiredis").Reader(replyError=refusal, notEnoughData=_INCOMPLETE)
        self._requested = 0
        self._taken = 0
        self._replies: dict[int, Any] = {}  # replies that were read before they were asked for
        self._unsent = b""
        self._sending = False

    async def ask(self, *command: bytes | str | int, beginning: Encoded = NONE) -> Any:
        """Send a command and return its reply."""
        return await self.reply(self.request(*command, beginning=beginning))

    def request(self, *command: bytes | str | int, beginning: Encoded = NONE, rest: Encoded = NONE) -> int:
        """Have a command sent with the next one that is; return the number by which to ask for its reply."""
        number, middle = encoded(command)
        self._unsent += b"*%d\r\n%b%b%b" % (beginning[0] + number + rest[0], beginning[1], middle, rest[1])
        self._requested += 1
        return self._requested

    async def send(self) -> None:
        """Send what was requested, at once: each send costs as much as a command."""
        if self._sending:
            raise BrokenPipeError("an earlier command was sent in part only")
        data, self._unsent = self._unsent, b""
        if not data:
            return
        self._sending = True
        sent = self._stream.send_some(data) if isinstance(self._stream, _Socket) else 0
        if sent < len(data):
            with trio.move_on_after(ANSWER) as scope:
                await self._stream.send_all(data[sent:])
            if scope.cancelled_caught:
                raise TimeoutError(f"nothing could be sent for {ANSWER:g} s")
        self._sending = False

    async def reply(self, number: int) -> Any:
        """Return the reply to a command, once."""
        await self.send()
        with trio.move_on_after(ANSWER):
            while number not in self._replies:
                found = await self._next()
                self._taken += 1
                self._replies[self._taken] = found
        if number not in self._replies:
            raise TimeoutError(f"no answer within {ANSWER:g} s")
        reply = self._replies.pop(number)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def _next(self) -> Any:
        while (found := self._parser.gets()) is _INCOMPLETE:
            if not (data := await self._stream.receive_some(_PIECE)):
                raise ConnectionResetError("the server has closed the connection")
            self._parser.feed(data)
        return found


def encoded(parts: Sequence[bytes | str | int]) -> Encoded:
    """Encode parts of a command."""
    texts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return len(texts), b"".join([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts])


def encoded_lines(text: bytes) -> Encoded:
    """Encode the lines of a text as parts; nearly at once, where all have the same length, as epochs have."""
    number = text.count(b"\n") + 1
    length = (len(text) + 1) // number - 1
    if text[length :: length + 1] != b"\n" * (number - 1):
        return encoded(text.split(b"\n"))
    head = b"\r\n$%d\r\n" % length
    return number, b"%b%b\r\n" % (head[2:], text.replace(b"\n", head))


@asynccontextmanager
async def connected(address: Address, context: ssl.SSLContext | None) -> AsyncIterator[Connection]:
    """Connect to the server of a relay, for as long as the block lasts."""
    stream = await _open(await _server_of(address, context), context)
    try:
        connection = Connection(stream)
        if account := _account_of(address):
            await connection.ask(b"AUTH", *account)
        if address.db:
            await connection.ask(b"SELECT", address.db)
        await connection.ask(b"PING")
        yield connection
    finally:
        await trio.aclose_forcefully(stream)


async def _open(where: tuple[str, int] | str, context: ssl.SSLContext | None) -> _Socket | trio.SSLStream[Any]:
    with trio.move_on_after(CONNECT):
        if isinstance(where, str):
            return _Socket(await trio.open_unix_socket(where))
        stream = await trio.open_tcp_stream(*where)
        if context is None:
            return _Socket(stream)
        encrypted = trio.SSLStream(stream, context, server_hostname=where[0], https_compatible=True)
        try:
            await encrypted.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return encrypted
    raise TimeoutError(f"no connection within {CONNECT:g} s")


def _account_of(address: Address) -> tuple[str, ...]:
    """Return user and password for AUTH; a password alone is that of the default user."""
    if address.password is None and address.username is None:
        return ()
    return (address.username or "default", address.password or "")


async def _server_of(address: Address, context: ssl.SSLContext | None) -> tuple[str, int] | str:
    """Return host and port, or the path of a socket. Raises errors of coredis where none can be found."""
    if address.kind == "unix":
        return address.path
    if address.kind == "single":
        return address.hosts[0]
    # Untyped: which arguments a client takes depends on the kind of address.
    coredis, connection, retry = (import_module(f"coredis{part}") for part in ("", ".connection", ".retry"))
    nodes = [connection.TCPLocation(host, port) for host, port in address.hosts]
    options: dict[str, Any] = {"stream_timeout": ANSWER, "connect_timeout": CONNECT, "verify_version": False}
    if context is not None:
        options["ssl_context"] = context
    if address.kind == "cluster":
        username, password = _account_of(address) or (None, None)
        options |= {"username": username, "password": password, "retry_policy": retry.NoRetryPolicy()}
        async with coredis.RedisCluster(startup_nodes=nodes, **options) as cluster:
            slot = import_module("coredis._utils").hash_slot(Keys(address.prefix).status.encode())
            node = cluster.connection_pool.cluster_layout.node_for_slot(slot)
            return node.host, node.port
    options |= {
        "username": address.sentinel_username or ("default" if address.sentinel_password else None),
        "password": address.sentinel_password,
    }
    async with coredis.Sentinel(nodes, sentinel_kwargs=options) as sentinels:
        primary: tuple[str, int] = await sentinels.discover_primary(address.service)
        if address.replica and (replicas := await sentinels.discover_replicas(address.service)):
            found: tuple[str, int] = random.choice(replicas)  # noqa: S311 - not a secret
            return found
        return primary


@contextmanager
def errors_of(where: str) -> Iterator[None]:
    """Raise errors of a relay in the block as BBSErrors, with the original as the cause; none contains a password."""
    try:
        yield
    except LRPMirrorError:
        raise
    except Exception as error:
        raise translated(where, error) from error


def translated(where: str, error: Exception) -> LRPMirrorError:
    """Return the error of this library for one of coredis, Redis or the network."""
    from coredis import exceptions as of_redis  # noqa: PLC0415 - the extra

    causes = list(_causes(error))
    for one in causes:
        if isinstance(one, of_redis.AuthenticationError):
            return RelayRefused(f"{where}: the server refuses the user or password: {_text(one)}")
        if isinstance(one, of_redis.AuthorizationError) or "can't run this command" in str(one):
            return RelayRefused(f"{where}: the user lacks a permission (see ACL in README): {_text(one)}")
        if isinstance(one, of_redis.ReadOnlyError) or "READONLY" in str(one):
            return ServiceUnavailable(f"{where}: this server is a read replica, where nothing can be written")
        if isinstance(one, of_redis.ClusterDownError):
            return ServiceUnavailable(f"{where}: the cluster is down: {_text(one)}")
        if isinstance(one, of_redis.SentinelError):
            return RelayUnreachable(f"{where}: {_text(one)}")
        if isinstance(one, of_redis.BusyLoadingError):
            return RelayUnreachable(f"{where}: the server is loading its data")
    for one in causes:
        if isinstance(one, (of_redis.ConnectionError, of_redis.RedisClusterError, OSError, trio.BrokenResourceError)):
            reason = _text(causes[-1]) or type(causes[-1]).__name__
            return RelayUnreachable(f"{where}: no connection to the server, or it broke: {reason}")
    return RelayRefused(f"{where}: the server refuses: {_text(error)}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Return an error and what caused it, through groups and chains; bounded."""
    waiting, seen = [error], 0
    while waiting and seen < 20:  # noqa: PLR2004 - no chain is so long
        one = waiting.pop(0)
        seen += 1
        yield one
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        if one.__cause__ is not None:
            waiting.append(one.__cause__)


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())
