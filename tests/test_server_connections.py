"""The account that a server keeps of its connections: who is waited for, what is held, what is left when they end."""

import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing
from http_support import GET, connect, endless, everything, hosting, parsed, still_serves
from patience import PATIENCE

from lrpmirror.server import BBSApp, serve_app
from lrpmirror.server.asgi import Receive, Scope, Send
from lrpmirror.server.head import LONGEST, HeadCheck, Refusal
from lrpmirror.server.limits import Admission, Limits, Traffic
from lrpmirror.sim import Diego

BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 600\r\n\r\n" + b"a" * 600
HEAD = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"


def in_time(main: Callable[[], Awaitable[None]]) -> None:
    """Run over real sockets in a time of its own, which jumps when nothing happens."""
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.02))


# Who has to make room


def test_a_stranger_who_begins_anew_keeps_the_place_that_it_had() -> None:
    async def main() -> None:
        admission = Admission(Limits(max_connections=2), Traffic())
        slow, other = trio.CancelScope(), trio.CancelScope()
        for guest in (slow, other, slow, slow):
            admission.waiting(guest, known=False)
        assert admission.make_room(2)
        assert (slow.cancel_called, other.cancel_called) == (True, False)

    in_time(main)


def test_who_has_left_makes_no_room_for_others_and_holds_nothing() -> None:
    async def main() -> None:
        async with hosting(max_connections=3, head_timeout=500, body_timeout=500) as host:
            for sent in (b"GET / HTT", BODY[:500], GET) * 3:
                async with await connect(host) as stream:
                    await stream.send_all(sent)
                    await trio.testing.wait_all_tasks_blocked(0.01)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert host.connections == 0
            assert host._admission.buffered == 0
            streams = []
            for _ in range(4):
                streams.append(await connect(host))
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert host.connections == 3
            assert (host.traffic.displaced, host.traffic.refused) == (1, 0)
            assert await streams[0].receive_some() == b""
            for stream in streams:
                await trio.aclose_forcefully(stream)

    in_time(main)


def test_what_one_connection_sends_over_the_time_is_no_more_than_what_it_sends_now() -> None:
    async def main() -> None:
        async with hosting(max_buffered=1000) as host, await connect(host) as stream:
            for _ in range(10):
                await stream.send_all(BODY)
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert host._admission.buffered == 0
            await stream.send_eof()
            replies = parsed(await everything(stream))
        assert [reply.status for reply in replies] == [200] * 10

    in_time(main)


# What is done for nobody


def test_an_application_that_answers_head_without_an_end_is_stopped() -> None:
    running = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
        nonlocal running
        running += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            while True:
                await send({"type": "http.response.body", "body": b"more", "more_body": True})
                await trio.lowlevel.checkpoint()
        finally:
            running -= 1

    async def main() -> None:
        async with hosting(app) as host, await connect(host) as stream:
            with trio.fail_after(PATIENCE):
                for number in range(2):
                    await stream.send_all(HEAD)
                    assert (await stream.receive_some()).startswith(b"HTTP/1.1 200"), number
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    assert running == 0

    trio.run(main)


def test_a_connection_that_was_asked_for_the_head_of_a_stream_has_no_stream() -> None:
    async def main() -> None:
        async with serve_app(BBSApp(Diego())) as host, await connect(host) as stream:
            await stream.send_all(HEAD.replace(b" / ", b" /v1/events "))
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert (host.connections, host.streams) == (1, 0)
            assert host.cut(streams_only=True) == 0

    trio.run(main)


def test_who_sends_on_and_on_while_it_is_answered_is_left() -> None:
    async def main() -> None:
        async with serve_app(BBSApp(Diego())) as host, await connect(host) as stream:
            await stream.send_all(GET.replace(b" / ", b" /v1/events "))
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            with trio.fail_after(PATIENCE), suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(b"a" * 1000)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert host.connections == 0

    trio.run(main)


# For how long


def test_a_stream_may_wait_for_its_reader_for_longer_in_all_than_another_reply() -> None:
    async def stream_of_events(scope: Scope, receive: Receive, send: Send) -> None:
        async def as_stream(message: Any) -> None:
            if "headers" in message:
                message = {**message, "headers": [(b"content-type", b"text/event-stream")]}
            await send(message)

        await endless(scope, receive, as_stream)

    async def main() -> None:
        async with hosting(stream_of_events, write_timeout=30, reply_timeout=20) as host, await connect(host) as stream:
            await stream.send_all(GET)
            while trio.current_time() < 300:
                assert await stream.receive_some(200_000)
                await trio.sleep(5)
            assert host.connections == 1
            assert not host.traffic.timeouts

    in_time(main)


@pytest.mark.parametrize("size", [1, 100, LONGEST])
def test_the_length_of_a_head_is_that_of_all_its_parts(size: int) -> None:
    head = b"GET / HTTP/1.1\r\n" + b"A: aaaaaaaaaa\r\n" * 10
    most = (head + b"B: " + b"b" * LONGEST)[:LONGEST]
    check = HeadCheck()
    for at in range(0, len(most), size):
        check.feed(most[at : at + size])
    with pytest.raises(Refusal) as refused:
        check.feed(b"b")
    assert refused.value.error_status_hint == 431


# What the system refuses


class Listener(trio.abc.Listener[trio.SocketStream]):
    """A listener that the system has no descriptor for, now and then."""

    def __init__(self, listener: trio.SocketListener) -> None:
        self._listener = listener
        self.socket = listener.socket
        self.failures = [errno.EMFILE, errno.ENFILE, errno.EMFILE]

    async def accept(self) -> trio.SocketStream:
        await trio.lowlevel.checkpoint()
        if self.failures:
            number = self.failures.pop()
            raise OSError(number, os.strerror(number))
        return await self._listener.accept()

    async def aclose(self) -> None:
        await self._listener.aclose()


@pytest.fixture
def listeners(monkeypatch: pytest.MonkeyPatch) -> list[Listener]:
    """Have a server listen on two ports, each of them short of descriptors at first; return the listeners."""
    made: list[Listener] = []
    listen = trio.open_tcp_listeners

    async def two(port: int, *, host: str) -> list[Listener]:
        made.extend([Listener(one) for _ in range(2) for one in await listen(port if not made else 0, host=host)])
        return made

    monkeypatch.setattr(trio, "open_tcp_listeners", two)
    return made


def test_a_server_without_descriptors_goes_on_when_there_are_some(listeners: list[Listener]) -> None:
    async def main() -> None:
        async with hosting() as host:
            await still_serves(host)
            assert not listeners[0].failures

    in_time(main)


def test_a_server_that_is_left_has_closed_all_that_it_listened_on(listeners: list[Listener]) -> None:
    async def main() -> None:
        async with hosting() as host:
            await still_serves(host)
            await host.refuse()
            assert [one.socket.fileno() for one in listeners] == [-1, -1]
        listeners.clear()
        with trio.CancelScope() as scope:
            async with hosting():
                scope.cancel()
        assert [one.socket.fileno() for one in listeners] == [-1, -1]

    in_time(main)
