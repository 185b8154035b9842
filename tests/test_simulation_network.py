"""The network in memory that trials run on: TCP as trio's sockets see it, and the ways in which it goes wrong."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
import trio.testing
from mirror_support import simulate
from simulation.link import WINDOW, Link
from simulation.network import HOST, PORT, Network

Test = Callable[[Network, trio.SocketStream], Awaitable[None]]


async def echo(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)


async def sink(_: trio.SocketStream) -> None:
    await trio.sleep_forever()


def connected(test: Test, serve: Callable[[trio.SocketStream], Awaitable[None]] = echo) -> None:
    """Run a test with a connection to a server on the network."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            network = Network(nursery)
            network.install()
            listeners = await trio.open_tcp_listeners(PORT, host="10.0.0.1")
            nursery.start_soon(trio.serve_listeners, serve, listeners)
            await test(network, await trio.open_tcp_stream(HOST, PORT))
            nursery.cancel_scope.cancel()

    simulate(main)


def link_of(network: Network) -> Link:
    (link,) = network.links
    return link


def test_what_is_sent_arrives() -> None:
    async def test(network: Network, stream: trio.SocketStream) -> None:
        await stream.send_all(b"POST /v1/events/lrp_instances.r1 HTTP/1.1\r\n")

        assert await stream.receive_some() == b"POST /v1/events/lrp_instances.r1 HTTP/1.1\r\n"
        assert network.streams() == network.open_links() == network.links

    connected(test)


def test_a_link_that_both_ends_have_closed_is_forgotten() -> None:
    async def test(network: Network, stream: trio.SocketStream) -> None:
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()

        assert not network.links
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()

    connected(test)


@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_cut_comes_at_the_byte_that_was_said(how: str) -> None:
    async def test(network: Network, stream: trio.SocketStream) -> None:
        link_of(network).cut(how, after=3)
        await stream.send_all(b"abcdef")

        assert await stream.receive_some() == b"abc"
        assert network.open_links()
        if how == "end":
            assert await stream.receive_some() == b""
        else:
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
        assert not network.open_links()

    connected(test)


def test_a_peer_that_is_gone_is_noticed_by_keep_alive_only() -> None:
    async def test(network: Network, stream: trio.SocketStream) -> None:
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            stream.setsockopt(trio.socket.IPPROTO_TCP, getattr(trio.socket, name), value)
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_KEEPALIVE, 1)
        link_of(network).vanish(trio.current_time())

        await stream.send_all(b"is anybody there?")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        assert trio.current_time() == 60

    connected(test)


def test_without_keep_alive_nobody_notices() -> None:
    async def test(network: Network, stream: trio.SocketStream) -> None:
        link_of(network).vanish(trio.current_time())

        with trio.move_on_after(86_400) as waiting:
            await stream.receive_some()
        assert waiting.cancelled_caught

    connected(test)


def test_what_was_stalled_arrives_afterwards() -> None:
    async def test(network: Network, stream: trio.SocketStream) -> None:
        link_of(network).stall()
        await stream.send_all(b"abc")
        with trio.move_on_after(10) as waiting:
            await stream.receive_some()
        link_of(network).resume()

        assert waiting.cancelled_caught
        assert await stream.receive_some() == b"abc"

    connected(test)


def test_latency_and_drips_take_their_time() -> None:
    async def test(network: Network, stream: trio.SocketStream) -> None:
        network.slow(latency=1, rate=0)
        await stream.send_all(b"abc")
        assert await stream.receive_some() == b"abc"
        assert trio.current_time() == 2

        network.slow(latency=0, rate=4)
        await stream.send_all(b"abcdef")
        received = [await stream.receive_some() for _ in range(3)]
        assert received == [b"ab", b"cd", b"ef"]

    connected(test)


def test_a_sender_waits_for_a_reader_that_does_not_read() -> None:
    async def test(network: Network, stream: trio.SocketStream) -> None:
        with trio.move_on_after(10) as waiting:
            await stream.send_all(bytes(WINDOW + 1))
        assert waiting.cancelled_caught
        assert link_of(network).to_server.carried == WINDOW

    connected(test, sink)


def test_new_connections_are_refused_unanswered_or_unnamed() -> None:
    async def test(network: Network, _: trio.SocketStream) -> None:
        network.refusing = True
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream(HOST, PORT)
        network.refusing, network.unreachable = False, True
        with pytest.raises(trio.TooSlowError), trio.fail_after(100):
            await trio.open_tcp_stream(HOST, PORT)
        network.unreachable, network.nameless = False, True
        with pytest.raises(OSError, match="not known"):
            await trio.open_tcp_stream(HOST, PORT)

    connected(test)


def test_only_the_one_name_is_known() -> None:
    async def test(_network: Network, _stream: trio.SocketStream) -> None:
        with pytest.raises(OSError, match="not known"):
            await trio.open_tcp_stream("elsewhere.internal", PORT)

    connected(test)
