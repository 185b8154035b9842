"""Values to protobuf bytes: the inverse of decoding, in both directions."""

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from wire_support import (
    any_event,
    cells,
    desired_lrps,
    full_desired_lrps,
    groups,
    recorded_frames,
    recorded_records,
    rows,
    scheduling_infos,
)

from lrpmirror import events
from lrpmirror.errors import MalformedRecord
from lrpmirror.model import ActualLRP, ActualLRPGroup, ActualLRPState, CellPresence, DesiredLRP, PortMapping
from lrpmirror.wire import decode, encode
from lrpmirror.wire.proto import diego_pb2, events_pb2, requests_pb2

_EVENTS: dict[str, type[Message]] = {
    "desired_lrp_created": events_pb2.DesiredLRPCreatedEvent,
    "desired_lrp_changed": events_pb2.DesiredLRPChangedEvent,
    "desired_lrp_removed": events_pb2.DesiredLRPRemovedEvent,
    "actual_lrp_instance_created": events_pb2.ActualLRPInstanceCreatedEvent,
    "actual_lrp_instance_changed": events_pb2.ActualLRPInstanceChangedEvent,
    "actual_lrp_instance_removed": events_pb2.ActualLRPInstanceRemovedEvent,
    "actual_lrp_created": events_pb2.ActualLRPCreatedEvent,
    "actual_lrp_changed": events_pb2.ActualLRPChangedEvent,
    "actual_lrp_removed": events_pb2.ActualLRPRemovedEvent,
    "actual_lrp_crashed": events_pb2.ActualLRPCrashedEvent,
}


def same(kind: type[Message], left: bytes, right: bytes) -> bool:
    """Whether two records are equal but for the order of map entries, which a server does not fix."""
    a, b = (kind.FromString(record).SerializeToString(deterministic=True) for record in (left, right))
    return a == b and len(left) == len(right)


def test_recorded_events_are_encoded_to_the_bytes_that_they_were() -> None:
    for frame in recorded_frames():
        payload = b64decode(frame.data)
        assert same(_EVENTS[frame.event], encode.event(decode.event(frame.event, frame.data, full=True)), payload)


@pytest.mark.parametrize(
    ("name", "decoder", "encoder", "kind"),
    [
        ("actual_lrps", decode.actual_lrp, encode.actual_lrp, diego_pb2.ActualLRP),
        ("actual_lrp_groups", decode.actual_lrp_group, encode.actual_lrp_group, diego_pb2.ActualLRPGroup),
        ("desired_lrps", lambda r: decode.desired_lrp(r, full=True), encode.desired_lrp, diego_pb2.DesiredLRP),
        (
            "desired_lrp_scheduling_infos",
            decode.scheduling_info,
            encode.scheduling_info,
            diego_pb2.DesiredLRPSchedulingInfo,
        ),
        ("desired_lrp_routing_infos", decode.routing_info, encode.routing_info, diego_pb2.DesiredLRP),
    ],
)
def test_recorded_records_are_encoded_to_the_bytes_that_they_were(
    name: str, decoder: Callable[[bytes], Any], encoder: Callable[[Any], bytes], kind: type[Message]
) -> None:
    for record in recorded_records(name):
        assert same(kind, encoder(decoder(record)), record)


def test_recorded_domains_are_encoded_to_the_bytes_that_they_were() -> None:
    for record in recorded_records("domains"):
        assert encode.domain(decode.domain(record)) == record


@given(rows)
@settings(deadline=None)
def test_any_row_comes_back(row: ActualLRP) -> None:
    assert decode.actual_lrp(encode.actual_lrp(row)) == row


@given(groups)
@settings(deadline=None)
def test_any_group_comes_back(group: ActualLRPGroup) -> None:
    assert decode.actual_lrp_group(encode.actual_lrp_group(group)) == group


@given(cells)
@settings(deadline=None)
def test_any_cell_comes_back(cell: CellPresence) -> None:
    assert decode.cell_presence(encode.cell_presence(cell)) == cell


@given(desired_lrps)
@settings(deadline=None)
def test_any_desired_lrp_comes_back(desired: DesiredLRP) -> None:
    assert decode.desired_lrp(encode.desired_lrp(desired)) == desired


@given(full_desired_lrps)
@settings(deadline=None)
def test_any_desired_lrp_with_its_detail_comes_back(desired: DesiredLRP) -> None:
    record = encode.desired_lrp(desired)
    assert decode.desired_lrp(record, full=True) == desired
    assert decode.desired_lrp(record) == replace(desired, detail=None)


@given(scheduling_infos)
@settings(deadline=None)
def test_any_scheduling_info_comes_back(desired: DesiredLRP) -> None:
    assert decode.scheduling_info(encode.scheduling_info(desired)) == desired


@given(desired_lrps)
@settings(deadline=None)
def test_a_routing_info_has_key_instances_routes_metric_tags_and_version(desired: DesiredLRP) -> None:
    assert decode.routing_info(encode.routing_info(desired)) == DesiredLRP(
        process_guid=desired.process_guid,
        domain=desired.domain,
        log_guid=desired.log_guid,
        instances=desired.instances,
        routes=desired.routes,
        metric_tags=desired.metric_tags,
        epoch=desired.epoch,
        tag_index=desired.tag_index,
    )


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_domain_comes_back(name: str) -> None:
    assert decode.domain(encode.domain(name)) == name


