"""A crowd of readers: each is sent everything, in order, without a turn of its own; and nobody waits for the slow."""

import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpmirror.events import DesiredLRPRemoved, Event, SourceStatus
from lrpmirror.model import DesiredLRP
from lrpmirror.serve.readers import MANY, TURN_OF_ROUND, Readers, hand_out
from lrpmirror.server import BBSApp, EncodedEvent, Host, StreamKind, Subscription, serve_app
from lrpmirror.sim import Diego
from lrpmirror.sim.serving import Sliced
from lrpmirror.wire import decode
from lrpmirror.wire.sse import EventStreamDecoder

REQUEST = b"POST /v1/events/lrp_instances.r1 HTTP/1.1\r\nHost: bbs\r\nContent-Length: 0\r\n\r\n"


def numbered(count: int, first: int = 0, size: int = 0) -> list[Event]:
    return [
        DesiredLRPRemoved(DesiredLRP(process_guid=str(number), log_guid="x" * size))
        for number in range(first, first + count)
    ]


class Source(Sliced):
    """A source whose streams are a crowd's."""

    def __init__(self) -> None:
        super().__init__(Diego())
        self.readers = Readers(trio.current_time)

    def subscribe(self, kind: StreamKind, cell_id: str = "") -> Subscription:
        return self.readers.add(kind, cell_id)


class Client:
    """A reader of a stream, and what it was told."""

    def __init__(self, stream: trio.abc.Stream, below: trio.socket.SocketType) -> None:
        self.below = below
        self.ids: list[str] = []
        self.notified: list[Event] = []
        self.ended = False
        self._stream = stream
        self._buffered = bytearray()
        self._decoder = EventStreamDecoder()

    async def open(self) -> None:
        await self._stream.send_all(REQUEST)
        while b"\r\n\r\n" not in self._buffered:
            self._buffered += await self._stream.receive_some()
        head, _, rest = self._buffered.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        self._buffered = rest

    async def read(self) -> None:
        """Read to the end."""
        while not self.ended:
            try:
                data = await self._stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            self._buffered += data
            self.ended = not data
            self._take_chunks()

    def _take_chunks(self) -> None:
        while b"\r\n" in self._buffered:
            size = self._buffered.partition(b";\r\n")[0]
            end = len(size) + 3 + int(size, 16)
            if len(self._buffered) < end + 2:
                return
            assert self._buffered[end : end + 2] == b"\r\n"
            for frame in self._decoder.feed(bytes(self._buffered[len(size) + 3 : end])):
                self.ids.append(frame.id)
                self.notified.append(decode.event(frame.event, frame.data))
            del self._buffered[: end + 2]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def serving(source: Source, tls: trustme.CA | None) -> AsyncIterator[Host]:
    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.issue_cert("localhost").configure_cert(context)
    async with serve_app(BBSApp(source), tls=context) as host, trio.open_nursery() as nursery:
        nursery.start_soon(hand_out, source.readers)
        yield host
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def reading(host: Host, tls: trustme.CA | None, *, buffer: int = 0) -> AsyncIterator[Client]:
    """Yield a client whose stream is open, and waits for news."""
    below = trio.socket.socket()
    if buffer:
        below.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await below.connect(("127.0.0.1", host.port))
    stream: trio.abc.Stream = trio.SocketStream(below)
    if tls is not None:
        context = ssl.create_default_context()
        tls.configure_trust(context)
        stream = trio.SSLStream(stream, context, server_hostname="localhost")
    try:
        client = Client(stream, below)
        await client.open()
        await trio.testing.wait_all_tasks_blocked(0.005)
        yield client
    finally:
        await trio.aclose_forcefully(stream)


