"""How replies end: a body whose end nothing tells is refused, and nothing is left of a reply that failed."""

import gc
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import pytest
import trio
from client_support import STREAM_HEAD, Received, Script, chunk, reply, run, says, serving
from tls_support import Files

from lrpmirror import Tuning, open_mirror
from lrpmirror.client import BBSClient, Limits
from lrpmirror.client._replies import EventStream
from lrpmirror.errors import ConnectionFailed, LimitExceeded, UnexpectedReply, WireError
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP
from lrpmirror.wire import encode
from lrpmirror.wire.sse import EventStreamDecoder

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n"
ROWS = [encode.actual_lrp(ActualLRP(process_guid=f"p{number}")) for number in range(400)]


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# Where a reply ends


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("rows", [400, 250])
def test_a_list_whose_end_is_only_that_of_the_connection_is_refused(mine: Files, rows: int, *, encrypted: bool) -> None:
    # With 250 of the 400 rows, cut between two records, it would look as whole as it does with all of them.
    script = says(HEAD + encode.reply(ROWS[:rows]))

    async def main() -> None:
        tls = mine.server() if encrypted else None
        async with (
            serving(script, tls=tls, host="localhost") as bbs,
            BBSClient(bbs.url, tls=mine.tls if encrypted else None) as client,
        ):
            with pytest.raises(UnexpectedReply, match=f"^POST /v1/actual_lrps/list at {bbs.url}: .* where it ends"):
                await client.actual_lrps()
            with pytest.raises(UnexpectedReply, match="does not say where it ends"):
                await client.ping()

    run(main)


def test_a_stream_need_not_say_where_it_ends() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

    async def main() -> None:
        async with (
            serving(says(head)) as bbs,
            BBSClient(bbs.url) as client,
            client.events("instances") as stream,
        ):
            with pytest.raises(ConnectionFailed, match="the server closed the stream"):
                await anext(stream)

    run(main)


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("behind", [encode.reply(ROWS[:1]), b"HTTP/1.1 200 OK\r\n\r\n", b"\xff" * 100])
def test_what_comes_behind_a_body_of_a_known_length_is_none_of_it(behind: bytes, pieces: int) -> None:
    body = encode.reply(ROWS[:10])
    sent = reply(body) + behind
    size = -(-len(sent) // pieces)

    async def main() -> None:
        script = says(*[sent[at : at + size] for at in range(0, len(sent), size)], hang=True)
        async with serving(script) as bbs, BBSClient(bbs.url) as client:
            assert [row.process_guid for row in await client.actual_lrps()] == [f"p{number}" for number in range(10)]

    run(main)


# How many records are taken


def endlessly(record: bytes) -> Script:
    """Answer with a list that has no end, as far as its reader goes."""

    async def script(_: Received, stream: trio.abc.Stream) -> bool:
        await stream.send_all(reply(length=10**9))
        while True:
            await stream.send_all(encode.reply([record] * 10))

    return script


@pytest.mark.parametrize(
    ("record", "ask"),
    [
        (encode.domain("d"), lambda client: client.domains(most=100)),
        (encode.cell_presence(CellPresence(cell_id="c")), lambda client: client.cells(most=100)),
        (ROWS[0], lambda client: client.actual_lrps_by_process_guids(["p"], most=100)),
        (
            encode.desired_lrp(DesiredLRP(process_guid="p", domain="d", root_fs="r")),
            lambda client: client.desired_lrps(process_guids=["p"], most=100),
        ),
    ],
)
def test_what_is_too_much_is_given_up_as_it_arrives(record: bytes, ask: Callable[[BBSClient], Any]) -> None:
    async def main() -> None:
        async with serving(endlessly(record)) as bbs, BBSClient(bbs.url) as client:
            with pytest.raises(LimitExceeded, match="over 100 records"):
                await ask(client)

    run(main)


def test_an_older_server_that_is_asked_for_one_process_after_the_other_may_answer_as_much_in_all() -> None:
    async def script(received: Received, stream: trio.abc.Stream) -> bool:
        old = received.path != "/v1/actual_lrps/list"
        await stream.send_all(
            reply(b"404 page not found\n", "text/plain", "404 Not Found") if old else reply(encode.reply(ROWS[:40]))
        )
        return True

    async def main() -> None:
        async with serving(script) as bbs, BBSClient(bbs.url) as client:
            assert len(await client.actual_lrps_by_process_guids(["a", "b"], most=80)) == 80
            with pytest.raises(LimitExceeded):
                await client.actual_lrps_by_process_guids(["a", "b"], most=79)

    run(main)


# What is left of a reply that failed


@pytest.mark.usefixtures("collector_off")
def test_a_stream_that_was_left_is_gone_at_once() -> None:
    left: list[ref[Any]] = []

    async def main() -> None:
        async with serving(says(STREAM_HEAD, hang=True)) as bbs, BBSClient(bbs.url) as client:
            async with client.events("instances") as stream:
                body = stream._body
                left.extend(map(ref, (stream, body, body._stream)))
                del stream, body
            await trio.lowlevel.checkpoint()
            assert [one() for one in left] == [None] * 3

    run(main)


@pytest.mark.usefixtures("collector_off")
def test_a_mirror_keeps_nothing_of_a_stream_that_failed() -> None:
    tries = 0
    enough = trio.Event()

    async def script(received: Received, stream: trio.abc.Stream) -> bool:
        nonlocal tries
        if "/events" not in received.path:
            await stream.send_all(reply())
            return True
        tries += 1
        if tries == 5:
            enough.set()
            await trio.sleep_forever()
        await stream.send_all(STREAM_HEAD + chunk(b"data: " + b"A" * 3000))
        return False

    async def main() -> None:
        tuning = Tuning(first_delay=0.001, most_delay=0.002)
        async with (
            serving(script) as bbs,
            BBSClient(bbs.url, limits=Limits(max_frame=1000)) as client,
            open_mirror(client, tuning=tuning) as mirror,
        ):
            await enough.wait()
            assert isinstance(mirror.status.last_error, LimitExceeded)
            kinds = (EventStream, EventStreamDecoder)
            assert [one for one in gc.get_objects() if isinstance(one, kinds)] == []

    run(main)


def test_a_decoder_that_has_failed_holds_nothing() -> None:
    decoder = EventStreamDecoder(max_frame=100)
    decoder.feed(b"data: " + b"a" * 50 + b"\n")
    with pytest.raises(WireError):
        decoder.feed(b"data: " + b"a" * 5000)
    assert decoder.buffered == 0
