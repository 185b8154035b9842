"""The event streams of the served BBS, to the letter, and how a server and its network misbehave."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import h11
import httpx
import pytest
import trio
from patience import PATIENCE
from sim_support import A, B, diego, recording, run, types, wanted

from lrpmirror.events import Event, UnknownEvent
from lrpmirror.server import BBSApp, Host, serve_app
from lrpmirror.sim import Autopilot, Diego, ServedDiego, serve_diego
from lrpmirror.wire import decode
from lrpmirror.wire.proto.events_pb2 import EventsByCellId
from lrpmirror.wire.sse import EventStreamDecoder

INSTANCES = "/v1/events/lrp_instances.r1"
GROUPS = "/v1/events.r1"


class Reader:
    """One reader of a stream, with its frames as they arrive.

    h11 on a bare socket: httpx leaves the generators of a stream that was not read to its end to the garbage collector.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.ids: list[str] = []
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._decoder = EventStreamDecoder()
        self._waiting: list[Event] = []

    async def open(self, path: str, cell_id: str = "") -> None:
        body = EventsByCellId(cell_id=cell_id).SerializeToString()
        headers = [("Host", "bbs"), ("Content-Length", str(len(body)))]
        head = h11.Request(method="POST" if "instances" in path else "GET", target=path, headers=headers)
        for part in (head, h11.Data(data=body), h11.EndOfMessage()):
            await self._stream.send_all(self._http.send(part) or b"")
        reply = await self._next()
        assert isinstance(reply, h11.Response)
        assert reply.status_code == 200

    async def next(self, count: int) -> list[Event]:
        while len(self._waiting) < count:
            chunk = await self._next()
            assert isinstance(chunk, h11.Data)
            for frame in self._decoder.feed(bytes(chunk.data)):
                self.ids.append(frame.id)
                self._waiting.append(decode.event(frame.event, frame.data))
        notified, self._waiting = self._waiting[:count], self._waiting[count:]
        return notified

    async def is_broken_off(self) -> bool:
        """Read to the end; return whether it came in the middle."""
        try:
            while isinstance(await self._next(), h11.Data):
                pass
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            return True
        return False

    async def _next(self) -> object:
        with trio.fail_after(PATIENCE):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(bytes(await self._stream.receive_some(65536)))
            return event


@asynccontextmanager
async def reading(server: ServedDiego, path: str = INSTANCES, cell_id: str = "") -> AsyncIterator[Reader]:
    async with await trio.open_tcp_stream("127.0.0.1", server.host.port) as stream:
        reader = Reader(stream)
        await reader.open(path, cell_id)
        yield reader


