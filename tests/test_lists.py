"""The framing of replies: what records any body gives, in any pieces."""

import time

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_support import LISTS, cut, in_pieces, positions, recorded

from lrpmirror.errors import (
    LimitExceeded,
    MalformedRecord,
    RequestRefused,
    ResourceNotFound,
    TruncatedReply,
)
from lrpmirror.wire import encode
from lrpmirror.wire.lists import ReplySplitter
from lrpmirror.wire.proto import requests_pb2

_RESPONSES: dict[str, type[Message]] = {
    "actual_lrps": requests_pb2.ActualLRPsResponse,
    "actual_lrp_groups": requests_pb2.ActualLRPGroupsResponse,
    "desired_lrps": requests_pb2.DesiredLRPsResponse,
    "desired_lrp_scheduling_infos": requests_pb2.DesiredLRPSchedulingInfosResponse,
    "desired_lrp_routing_infos": requests_pb2.DesiredLRPsResponse,
    "domains": requests_pb2.DomainsResponse,
}


def split(body: bytes, size: int = 1 << 30) -> list[bytes]:
    splitter = ReplySplitter()
    out = [record for at in range(0, len(body), size) for record in splitter.feed(body[at : at + size])]
    splitter.finish()
    assert splitter.buffered == 0
    return out


@pytest.mark.parametrize("name", LISTS)
def test_recorded_lists_give_the_records_that_protobuf_finds_in_them(name: str) -> None:
    for path in recorded(f"**/{name}.pb"):
        body = path.read_bytes()
        found = [item for _, items in _RESPONSES[name].FromString(body).ListFields() for item in items]
        records = split(body)
        if name == "domains":
            assert [record.decode() for record in records] == found
        else:
            assert [type(item).FromString(record) for item, record in zip(found, records, strict=True)] == found
        assert encode.reply(records) == body


@pytest.mark.parametrize("size", [1, 2, 3, 100, 1000])
def test_recorded_lists_give_the_same_records_in_pieces_of_one_size(size: int) -> None:
    for name in LISTS:
        for path in recorded(f"0[37]*/expected/{name}.pb"):
            body = path.read_bytes()
            assert split(body, size) == split(body)


def test_an_empty_body_is_an_empty_list() -> None:
    splitter = ReplySplitter()
    assert splitter.feed(b"") == []
    splitter.finish()


def test_a_recorded_refusal_is_an_error_of_its_own_type_and_text() -> None:
    body = recorded("01-lifecycle/expected/cells.pb")[0].read_bytes()
    for size in (1, 1000):
        with pytest.raises(RequestRefused) as caught:
            split(body, size)
        assert caught.value.type == "UnknownError"
        assert caught.value.message == "rpc error: code = DeadlineExceeded desc = context deadline exceeded"


@pytest.mark.parametrize(
    ("body", "kind", "name", "message"),
    [
        (encode.error_reply("ResourceNotFound", "gone"), ResourceNotFound, "ResourceNotFound", "gone"),
        (encode.error_reply("InvalidRequest", ""), RequestRefused, "InvalidRequest", ""),
        (encode.error_reply("77", "new"), RequestRefused, "77", "new"),
        (b"\x0a\x00", RequestRefused, "UnknownError", ""),
        (encode.reply([b"a"]) + encode.error_reply("Deadlock", "x"), RequestRefused, "Deadlock", "x"),
    ],
)
def test_the_error_field_is_an_error_even_when_it_is_empty(
    body: bytes, kind: type[RequestRefused], name: str, message: str
) -> None:
    splitter = ReplySplitter()
    with pytest.raises(RequestRefused) as caught:
        splitter.feed(body)
    assert (type(caught.value), caught.value.type, caught.value.message) == (kind, name, message)
    for again in (lambda: splitter.feed(b""), splitter.finish):
        with pytest.raises(RequestRefused):
            again()


_VARINT = st.integers(0, 2**64 - 1)


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


_SKIPPED = st.one_of(
    st.builds(lambda field, value: _varint(field << 3) + _varint(value), st.integers(3, 2**29 - 1), _VARINT),
    st.builds(
        lambda field, value: _varint(field << 3 | 1) + value, st.integers(3, 40), st.binary(min_size=8, max_size=8)
    ),
    st.builds(
        lambda field, value: _varint(field << 3 | 5) + value, st.integers(3, 40), st.binary(min_size=4, max_size=4)
    ),
    st.builds(
        lambda field, value: _varint(field << 3 | 2) + _varint(len(value)) + value, st.integers(3, 40), st.binary()
    ),
)
_RECORDS = st.binary() | st.integers(0, 400).map(lambda size: b"r" * size)


@given(st.lists(st.tuples(_SKIPPED | st.just(b""), _RECORDS), max_size=8), _SKIPPED | st.just(b""), positions)
@settings(max_examples=200, deadline=None)
def test_fields_between_the_records_are_skipped_in_any_pieces(
    fields: list[tuple[bytes, bytes]], last: bytes, at: list[int]
) -> None:
    body = b"".join(skipped + encode.reply([record]) for skipped, record in fields) + last
    splitter = ReplySplitter()
    assert in_pieces(splitter.feed, cut(body, at)) == [record for _, record in fields]
    splitter.finish()
    assert split(body, 1) == [record for _, record in fields]


