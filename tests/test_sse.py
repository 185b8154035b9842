"""The event stream's framing: what frames any bytes give, in any pieces."""

import re
import time
from base64 import b64decode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire_support import cut, in_pieces, positions, recorded

from lrpmirror.errors import LimitExceeded, MalformedFrame, WireError
from lrpmirror.events import SourceStatus
from lrpmirror.wire import source
from lrpmirror.wire.sse import EventStreamDecoder, Frame, encode_aside, encode_frame

_SHAPE = re.compile(rb"id: (\d+)\nevent: (\S+)\ndata: (\S*)\n\n")


def frames(data: bytes) -> list[Frame]:
    return EventStreamDecoder().feed(data)


def by_the_standard(data: bytes) -> list[Frame]:
    """What a whole stream of text gives, written down from the standard as plainly as possible."""
    out = []
    fields: dict[str, list[str]] = {"data": [], "event": [""], "id": [""]}
    lines = re.split("\r\n|\r|\n", data.decode().removeprefix("\ufeff"))
    for line in lines[:-1]:
        if line:
            name, _, value = line.partition(":")
            if name in fields and not (name == "id" and "\0" in value):
                fields[name].append(value.removeprefix(" "))
            continue
        if fields["data"]:
            text = "\n".join(fields["data"])
            out.append(Frame(fields["event"][-1] or "message", text.encode(), fields["id"][-1]))
        fields["data"], fields["event"] = [], [""]
    return out


def test_recorded_streams_give_their_frames_and_the_frames_their_bytes() -> None:
    for path in recorded("*/*.sse"):
        stream = path.read_bytes()
        found = frames(stream)
        assert [(frame.id, frame.event, frame.data) for frame in found] == [
            (number.decode(), event.decode(), data) for number, event, data in _SHAPE.findall(stream)
        ]
        assert b"".join(encode_frame(int(f.id), f.event, b64decode(f.data)) for f in found) == stream


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 1000])
def test_recorded_streams_give_the_same_frames_in_pieces_of_one_size(size: int) -> None:
    for path in recorded("0[1-3]*/events.instances.sse"):
        stream = path.read_bytes()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert in_pieces(EventStreamDecoder().feed, pieces) == frames(stream)


def test_the_id_of_a_burst_stays_for_an_event_without_one() -> None:
    decoder = EventStreamDecoder()
    decoder.feed(b"id: 1\nevent: e\ndata: a\n\nid: 2\nevent: e\ndata: b\n\n")
    assert decoder.feed(b"event: f\ndata: c\n\n") == [Frame("f", b"c", "2")]


def test_texts_are_the_names_and_data_of_the_frames() -> None:
    for path in recorded("0[1-3]*/events.instances.sse"):
        stream = path.read_bytes()
        texts = EventStreamDecoder().texts(stream)
        assert texts == [(frame.event, frame.data) for frame in frames(stream)]
    assert EventStreamDecoder().texts(b"data: a\nevent: \xc3\xa9\n\ndata: b\n\n") == [("é", b"a"), ("message", b"b")]


