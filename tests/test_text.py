"""Texts that are not UTF-8: the rest of their record, and all other records, are read as ever."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from wire_support import any_event, cells, full_desired_lrps, groups, rows, scheduling_infos

from lrpmirror.errors import MalformedRecord, RequestRefused
from lrpmirror.events import ActualLRPInstanceChanged, ActualLRPInstanceCreated, Event
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, MetricTagValue, stored_text
from lrpmirror.wire import decode, encode, json, text
from lrpmirror.wire.lists import ReplySplitter
from lrpmirror.wire.proto import diego_pb2, events_pb2, hot_pb2, requests_pb2

CUT = b"caf\xc3"
"""What is left of `café` by a server that cuts by bytes."""


def spoilt(kind: type[Message], record: bytes) -> bytes:
    """A record with half a character at the end of each of its texts."""
    return text.rewritten(kind, record, lambda _, one: one + b"\xc3")


def made_text(kind: type[Message], record: bytes) -> bytes:
    return text.rewritten(kind, record, lambda _, one: one + "\ufffd".encode())


Decoder = Callable[[bytes], object]
RECORDS: list[tuple[str, type[Message], st.SearchStrategy[Any], Callable[[Any], bytes], Decoder]] = [
    ("row", diego_pb2.ActualLRP, rows, encode.actual_lrp, decode.actual_lrp),
    ("group", diego_pb2.ActualLRPGroup, groups, encode.actual_lrp_group, decode.actual_lrp_group),
    ("cell", diego_pb2.CellPresence, cells, encode.cell_presence, decode.cell_presence),
    (
        "scheduling",
        diego_pb2.DesiredLRPSchedulingInfo,
        scheduling_infos,
        encode.scheduling_info,
        decode.scheduling_info,
    ),
    ("desired", diego_pb2.DesiredLRP, full_desired_lrps, encode.desired_lrp, decode.desired_lrp),
    (
        *("whole desired", diego_pb2.DesiredLRP, full_desired_lrps, encode.desired_lrp),
        lambda record: decode.desired_lrp(record, full=True),
    ),
]


@pytest.mark.parametrize(("kind", "values", "encoder", "decoder"), [each[1:] for each in RECORDS], ids=lambda _: "")
@given(data=st.data())
def test_any_record_is_read_with_a_mark_in_place_of_what_is_no_character(
    kind: type[Message],
    values: st.SearchStrategy[Any],
    encoder: Callable[[Any], bytes],
    decoder: Decoder,
    data: st.DataObject,
) -> None:
    record = encoder(data.draw(values))
    value = decoder(spoilt(kind, record))
    assert value == decoder(made_text(kind, record))
    # Also what is read of a row only later.
    assert repr(value) == repr(decoder(made_text(kind, record)))


@given(any_event(full_desired_lrps), st.booleans())
def test_any_event_is_read_so_too(event: Event, full: bool) -> None:
    payload = encode.event(event)
    kind = encode.EVENTS.get(type(event))
    if kind is None:
        return
    read = decode.event(event.type, b64encode(spoilt(kind, payload)), full=full)
    wanted = decode.event_payload(event.type, made_text(kind, payload), full=full)
    assert read == wanted
    assert repr(read) == repr(wanted)
    assert decode.events([(event.type, b64encode(spoilt(kind, payload)))], full=full) == [wanted]


@pytest.mark.parametrize("field", ["crash_reason", "placement_error", "state", "availability_zone"])
def test_a_row_whose_text_was_cut_inside_a_character_has_all_the_rest(field: str) -> None:
    fields: dict[str, Any] = {field: "XXXX"}
    row = ActualLRP(process_guid="p", index=1, epoch="e", tag_index=3, metric_tags={"a": "b"}, **fields)
    read = decode.actual_lrp(encode.actual_lrp(row).replace(b"XXXX", CUT))
    assert (read.process_guid, read.index, read.epoch, read.tag_index) == ("p", 1, "e", 3)
    assert getattr(read, field) == "caf\ufffd"
    assert read.metric_tags == {"a": "b"}
    assert decode.actual_lrp(encode.actual_lrp(read)) == read


def test_both_sides_of_a_diff_and_its_trace_id_are_read() -> None:
    event = ActualLRPInstanceChanged(
        ActualLRP(process_guid="p", epoch="e", state=ActualLRPState.RUNNING, address="XXXX"),
        ActualLRP(process_guid="p", epoch="e", tag_index=1, state=ActualLRPState.CRASHED, crash_reason="XXXX"),
        "XXXX",
    )
    read = decode.event_payload(event.type, encode.event(event).replace(b"XXXX", CUT))
    assert isinstance(read, ActualLRPInstanceChanged)
    assert (read.before.address, read.after.crash_reason, read.trace_id) == ("caf\ufffd",) * 3
    assert (read.after.tag_index, read.after.state) == (1, ActualLRPState.CRASHED)


def test_keys_and_values_of_maps_are_texts_too_and_the_bytes_of_routes_are_not() -> None:
    desired = DesiredLRP(
        process_guid="p", routes={"XXXX": b"\xff\xc3"}, metric_tags={"YYYY": MetricTagValue("XXXX")}, instances=2
    )
    record = encode.desired_lrp(desired).replace(b"XXXX", CUT).replace(b"YYYY", b"\xff\xffab")
    read = decode.desired_lrp(record)
    assert read.routes == {"caf\ufffd": b"\xff\xc3"}
    assert read.metric_tags == {"\ufffd\ufffdab": MetricTagValue("caf\ufffd")}
    assert read.instances == 2


def test_what_is_not_read_of_a_desired_lrp_is_not_looked_at() -> None:
    record = b"\x0a\x01p" + b"\x2a\x04\x0a\x02\xff\xff"
    assert decode.desired_lrp(record).process_guid == "p"
    assert hot_pb2.DesiredLRP.FromString(record).process_guid == "p"


def test_fields_that_the_schema_does_not_name_stay_as_they_are() -> None:
    strange = b"\xa2\x06\x01\xff" + b"\xa8\x06\x81\x01" + b"\xb1\x06" + b"\xff" * 8 + b"\xbd\x06" + b"\xff" * 4
    record = strange + b"\x0a\x05\x0a\x03p\xc3p" + strange + b"\x2a\x01\xc3" + strange
    made = text.readable(diego_pb2.ActualLRP, record)
    assert made == strange + b"\x0a\x07\x0a\x05p\xef\xbf\xbdp" + strange + b"\x2a\x03\xef\xbf\xbd" + strange


def test_a_text_that_grows_beyond_a_hundred_bytes_has_a_longer_length() -> None:
    record = b"\x0a\x03\x0a\x01p" + b"\x2a\x64" + b"\xff" * 100
    assert decode.actual_lrp(record).crash_reason == "\ufffd" * 100


def test_a_length_of_more_bytes_than_it_needs_is_one() -> None:
    assert decode.actual_lrp(b"\x0a\x03\x0a\x01p" + b"\x2a\x81\x80\x00\xff").crash_reason == "\ufffd"


@pytest.mark.parametrize(
    "record",
    [
        b"\x2a\x05\xff",  # a text that ends too soon
        b"\x2a\x01\xff\x08",  # a number that is not there
        b"\x2a\x01\xff\x08" + b"\xff" * 10,  # a number without an end
        b"\x2a\x01\xff\x51\x00",  # eight bytes that are one
        b"\x2a\x01\xff\x0b",  # a group
        b"\x2a\x01\xff\x02\x00",  # field 0
        b"\x2a\x01\xff\x0a\x02\x0a\x05",  # a key that ends too soon
    ],
)
def test_what_is_no_message_stays_an_error_that_says_how_large_it_is(record: bytes) -> None:
    with pytest.raises(MalformedRecord, match=f"^{len(record)} bytes are no protobuf record of the kind 'actual LRP'"):
        decode.actual_lrp(record)
    with pytest.raises(MalformedRecord, match=f"^{len(record) + 1} bytes are no protobuf record"):
        decode.event_payload(ActualLRPInstanceChanged.type, b"\x1a" + record)
    with pytest.raises(DecodeError):
        text.parse(diego_pb2.ActualLRP, record)


def test_messages_nested_beyond_measure_are_none() -> None:
    action = b"\x0a\x01\xff"
    for _ in range(200):
        action = encode.reply([encode.reply([action], record_field=1)], record_field=6)
    with pytest.raises(MalformedRecord, match="desired LRP"):
        decode.desired_lrp(b"\x0a\x01p" + encode.reply([action], record_field=7), full=True)


def test_a_record_of_endless_fields_is_not_walked_for_ever() -> None:
    key, bad = b"\x0a\x03\x0a\x01p", b"\x2a\x01\xff"
    nested = encode.reply([b"\xa8\x06\x01" * 1000] * 100, record_field=1)
    assert decode.actual_lrp(key + bad + b"\xa8\x06\x01" * (text.MAX_FIELDS - 10)).crash_reason == "\ufffd"
    for many in (b"\xa8\x06\x01" * text.MAX_FIELDS, nested):
        with pytest.raises(MalformedRecord, match="actual LRP"):
            decode.actual_lrp(key + bad + many)


def test_a_domain_is_read_so_too() -> None:
    assert decode.domain(CUT) == "caf\ufffd"


def test_the_text_of_a_refusal_is_read_so_too() -> None:
    refusal = encode.error_reply("InvalidRequest", "XXXX").replace(b"XXXX", CUT)
    with pytest.raises(RequestRefused, match="InvalidRequest: caf\ufffd"):
        ReplySplitter().feed(refusal)


def test_a_request_is_read_so_too() -> None:
    request = requests_pb2.DesiredLRPsRequest(domain="XXXX", process_guids=["p"]).SerializeToString()
    parsed = text.parse(requests_pb2.DesiredLRPsRequest, request.replace(b"XXXX", CUT))
    assert (parsed.domain, list(parsed.process_guids)) == ("caf\ufffd", ["p"])


def test_the_json_of_a_route_is_read_so_too() -> None:
    shown = json.to_json(
        DesiredLRP(process_guid="p", routes={"cf-router": b'[{"hostnames":["caf\xc3"]}]', "x": b"\xc3"})
    )
    assert shown["routes"] == {"cf-router": [{"hostnames": ["caf\ufffd"]}], "x": "\ufffd"}


# Long texts: an event has them in full, lists have them cut, at the same version


LONG = b"x" * 1012 + "é".encode() * 200


def crash_of(reason: bytes) -> ActualLRPInstanceChanged:
    """The event of a crash with this reason, as it comes over the wire."""
    event = ActualLRPInstanceChanged(
        ActualLRP(process_guid="p", epoch="e", state=ActualLRPState.RUNNING, crash_reason="before"),
        ActualLRP(process_guid="p", epoch="e", tag_index=1, state=ActualLRPState.CRASHED, crash_reason="XXXX"),
    )
    payload = text.rewritten(
        events_pb2.ActualLRPInstanceChangedEvent,
        encode.event(event),
        lambda _, one: one.replace(b"XXXX", reason),
    )
    read = decode.event_payload(event.type, payload)
    assert isinstance(read, ActualLRPInstanceChanged)
    return read


def listed_with(reason: bytes) -> ActualLRP:
    record = encode.actual_lrp(
        ActualLRP(process_guid="p", epoch="e", tag_index=1, state=ActualLRPState.CRASHED, crash_reason="XXXX")
    )
    return decode.actual_lrp(text.rewritten(diego_pb2.ActualLRP, record, lambda _, one: one.replace(b"XXXX", reason)))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (b"", b""),
        (b"x" * 1023, b"x" * 1023),
        (b"x" * 1024, b"x" * 1013 + b"(truncated)"),
        ("é".encode() * 511 + b"x", "é".encode() * 511 + b"x"),
        ("é".encode() * 512, "é".encode() * 506 + b"\xc3(truncated)"),
        (LONG, b"x" * 1012 + b"\xc3(truncated)"),
        # One byte that is no text is one byte when it is cut, whatever is read in its place.
        (b"\xff" * 1000 + b"x" * 23, b"\xff" * 1000 + b"x" * 23),
        (b"\xff" * 1000 + b"x" * 24, b"\xff" * 1000 + b"x" * 13 + b"(truncated)"),
    ],
)
def test_an_event_has_a_text_in_full_and_as_stored_it_is_that_of_the_list(given: bytes, stored: bytes) -> None:
    after = crash_of(given).after
    assert after.crash_reason == given.decode(errors="replace")
    assert after.as_stored().crash_reason == stored.decode(errors="replace")
    assert after.as_stored() == listed_with(stored)
    assert after.as_stored().as_stored() == after.as_stored()
    assert listed_with(stored).as_stored() == listed_with(stored)
    kept = ActualLRP(process_guid="p", epoch="e", metric_tags={"k": "v"})
    for source in (kept, decode.actual_lrp(encode.actual_lrp(kept))):
        assert after.carrying_over(source) == replace(listed_with(stored), metric_tags={"k": "v"})
    assert crash_of(given).before.as_stored().crash_reason == "before"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=200, max_size=1100))
def test_a_row_that_never_was_bytes_is_cut_as_one_that_was(reason: str) -> None:
    after = crash_of(reason.encode()).after
    assert ActualLRP(process_guid="p", crash_reason=reason).as_stored().crash_reason == after.as_stored().crash_reason
    assert ActualLRP(process_guid="p", placement_error=reason).as_stored().placement_error == stored_text(reason)


def test_a_created_row_has_them_so_too_and_nothing_else_is_cut() -> None:
    row = ActualLRP(
        process_guid="p" * 2000,
        epoch="e",
        placement_error="y" * 5000,
        metric_tags={"k": "v" * 2000},
        address="a" * 1500,
    )
    read = decode.event_payload("actual_lrp_instance_created", encode.event(ActualLRPInstanceCreated(row)))
    assert isinstance(read, ActualLRPInstanceCreated)
    assert read.actual_lrp == row
    assert read.actual_lrp.as_stored() == replace(row, placement_error="y" * 1013 + "(truncated)")
    assert decode.event_payload(read.type, encode.event(read)) == read


@pytest.mark.parametrize("length", [0, 10, 300])
def test_a_long_event_without_a_long_text_is_stored_as_it_is(length: int) -> None:
    row = ActualLRP(process_guid="p", metric_tags={"k": "v" * 2000}, crash_reason="é" * length)
    read = decode.event_payload("actual_lrp_instance_created", encode.event(ActualLRPInstanceCreated(row)))
    assert isinstance(read, ActualLRPInstanceCreated)
    assert read.actual_lrp.as_stored() is read.actual_lrp


def test_a_long_text_beside_a_field_that_nobody_can_walk_is_kept_as_it_is() -> None:
    row = ActualLRP(process_guid="p", crash_reason="x" * 2000)
    group = b"\xa3\x06\xa4\x06"
    read = decode.event_payload("actual_lrp_instance_created", encode.event(ActualLRPInstanceCreated(row)) + group)
    assert isinstance(read, ActualLRPInstanceCreated)
    assert read.actual_lrp.as_stored().crash_reason == "x" * 2000
