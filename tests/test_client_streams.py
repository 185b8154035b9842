"""Event streams, over real sockets on loopback."""

import base64
import random
from collections.abc import Callable, Iterable
from typing import Literal

import pytest
import trio
from client_support import STREAM_HEAD, Received, by_path, chunk, recorded, reply, run, says, serving

from lrpmirror.client import BBSClient, Limits, Timeouts
from lrpmirror.errors import (
    ConnectionFailed,
    LimitExceeded,
    MalformedChunk,
    TimedOut,
    UnknownPath,
)
from lrpmirror.events import (
    ActualLRPCrashed,
    ActualLRPInstanceCreated,
    DesiredLRPCreated,
    Event,
    UnknownEvent,
    UnreadableEvent,
)
from lrpmirror.model import ActualLRP
from lrpmirror.wire import decode, encode
from lrpmirror.wire.proto import diego_pb2, events_pb2
from lrpmirror.wire.sse import EventStreamDecoder, encode_frame

StreamName = Literal["instances", "groups"]

INSTANCES = "/v1/events/lrp_instances.r1"


def created(number: int) -> ActualLRPInstanceCreated:
    return ActualLRPInstanceCreated(ActualLRP(process_guid=f"process-{number}", index=number))


def frame(number: int) -> bytes:
    event = created(number)
    return encode_frame(number, event.type, encode.event(event))


def decoded(sse: bytes) -> list[Event]:
    return [decode.event(each.event, each.data) for each in EventStreamDecoder().feed(sse)]


async def until_closed(
    url: str, name: StreamName = "instances", tap: Callable[[str, bytes], None] | None = None
) -> tuple[list[Event], ConnectionFailed]:
    """Read a stream to its end; return its events and how it ended."""
    seen: list[Event] = []
    async with BBSClient(url, tap=tap) as client, client.events(name) as stream:
        try:
            async for events in stream:
                seen += events
        except ConnectionFailed as ended:
            return seen, ended
    raise AssertionError("a stream that ends without an error")


def cut(data: bytes, seed: int) -> Iterable[bytes]:
    rng = random.Random(seed)
    while data:
        size = rng.randint(1, 2000)
        yield data[:size]
        data = data[size:]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["instances", "groups"])
def test_a_recorded_reply_in_any_pieces_gives_every_recorded_event(name: StreamName, seed: int) -> None:
    http = recorded(f"01-lifecycle/events.{name}.http")
    sse = recorded(f"01-lifecycle/events.{name}.sse")

    async def main() -> None:
        tapped: list[tuple[str, bytes]] = []
        async with serving(says(*cut(http, seed))) as bbs:
            events, _ = await until_closed(bbs.url, name, lambda name, data: tapped.append((name, data)))
        assert events == decoded(sse)
        assert len(events) > 20
        assert {name for name, _ in tapped} == {f"events.{name}"}
        assert b"".join(data for _, data in tapped) == sse

    run(main)


def test_entering_returns_with_the_head_before_any_event() -> None:
    async def main() -> None:
        async with (
            serving(says(STREAM_HEAD, hang=True)) as bbs,
            BBSClient(bbs.url) as client,
            client.events("instances"),
        ):
            assert [received.line for received in bbs.received] == [f"POST {INSTANCES}"]

    run(main)


def test_an_interim_reply_is_not_the_reply() -> None:
    async def main() -> None:
        early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
        async with serving(says(early + STREAM_HEAD + chunk(frame(0)))) as bbs:
            events, _ = await until_closed(bbs.url)
        assert events == [created(0)]

    run(main)


def test_one_read_of_the_network_is_one_batch() -> None:
    burst = b"".join(chunk(frame(number)) for number in range(50))

    async def main() -> None:
        async with (
            serving(says(STREAM_HEAD + burst, hang=True)) as bbs,
            BBSClient(bbs.url) as client,
            client.events("instances") as stream,
        ):
            assert await anext(stream) == [created(number) for number in range(50)]

    run(main)


def test_an_event_is_handed_over_though_the_server_then_says_nothing_for_longer_than_any_timeout() -> None:
    async def script(_received: Received, stream: trio.abc.Stream) -> bool:
        await stream.send_all(STREAM_HEAD + chunk(frame(0)))
        await quiet.wait()
        await stream.send_all(chunk(frame(1)))
        await trio.sleep_forever()
        return False

    quiet = trio.Event()

    async def main() -> None:
        async with (
            serving(script) as bbs,
            BBSClient(bbs.url, timeout=Timeouts(read=0.2)) as client,
            client.events("instances") as stream,
        ):
            assert await anext(stream) == [created(0)]
            with trio.move_on_after(0.4) as patience:
                await anext(stream)
            assert patience.cancelled_caught

    run(main)


def test_the_end_of_a_stream_is_an_error_that_says_who_ended_it() -> None:
    async def main() -> None:
        async with serving(says(STREAM_HEAD, chunk(frame(0)), b"0\r\n\r\n")) as bbs:
            events, ended = await until_closed(bbs.url)
        assert events == [created(0)]
        assert str(ended).startswith(f"POST {INSTANCES} at {bbs.url}: the server closed the stream")

    run(main)


