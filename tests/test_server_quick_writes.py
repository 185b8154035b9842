"""Writes without a turn of the scheduler: whatever a client takes at once, it gets every byte in order."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
import trustme
from patience import PATIENCE

from lrpmirror.server.http import Stream
from lrpmirror.server.sockets import QuickWriter

PIECES = [bytes([at % 251]) * (1 + at * 37 % 60_000) for at in range(120)]


async def slowly(data: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
    await send(data)


async def write(writer: QuickWriter, data: bytes) -> None:
    if not writer.write(data):
        await writer.finish(slowly)


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
            writer = QuickWriter(server)
            for piece in PIECES:
                await write(writer, piece)

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
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    for task in (serve, listen, read):
                        nursery.start_soon(task)
        assert bytes(got) == b"".join(PIECES)

    trio.run(main)


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_a_client_takes_at_once_takes_no_turn_and_is_not_sent_again(
    authority: trustme.CA, *, encrypted: bool
) -> None:
    async def main() -> None:
        async with connection(authority if encrypted else None) as (server, client):
            assert QuickWriter(server).write(b"a few bytes")
            assert await client.receive_some() == b"a few bytes"

    trio.run(main)


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("size", [60_000, 3_000_000])
def test_what_a_client_does_not_take_at_once_is_sent_before_all_else_whoever_sends(
    authority: trustme.CA, *, encrypted: bool, size: int
) -> None:
    """As the answer to a client that renews its keys is sent by whoever reads."""

    async def main() -> None:
        async with connection(authority if encrypted else None) as (server, client):
            writer, sent = QuickWriter(server), bytearray()
            while True:
                data = bytes([len(sent) % 251]) * size
                sent.extend(data)
                if not writer.write(data):
                    break
            got = bytearray()

            async def read() -> None:
                while len(got) < len(sent) + 4:
                    got.extend(await client.receive_some(50_000))

            async def finish() -> None:
                await writer.finish(slowly)
                await write(writer, b"last")

            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    if isinstance(server, trio.SSLStream):
                        nursery.start_soon(server._retry, lambda: None)
                    nursery.start_soon(finish)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(read)
            assert got == sent + b"last"

    trio.run(main)


def test_while_another_sends_nothing_is_written_in_between(authority: trustme.CA) -> None:
    async def main() -> None:
        async with connection(authority) as (server, client):
            assert isinstance(server, trio.SSLStream)
            writer, got = QuickWriter(server), bytearray()
            async with server._inner_send_lock:
                assert not writer.write(b"waits")
            with trio.fail_after(PATIENCE):
                await writer.finish(slowly)
                while len(got) < 5:
                    got.extend(await client.receive_some())
            assert got == b"waits"

    trio.run(main)


def test_what_the_handshake_has_left_to_be_sent_goes_first(authority: trustme.CA) -> None:
    async def main() -> None:
        server, client = _pair(authority)
        assert isinstance(server, trio.SSLStream)
        assert isinstance(client, trio.SSLStream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.do_handshake)
            nursery.start_soon(client.do_handshake)
        server._delayed_outgoing = server._delayed_outgoing or b""
        writer = QuickWriter(server)
        assert not writer.write(b"the first")
        with trio.fail_after(PATIENCE):
            await writer.finish(slowly)
            assert await client.receive_some() == b"the first"
        assert writer.write(b"the next")
        await trio.aclose_forcefully(server)
        await trio.aclose_forcefully(client)

    trio.run(main)


def test_a_connection_whose_encryption_has_ended_is_an_error_of_who_waits_for_it(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with connection(authority) as (server, _):
            assert isinstance(server, trio.SSLStream)
            monkeypatch.setattr(server, "_ssl_object", _Ended())
            writer = QuickWriter(server)
            assert not writer.write(b"x")
            with pytest.raises(trio.BrokenResourceError):
                await writer.finish(slowly)

    trio.run(main)


class _Ended:
    """Encryption that has come to its end."""

    def write(self, data: bytes) -> int:
        raise ssl.SSLError(f"ended, with {len(data)} bytes left")


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_client_that_is_gone_is_an_error_as_ever(authority: trustme.CA, *, encrypted: bool) -> None:
    async def write_some(server: Stream) -> None:
        writer = QuickWriter(server)
        for _ in range(3):
            await write(writer, b"x" * 60_000)

    async def main() -> None:
        async with connection(authority if encrypted else None) as (server, client):
            await trio.aclose_forcefully(client)
            with pytest.raises(trio.BrokenResourceError):
                await write_some(server)

    trio.run(main)
