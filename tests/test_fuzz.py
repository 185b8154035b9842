"""Any bytes end in a documented error or are accepted: no other exception, no hang, no unbounded memory."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import trio
from client_support import PROTOBUF, STREAM_HEAD, chunk, reply
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_support import any_event, cells, full_desired_lrps, groups, positions, rows

from lrpmirror.client import BBSClient, Limits, _transport
from lrpmirror.errors import (
    BBSError,
    LRPMirrorError,
    MalformedRecord,
    RecordingError,
    RequestRefused,
    WireError,
)
from lrpmirror.events import DesiredLRPCreated, Event
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.recording import Recording
from lrpmirror.wire import encode, json
from lrpmirror.wire.sse import encode_frame

LIMITS = Limits(max_frame=2000, max_record=2000, max_list=20_000, max_records=50, max_head=1000, max_trailers=100)

_NOISE = st.sampled_from(
    [b"", b"\r\n", b"\n\n", b"0\r\n", b"\x12", b"\x0a", b"\xff", b'"', b"\\", b"}", b"id: ", b"\0"]
)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that were good, after some accidents: bits turned, pieces lost, doubled, or put in."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 40))
        match draw(st.sampled_from(["turn", "lose", "double", "put in", "end"])):
            case "turn":
                data[at : at + 1] = bytes([byte ^ 1 << draw(st.integers(0, 7)) for byte in data[at : at + 1]])
            case "lose":
                del data[at : at + size]
            case "double":
                data[at:at] = data[at : at + size]
            case "put in":
                data[at:at] = draw(_NOISE | st.binary(max_size=8))
            case _:
                del data[at:]
    return bytes(data)


def check_text(error: LRPMirrorError) -> None:
    """What a peer sent must not make a message that fills a log."""
    assert len(str(error)) < 1000


class Wire:
    """A connection that brings these bytes in pieces, and then its end."""

    def __init__(self, data: bytes, at: Sequence[int]) -> None:
        cuts = sorted({0, len(data), *(position % (len(data) + 1) for position in at)})
        self._pieces = [data[a:b] for a, b in pairwise(cuts)]

    async def send(self, _data: bytes, _timeout: float) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self, _timeout: float) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._pieces.pop(0) if self._pieces else b""

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()


@contextmanager
def connected(wire: Wire) -> Iterator[BBSClient]:
    """A client whose next connection is this."""

    async def connect(*_: object) -> Wire:
        await trio.lowlevel.checkpoint()
        return wire

    with patch.object(_transport, "connect", connect):
        yield BBSClient("http://bbs.test", limits=LIMITS)


_EVENTS = st.lists(any_event(full_desired_lrps), max_size=4)


def framed(events: list[Event]) -> bytes:
    return b"".join(encode_frame(number, one.type, encode.event(one)) for number, one in enumerate(events))


def in_chunks(body: bytes, head: bytes) -> bytes:
    return head + b"".join(chunk(body[at : at + 100]) for at in range(0, len(body), 100)) + b"0\r\n\r\n"


def sent(events: list[Event]) -> bytes:
    return in_chunks(framed(events), STREAM_HEAD)


# What is damaged before it is sent in whole chunks comes further than what is damaged on the way.
_STREAMS = damaged(_EVENTS.map(framed)).map(partial(in_chunks, head=STREAM_HEAD)) | damaged(_EVENTS.map(sent))


@given(_STREAMS | st.binary(max_size=200).map(STREAM_HEAD.__add__) | st.binary(max_size=200), positions)
@settings(max_examples=200, deadline=None)
def test_any_bytes_of_a_stream_are_events_and_then_a_documented_error(data: bytes, at: list[int]) -> None:
    async def main() -> None:
        with connected(Wire(data, at)) as client:
            try:
                async with client, client.events("instances", full=True) as stream:
                    async for _ in stream:
                        assert stream._decoder.buffered <= LIMITS.max_frame
            except (BBSError, WireError) as exc:
                check_text(exc)
                return
        raise AssertionError("a stream that ends without an error")

    trio.run(main)


def listed(values: list[Any]) -> bytes:
    return encode.reply([encode.desired_lrp(value) for value in values])


_LISTS = st.lists(full_desired_lrps, max_size=4).map(listed) | st.builds(
    encode.error_reply, st.just("Deadlock"), st.text()
)


_LIST_HEAD = STREAM_HEAD.replace(b"text/event-stream; charset=utf-8", PROTOBUF.encode())

_REPLIES = (
    damaged(_LISTS).map(reply)
    | damaged(_LISTS.map(reply))
    | damaged(_LISTS.map(partial(in_chunks, head=_LIST_HEAD)))
    | st.binary(max_size=200)
)


@given(_REPLIES, positions)
@settings(max_examples=200, deadline=None)
def test_any_bytes_of_a_list_are_records_or_a_documented_error(data: bytes, at: list[int]) -> None:
    async def main() -> None:
        with connected(Wire(data, at)) as client:
            try:
                async with client, client.stream_list("desired_lrps", full=True) as batches:
                    async for _ in batches:
                        assert batches._splitter.buffered <= LIMITS.max_record + 20
            except (BBSError, WireError) as exc:
                check_text(exc)

    trio.run(main)


_KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (ActualLRP, rows),
    (ActualLRPGroup, groups),
    (CellPresence, cells),
    (DesiredLRP, full_desired_lrps),
    (Event, any_event(full_desired_lrps)),
]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_json_is_a_value_or_malformed(data: st.DataObject) -> None:
    kind, values = data.draw(st.sampled_from(_KINDS))
    text = data.draw(damaged(values.map(json.dumps)) | st.binary(max_size=50))
    try:
        value = json.loads(kind, text)
    except MalformedRecord as exc:
        check_text(exc)
        return
    assert json.loads(kind, json.dumps(value)) == value


_FILES = st.fixed_dictionaries(
    {},
    optional={
        "about.json": damaged(st.just(b'{"note":"n","steps":["a"],"secrets":false,"recorded_at":"2026"}')),
        "events.instances.sse": damaged(_EVENTS.map(framed)),
        "events.groups.sse": st.binary(max_size=100),
        "snapshot/actual_lrps.pb": damaged(
            st.lists(rows, max_size=3).map(lambda r: encode.reply(map(encode.actual_lrp, r)))
        ),
        "snapshot/desired_lrps.pb": damaged(_LISTS),
        "snapshot/domains.pb": st.binary(max_size=50),
        "steps/00/cells.pb": st.binary(max_size=50),
        "steps": st.just(b""),
    },
)


@given(_FILES)
@settings(max_examples=100, deadline=None)
def test_any_files_of_a_recording_are_read_or_refused(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, data in sorted(files.items(), reverse=True):
            path = Path(folder) / name
            if not path.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        try:
            recording = Recording(folder)
        except RecordingError:
            return
        reads: list[Callable[[], object]] = [
            lambda: [list(recording.events(name, full=True)) for name in recording.streams]
        ]
        for name in recording.folders:
            lists = recording.lists(name)
            reads += [lists.actual_lrps, lists.domains, lists.cells, partial(lists.desired_lrps, full=True)]
        for read in reads:
            try:
                read()
            except (RecordingError, RequestRefused) as exc:
                check_text(exc)


def test_what_is_not_damaged_is_accepted() -> None:
    event = DesiredLRPCreated(DesiredLRP(process_guid="p"))

    async def main() -> None:
        with connected(Wire(sent([event, event]), [])) as client:
            async with client, client.events("instances") as stream:
                assert await anext(stream) == [event, event]

    trio.run(main)