@pytest.mark.parametrize("last", [b"", chunk(frame(1))[:-2], chunk(frame(1))[:40], b"5"])
def test_a_stream_cut_anywhere_gives_the_events_before_the_cut_and_then_the_error(last: bytes) -> None:
    async def main() -> None:
        async with serving(says(STREAM_HEAD + chunk(frame(0)) + last)) as bbs:
            events, ended = await until_closed(bbs.url)
        assert events[0] == created(0)
        assert "the server closed the stream" in str(ended)
        assert ended.__cause__ is not None

    run(main)


def test_the_events_that_arrived_together_with_garbage_are_handed_over_before_the_error() -> None:
    async def main() -> None:
        async with (
            serving(says(STREAM_HEAD + chunk(frame(0)) + b"this is no chunk\r\n", hang=True)) as bbs,
            BBSClient(bbs.url) as client,
            client.events("instances") as stream,
        ):
            assert await anext(stream) == [created(0)]
            where = f"POST {INSTANCES} at .* chunk should begin, at byte {len(chunk(frame(0)))}"
            with pytest.raises(MalformedChunk, match=where):
                await anext(stream)

    run(main)


class Turns:
    """Counts how often another task has its turn."""

    def __init__(self) -> None:
        self.taken = 0

    async def take(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.taken += 1


def test_a_burst_is_handed_over_in_bounded_batches_in_order() -> None:
    small = [UnknownEvent("e", str(number).encode()) for number in range(6003)]
    burst = b"".join(chunk(encode_frame(number, "e", event.data)) for number, event in enumerate(small))

    async def main() -> None:
        async with (
            serving(says(STREAM_HEAD + burst, hang=True)) as bbs,
            BBSClient(bbs.url) as client,
            client.events("instances") as stream,
        ):
            seen: list[Event] = []
            sizes = []
            async with trio.open_nursery() as nursery:
                turns = Turns()
                nursery.start_soon(turns.take)
                while len(seen) < len(small):
                    seen += (batch := await anext(stream))
                    sizes.append(len(batch))
                nursery.cancel_scope.cancel()
        assert seen == small
        assert max(sizes) == 500
        # A checkpoint lies between two batches, also of one read; the scheduler's order within a turn is random.
        assert turns.taken >= len(sizes) / 2

    run(main)


def test_a_stream_that_could_not_be_read_stays_so_with_the_same_message() -> None:
    async def main() -> None:
        garbage = chunk(b"id: 0\nevent: e\ndata: " + b"A" * 100 + b"\n\n")
        async with (
            serving(says(STREAM_HEAD + garbage, garbage, garbage, hang=True)) as bbs,
            BBSClient(bbs.url, limits=Limits(max_frame=50)) as client,
            client.events("instances") as stream,
        ):
            texts = []
            for _ in range(2):
                with pytest.raises(LimitExceeded) as failed:
                    await anext(stream)
                texts.append(str(failed.value))
        assert texts[0] == texts[1]

    run(main)


def test_a_reset_stream_is_a_failed_connection() -> None:
    async def script(_received: Received, stream: trio.abc.Stream) -> bool:
        assert isinstance(stream, trio.SocketStream)
        await stream.send_all(STREAM_HEAD)
        await entered.wait()
        linger_zero = b"\1\0\0\0\0\0\0\0"
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger_zero)
        return False

    entered = trio.Event()

    async def main() -> None:
        async with serving(script) as bbs, BBSClient(bbs.url) as client, client.events("instances") as stream:
            entered.set()
            with pytest.raises(ConnectionFailed, match="the server closed the stream") as failed:
                await anext(stream)
            assert isinstance(failed.value.__cause__, Exception)

    run(main)


def test_an_event_of_an_unknown_type_is_handed_over_as_such() -> None:
    data = base64.b64encode(b"\x0a\x01x")
    unknown = b"id: 0\nevent: task_created\ndata: " + data + b"\n\n"

    async def main() -> None:
        async with serving(says(STREAM_HEAD, chunk(unknown) + chunk(frame(1)))) as bbs:
            events, _ = await until_closed(bbs.url)
        assert isinstance(events[0], UnknownEvent)
        assert events[0].type == "task_created"
        assert events[1] == created(1)

    run(main)


def test_a_frame_beyond_the_limit_is_refused_before_it_is_whole() -> None:
    async def main() -> None:
        async with (
            serving(says(STREAM_HEAD, chunk(b"id: 0\nevent: e\ndata: " + b"A" * 5000), hang=True)) as bbs,
            BBSClient(bbs.url, limits=Limits(max_frame=1000)) as client,
            client.events("instances") as stream,
        ):
            with pytest.raises(LimitExceeded, match=f"POST {INSTANCES} at "):
                await anext(stream)

    run(main)