async def eventually(condition: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        await trio.lowlevel.checkpoint()
        while not condition():  # noqa: ASYNC110 - on real sockets there is nothing else to wait for
            await trio.sleep(0.002)


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_crowd_is_sent_everything_in_order_and_one_that_stalls_is_left_behind(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, *, encrypted: bool
) -> None:
    tls = authority if encrypted else None
    monkeypatch.setattr("lrpmirror.serve.readers.MANY", 5)
    events = numbered(2_500, size=3_000)

    async def main() -> None:
        source = Source()
        async with serving(source, tls) as host, AsyncExitStack() as stack, trio.open_nursery() as nursery:
            stalled, *others = [
                await stack.enter_async_context(reading(host, tls, buffer=4096 * (number < 4))) for number in range(10)
            ]
            for client in others:
                nursery.start_soon(client.read)
            notified = 0
            while notified < len(events):
                # More at once than a socket takes, single ones, and more than a slice.
                burst = 600 if notified == 0 else 1 + notified % 40
                source.readers.put("instances", events[notified : notified + burst])
                notified += burst
                await eventually(lambda: all(each <= 500 for each in source.readers.pending("instances")[1:]))
            await eventually(lambda: all(len(client.notified) == len(events) or client.ended for client in others))
            assert not any(client.ended for client in others)
            assert all(client.notified == events for client in others)
            assert all(client.ids == [str(number) for number in range(len(events))] for client in others)
            assert source.readers.dropped == 1, "the one that stalls"
            assert len(source.readers.pending("instances")) == len(others)
            assert not stalled.notified
            nursery.cancel_scope.cancel()

    trio.run(main)


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_a_reader_takes_at_once_is_sent_without_a_turn_of_its_task(
    authority: trustme.CA, *, encrypted: bool
) -> None:
    tls = authority if encrypted else None

    async def main() -> None:
        source = Source()
        async with serving(source, tls) as host, reading(host, tls) as client:
            (subscription,) = (each for each, _ in source.readers._open)
            subscription.send([EncodedEvent(event) for event in numbered(3)])
            assert len(subscription) == 0
            assert os.read(client.below.fileno(), 1 << 20).count(b"event: ") == 3 or tls is not None

    trio.run(main)


def test_while_the_server_is_silent_nothing_is_sent_and_all_of_it_when_it_goes_on() -> None:
    async def main() -> None:
        source = Source()
        async with serving(source, None) as host, reading(host, None) as client, trio.open_nursery() as nursery:
            nursery.start_soon(client.read)
            host.pause()
            (subscription,) = (each for each, _ in source.readers._open)
            for number in range(3):
                subscription.send([EncodedEvent(event) for event in numbered(2, 2 * number)])
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert client.notified == []
            host.resume()
            await eventually(lambda: len(client.notified) == 6)
            assert client.notified == numbered(6)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_round_gives_way_to_others_again_and_again() -> None:
    """However many readers there are, and however long each of them takes."""

    async def main() -> None:
        readers = Readers(trio.current_time)
        turns = 0

        def take_long() -> None:
            end = time.perf_counter() + TURN_OF_ROUND / 2
            while time.perf_counter() < end:
                pass

        for _ in range(MANY + 1):
            readers.add("instances", "").send_now = take_long

        async def others() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand_out, readers)
            await trio.testing.wait_all_tasks_blocked()
            readers.put("instances", numbered(1))
            nursery.start_soon(others)
            while readers.pending("instances")[-1] == 0:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert turns > MANY / 4

    trio.run(main)


class Crowd:
    """Readers that come, go and take, and what they were told and should have been."""

    def __init__(self, first: int) -> None:
        self.readers = Readers()
        self._happened: dict[StreamKind, list[Event]] = {"instances": [], "groups": []}
        self._since: dict[Subscription, int] = {}
        self._got: dict[Subscription, list[Event]] = {}
        self._round: Iterator[None] = iter(())
        for number in range(first):
            self._add(number)

    def do(self, what: str, number: int) -> None:
        if what == "tell":
            kind: StreamKind = "groups" if number % 2 else "instances"
            events = numbered(number, len(self._happened[kind]))
            self._happened[kind] += events
            self.readers.put(kind, events)
        elif what == "say":
            self.readers.put_status(SourceStatus(0.5), 0.0)
        elif what == "round":
            self._go_on(number)
        elif what == "add":
            for each in range(number % 5):
                self._add(each)
        elif what == "close":
            # So many that few are left, now and then.
            for subscription in list(self._since)[: number if number % 4 == 0 else 1]:
                subscription.close()
        else:
            self._take()

    def end(self) -> None:
        """Let all that waits be told, and compare."""
        while self.readers.news.is_set():
            self._go_on(50)
            self._take()
        self._take()
        for subscription, since in self._since.items():
            got, expected = self._got[subscription], self._happened[subscription.kind][since:]
            assert got == (expected[: len(got)] if subscription.closed else expected)

    def _add(self, number: int) -> None:
        kind: StreamKind = "groups" if number % 3 == 0 else "instances"
        subscription = self.readers.add(kind, "")
        self._since[subscription], self._got[subscription] = len(self._happened[kind]), []

    def _take(self) -> None:
        for subscription, got in self._got.items():
            got.extend(subscription.take_some(10_000))

    def _go_on(self, steps: int) -> None:
        """Take so many steps of a round, and begin the next where one has ended."""
        for _ in range(steps):
            if next(self._round, self) is self:
                self._round = self.readers.round() if self.readers.news.is_set() else iter(())


OPERATIONS = st.tuples(st.sampled_from(["tell", "say", "round", "add", "close", "take"]), st.integers(0, 300))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, MANY + 3), st.lists(OPERATIONS, max_size=60))
def test_every_reader_is_told_all_that_happens_from_when_it_came_and_in_order(
    first: int, operations: Sequence[tuple[str, int]]
) -> None:
    """Whatever comes within a round, also where the crowd gets smaller than one, or larger."""
    crowd = Crowd(first)
    for what, number in operations:
        crowd.do(what, number)
    crowd.end()
