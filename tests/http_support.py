"""A server and bare sockets, for what no client library would send."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import h11
import trio
from msgspec import Struct

from lrpmirror.server import Host, serve_app
from lrpmirror.server.asgi import ASGIApp, Receive, Scope, Send
from lrpmirror.server.limits import Limits

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Reply(Struct, frozen=True):
    """What has come back on a connection."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    whole: bool


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer everything, with the body that was sent; an application with a mistake at `/broken`."""
    if scope["path"] == "/broken":
        raise ZeroDivisionError("a mistake")
    body = (await receive())["body"] or b"hello"
    head = [(b"content-length", b"%d" % len(body)), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    if scope["path"] == "/half":
        await send({"type": "http.response.body", "body": body[:1], "more_body": True})
        raise ZeroDivisionError("a mistake in the middle")
    await send({"type": "http.response.body", "body": body})


async def endless(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
    """Answer everything with a body that never ends."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    while True:
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})


@asynccontextmanager
async def hosting(app: ASGIApp = hello, **limits: float) -> AsyncIterator[Host]:
    with trio.fail_after(600):
        async with serve_app(app, limits=Limits(**limits)) as host:  # type: ignore[arg-type]
            yield host


async def connect(host: Host) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", host.port)


async def everything(stream: trio.SocketStream) -> bytes:
    """Return what comes until the server closes the connection, or breaks it."""
    received = bytearray()
    with suppress(trio.BrokenResourceError):
        while data := await stream.receive_some():
            received += data
    return bytes(received)


def parsed(raw: bytes, method: str = "GET") -> list[Reply]:
    """Return the replies that the bytes are, to so many requests of that method."""
    replies = []
    while raw:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(raw)
        head, body, whole = None, bytearray(), False
        while not whole and (event := client.next_event()) is not h11.NEED_DATA:
            match event:
                case h11.Response():
                    head = event
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage():
                    whole = True
        assert head is not None, f"no reply: {raw!r}"
        replies.append(Reply(head.status_code, dict(head.headers), bytes(body), whole))
        raw = bytes(client.trailing_data[0])
    return replies


async def ask(host: Host, raw: bytes, method: str = "GET") -> list[Reply]:
    """Send bytes on a connection of their own, and no more; return what is answered until the server closes it."""
    async with await connect(host) as stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(raw)
            await stream.send_eof()
        return parsed(await everything(stream), method)


async def still_serves(host: Host) -> None:
    [reply] = await ask(host, GET)
    assert reply.status == 200