def test_short_records_are_told_from_those_whose_length_takes_two_bytes() -> None:
    records = [b"\0", b"\0\0", b"", b"\1" * 127, b"\1" * 128, b"\2" * 129, b"\0" * 16_383, b"\3" * 16_384, b"\0"] * 2
    assert split(encode.reply(records)) == records


def test_records_can_be_another_field() -> None:
    assert ReplySplitter(record_field=5).feed(encode.reply([b"a", b""], record_field=5) + b"\x12\x01b") == [b"a", b""]


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("tail", "what"),
    [
        (b"\x1b", "wire type 3"),
        (b"\x1c", "wire type 4"),
        (b"\x1e", "wire type 6"),
        (b"\x1f", "wire type 7"),
        (b"\x10\x01", "field 2 in wire type 0"),
        (b"\x08\x01", "field 1 in wire type 0"),
        (b"\x15\x01\x02\x03\x04", "field 2 in wire type 5"),
        (b"\x00\x01", "without a valid number"),
        (b"\x82\x80\x80\x80\x80\x01\x00", "without a valid number"),
        (b"\xff" * 11, "more than ten bytes"),
        (b"\x12" + b"\xff" * 11, "more than ten bytes"),
        (b"\x1a\xff\xff\xff\xff\x0f", "length no message can have"),
        (b"\x0a\x02\x08", None),
        (b"\x0a\x01\xff", "error field that is no error"),
    ],
)
def test_bytes_that_are_no_reply_are_an_error_that_names_their_place(tail: bytes, what: str | None, size: int) -> None:
    body = encode.reply([b"secret"]) + tail
    if what is None:
        with pytest.raises(TruncatedReply, match="the field that starts at byte 8"):
            split(body, size)
        return
    with pytest.raises(MalformedRecord, match=f"the reply .*{what}.*, at byte 8$"):
        split(body, size)


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "tail", [b"\x12", b"\x12\x05", b"\x12\x05abcd", b"\x18", b"\x1d\x01", b"\x1a\x05", b"\x92\x80"]
)
def test_a_body_that_ends_inside_a_field_is_truncated(tail: bytes, size: int) -> None:
    splitter = ReplySplitter(what="the list of rows")
    body = encode.reply([b"a" * 300]) + tail
    for at in range(0, len(body), size):
        splitter.feed(body[at : at + size])
    for _ in range(2):
        with pytest.raises(TruncatedReply, match=r"^the list of rows ends in the middle of the field .* at byte 303"):
            splitter.finish()


@pytest.mark.parametrize("length", [101, 127, 200, 20_000, 2**31 - 1])
def test_a_record_beyond_max_record_is_refused_before_it_is_kept(length: int) -> None:
    splitter = ReplySplitter(max_record=100)
    body = encode.reply([b"a" * 100]) + b"\x12" + _varint(length) + b"b" * min(length, 30_000)
    with pytest.raises(LimitExceeded, match=f"a record of {length} bytes at byte 102, more than max_record, 100"):
        splitter.feed(body)
    assert splitter.buffered == 0


def test_an_error_field_has_the_same_limit() -> None:
    with pytest.raises(LimitExceeded):
        ReplySplitter(max_record=10).feed(encode.error_reply("Timeout", "a" * 20))


def test_a_large_unknown_field_is_skipped_without_being_kept() -> None:
    splitter = ReplySplitter(max_record=10)
    splitter.feed(b"\x1a" + _varint(50 * 1000))
    for _ in range(50):
        assert splitter.feed(b"x" * 1000) == []
        assert splitter.buffered == 0
    assert splitter.feed(b"\x12\x01a") == [b"a"]
    splitter.finish()


def test_one_large_record_in_small_pieces_takes_linear_time() -> None:
    body = encode.reply([b"A" * (8 * 2**20)])
    started = time.perf_counter()
    assert split(body, 512) == [b"A" * (8 * 2**20)]
    # A tenth of a second; copying what has arrived at each piece would move 64 GiB.
    assert time.perf_counter() - started < 5


@given(st.binary(max_size=40), positions)
@settings(max_examples=400, deadline=None)
def test_any_bytes_end_in_what_protobuf_finds_or_a_documented_error_in_any_pieces(body: bytes, at: list[int]) -> None:
    def run(pieces: list[bytes]) -> list[bytes] | tuple[str, str]:
        splitter = ReplySplitter()

        def end(_: bytes) -> list[bytes]:
            splitter.finish()
            return []

        got = in_pieces(splitter.feed, pieces)
        ended = in_pieces(end, [b""])
        return ended if isinstance(ended, tuple) else got

    got = run([body])
    assert run(cut(body, at)) == got
    if not isinstance(got, tuple):
        try:
            response = requests_pb2.DomainsResponse.FromString(body)
        except DecodeError:
            assert any(not _is_text(record) for record in got)
        else:
            assert [record.decode() for record in got] == list(response.domains)


def _is_text(record: bytes) -> bool:
    try:
        record.decode()
    except UnicodeDecodeError:
        return False
    return True