@given(any_event(desired_lrps))
@settings(max_examples=200, deadline=None)
def test_any_event_comes_back(event: events.Event) -> None:
    assert decode.event(event.type, b64encode(encode.event(event))) == event


@given(any_event(full_desired_lrps))
@settings(deadline=None)
def test_any_event_comes_back_with_its_detail(event: events.Event) -> None:
    assert decode.event_payload(event.type, encode.event(event), full=True) == event


def test_what_a_server_always_writes_is_written_when_it_is_empty() -> None:
    row = diego_pb2.ActualLRP.FromString(encode.actual_lrp(ActualLRP(process_guid="p")))
    assert [field.name for field, _ in row.ListFields()] == [
        "actual_lrp_key",
        "actual_lrp_instance_key",
        "actual_lrp_net_info",
        "state",
        "modification_tag",
    ]
    desired = diego_pb2.DesiredLRP.FromString(encode.desired_lrp(DesiredLRP(process_guid="p")))
    assert [field.name for field, _ in desired.ListFields()] == ["process_guid", "routes", "modification_tag"]
    info = diego_pb2.DesiredLRPSchedulingInfo.FromString(encode.scheduling_info(DesiredLRP(process_guid="p")))
    assert [field.name for field, _ in info.ListFields()] == [
        "desired_lrp_key",
        "desired_lrp_resource",
        "routes",
        "modification_tag",
        "volume_placement",
    ]


def test_a_change_carries_the_instance_key_that_was_taken_or_given() -> None:
    empty, taken, given_ = (
        ActualLRP(process_guid="p", state=ActualLRPState.UNCLAIMED),
        ActualLRP(process_guid="p", instance_guid="old", cell_id="a"),
        ActualLRP(process_guid="p", instance_guid="new", cell_id="b"),
    )
    for before, after, wanted in [
        (empty, given_, "new"),
        (taken, empty, "old"),
        (taken, given_, "new"),
        (empty, empty, ""),
    ]:
        payload = encode.event(events.ActualLRPInstanceChanged(before, after))
        changed = decode.event_payload("actual_lrp_instance_changed", payload)
        assert isinstance(changed, events.ActualLRPInstanceChanged)
        assert changed.before.instance_guid == changed.after.instance_guid == wanted


def test_the_same_value_is_always_the_same_bytes() -> None:
    names = [f"tag-{number}" for number in range(100)]
    left, right = (
        encode.actual_lrp(ActualLRP(process_guid="p", metric_tags=dict.fromkeys(order, "x")))
        for order in (names, reversed(names))
    )
    assert left == right
    assert [left.index(name.encode()) for name in sorted(names)] == sorted(left.index(name.encode()) for name in names)


def test_a_reply_is_a_message_with_the_records_as_one_field() -> None:
    first, second = ActualLRP(process_guid="p"), ActualLRP(process_guid="q", crash_reason="x" * 200)
    body = encode.reply([encode.actual_lrp(first), encode.actual_lrp(second)])
    response = requests_pb2.ActualLRPsResponse.FromString(body)
    assert [decode.actual_lrp(row.SerializeToString()) for row in response.actual_lrps] == [first, second]
    assert encode.reply([]) == b""
    assert encode.reply([b"a" * 20_000], record_field=3)[:4] == b"\x1a\xa0\x9c\x01"


def test_an_error_reply_has_its_type_by_name_or_number() -> None:
    for name, number in [("ResourceExists", 12), ("77", 77), ("UnknownError", 0)]:
        response = requests_pb2.ActualLRPsResponse.FromString(encode.error_reply(name, "m"))
        assert (response.error.type, response.error.message) == (number, "m")
    assert encode.error_reply("UnknownError", "") == b"\x0a\x00"


@pytest.mark.parametrize(
    "encoding",
    [
        lambda: encode.actual_lrp(ActualLRP(process_guid="p", index=2**31)),
        lambda: encode.actual_lrp(ActualLRP(process_guid="p", tag_index=-1)),
        lambda: encode.actual_lrp(ActualLRP(process_guid="\ud800")),
        lambda: encode.actual_lrp(ActualLRP(process_guid="p", ports=(PortMapping(-1),))),
        lambda: encode.desired_lrp(DesiredLRP(process_guid="p", instances=2**40)),
        lambda: encode.event(events.ActualLRPCrashed(process_guid="p", since=2**63)),
        lambda: encode.domain("\ud800"),
        lambda: encode.error_reply("NoSuchType", "m"),
    ],
)
def test_a_value_that_its_field_cannot_hold_is_refused(encoding: Callable[[], bytes]) -> None:
    with pytest.raises(MalformedRecord):
        encoding()


def test_an_event_that_says_nothing_is_no_bytes_under_the_name_that_it_has_on_the_wire() -> None:
    event = events.UnreadableEvent("actual_lrp_instance_removed", 4, "damaged")
    assert (encode.event_name(event), encode.event(event)) == ("actual_lrp_instance_removed", b"")
    assert encode.event_name(events.UnknownEvent("task_created")) == "task_created"
