"""Writes without a turn of the scheduler: whatever a client takes at once, it gets every byte in order."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trustme

from lrpmirror.server.http import Stream
from lrpmirror.server.quick_writes import write_quickly

PIECES = [bytes([at % 251]) * (1 + at * 37 % 60_000) for at in range(120)]


async def slowly(data: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
    await send(data)


@asynccontextmanager
async def connection(tls: trustme.CA | None) -> AsyncIterator[tuple[Stream, trio.abc.Stream]]:
    """Yield the server's and the client's end of a connection, with TLS or without, over which one byte has gone."""
    server, client = _pair(tls)
    try:
        # As the head of a reply, which goes the usual way.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send_all, b"h")
            assert await client.receive_some() == b"h"
        yield server, client
    finally:
        await trio.aclose_forcefully(server)
        await trio.aclose_forcefully(client)


def _pair(tls: trustme.CA | None) -> tuple[Stream, trio.abc.Stream]:
    here, there = trio.socket.socketpair()
    server, client = trio.SocketStream(here), trio.SocketStream(there)
    if tls is None:
        return server, client
    of_server, of_client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    tls.issue_cert("localhost").configure_cert(of_server)
    tls.configure_trust(of_client)
    return (
        trio.SSLStream(server, of_server, server_side=True),
        trio.SSLStream(client, of_client, server_hostname="localhost"),
    )


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_client_that_reads_slowly_and_writes_meanwhile_gets_every_byte_in_order(
    authority: trustme.CA, *, encrypted: bool
) -> None:
    async def main() -> None:
        got = bytearray()

        async def serve() -> None:
            for piece in PIECES:
                await write_quickly(server, piece, slowly)

        async def listen() -> None:
            # As the server does while it sends: the client may say something.
            heard = 0
            while heard < 50 * 100:
                heard += len(await server.receive_some())

        async def read() -> None:
            for _ in range(50):
                await client.send_all(b"x" * 100)
            while len(got) < sum(map(len, PIECES)):
                got.extend(await client.receive_some(7_000))
                await trio.lowlevel.checkpoint()

        async with connection(authority if encrypted else None) as (server, client):
            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:
                    for task in (serve, listen, read):
                        nursery.start_soon(task)
        assert bytes(got) == b"".join(PIECES)

    trio.run(main)


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_a_client_takes_at_once_takes_no_turn_and_is_not_sent_again(
    authority: trustme.CA, *, encrypted: bool
) -> None:
    async def never(data: bytes, _: Callable[[bytes], Awaitable[None]]) -> None:
        raise AssertionError(f"{len(data)} bytes were left")

    async def main() -> None:
        async with connection(authority if encrypted else None) as (server, client):
            await write_quickly(server, b"a few bytes", never)
            assert await client.receive_some() == b"a few bytes"

    trio.run(main)


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_client_that_is_gone_is_an_error_as_ever(authority: trustme.CA, *, encrypted: bool) -> None:
    async def write(server: Stream) -> None:
        for _ in range(3):
            await write_quickly(server, b"x" * 60_000, slowly)

    async def main() -> None:
        async with connection(authority if encrypted else None) as (server, client):
            await trio.aclose_forcefully(client)
            with pytest.raises(trio.BrokenResourceError):
                await write(server)

    trio.run(main)
