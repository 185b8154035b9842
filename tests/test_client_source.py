"""What a replica says of itself, as a client hears it: on the stream, in its place, and in a header of each reply."""

from client_support import STREAM_HEAD, chunk, run, says, serving

from lrpmirror.client import BBSClient
from lrpmirror.events import ActualLRPInstanceCreated, SourceStatus
from lrpmirror.model import ActualLRP
from lrpmirror.wire import encode, source
from lrpmirror.wire.sse import encode_aside, encode_frame


def created(number: int) -> ActualLRPInstanceCreated:
    return ActualLRPInstanceCreated(ActualLRP(process_guid=f"process-{number}", index=number))


def frame(number: int) -> bytes:
    event = created(number)
    return encode_frame(number, event.type, encode.event(event))


def test_what_a_replica_says_of_itself_is_told_between_the_events_that_stand_around_it() -> None:
    many = b"".join(frame(number) for number in range(1200))
    statuses = [SourceStatus(1.0), SourceStatus(2.0, "ConnectionFailed"), SourceStatus(3.0)]
    first, second, third = map(source.comment, statuses)
    sent = first + many + second + encode_aside("source_status", b"?") + third + frame(1200)

    async def main() -> None:
        taken = 0
        said: list[tuple[SourceStatus, int]] = []
        script = says(STREAM_HEAD, chunk(sent), hang=True)
        async with (
            serving(script) as server,
            BBSClient(server.url) as client,
            client.events("instances", said=lambda status: said.append((status, taken))) as stream,
        ):
            async for events in stream:
                taken += len(events)
                if taken > 1200:
                    break
        assert said == list(zip(statuses, (0, 1200, 1200), strict=True))

    run(main)


def test_whoever_does_not_ask_how_old_a_replica_is_is_not_disturbed() -> None:
    async def main() -> None:
        script = says(STREAM_HEAD, chunk(source.comment(SourceStatus(1.0)) + frame(0)), hang=True)
        async with serving(script) as server, BBSClient(server.url) as client, client.events("instances") as stream:
            assert await anext(stream) == [created(0)]

    run(main)


def test_a_reply_says_in_a_header_how_old_a_replica_is() -> None:
    async def main() -> None:
        pieces = (b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n", b"Content-Length: 0\r\n\r\n")
        notified = b"X-Lrpmirror-Source: " + source.header(SourceStatus(4.5, "TimedOut")) + b"\r\n"
        for script, expected in (
            (says(pieces[0] + notified + pieces[1]), SourceStatus(4.5, "TimedOut")),
            (says(b"".join(pieces)), None),
        ):
            async with serving(script) as server, BBSClient(server.url) as client:
                assert client.source is None
                await client.domains()
                assert client.source == expected

    run(main)