@pytest.mark.parametrize("data", [b"", b"%%%", b"////"])
@pytest.mark.parametrize("name", ["actual_lrp_instance_removed", "actual_lrp_removed", "desired_lrp_changed"])
def test_an_event_that_says_nothing_costs_no_stream_and_none_of_the_others(name: str, data: bytes) -> None:
    sent = b"id: 0\nevent: %b\ndata: %b\n\n" % (name.encode(), data)
    good = encode_frame(1, "actual_lrp_crashed", encode.event(ActualLRPCrashed(process_guid="p")))

    async def main() -> None:
        async with (
            serving(says(STREAM_HEAD, chunk(good + sent + good), hang=True)) as bbs,
            BBSClient(bbs.url) as client,
            client.events("instances") as stream,
        ):
            first, nothing, last = await anext(stream)
            assert first == last == ActualLRPCrashed(process_guid="p")
            assert isinstance(nothing, UnreadableEvent)
            assert (nothing.type, nothing.name, nothing.size) == ("unreadable", name, len(data))
            assert nothing.reason

    run(main)


def test_a_server_that_accepts_and_never_answers_times_out() -> None:
    async def main() -> None:
        async with serving(says(hang=True)) as bbs, BBSClient(bbs.url, timeout=Timeouts(read=0.05)) as client:
            with pytest.raises(TimedOut, match="timed out while waiting for the reply"):
                await client.events("instances").__aenter__()

    run(main)


def test_cancellation_closes_the_connection() -> None:
    closed = trio.Event()

    async def script(_received: Received, stream: trio.abc.Stream) -> bool:
        await stream.send_all(STREAM_HEAD)
        assert await stream.receive_some() == b""
        closed.set()
        return False

    async def main() -> None:
        async with serving(script) as bbs, BBSClient(bbs.url) as client:
            with trio.CancelScope() as scope:
                async with client.events("instances") as stream:
                    scope.cancel()
                    await anext(stream)
            assert scope.cancelled_caught
            await closed.wait()

    run(main)


def test_leaving_a_stream_closes_its_connection_whatever_was_left_unread() -> None:
    closed = trio.Event()

    async def script(_received: Received, stream: trio.abc.Stream) -> bool:
        await stream.send_all(STREAM_HEAD + chunk(frame(0)) + chunk(frame(1)))
        assert await stream.receive_some() == b""
        closed.set()
        return False

    async def main() -> None:
        async with serving(script) as bbs, BBSClient(bbs.url) as client:
            async with client.events("instances") as stream:
                await anext(stream)
            await closed.wait()
            with pytest.raises(ConnectionFailed, match="left"):
                await anext(stream)

    run(main)


def test_the_cell_filter_is_the_body_of_the_request_also_of_the_get() -> None:
    async def main() -> None:
        async with serving(says(STREAM_HEAD, hang=True)) as bbs, BBSClient(bbs.url) as client:
            async with client.events("instances", cell_id="cell-a"), client.events("groups", "cell-b"):
                pass
            assert [received.line for received in bbs.received] == [f"POST {INSTANCES}", "GET /v1/events.r1"]
            assert [events_pb2.EventsByCellId.FromString(received.body).cell_id for received in bbs.received] == [
                "cell-a",
                "cell-b",
            ]
            assert all(received.headers["content-type"] == "application/x-protobuf" for received in bbs.received)

    run(main)


def test_a_server_without_any_stream_is_an_unknown_path() -> None:
    async def main() -> None:
        async with serving(by_path({})) as bbs, BBSClient(bbs.url) as client:
            with pytest.raises(UnknownPath, match=r"GET /v1/events at "):
                await client.events("groups").__aenter__()

    run(main)


def test_lists_are_read_beside_any_number_of_streams() -> None:
    answers = {INSTANCES: STREAM_HEAD, "/v1/domains/list": reply(encode.reply([encode.domain("cf-apps")]))}

    async def main() -> None:
        async with (
            serving(by_path(answers)) as bbs,
            BBSClient(bbs.url) as client,
            trio.open_nursery() as nursery,
        ):

            async def follow(*, task_status: trio.TaskStatus[None]) -> None:
                async with client.events("instances"):
                    task_status.started()
                    await trio.sleep_forever()

            for _ in range(40):
                await nursery.start(follow)
            assert await client.domains() == ("cf-apps",)
            nursery.cancel_scope.cancel()

    run(main)


@pytest.mark.parametrize("full", [False, True])
def test_the_detail_of_desired_lrps_is_decoded_only_when_asked_for(full: bool) -> None:
    record = diego_pb2.DesiredLRP(process_guid="p1", log_source="APP")
    payload = events_pb2.DesiredLRPCreatedEvent(desired_lrp=record).SerializeToString()

    async def main() -> None:
        async with (
            serving(says(STREAM_HEAD + chunk(encode_frame(0, "desired_lrp_created", payload)), hang=True)) as bbs,
            BBSClient(bbs.url) as client,
            client.events("instances", full=full) as stream,
        ):
            (event,) = await anext(stream)
        assert isinstance(event, DesiredLRPCreated)
        assert (event.desired_lrp.detail is not None) is full

    run(main)