@given(positions)
@settings(max_examples=60, deadline=None)
def test_a_recorded_stream_gives_the_same_frames_in_any_pieces(at: list[int]) -> None:
    stream = recorded("07-routes/events.groups.sse")[0].read_bytes()
    decoder = EventStreamDecoder()
    assert in_pieces(decoder.feed, cut(stream, at)) == frames(stream)
    assert decoder.buffered == 0


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [Frame("message", b"a", "")]),
        (b"event: e\ndata: a\r\n\r\n", [Frame("e", b"a", "")]),
        (b"event: e\rdata: a\r\r", [Frame("e", b"a", "")]),
        (b"\xef\xbb\xbfid: 1\nevent: e\ndata: a\n\n", [Frame("e", b"a", "1")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [Frame("message", b"a", "")]),
        (b": note\ndata: a\n: note\ndata: b\n\n", [Frame("message", b"a\nb", "")]),
        (b"data\ndata:\n\n", [Frame("message", b"\n", "")]),
        (b"data:\n\n", [Frame("message", b"", "")]),
        (b"data:  a\ndata:b\n\n", [Frame("message", b" a\nb", "")]),
        (b"retry: 5\nother: x\n\n\n\n", []),
        (b"id: 1\ndata: a\n\ndata: b\n\n", [Frame("message", b"a", "1"), Frame("message", b"b", "1")]),
        (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [Frame("message", b"a", "1"), Frame("message", b"b", "")]),
        (b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", [Frame("message", b"a", "1"), Frame("message", b"b", "1")]),
        (b"id: 1\nevent: e\ndata: a\n\ndata: b\n\n", [Frame("e", b"a", "1"), Frame("message", b"b", "1")]),
        (b"event: e\n\ndata: a\n\n", [Frame("message", b"a", "")]),
        (b"event: e\nevent: f\ndata: a\n\n", [Frame("f", b"a", "")]),
        (b"xid: 1\nevent: e\ndata: a\n\n", [Frame("e", b"a", "")]),
        (b"id: 1\nevent: e\ndata: a\n\nxid: 2\nevent: f\ndata: b\n\n", [Frame("e", b"a", "1"), Frame("f", b"b", "1")]),
        (b"id: 1\nevent: \xc3\xa9\ndata: \xff\n\n", [Frame("é", b"\xff", "1")]),
        (b"data: a\n\ndata: not ended", [Frame("message", b"a", "")]),
    ],
)
def test_lines_are_read_as_the_standard_says(stream: bytes, expected: list[Frame]) -> None:
    assert frames(stream) == expected
    assert in_pieces(EventStreamDecoder().feed, [stream[at : at + 1] for at in range(len(stream))]) == expected


_LINES = st.sampled_from(
    [
        *("id: 1", "id: 22", "id", "id: \0", "event: e", "event: f", "event:"),
        *("data: YQ==", "data:", "data", ": c", "x: y", ""),
        *("id: 3\nevent: e\ndata: YQ==\n", "id: 4\nevent: é\ndata: YWE=\n"),
    ]
)
_ENDS = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"])


@given(st.booleans(), st.lists(st.tuples(_LINES, _ENDS), max_size=14), positions)
@settings(max_examples=300, deadline=None)
@example(mark=False, lines=[("data: a", "\r"), ("", "\r"), ("", "\n")], at=[8, 9])
def test_any_lines_in_any_pieces_give_what_the_standard_says(
    mark: bool, lines: list[tuple[str, str]], at: list[int]
) -> None:
    stream = ("\ufeff" * mark + "".join(line + end for line, end in lines)).encode()
    assert in_pieces(EventStreamDecoder().feed, cut(stream, at)) == by_the_standard(stream)


_TOKENS = st.sampled_from([b"id: ", b"event: ", b"data: ", b"\n", b"\n\n", b"\r", b"1", b"\xff", b":", b"\0"])


@given(st.lists(_TOKENS | st.binary(max_size=4)))
@settings(max_examples=300, deadline=None)
def test_any_bytes_in_any_pieces_end_in_the_same_frames_or_the_same_error(tokens: list[bytes]) -> None:
    stream = b"".join(tokens)
    whole = in_pieces(EventStreamDecoder(max_frame=40).feed, [stream])
    single = in_pieces(EventStreamDecoder(max_frame=40).feed, [stream[at : at + 1] for at in range(len(stream))])
    assert whole == single or (isinstance(whole, tuple) and isinstance(single, tuple) and whole[0] == single[0])


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\nevent: x\xff\n\n", Frame("x\ufffd", b"a", "")),
        (b"data: a\nid: x\xff\n\n", Frame("message", b"a", "x\ufffd")),
        (b"id: 1\nevent: \xc3\ndata: a\n\n", Frame("\ufffd", b"a", "1")),
    ],
)
def test_a_name_or_id_that_is_not_text_is_made_text_and_its_stream_goes_on(
    stream: bytes, expected: Frame, size: int
) -> None:
    stream += b"event: e\ndata: b\n\n"
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert in_pieces(EventStreamDecoder().feed, pieces) == [expected, Frame("e", b"b", expected.id)]