async def eventually(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the server has no event for it
            await trio.sleep(0.005)


@pytest.mark.parametrize("path", [INSTANCES, "/v1/events/lrp_instances", GROUPS, "/v1/events"])
def test_a_stream_tells_what_happens_after_its_head_and_numbers_it_from_zero(path: str) -> None:
    async def main() -> None:
        bbs = diego()
        async with serve_diego(bbs) as server:
            for _ in range(2):
                async with reading(server, path) as reader:
                    bbs.desire(wanted())
                    bbs.claim("p", 0, A)
                    notified = types(await reader.next(3))
                    assert notified == ["desired_lrp_created", "created", "changed"]
                    assert reader.ids == ["0", "1", "2"]
                bbs.remove("p", 0)
                bbs.remove_desired("p")

    trio.run(main)


def test_what_is_told_is_what_the_source_said() -> None:
    async def main() -> None:
        bbs = diego()
        notified = bbs.subscribe("instances")
        async with serve_diego(bbs) as server, reading(server) as reader:
            bbs.desire(wanted())
            run(bbs)
            bbs.crash("p", 0, A, "oom")
            arrived = await reader.next(7)
            assert arrived == [notified.take() for _ in range(7)]

    trio.run(main)


def test_a_reader_of_one_cell_is_not_told_of_others() -> None:
    async def main() -> None:
        bbs = diego()
        async with serve_diego(bbs) as server, reading(server, cell_id="cell-b") as reader:
            bbs.desire(wanted(instances=2))
            bbs.claim("p", 0, A)
            bbs.claim("p", 1, B)
            assert types(await reader.next(2)) == ["desired_lrp_created", "changed"]

    trio.run(main)


def test_the_head_and_the_chunks_are_those_of_a_real_server() -> None:
    real = (recording("01-lifecycle") / "events.instances.http").read_bytes()
    real_head, real_body = real.split(b"\r\n\r\n", 1)

    async def main() -> None:
        bbs = diego()
        async with serve_diego(bbs) as server:
            stream = await trio.open_tcp_stream("127.0.0.1", server.host.port)
            async with stream:
                await stream.send_all(b"POST " + INSTANCES.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                head = await stream.receive_some()
                assert without_date(head.removesuffix(b"\r\n\r\n")) == without_date(real_head)
                bbs.desire(wanted(instances=0))
                size, frame = (await stream.receive_some()).split(b"\r\n", 1)
        real_size, real_frame = real_body.split(b"\r\n", 1)
        assert size == b"%x;" % (len(frame) - 2)
        assert real_size == b"%x;" % real_frame.index(b"\r\n")
        assert frame.startswith(b"id: 0\nevent: desired_lrp_created\ndata: ")
        assert frame.endswith(b"\n\n\r\n")

    trio.run(main)


def without_date(head: bytes) -> list[bytes]:
    return [line for line in head.split(b"\r\n") if not line.startswith(b"Date: ")]


def test_a_body_that_is_no_request_is_refused() -> None:
    async def main() -> None:
        async with serve_diego(Diego()) as server, httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.post(INSTANCES, content=b"\xff")).status_code == 400

    trio.run(main)


def test_events_of_unknown_types_are_passed_on_as_they_are() -> None:
    async def main() -> None:
        bbs = Diego()
        subscriptions = []

        class Following(Diego):
            def subscribe(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
                subscriptions.append(bbs.subscribe(*args, **kwargs))  # type: ignore[arg-type]
                return subscriptions[-1]

        async with serve_diego(Following()) as server, reading(server) as reader:
            subscriptions[0].put(UnknownEvent("brand_new", b"\x08\x01"))
            assert await reader.next(1) == [UnknownEvent("brand_new", b"\x08\x01")]

    trio.run(main)


def test_a_server_of_plain_asgi_is_given_one_event_a_message_and_starts_and_stops_it() -> None:
    async def main() -> None:
        bbs = diego()
        sent: list[Any] = []
        asked = iter([{"type": "http.request", "body": b""}])
        lives = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> Any:
            await trio.lowlevel.checkpoint()
            return next(asked, {"type": "http.disconnect"})

        async def live() -> Any:
            await trio.lowlevel.checkpoint()
            return next(lives)

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"] == "http.response.start":
                bbs.desire(wanted())
            await trio.lowlevel.checkpoint()

        app = BBSApp(bbs)
        await app({"type": "http", "method": "POST", "path": INSTANCES}, receive, send)
        assert [message["body"][:5] for message in sent if message.get("body")] == [b"id: 0", b"id: 1"]
        sent.clear()
        await app({"type": "lifespan"}, live, send)
        assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    trio.run(main)


def test_a_reader_that_falls_behind_by_the_limit_is_cut_off_even_while_a_write_to_it_is_stuck() -> None:
    async def main() -> None:
        bbs = diego()
        async with serve_diego(bbs) as server, reading(server) as reader:
            await eventually(lambda: server.host.streams == 1)
            for number in range(30):
                bbs.desire(wanted(f"p{number}", 0, annotation="x" * 10_000))
                for change in range(50):
                    bbs.update_desired(f"p{number}", annotation=f"{change}" + "x" * 10_000)
                await trio.lowlevel.checkpoint()
            await eventually(lambda: server.host.streams == 0)
            assert await reader.is_broken_off()

    trio.run(main)


def test_a_burst_within_the_limit_reaches_a_reader() -> None:
    async def main() -> None:
        bbs = diego()
        async with serve_diego(bbs) as server, reading(server) as reader:
            bbs.desire(wanted(instances=0))
            for number in range(1000):
                bbs.update_desired("p", annotation=str(number))
            assert len(await reader.next(1001)) == 1001

    trio.run(main)


def test_a_reader_that_leaves_is_forgotten() -> None:
    async def main() -> None:
        bbs = diego()
        async with serve_diego(bbs) as server:
            async with reading(server):
                await eventually(lambda: server.host.streams == 1)
            await eventually(lambda: server.host.streams == 0)
            bbs.desire(wanted())
            assert bbs._subscriptions["instances"] == []

    trio.run(main)


def test_streams_can_be_cut_and_come_again() -> None:
    async def main() -> None:
        bbs = diego()
        async with serve_diego(bbs) as server, httpx.AsyncClient(base_url=server.url) as client:
            await client.post("/v1/ping")
            async with reading(server) as reader:
                await eventually(lambda: server.host.streams == 1)
                assert server.host.cut(streams_only=True) == 1
                assert await reader.is_broken_off()
            await eventually(lambda: server.host.connections == 1)
            async with reading(server) as reader:
                bbs.desire(wanted())
                await reader.next(1)
            assert server.host.cut() >= 1

    trio.run(main)


def test_a_server_can_refuse_connections_and_accept_them_again_at_the_same_url() -> None:
    async def main() -> None:
        async with serve_diego(diego()) as server, httpx.AsyncClient(base_url=server.url) as client:
            await server.host.refuse()
            await server.host.refuse()
            with pytest.raises(httpx.ConnectError):
                await client.post("/v1/ping")
            await server.host.accept()
            await server.host.accept()
            assert (await client.post("/v1/ping")).status_code == 200

    trio.run(main)


def test_a_port_whose_closing_was_not_waited_for_can_be_had_again() -> None:
    async def main() -> None:
        async with serve_app(BBSApp(diego())) as host:
            with trio.CancelScope() as impatient:
                impatient.cancel()
                await host.refuse()
            await host.accept()
            await still_serves(host)

    trio.run(main)


def test_a_reader_does_not_fall_behind_by_what_the_autopilot_does_in_one_step() -> None:
    async def main() -> None:
        bbs = Diego(seed=1)
        pilot = Autopilot(bbs, seed=1, apps=40, instances=3000)
        async with serve_diego(bbs, autopilot=pilot, pace=50) as server, reading(server) as reader:
            with trio.fail_after(PATIENCE):
                assert len(await reader.next(4000)) == 4000

    trio.run(main)


def test_a_silent_server_keeps_its_connections_and_goes_on_later() -> None:
    async def main() -> None:
        bbs = diego()
        async with serve_diego(bbs) as server, reading(server) as reader:
            server.host.pause()
            server.host.pause()
            bbs.desire(wanted())
            async with httpx.AsyncClient(base_url=server.url, timeout=0.1) as client:
                with pytest.raises(httpx.ReadTimeout):
                    await client.post("/v1/ping")
            server.host.resume()
            assert types(await reader.next(2)) == ["desired_lrp_created", "created"]

    trio.run(main)


def test_under_any_asgi_server_a_stream_ends_when_its_reader_leaves() -> None:
    async def main() -> None:
        bbs, sent = diego(), list[Any]()
        body, rest = {"type": "http.request", "body": b""}, {"type": "http.request", "body": b"unasked"}
        messages = iter([body, rest, {"type": "http.disconnect"}])

        async def receive() -> Any:
            await trio.lowlevel.checkpoint()
            return next(messages)

        async def send(message: object) -> None:
            await trio.lowlevel.checkpoint()
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/events/lrp_instances.r1", "headers": []}
        with trio.fail_after(PATIENCE):
            await BBSApp(bbs)(scope, receive, send)
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]

    trio.run(main)


def test_what_is_no_http_is_not_answered() -> None:
    async def nothing(*_what: object) -> Any:
        raise AssertionError("unreachable")

    trio.run(BBSApp(diego()), {"type": "websocket", "path": "/v1/events"}, nothing, nothing)


@pytest.mark.parametrize("stuck", [False, True])
def test_the_server_stops_at_once_whatever_its_readers_do(stuck: bool) -> None:
    async def main() -> None:
        bbs = diego()
        async with AsyncExitStack() as readers:
            with trio.fail_after(2):
                async with serve_diego(bbs) as server:
                    reader = await readers.enter_async_context(reading(server))
                    for number in range(800 if stuck else 0):
                        bbs.desire(wanted(f"p{number}", 0, annotation="x" * 10_000))
                    await trio.sleep(0.05)
            assert await reader.is_broken_off()

    trio.run(main)


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /v1/events/lrp_instances.r1 HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 300_000,
        b"POST /v1/actual_lrps/list HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        b"not http at all\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"POST ",
        b"",
    ],
)
def test_a_client_that_breaks_the_protocol_or_leaves_harms_nobody(sent: bytes) -> None:
    async def main() -> None:
        async with serve_app(BBSApp(diego())) as host:
            stream = await trio.open_tcp_stream("127.0.0.1", host.port)
            async with stream:
                # Closing with something unread resets the connection, which is the client's affair too.
                with trio.fail_after(PATIENCE), suppress(trio.BrokenResourceError):
                    if sent:
                        await stream.send_all(sent)
                    await stream.send_eof()
                    while await stream.receive_some():
                        pass
            await still_serves(host)

    trio.run(main)


def test_a_client_that_leaves_in_the_middle_of_a_long_reply_harms_nobody() -> None:
    async def main() -> None:
        bbs = Diego()
        for number in range(3000):
            bbs.start(f"p{number}", 0, A, domain="d" * 1000)
        async with serve_app(BBSApp(bbs)) as host:
            async with await trio.open_tcp_stream("127.0.0.1", host.port) as stream:
                await stream.send_all(b"POST /v1/actual_lrps/list HTTP/1.1\r\nHost: x\r\n\r\n")
                await stream.receive_some()
            await eventually(lambda: host.connections == 0)
            await still_serves(host)

    trio.run(main)


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked() -> None:
    async def main() -> None:
        async with serve_app(BBSApp(diego())) as host:
            stream = await trio.open_tcp_stream("127.0.0.1", host.port)
            async with stream:
                await stream.send_all(b"POST /v1/actual_lrps/list HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n")
                await stream.send_all(b"Expect: 100-continue\r\n\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
                await stream.send_all(b"\x0a\x01d")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")

    trio.run(main)


async def still_serves(host: Host) -> None:
    async with httpx.AsyncClient(base_url=host.url) as client:
        assert (await client.post("/v1/ping")).status_code == 200
