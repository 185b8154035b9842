"""A server at the edge, for tests of the client: raw TCP, so that it can break every rule of HTTP."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import trio
from msgspec import Struct
from patience import PATIENCE

from lrpmirror.client import BBSClient
from lrpmirror.model import ActualLRP
from lrpmirror.wire import encode

RECORDINGS = Path(__file__).parents[2] / "shared" / "recordings"

PROTOBUF = "application/x-protobuf"
EVENT_STREAM = "text/event-stream; charset=utf-8"

STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"


class Received(Struct, frozen=True):
    """A request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


Script = Callable[[Received, trio.abc.Stream], Awaitable[bool]]
Ask = Callable[[BBSClient], Awaitable[None]]


class Served(Struct):
    """A server that runs: where, and what it was asked."""

    url: str
    received: list[Received]


def recorded(name: str) -> bytes:
    """Return a file of the recordings, or skip the test, loudly, where they are missing."""
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"the recordings of a real BBS are not at {RECORDINGS}")
    return path.read_bytes()


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run an async test, which must come to its end."""

    async def limited() -> None:
        with trio.fail_after(PATIENCE):
            await main()

    trio.run(limited)


def reply(body: bytes = b"", content_type: str = PROTOBUF, status: str = "200 OK", length: int | None = None) -> bytes:
    """Return a whole HTTP reply; `length` is what its Content-Length claims."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {size}\r\n\r\n".encode() + body


def chunk(data: bytes) -> bytes:
    """Return a chunk as a BBS writes it, with its empty extension."""
    return b"%x;\r\n%s\r\n" % (len(data), data)


def says(*pieces: bytes, hang: bool = False) -> Script:
    """Answer every request with these pieces, each in a write of its own; then close, or say nothing more."""

    async def script(_received: Received, stream: trio.abc.Stream) -> bool:
        for piece in pieces:
            await stream.send_all(piece)
        if hang:
            await trio.sleep_forever()
        return False

    return script


def by_path(answers: dict[str, bytes]) -> Script:
    """Answer by path, and 404 as a BBS does for any other."""

    async def script(received: Received, stream: trio.abc.Stream) -> bool:
        missing = reply(b"404 page not found\n", "text/plain; charset=utf-8", "404 Not Found")
        await stream.send_all(answers.get(received.path, missing))
        return True

    return script


@asynccontextmanager
async def serving(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Served]:
    """Serve on loopback until the block is left."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    served = Served(url=f"{'https' if tls else 'http'}://{host}:{port}", received=[])

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            if tls is None:
                with suppress(trio.BrokenResourceError):
                    await _converse(stream, script, served.received)
                return
            pipe = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
            with suppress(trio.BrokenResourceError):
                try:
                    await _converse(pipe, script, served.received)
                except trio.BrokenResourceError:
                    await _tell_why(pipe, stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield served
        nursery.cancel_scope.cancel()


async def _tell_why(pipe: trio.SSLStream[trio.SocketStream], stream: trio.SocketStream) -> None:
    """Send the TLS alert that trio leaves unsent, and stay until it was read: closing at once could reset it away."""
    await stream.send_all(pipe._outgoing.read())
    while await stream.receive_some():
        pass


async def _converse(stream: trio.abc.Stream, script: Script, received: list[Received]) -> None:
    """Read requests and have them answered, for as long as the script keeps the connection."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = await stream.receive_some()
            if not more:
                return
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        request, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", "0"))
        while len(data) < length:
            data += await stream.receive_some()
        method, path, _ = request.split(" ")
        received.append(Received(method, path, headers, data[:length]))
        data = data[length:]
        if not await script(received[-1], stream):
            return


class Answering(httpx.MockTransport):
    """A network in which every request gets the answer of its path, or the only answer; remembers what it was asked."""

    def __init__(self, answers: bytes | dict[str, bytes]) -> None:
        super().__init__(self._answer)
        self._answers = answers
        self.received: list[Received] = []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        received = Received(request.method, request.url.path, dict(request.headers), request.content)
        self.received.append(received)
        if isinstance(self._answers, bytes):
            body = self._answers
        elif received.path in self._answers:
            body = self._answers[received.path]
        else:
            return httpx.Response(404, headers={"Content-Type": "text/plain"}, content=b"404 page not found\n")
        return httpx.Response(200, headers={"Content-Type": PROTOBUF}, stream=httpx.ByteStream(body))


def body(records: int) -> bytes:
    return encode.reply([encode.actual_lrp(ActualLRP(process_guid=f"p{number}")) for number in range(records)])


async def a_list(client: BBSClient) -> None:
    await client.actual_lrps()


async def a_stream(client: BBSClient) -> None:
    async with client.events("instances"):
        pass
