"""What a server controls is bounded: beyond a bound there is a named error, and the connection is given up."""

from collections.abc import AsyncIterator

import h11
import httpx
import pytest
import trio
import trio.testing
from client_support import PROTOBUF, STREAM_HEAD, Answering, Received, Script, chunk, reply, run, says, serving
from trio.testing import MockClock

from lrpmirror.client import BBSClient, Limits, Timeouts
from lrpmirror.client._transport import read_head
from lrpmirror.errors import ConnectionFailed, LimitExceeded, RequestRefused, TimedOut, UnexpectedReply
from lrpmirror.model import ActualLRP
from lrpmirror.wire import encode

URL = "http://bbs.test:8889"
ROW = encode.actual_lrp(ActualLRP(process_guid="p"))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"


def refusal_of(script: Script, limits: Limits) -> LimitExceeded:
    """Return the error of a list, and see that its connection is closed."""
    errors: list[LimitExceeded] = []
    left = trio.Event()

    async def watched(received: Received, stream: trio.abc.Stream) -> bool:
        await script(received, stream)
        assert await stream.receive_some() == b""
        left.set()
        return False

    async def main() -> None:
        async with serving(watched) as bbs, BBSClient(bbs.url, limits=limits) as client:
            with pytest.raises(LimitExceeded, match=f"^POST /v1/actual_lrps/list at {bbs.url}: ") as failed:
                await client.actual_lrps()
            errors.append(failed.value)
            await left.wait()

    run(main)
    return errors[0]


@pytest.mark.parametrize(
    ("sent", "limits", "text"),
    [
        (HEAD + b"X: " + b"a" * 1000, Limits(max_head=500), "the head of the reply is over 500 bytes (max_head)"),
        (HEAD + b"X: " + b"a" * 1000 + b"\r\n\r\n", Limits(max_head=500), "over 500 bytes (max_head)"),
        (b"HTTP/1.1 " + b"2" * 70_000, Limits(), "over 65536 bytes (max_head)"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 30, Limits(max_head=500, max_interim=50), "over 500 bytes (max_head)"),
        (HEAD + b"X: a\r\n" * 5 + b"\r\n", Limits(max_headers=5), "has over 5 headers (max_headers)"),
        (b"HTTP/1.1 103 Early\r\n\r\n" * 11, Limits(), "over 10 interim replies before the reply (max_interim)"),
    ],
)
def test_the_head_of_a_reply_is_bounded(sent: bytes, limits: Limits, text: str) -> None:
    assert text in str(refusal_of(says(sent), limits))


@pytest.mark.parametrize(
    ("sent", "limits"),
    [
        (HEAD + b"Content-Length: 0\r\n\r\n", Limits(max_head=len(HEAD) + 21, max_headers=2)),
        (b"HTTP/1.1 103 Early\r\n\r\n" * 10 + HEAD + b"Content-Length: 0\r\n\r\n", Limits()),
        (HEAD + b"Content-Length: 2000\r\n\r\n" + encode.reply([b"a" * 1997], record_field=3), Limits(max_head=200)),
    ],
)
def test_what_is_within_its_bounds_is_read(sent: bytes, limits: Limits) -> None:
    async def main() -> None:
        async with serving(says(sent)) as bbs, BBSClient(bbs.url, limits=limits) as client:
            assert await client.actual_lrps() == ()

    run(main)


def test_a_list_that_is_too_large_is_refused_before_it_is_whole() -> None:
    body = encode.reply([ROW] * 1000)
    error = refusal_of(says(reply(body, length=10**9)), Limits(max_list=500))
    assert "the reply is over 500 bytes (max_list)" in str(error)


def test_a_list_of_too_many_records_is_refused() -> None:
    body = encode.reply([ROW] * 1000)
    assert "the list has over 999 records (max_records)" in str(refusal_of(says(reply(body)), Limits(max_records=999)))