def test_offsets_count_the_byte_order_mark() -> None:
    with pytest.raises(LimitExceeded, match=r"at byte 3:"):
        EventStreamDecoder(max_frame=5).feed(b"\xef\xbb\xbfdata: a\n\n")


@pytest.mark.parametrize("size", [1, 10, 1000])
@pytest.mark.parametrize(
    "stream",
    [b"id: 1\nevent: e\ndata: " + b"A" * 82 + b"\n\n", b"data: " + b"A" * 200, b"data: AAAA\n" * 20, b":" * 101],
)
def test_an_event_beyond_max_frame_is_an_error_as_soon_as_it_is_seen(stream: bytes, size: int) -> None:
    decoder = EventStreamDecoder(max_frame=100)
    kept = []

    def feed(piece: bytes) -> list[Frame]:
        found = decoder.feed(piece)
        kept.append(decoder.buffered)
        return found

    error = in_pieces(feed, [stream[at : at + size] for at in range(0, len(stream), size)])
    assert error[0] == "LimitExceeded"
    assert "max_frame, 100 bytes" in error[1]
    assert max(kept, default=0) <= 100


def test_a_burst_longer_than_max_frame_is_no_error_when_its_events_are_not() -> None:
    stream = b"id: 1\nevent: e\ndata: YQ==\n\n" * 50
    assert len(EventStreamDecoder(max_frame=40).feed(stream)) == 50


def test_comments_without_end_are_not_kept() -> None:
    decoder = EventStreamDecoder(max_frame=100)
    assert decoder.feed(b"data: a\n" + b": still here\n" * 1000 + b"\n") == [Frame("message", b"a", "")]
    assert decoder.buffered == 0


def test_buffered_counts_what_is_held_of_an_event_that_is_not_complete() -> None:
    decoder = EventStreamDecoder()
    counts = []
    for piece in [b"\xef\xbb", b"\xbf", b"id: 1\n", b"data: a", b"b\n", b"\n"]:
        decoder.feed(piece)
        counts.append(decoder.buffered)
    assert counts == [2, 0, 5, 12, 13, 0]


def test_a_failed_stream_stays_failed() -> None:
    decoder = EventStreamDecoder(max_frame=5)
    with pytest.raises(LimitExceeded) as first:
        decoder.feed(b"data: a\n")
    with pytest.raises(WireError) as second:
        decoder.feed(b"data: a\n\n")
    assert second.value is first.value


def test_one_large_event_in_small_pieces_takes_linear_time() -> None:
    decoder = EventStreamDecoder()
    stream = b"id: 1\nevent: e\ndata: " + b"A" * (8 * 2**20) + b"\n\n"
    started = time.perf_counter()
    found = [frame for at in range(0, len(stream), 512) for frame in decoder.feed(stream[at : at + 512])]
    assert len(found[0].data) == 8 * 2**20
    # A tenth of a second; rescanning what has arrived at each piece would read 64 GiB.
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_many_short_lines_take_linear_time(end: bytes) -> None:
    started = time.perf_counter()
    assert frames(b"x" + end * 100_000 + b"data: a" + end * 3) == [Frame("message", b"a", "")]
    # Half a second; a search to the end of the chunk for each line would read ten gigabytes.
    assert time.perf_counter() - started < 5


@given(st.integers(0, 2**40), st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), st.binary())
def test_an_encoded_frame_decodes_to_what_it_was_made_of(number: int, event: str, payload: bytes) -> None:
    (frame,) = frames(encode_frame(number, event, payload))
    assert (frame.id, frame.event) == (str(number), event)
    assert b64decode(frame.data, validate=True) == payload


def test_an_encoded_frame_is_the_bytes_that_a_bbs_writes() -> None:
    assert encode_frame(7, "actual_lrp_crashed", b"\x00\xffa") == b"id: 7\nevent: actual_lrp_crashed\ndata: AP9h\n\n"


