"""TCP in memory, below trio's own sockets: the mirror, its client and the server run on it unchanged.

trio lets a program replace its sockets and its resolver, for just this. So what is tried is what is shipped, from
`open_tcp_stream` and the socket options on; and since nothing is ever waited for but other tasks and trio's clock, a
run on a mock clock is the same each time.
"""

import errno
import socket
from collections.abc import Callable
from typing import Any, Final

import trio

from simulation.link import Direction, Link, broken

__all__ = ["ADDRESS", "HOST", "PORT", "Network"]

HOST: Final = "bbs.service.cf.internal"
ADDRESS: Final = "10.0.0.1"
PORT: Final = 8889


class Network(trio.abc.SocketFactory, trio.abc.HostnameResolver):
    """Links between clients and one server, and their active faults.

    `refusing`, `unreachable` and `nameless` are about new connections: refused, never answered, or to a name that
    cannot be resolved. `latency` and `rate` are those of new links; see `slow` for the existing ones.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._listener: _Socket | None = None
        self.links: list[Link] = []
        """All that were ever opened and have not been closed by both sides."""
        self.opened = 0
        self._last_byte = self._last_stream_byte = 0.0
        self.refusing = False
        self.unreachable = False
        self.nameless = False
        self.latency = 0.0
        self.rate = 0.0
        self.on_open: Callable[[Link], None] = _nothing

    def install(self) -> None:
        """Replace the sockets and the resolver of this trio run."""
        trio.socket.set_custom_socket_factory(self)
        trio.socket.set_custom_hostname_resolver(self)

    def streams(self) -> list[Link]:
        """Return the links that carry an event stream, as far as the client can know; by age."""
        return [link for link in self.links if link.is_open and link.streams]

    def open_links(self) -> list[Link]:
        """Return the links that are open, as far as the client can know; by age."""
        return [link for link in self.links if link.is_open]

    @property
    def last_byte(self) -> float:
        """When something last came to a client, of links that are not forgotten or were forgotten lately."""
        return max([self._last_byte, *self._arrivals(of_streams=False)])

    @property
    def last_stream_byte(self) -> float:
        """When something last came on an event stream."""
        return max([self._last_stream_byte, *self._arrivals(of_streams=True)])

    def _arrivals(self, *, of_streams: bool) -> list[float]:
        return [link.to_client.arrived_at or 0.0 for link in self.links if link.streams or not of_streams]

    def touch(self) -> None:
        """Count what has come already as arriving now: a frozen process reads it now."""
        self._last_byte = self._last_stream_byte = trio.current_time()

    def slow(self, *, latency: float, rate: float) -> None:
        """Slow down all links, those to come too."""
        self.latency, self.rate = latency, rate
        for link in self.links:
            link.slow(latency=latency, rate=rate)

    def start_soon(self, task: Callable[..., Any], *args: object) -> None:
        """Run a task of the network's."""
        self._nursery.start_soon(task, *args)

    # What trio asks for

    def socket(self, family: int = 0, type: int = 0, proto: int = 0) -> "_Socket":  # noqa: A002 - trio's name
        """Make a socket."""
        return _Socket(self, family, proto)

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - trio's name
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Resolve the one name that there is."""
        await trio.lowlevel.checkpoint()
        if self.nameless or host != HOST.encode():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (ADDRESS, port))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        """Not implemented: no code asks for names of addresses."""
        raise NotImplementedError

    # What its sockets ask for

    def listen(self, listener: "_Socket") -> None:
        """Take new connections there."""
        self._listener = listener

    def stop(self, listener: "_Socket") -> None:
        """Take no more connections there."""
        if self._listener is listener:
            self._listener = None

    async def connect(self, client: "_Socket") -> Link:
        """Open a link."""
        await trio.lowlevel.checkpoint()
        if self.unreachable:
            await trio.sleep_forever()
        if self.latency:
            await trio.sleep(self.latency)
        if self.refusing or self._listener is None:
            raise broken(errno.ECONNREFUSED)
        self.opened += 1
        link = Link(self.opened, trio.current_time(), self.start_soon)
        link.slow(latency=self.latency, rate=self.rate)
        self.links.append(link)
        self.on_open(link)
        self._listener.arrived(_Socket(self, client.family, client.proto, link, client=False))
        return link

    def forget(self, link: Link) -> None:
        """Forget a link that both sides have closed, or of which one has and the other cannot know."""
        if link.client_closed and (link.server_closed or link.gone_at is not None) and link in self.links:
            self._last_byte, self._last_stream_byte = self.last_byte, self.last_stream_byte
            self.links.remove(link)


class _Socket(trio.socket.SocketType):
    """A socket of the network: a listener, or one end of a link."""

    def __init__(
        self, network: Network, family: int, proto: int, link: Link | None = None, *, client: bool = True
    ) -> None:
        super().__init__()
        self._network = network
        self._family = family
        self._proto = proto
        self._link = link
        self._client = client
        self._closed = False
        self._shut = False
        self._options: dict[tuple[int, int], Any] = {}
        self._backlog_in: trio.MemorySendChannel[_Socket] | None = None
        self._backlog_out: trio.MemoryReceiveChannel[_Socket] | None = None

    # Names and options

    def fileno(self) -> int:
        return -1

    def getpeername(self) -> Any:
        return (ADDRESS, PORT)

    def getsockname(self) -> Any:
        return (ADDRESS, PORT)

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        if (level, optname) == (socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return int(self._backlog_in is not None)
        return self._options.get((level, optname), 0)

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        self._options[level, optname] = value

    @property
    def family(self) -> Any:
        return self._family

    @property
    def type(self) -> Any:
        return socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        return self._proto

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802 - trio's name
        return self._shut

    def __repr__(self) -> str:
        return f"<socket of the simulated network, link {self._link and self._link.number}>"

    def __enter__(self) -> "_Socket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # A listener

    async def bind(self, address: Any) -> None:
        await trio.lowlevel.checkpoint()

    def listen(self, backlog: int = 128) -> None:
        self._backlog_in, self._backlog_out = trio.open_memory_channel[_Socket](1000)
        self._network.listen(self)

    def arrived(self, end: "_Socket") -> None:
        """Take a new connection."""
        assert self._backlog_in is not None
        self._backlog_in.send_nowait(end)

    async def accept(self) -> Any:
        if self._backlog_out is None or self._closed:
            await trio.lowlevel.checkpoint()
            raise broken(errno.EBADF)
        try:
            return await self._backlog_out.receive(), (ADDRESS, PORT)
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise broken(errno.EBADF) from None

    # An end of a link

    async def connect(self, address: Any) -> None:
        link = self._link = await self._network.connect(self)
        link.on_vanish = lambda: self._network.start_soon(self._keep_alive, link)

    async def send(self, data: Any, flags: int = 0) -> int:
        way = self._direction(sending=True)
        piece = bytes(data)
        if self._client and self._link is not None:
            self._link.sent_by_client(piece)
        return await way.send(piece)

    async def recv(self, size: int, flags: int = 0) -> bytes:
        return await self._direction(sending=False).receive(size)

    async def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        data = await self._direction(sending=False).receive(nbytes or len(buffer))
        memoryview(buffer)[: len(data)] = data
        return len(data)

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    def is_readable(self) -> bool:
        return False

    def shutdown(self, flag: int) -> None:
        self._shut = True
        self._direction(sending=True).end()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._backlog_in is not None:
            self._network.stop(self)
            self._backlog_in.close()
        link = self._link
        if link is None:
            return
        if self._client:
            link.client_closed = True
        else:
            link.server_closed = True
        if not self._shut:
            self._direction_to_peer(link).end()
        self._direction_here(link).fail(broken(errno.EPIPE))
        self._network.forget(link)

    def _direction(self, *, sending: bool) -> Direction:
        if self._closed or self._link is None:
            raise broken(errno.EBADF)
        return self._direction_to_peer(self._link) if sending else self._direction_here(self._link)

    def _direction_to_peer(self, link: Link) -> Direction:
        return link.to_server if self._client else link.to_client

    def _direction_here(self, link: Link) -> Direction:
        return link.to_client if self._client else link.to_server

    async def _keep_alive(self, link: Link) -> None:
        """Do what a kernel does for a socket with SO_KEEPALIVE whose peer is gone: find out, and break."""
        if self._options.get((socket.SOL_SOCKET, socket.SO_KEEPALIVE)):
            tcp = socket.IPPROTO_TCP
            idle = self._options.get((tcp, socket.TCP_KEEPIDLE), 7200)
            probes = self._options.get((tcp, socket.TCP_KEEPCNT), 9) * self._options.get(
                (tcp, socket.TCP_KEEPINTVL), 75
            )
            assert link.gone_at is not None
            await trio.sleep_until(link.gone_at + idle + probes)
            link.to_client.fail(broken(errno.ETIMEDOUT))


def _nothing(_: Link) -> None:
    pass
