"""The chunked transfer coding: what body any bytes give, in any pieces."""

import re
import time

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire_support import cut, positions, recorded

from lrpmirror.errors import LimitExceeded, MalformedChunk, WireError
from lrpmirror.wire.chunked import ChunkedDecoder

Outcome = tuple[bytes, bool, tuple[str, str] | None]


def outcome(decoder: ChunkedDecoder, pieces: list[bytes]) -> Outcome:
    """The body, whether it ended, and the kind and text of the documented error that came after it."""
    body = b""
    try:
        for piece in [*pieces, b""]:
            body += decoder.feed(piece)
    except WireError as exc:
        return body, decoder.ended, (type(exc).__name__, str(exc))
    return body, decoder.ended, None


def whole(sent: bytes) -> Outcome:
    return outcome(ChunkedDecoder(), [sent])


def singly(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def by_h11(sent: bytes) -> tuple[bytes, bool, bool]:
    """What h11 takes for the body, whether for all of it, and whether it raised."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent)
    body = b""
    try:
        while (event := reader.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return body, True, False
    except h11.RemoteProtocolError:
        return body, False, True
    return body, False, False


def test_recorded_replies_give_the_recorded_streams() -> None:
    for path in recorded("01*/events.*.http"):
        _, _, sent = path.read_bytes().partition(b"\r\n\r\n")
        stream = path.with_suffix(".sse").read_bytes()
        for pieces in ([sent], singly(sent), cut(sent, list(range(0, len(sent), 700)))):
            assert outcome(ChunkedDecoder(), pieces)[0] == stream


_LINES = st.tuples(
    st.sampled_from(["%x", "%X", "00%x"]), st.sampled_from(["", ";", " ", ";a=b", '\t; a="%"', ";" * 50])
)
_CHUNKS = st.lists(st.tuples(_LINES, st.binary(min_size=1, max_size=20) | st.just(b"a" * 300)), max_size=8)
_TRAILERS = st.lists(st.sampled_from([b"Expires: never\r\n", b"a:\r\n", b"x-1: \xff\r\n"]), max_size=3)


@given(_CHUNKS, _TRAILERS, st.binary(max_size=3), positions)
@settings(max_examples=200, deadline=None)
def test_any_chunks_in_any_pieces_give_the_body_and_its_end(
    chunks: list[tuple[tuple[str, str], bytes]], trailers: list[bytes], behind: bytes, at: list[int]
) -> None:
    sent = b"".join(
        (size % len(data) + extension).encode() + b"\r\n" + data + b"\r\n" for (size, extension), data in chunks
    )
    sent += b"0\r\n" + b"".join(trailers) + b"\r\n" + behind
    decoder = ChunkedDecoder()
    assert outcome(decoder, cut(sent, at)) == (b"".join(data for _, data in chunks), True, None)
    assert decoder.buffered == 0


_TOKENS = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b"0", b"0\r\n", b"1", b"5;\r\nhello\r\n", b"5\r\nhel", b"3\r\nab\n", b";", b"f", b"a:b\r\n"]
)


@given(st.lists(_TOKENS | st.binary(max_size=3)), positions)
@settings(max_examples=500, deadline=None)
@example(tokens=[b"5;\r\nhello\r\n", b"\n\r\n"], at=[])
@example(tokens=[b"0\r\n", b"\r\n", b"\r\n"], at=[3])
@example(tokens=[b"5;\r\nhello\r\n", b"5\r\nhel", b"lo12"], at=[])
def test_any_bytes_in_any_pieces_give_the_same_body_and_end_in_the_same_error(
    tokens: list[bytes], at: list[int]
) -> None:
    sent = b"".join(tokens)
    expected = whole(sent)
    assert outcome(ChunkedDecoder(), cut(sent, at)) == expected
    assert outcome(ChunkedDecoder(), singly(sent)) == expected
    body, ended, raised = by_h11(sent)
    if not raised:
        assert expected[:2] == (body, ended)


@pytest.mark.parametrize(
    ("sent", "body", "offset"),
    [
        (b"hello\r\n", b"", 0),
        (b"\r\n", b"", 0),
        (b"5\nhello\r\n", b"", 0),
        (b"-5\r\nhello\r\n", b"", 0),
        (b"0x5\r\nhello\r\n", b"", 0),
        (b"1_0\r\n", b"", 0),
        (b"5 5\r\nhello\r\n", b"", 0),
        (b"f" * 16 + b"\r\n", b"", 0),
        (b"5\r\nhello" + b"5\r\nhello\r\n", b"hello", 8 + 2),
        (b"5\r\nhello\r\nworld\r\n", b"hello", 10),
        (b"0\r\nno trailer\r\n\r\n", b"", 3),
        (b"0\r\na:b\r\n: b\r\n\r\n", b"", 8),
    ],
)
def test_what_is_no_chunk_is_an_error_that_names_its_place_after_the_body_before_it(
    sent: bytes, body: bytes, offset: int
) -> None:
    assert whole(sent)[0] == body
    kind, text = whole(sent)[2] or ("", "")
    assert kind == "MalformedChunk"
    assert text.endswith(f", at byte {offset}")


def test_the_bytes_of_a_body_do_not_stand_in_an_error() -> None:
    error = whole(b"6\r\nsecret-1\r\nsecret-2\r\n")[2]
    assert error is not None
    assert "secret" not in error[1]


def test_what_has_come_of_a_chunk_is_handed_on() -> None:
    decoder = ChunkedDecoder()
    assert [decoder.feed(piece) for piece in (b"ffffffffffffff\r\nab", b"c", b"")] == [b"ab", b"c", b""]
    assert decoder.buffered == 0


def test_a_failed_body_stays_failed() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"1\r\na\r\nx\r\n") == b"a"
    with pytest.raises(MalformedChunk) as first:
        decoder.feed(b"")
    with pytest.raises(MalformedChunk) as second:
        decoder.feed(b"1\r\na\r\n")
    assert second.value is first.value


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("sent", "what"),
    [
        (b"5;" + b"x" * 100 + b"\r\nhello\r\n", "a line between the chunks of the body is over 60 bytes, at byte 0"),
        (b"1\r\na\r\n" + b"5" * 100, "a line between the chunks of the body is over 60 bytes, at byte 6"),
        (b"0\r\n" + b"a:b\r\n" * 30 + b"\r\n", "the trailers of the body are over 100 bytes, at byte 103"),
        (b"0\r\na:" + b"b" * 100, "a line between the chunks of the body is over 60 bytes, at byte 3"),
    ],
)
def test_lines_and_trailers_have_limits(sent: bytes, what: str, size: int) -> None:
    decoder = ChunkedDecoder(max_line=60, max_trailers=100)
    kept = []

    def feeding() -> None:
        for at in range(0, len(sent), size):
            decoder.feed(sent[at : at + size])
            kept.append(decoder.buffered)
        decoder.feed(b"")

    with pytest.raises(LimitExceeded, match=f"^{re.escape(what)}$"):
        feeding()
    assert max(kept, default=0) <= 62


def test_the_sizes_that_are_remembered_are_bounded() -> None:
    decoder = ChunkedDecoder()
    sent = b"".join(b"%x\r\n%s\r\n" % (size, b"a" * size) for size in range(1, 5000))
    assert len(decoder.feed(sent)) == 4999 * 5000 // 2
    assert len(decoder._sizes) == 4096


@pytest.mark.parametrize("size", [1000, 10**6])
def test_many_short_chunks_take_linear_time(size: int) -> None:
    sent = b"1;\r\na\r\n" * 50_000
    decoder = ChunkedDecoder()
    started = time.perf_counter()
    assert b"".join(decoder.feed(sent[at : at + size]) for at in range(0, len(sent), size)) == b"a" * 50_000
    # Half a second; to copy what is left of a read for each chunk would move ten gigabytes.
    assert time.perf_counter() - started < 5