def test_records_are_counted_over_all_batches() -> None:
    class Pieces(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for _ in range(10):
                yield encode.reply([ROW] * 10)

    async def main() -> None:
        transport = httpx.MockTransport(
            lambda _: httpx.Response(200, headers={"Content-Type": PROTOBUF}, stream=Pieces())
        )
        async with BBSClient(URL, limits=Limits(max_records=100), transport=transport) as client:
            assert len(await client.actual_lrps()) == 100
        async with BBSClient(URL, limits=Limits(max_records=99), transport=transport) as client:
            with pytest.raises(LimitExceeded, match="over 99 records"):
                await client.actual_lrps()

    run(main)


def test_trailers_are_bounded() -> None:
    sent = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(encode.reply([ROW])) + b"0\r\n" + b"a: b\r\n" * 100
    assert "trailers of the body are over 50 bytes" in str(refusal_of(says(sent), Limits(max_trailers=50)))


def test_a_stream_has_no_bounds_in_all() -> None:
    sent = STREAM_HEAD + chunk(b"event: e\ndata: YQ==\n\n") * 100

    async def main() -> None:
        limits = Limits(max_list=100, max_records=1)
        async with (
            serving(says(sent, hang=True)) as bbs,
            BBSClient(bbs.url, limits=limits) as client,
            client.events("instances") as stream,
        ):
            assert len(await anext(stream)) == 100

    run(main)


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
def test_no_redirect_is_followed(status: str) -> None:
    async def main() -> None:
        head = f"HTTP/1.1 {status}\r\nLocation: /v1/elsewhere\r\nContent-Length: 0\r\n\r\n".encode()
        async with serving(says(head)) as bbs, BBSClient(bbs.url) as client:
            with pytest.raises(UnexpectedReply, match=f"status {status[:3]} instead of 200"):
                await client.actual_lrps()
            assert len(bbs.received) == 1

    run(main)


class Dripping(httpx.AsyncBaseTransport):
    """Answers with a list of which a byte comes now and then."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Type": PROTOBUF}, stream=self.Body(), request=request)

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"\x12\xff\xff\x03"
            for _ in range(100):
                await trio.sleep(29)
                yield b"a"


def test_a_list_that_trickles_in_comes_to_an_end() -> None:
    async def main() -> None:
        async with BBSClient(URL, transport=Dripping(), timeout=Timeouts(list=100)) as client:
            began = trio.current_time()
            with pytest.raises(TimedOut, match=r"has not come within 100 seconds of waiting"):
                await client.actual_lrps()
            assert trio.current_time() - began == 100

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_time_that_a_reader_takes_for_itself_is_not_the_server_s() -> None:
    class Pieces(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for _ in range(5):
                await trio.sleep(10)
                yield encode.reply([ROW])

    async def main() -> None:
        transport = httpx.MockTransport(
            lambda _: httpx.Response(200, headers={"Content-Type": PROTOBUF}, stream=Pieces())
        )
        async with (
            BBSClient(URL, transport=transport, timeout=Timeouts(list=60)) as client,
            client.stream_list("actual_lrps") as batches,
        ):
            async for _ in batches:
                await trio.sleep(1000)

    trio.run(main, clock=MockClock(autojump_threshold=0))


class DrippingPipe:
    """A connection on which a byte comes every ten seconds."""

    def __init__(self, data: bytes) -> None:
        self._data = list(data)

    async def send(self, data: bytes, timeout: float) -> None:
        raise NotImplementedError

    async def receive(self, timeout: float) -> bytes:
        try:
            with trio.fail_after(timeout):
                await trio.sleep(10)
        except trio.TooSlowError as exc:
            raise httpx.ReadTimeout("") from exc
        return bytes([self._data.pop(0)])

    async def close(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("sent", [HEAD + b"X: aaaaaaaaaaaaaaaa", b"HTTP/1.1 100 Continue\r\n\r\n" * 3])
def test_a_head_that_trickles_in_comes_to_an_end(sent: bytes) -> None:
    async def main() -> None:
        exchange = h11.Connection(h11.CLIENT)
        exchange.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        exchange.send(h11.EndOfMessage())
        began = trio.current_time()
        with pytest.raises(httpx.ReadTimeout):
            await read_head(DrippingPipe(sent), exchange, Limits(), 305)
        assert trio.current_time() - began == 305

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_refusal_is_shown_on_one_line_and_in_part_and_kept_in_part() -> None:
    text = "a\nb\x1b[31m\u202e" + "é" * 100_000

    async def main() -> None:
        async with BBSClient(URL, transport=Answering(encode.error_reply("Deadlock", text))) as client:
            with pytest.raises(RequestRefused) as refused:
                await client.actual_lrps()
        shown = str(refused.value)
        assert shown.startswith(f"POST /v1/actual_lrps/list at {URL}: Deadlock: a\\nb\\x1b[31m\\u202eé")
        assert len(shown) < 700
        assert refused.value.message == text[:4096]

    run(main)


def test_what_a_server_says_instead_of_http_is_quoted_in_part() -> None:
    async def main() -> None:
        async with serving(says(b"\x1b[31m" + b"x" * 10_000 + b"\r\n\r\n")) as bbs, BBSClient(bbs.url) as client:
            with pytest.raises(ConnectionFailed) as failed:
                await client.ping()
        assert len(str(failed.value)) < 400
        assert str(failed.value).isprintable()

    run(main)


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


async def an_event(client: BBSClient) -> object:
    async with client.events("instances") as events:
        return await anext(events)


LONG_ROW = encode.actual_lrp(ActualLRP(process_guid="p" * 1000))


@pytest.mark.parametrize(
    ("sent", "limits"),
    [
        (HEAD + b"X: " + b"a" * 1000 + b"\r\n\r\n", Limits(max_head=500)),
        (HEAD + b"X: a\r\n" * 50 + b"\r\n", Limits(max_headers=50)),
        (b"HTTP/1.1 103 Early\r\n\r\n" * 11, Limits(max_interim=10)),
        (reply(encode.reply([ROW] * 100)), Limits(max_list=400)),
        (CHUNKED + chunk(encode.reply([ROW])) * 100, Limits(max_list=400)),
        (reply(encode.reply([ROW] * 100)), Limits(max_records=99)),
        (reply(encode.reply([LONG_ROW])), Limits(max_record=900)),
        (CHUNKED + chunk(encode.reply([ROW])) + b"0\r\n" + b"a: b\r\n" * 100, Limits(max_trailers=500)),
        (STREAM_HEAD + chunk(b"event: e\ndata: " + b"YQ==" * 250), Limits(max_frame=900)),
        (STREAM_HEAD + chunk(b"event: e\ndata: YQ==") + chunk(b"YQ==") * 250, Limits(max_frame=900)),
    ],
    ids=["head", "headers", "interim", "list", "chunks", "records", "record", "trailers", "frame", "frame in chunks"],
)
def test_what_comes_in_many_pieces_is_counted_in_all(sent: bytes, limits: Limits) -> None:
    pieces = [sent[at : at + 40] for at in range(0, len(sent), 40)]

    async def script(_received: Received, stream: trio.abc.Stream) -> bool:
        for piece in pieces:
            await stream.send_all(piece)
            # Else one read would bring several.
            await trio.testing.wait_all_tasks_blocked(0.001)
        await trio.sleep_forever()
        return False

    async def main() -> None:
        async with serving(script) as bbs, BBSClient(bbs.url, limits=limits) as client:
            with pytest.raises(LimitExceeded):
                await (an_event(client) if sent.startswith(STREAM_HEAD) else client.actual_lrps())

    run(main)