@pytest.mark.parametrize("event", ["", "a\nb", "a\rb", "\ud800"])
def test_a_name_that_no_reader_would_read_back_is_refused(event: str) -> None:
    with pytest.raises(MalformedFrame, match="an event's name"):
        encode_frame(1, event, b"")


def test_a_frame_prints_without_its_data() -> None:
    assert repr(Frame("desired_lrp_created", b"c2VjcmV0", "7")) == "Frame('desired_lrp_created', <8 bytes>, id='7')"


# What is said to mirrors only

ASIDE = encode_aside("actual_lrp_instance_created", b"payload")
MIXED = ASIDE + encode_frame(7, "e", b"a") + ASIDE + b"data: b\n\n" + ASIDE


def test_what_is_said_to_mirrors_only_is_a_frame_to_them_and_nothing_to_any_other_reader() -> None:
    aside = Frame("actual_lrp_instance_created", b"cGF5bG9hZA==", "")
    notified = [Frame("e", b"YQ==", "7"), Frame("message", b"b", "7")]
    assert frames(MIXED) == [aside, notified[0], aside, notified[1], aside]
    assert by_the_standard(MIXED) == notified


@given(positions)
def test_what_is_said_to_mirrors_only_is_the_same_in_any_pieces(at: list[int]) -> None:
    assert in_pieces(EventStreamDecoder().feed, cut(MIXED, at)) == frames(MIXED)


@pytest.mark.parametrize("size", [1, 10_000])
def test_a_decoder_knows_whether_anything_was_said_to_mirrors_only(size: int) -> None:
    decoder = EventStreamDecoder()
    decoder.feed(encode_frame(0, "e", b"a") + b":another comment\n")
    assert not decoder.asides
    for at in range(0, len(ASIDE), size):
        decoder.feed(ASIDE[at : at + size])
    assert decoder.asides


@pytest.mark.parametrize(
    "stream",
    [
        b":lrpmirror e\n\n:data: YQ==\n\n",
        b":lrpmirror e\n: a comment\n:data: YQ==\n\n",
        b":lrpmirror e\ndata: YQ==\n\n",
        b":lrpmirror \xc3\xa9\n:data: YQ==\n\n",
        b":lrpmirror\n:data: YQ==\n\n",
        b"id: 1\nevent: e\n:data: YQ==\n\n",
    ],
)
def test_other_comments_say_nothing(stream: bytes) -> None:
    assert frames(stream) == by_the_standard(stream)


def test_a_comment_counts_for_the_limit() -> None:
    with pytest.raises(WireError, match="max_frame"):
        EventStreamDecoder(max_frame=20).feed(ASIDE)


@pytest.mark.parametrize("event", ["", "a\nb", "\x85", "\x7f"])
def test_a_name_for_mirrors_only_that_would_not_be_read_back_is_refused(event: str) -> None:
    with pytest.raises(MalformedFrame, match="printable ASCII"):
        encode_aside(event, b"")


# How old what a source tells is


def test_how_old_a_source_is_goes_over_the_stream_and_in_a_header() -> None:
    status = SourceStatus(1.25, "ConnectionFailed")
    (frame,) = frames(source.comment(status))
    assert (frame.event, source.parse_comment(frame.data)) == (source.STATUS, status)
    assert source.parse_header(source.header(SourceStatus(0))) == SourceStatus(0)
    assert by_the_standard(source.comment(status)) == []


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"\xff", b"{}", b'{"age":-1}', b'{"age":1e999}', b'{"age":"1"}', b'{"age":1,"trouble":"\\u009b"}'],
)
def test_what_a_source_says_that_cannot_be_read_says_nothing(value: bytes) -> None:
    assert source.parse_header(value) is None
    (frame,) = frames(encode_aside(source.STATUS, value))
    assert source.parse_comment(frame.data) is None
    assert source.parse_comment(b"?") is None


@pytest.mark.parametrize("status", [SourceStatus(-1), SourceStatus(0, "a\nb"), SourceStatus(float("inf"))])
def test_what_no_reader_would_understand_is_not_told(status: SourceStatus) -> None:
    with pytest.raises(MalformedFrame, match="cannot be told"):
        source.header(status)
