"""What strangers may use of a server: time, connections and memory."""

import resource
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from math import inf
from typing import Any

import pytest
import trio
import trio.testing
from http_support import GET, ask, connect, endless, everything, hello, hosting, parsed, still_serves

from lrpmirror.server import Host
from lrpmirror.server.limits import RESERVED, Limits, Traffic, connections_allowed

HALF_BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"a" * 500


def quickly(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test over real sockets in a time of its own, which jumps when nothing happens."""

    def run() -> None:
        trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0.02))

    run.__name__ = test.__name__
    return run


async def lasts(host: Host, *sent: bytes) -> float:
    """Return after how many seconds the server closes a connection on which this was sent, in so many parts."""
    async with await connect(host) as stream:
        for part in sent:
            await stream.send_all(part)
            await trio.testing.wait_all_tasks_blocked(0.01)
        began = trio.current_time()
        await everything(stream)
        return trio.current_time() - began


@quickly
async def test_who_sends_nothing_or_half_a_head_is_cut_off() -> None:
    async with hosting(head_timeout=10) as host:
        assert 10 <= await lasts(host) <= 12
        assert 10 <= await lasts(host, b"GET / HTT") <= 12
        assert 10 <= await lasts(host, b"G", b"E", b"T") <= 12
        assert host.traffic.timeouts == {"head": 3}
        await still_serves(host)


@quickly
async def test_a_head_that_comes_drop_by_drop_is_cut_off_too() -> None:
    async with hosting(head_timeout=10) as host, await connect(host) as stream:
        with suppress(trio.BrokenResourceError):
            while trio.current_time() < 30:
                await stream.send_all(b"G")
                await trio.sleep(1)
        assert 10 <= trio.current_time() <= 15


@quickly
async def test_half_a_body_is_cut_off() -> None:
    async with hosting(body_timeout=30) as host:
        assert 30 <= await lasts(host, HALF_BODY) <= 32
        assert host.traffic.timeouts == {"body": 1}


@quickly
async def test_a_connection_that_asks_for_nothing_more_is_closed() -> None:
    async with hosting(idle_timeout=120, head_timeout=10) as host:
        assert 119 <= await lasts(host, GET) <= 122
        assert 9 <= await lasts(host, GET, b"GET") <= 12
        assert host.traffic.timeouts == {"idle": 1, "head": 1}


@quickly
async def test_a_reader_that_does_not_read_is_cut_off() -> None:
    async with hosting(endless, write_timeout=30) as host, await connect(host) as stream:
        await stream.send_all(GET)
        await trio.sleep(29)
        assert host.connections == 1
        await trio.sleep(3)
        assert host.connections == 0
        assert host.traffic.timeouts == {"write": 1}


@quickly
async def test_a_reader_that_reads_a_little_now_and_then_is_cut_off_in_the_end() -> None:
    async with hosting(endless, write_timeout=30, reply_timeout=100) as host, await connect(host) as stream:
        await stream.send_all(GET)
        received = 0
        with trio.move_on_after(1000):
            while data := await stream.receive_some(200_000):
                received += len(data)
                await trio.sleep(5)
        assert host.connections == 0
        assert 100 <= trio.current_time() < 250
        assert host.traffic.timeouts == {"reply": 1}


@quickly
async def test_a_slow_application_is_not_the_clients_fault() -> None:
    async def slow(*asked: Any) -> None:
        await trio.sleep(100)
        await endless(*asked)

    async with hosting(slow, body_timeout=5, idle_timeout=5) as host, await connect(host) as stream:
        await stream.send_all(GET)
        await trio.sleep(99)
        assert host.connections == 1
        assert (await stream.receive_some(12)) == b"HTTP/1.1 200"


@quickly
async def test_without_limits_nobody_is_cut_off() -> None:
    names = [name for name in Limits.__struct_fields__ if name.endswith("_timeout")]
    async with hosting(hello, **dict.fromkeys(names, inf)) as host, await connect(host) as stream:
        await stream.send_all(b"G")
        await trio.sleep(500)
        assert host.connections == 1


@quickly
async def test_one_connection_too_many_takes_the_place_of_the_stranger_who_waited_longest() -> None:
    async with hosting(max_connections=3) as host, AsyncExitStack() as stack:
        known = await stack.enter_async_context(await connect(host))
        await known.send_all(GET)
        await known.receive_some()
        first, second = [await stack.enter_async_context(await connect(host)) for _ in range(2)]
        await first.send_all(b"GE")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert host.connections == 3
        await still_serves(host)
        assert await everything(first) == b""
        assert host.traffic.displaced == 1
        await second.send_all(GET)
        assert await second.receive_some()
        await known.send_all(GET)
        assert await known.receive_some()


@quickly
async def test_where_all_have_asked_before_the_one_that_is_idle_longest_makes_room() -> None:
    async with hosting(max_connections=2) as host, AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(await connect(host)) for _ in range(2)]
        for stream in (one, other, one):
            await stream.send_all(GET)
            await stream.receive_some()
        await still_serves(host)
        assert await everything(other) == b""
        await one.send_all(GET)
        assert await one.receive_some()


@quickly
async def test_where_all_are_being_answered_one_more_is_closed_at_once() -> None:
    async with hosting(endless, max_connections=2) as host, AsyncExitStack() as stack:
        for _ in range(2):
            stream = await stack.enter_async_context(await connect(host))
            await stream.send_all(GET)
            await stream.receive_some()
        assert await ask(host, b"") == []
        assert (host.connections, host.traffic.refused, host.traffic.displaced) == (2, 1, 0)


@quickly
async def test_hundreds_of_half_heads_keep_nobody_out() -> None:
    async with hosting(max_connections=20) as host, AsyncExitStack() as stack:
        for number in range(300):
            stream = await stack.enter_async_context(await connect(host))
            await stream.send_all(b"GET / HTTP/1.1\r\nHost")
            if number % 100 == 99:
                await still_serves(host)
                assert host.connections <= 21
        await trio.sleep(1)
        assert host.traffic.displaced >= 280


@quickly
async def test_bodies_that_are_being_sent_have_a_bound_together() -> None:
    async with hosting(max_buffered=1200) as host, AsyncExitStack() as stack:
        first, second, third = [await stack.enter_async_context(await connect(host)) for _ in range(3)]
        for stream in (first, second, third):
            await stream.send_all(HALF_BODY)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert await everything(first) == b""
        assert host.connections == 2
        await third.send_all(b"a" * 500)
        await third.send_eof()
        [reply] = parsed(await everything(third))
        assert (reply.status, len(reply.body)) == (200, 1000)
        assert await everything(second) == b""
        assert host.traffic.displaced == 2


@quickly
async def test_a_body_that_there_is_no_room_for_at_all_is_refused() -> None:
    async with hosting(max_buffered=400) as host, await connect(host) as stream:
        await stream.send_all(HALF_BODY)
        [reply] = parsed(await everything(stream))
        assert reply.status == 503
        await still_serves(host)


@quickly
async def test_a_body_in_the_smallest_parts_does_not_hold_up_the_others() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with hosting() as host, await connect(host) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(count)
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        await stream.send_all(head + b"1\r\na\r\n" * 2000)
        await trio.lowlevel.checkpoint()
        turns = 0
        await stream.send_all(b"0\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        assert turns >= 2000 / 64 / 2
        nursery.cancel_scope.cancel()


def test_the_default_leaves_descriptors_to_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = 256
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (allowed, allowed))
    assert Limits().connections == 256 - RESERVED
    assert connections_allowed(0.125) == 24
    allowed = 10
    assert Limits().connections == 4
    allowed = 1_000_000
    assert Limits().connections == 10_000
    allowed = resource.RLIM_INFINITY
    assert Limits().connections == 10_000
    assert Limits(max_connections=7).connections == 7


def test_kinds_of_failures_are_bounded(server_failures: list[str]) -> None:
    traffic = Traffic()
    for number in range(100):
        traffic.failed(type(f"Made{number}", (Exception,), {})("up"), "GET /" + "x" * 10_000)
    assert len(traffic.failures) == 31
    assert traffic.failures["other"] == 70
    assert len(traffic.first) == len(server_failures) == 30
    assert max(map(len, server_failures)) < 400
    server_failures.clear()
