"""Protobuf bytes to values: what is read, what is refused, what is never said."""

from base64 import b64decode, b64encode
from functools import cache
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from wire_support import recorded, recorded_frames, recorded_records

from lrpmirror import events
from lrpmirror.detail import EnvironmentVariable, RunAction, UpdateStrategy
from lrpmirror.errors import MalformedRecord
from lrpmirror.frozen import frozen
from lrpmirror.model import (
    EMPTY,
    ActualLRP,
    ActualLRPState,
    CellCapacity,
    CellPresence,
    DesiredLRP,
    DynamicValue,
    MetricTagValue,
    ModificationTag,
    PortMapping,
    PreferredAddress,
    Presence,
    Provider,
)
from lrpmirror.wire import decode, encode
from lrpmirror.wire.proto import diego_pb2, events_pb2
from lrpmirror.wire.sse import EventStreamDecoder

_KEY = diego_pb2.ActualLRPKey(process_guid="p", index=2, domain="d")
_EVENT_TYPES = sorted(
    kind.type for kind in get_args(events.Event) if kind not in (events.UnknownEvent, events.UnreadableEvent)
)


def text(message: object) -> bytes:
    return b64encode(message.SerializeToString())  # type: ignore[attr-defined] # any protobuf message


def test_a_row_has_every_field_of_its_record() -> None:
    record = diego_pb2.ActualLRP(
        actual_lrp_key=_KEY,
        actual_lrp_instance_key=diego_pb2.ActualLRPInstanceKey(instance_guid="i", cell_id="c"),
        actual_lrp_net_info=diego_pb2.ActualLRPNetInfo(
            address="a",
            ports=[
                diego_pb2.PortMapping(container_port=1, host_port=2, container_tls_proxy_port=3, host_tls_proxy_port=4)
            ],
            instance_address="ia",
            preferred_address=diego_pb2.ActualLRPNetInfo.INSTANCE,
            instance_ipv6_address="v6",
        ),
        crash_count=5,
        crash_reason="cr",
        state="RUNNING",
        placement_error="pe",
        since=6,
        modification_tag=diego_pb2.ModificationTag(epoch="e", index=7),
        presence=diego_pb2.ActualLRP.SUSPECT,
        actual_lrp_internal_routes=[diego_pb2.ActualLRPInternalRoute(hostname="h")],
        metric_tags={"k": "v"},
        routable=False,
        availability_zone="z",
    )
    row = decode.actual_lrp(record.SerializeToString())
    assert row == ActualLRP(
        process_guid="p",
        index=2,
        domain="d",
        instance_guid="i",
        cell_id="c",
        address="a",
        ports=(PortMapping(1, 2, 3, 4),),
        instance_address="ia",
        preferred_address=PreferredAddress.INSTANCE,
        instance_ipv6_address="v6",
        crash_count=5,
        crash_reason="cr",
        state=ActualLRPState.RUNNING,
        placement_error="pe",
        since=6,
        epoch="e",
        tag_index=7,
        presence=Presence.SUSPECT,
        internal_routes=("h",),
        metric_tags=frozen({"k": "v"}),
        routable=False,
        availability_zone="z",
    )
    assert row.modification_tag == ModificationTag("e", 7)


def test_what_a_row_lacks_is_empty_and_shared_and_an_absent_routable_is_not_false() -> None:
    row = decode.actual_lrp(diego_pb2.ActualLRP(actual_lrp_key=_KEY).SerializeToString())
    assert row.metric_tags is EMPTY
    assert (row.ports, row.internal_routes, row.routable) == ((), (), None)


def test_values_that_a_newer_server_made_up_are_kept() -> None:
    message = diego_pb2.ActualLRP(actual_lrp_key=_KEY, state="PAUSED")
    message.ParseFromString(message.SerializeToString() + b"\x50\x07")
    row = decode.actual_lrp(message.SerializeToString())
    assert (row.state, row.presence) == ("PAUSED", 7)
    assert (type(row.state), type(row.presence)) == (ActualLRPState, Presence)


def test_fields_that_a_newer_server_added_are_skipped() -> None:
    record = diego_pb2.ActualLRP(actual_lrp_key=_KEY).SerializeToString()
    assert decode.actual_lrp(record + b"\xfa\x07\x05later") == decode.actual_lrp(record)


def test_both_sides_of_an_instance_event_have_its_keys_and_their_own_state() -> None:
    message = events_pb2.ActualLRPInstanceChangedEvent(
        actual_lrp_key=_KEY,
        actual_lrp_instance_key=diego_pb2.ActualLRPInstanceKey(instance_guid="i", cell_id="c"),
        before=events_pb2.ActualLRPInfo(
            state="CLAIMED", modification_tag=diego_pb2.ModificationTag(epoch="e", index=1)
        ),
        after=events_pb2.ActualLRPInfo(
            state="RUNNING",
            modification_tag=diego_pb2.ModificationTag(epoch="f", index=2),
            presence=diego_pb2.ActualLRP.EVACUATING,
            routable=True,
        ),
        trace_id="t",
    )
    event = decode.event("actual_lrp_instance_changed", text(message))
    key: dict[str, Any] = {"process_guid": "p", "index": 2, "domain": "d", "instance_guid": "i", "cell_id": "c"}
    assert event == events.ActualLRPInstanceChanged(
        ActualLRP(**key, state=ActualLRPState.CLAIMED, epoch="e", tag_index=1),
        ActualLRP(
            **key, state=ActualLRPState.RUNNING, epoch="f", tag_index=2, presence=Presence.EVACUATING, routable=True
        ),
        "t",
    )


def test_a_desired_lrp_has_what_schedulers_and_routers_use_and_its_detail_only_when_asked() -> None:
    record = diego_pb2.DesiredLRP(
        process_guid="p",
        domain="d",
        root_fs="r",
        instances=1,
        disk_mb=2,
        memory_mb=3,
        routes=diego_pb2.ProtoRoutes(routes={"cf-router": b"[]"}),
        log_guid="l",
        annotation="a",
        modification_tag=diego_pb2.ModificationTag(epoch="e", index=4),
        volume_mounts=[diego_pb2.VolumeMount(driver="nfs"), diego_pb2.VolumeMount(driver="smb")],
        placement_tags=["t"],
        max_pids=5,
        metric_tags={"i": diego_pb2.MetricTagValue(dynamic=diego_pb2.MetricTagValue.INDEX)},
        environment_variables=[diego_pb2.EnvironmentVariable(name="n", value="v")],
        action=diego_pb2.Action(
            run_action=diego_pb2.RunAction(path="x", resource_limits=diego_pb2.ResourceLimits(nofile=0))
        ),
        network=diego_pb2.Network(properties={"k": "v"}),
        update_strategy=diego_pb2.DesiredLRP.RECREATE,
    ).SerializeToString()
    desired = decode.desired_lrp(record)
    assert desired == DesiredLRP(
        process_guid="p",
        domain="d",
        log_guid="l",
        annotation="a",
        instances=1,
        memory_mb=3,
        disk_mb=2,
        root_fs="r",
        max_pids=5,
        routes=frozen({"cf-router": b"[]"}),
        volume_drivers=("nfs", "smb"),
        placement_tags=("t",),
        metric_tags=frozen({"i": MetricTagValue("", DynamicValue.INDEX)}),
        epoch="e",
        tag_index=4,
    )
    detail = decode.desired_lrp(record, full=True).detail
    assert detail is not None
    assert detail.environment_variables == (EnvironmentVariable(name="n", value="v"),)
    assert detail.action is not None
    assert isinstance(detail.action.run_action, RunAction)
    assert detail.action.run_action.resource_limits is not None
    limits = detail.action.run_action.resource_limits
    assert (limits.nofile, limits.nproc) == (0, None)
    assert detail.network is not None
    assert detail.network.properties == {"k": "v"}
    assert detail.update_strategy is UpdateStrategy.RECREATE
    assert detail.monitor is None


def test_no_printed_form_shows_what_a_desired_lrp_keeps_secret() -> None:
    secrets = ("vvvv", "VCAP_APPLICATION", "rackup", "private_key")
    seen = set()
    for record in recorded_records("desired_lrps"):
        desired = decode.desired_lrp(record, full=True)
        assert desired.detail is not None
        action = desired.detail.action
        assert action is not None
        printed = f"{desired} {desired.detail!r} {action.run_action} {desired.detail.environment_variables}"
        seen |= {secret for secret in secrets if secret.encode() in record}
        assert not [secret for secret in secrets if secret in printed]
    assert seen == set(secrets)


def test_a_scheduling_info_is_the_desired_lrp_without_metric_tags() -> None:
    record = diego_pb2.DesiredLRPSchedulingInfo(
        desired_lrp_key=diego_pb2.DesiredLRPKey(process_guid="p", domain="d", log_guid="l"),
        annotation="a",
        instances=1,
        desired_lrp_resource=diego_pb2.DesiredLRPResource(memory_mb=2, disk_mb=3, root_fs="r", max_pids=4),
        routes=diego_pb2.ProtoRoutes(routes={"x": b"{"}),
        modification_tag=diego_pb2.ModificationTag(epoch="e", index=5),
        volume_placement=diego_pb2.VolumePlacement(driver_names=["nfs"]),
        placement_tags=["t"],
    )
    assert decode.scheduling_info(record.SerializeToString()) == DesiredLRP(
        process_guid="p",
        domain="d",
        log_guid="l",
        annotation="a",
        instances=1,
        memory_mb=2,
        disk_mb=3,
        root_fs="r",
        max_pids=4,
        routes={"x": b"{"},
        volume_drivers=("nfs",),
        placement_tags=("t",),
        epoch="e",
        tag_index=5,
    )


def test_a_cell_says_what_it_has() -> None:
    record = diego_pb2.CellPresence(
        cell_id="c",
        rep_address="a",
        zone="z",
        capacity=diego_pb2.CellCapacity(memory_mb=1, disk_mb=2, containers=3),
        rootfs_providers=[diego_pb2.Provider(name="preloaded", properties=["s"])],
        placement_tags=["t"],
        optional_placement_tags=["o"],
        rep_url="u",
    )
    cell = decode.cell_presence(record.SerializeToString())
    assert cell == CellPresence(
        cell_id="c",
        rep_address="a",
        zone="z",
        capacity=CellCapacity(1, 2, 3),
        rootfs_providers=(Provider("preloaded", ("s",)),),
        placement_tags=("t",),
        optional_placement_tags=("o",),
        rep_url="u",
    )
    assert cell.annotations is EMPTY
    assert decode.cell_presence(b"\x0a\x01c").capacity is None


def test_an_event_without_a_name_here_is_kept_as_it_came() -> None:
    assert decode.event("task_created", b64encode(b"\xff\x00")) == events.UnknownEvent("task_created", b"\xff\x00")
    assert decode.event("task_created", b"{not base64}") == events.UnknownEvent("task_created", b"")
    assert decode.event_payload("task_created", b"\xff") == events.UnknownEvent("task_created", b"\xff")


def test_recorded_events_have_the_same_values_with_and_without_their_detail() -> None:
    seen = set()
    for frame in recorded_frames():
        lean, full = (decode.event(frame.event, frame.data, full=full) for full in (False, True))
        seen.add(lean.type)
        if not isinstance(full, events.DesiredLRPCreated | events.DesiredLRPRemoved):
            continue
        assert isinstance(lean, type(full))
        assert full.desired_lrp.detail is not None
        assert replace(full.desired_lrp, detail=None) == lean.desired_lrp
        assert lean.trace_id == full.trace_id
    assert seen == set(_EVENT_TYPES)


@pytest.mark.parametrize(
    "data", [b"YQ=", b"YQ", b"Y Q=", b"YQ==YQ==", b"\xff\xff\xff\xff", b"Y\\u0051==", b'YQ=="', b"=" * 4]
)
def test_data_that_is_not_base64_is_malformed(data: bytes) -> None:
    assert not decode.is_base64(data)
    with pytest.raises(MalformedRecord, match="the data of the event 'actual_lrp_crashed' is not base64"):
        decode.event("actual_lrp_crashed", data)


_TEXTS = st.lists(
    st.sampled_from([b"", b"YQ==", b"YWE=", b'"', b",", b'","', b"\\", b"]", b" ", b"[", b"Y", b"\xff"]), max_size=4
)


@given(st.lists(st.tuples(st.sampled_from(["task_created", "actual_lrp_crashed"]), _TEXTS.map(b"".join)), max_size=5))
@settings(max_examples=500, deadline=None)
@example(frames=[("task_created", b'YQ==","YQ=='), ("task_created", b"YWE=")])
@example(frames=[("task_created", b"Y\\u0051=="), ("task_created", b"YWE=")])
def test_a_burst_gives_what_its_events_give_one_by_one(frames: list[tuple[str, bytes]]) -> None:
    assert decode.events(frames) == [decode.stream_event(kind, data) for kind, data in frames]


@pytest.mark.parametrize("full", [False, True])
def test_a_recorded_burst_gives_what_its_events_give_one_by_one(full: bool) -> None:
    frames = [(frame.event, frame.data) for frame in recorded_frames()][:500]
    assert decode.events(frames, full=full) == [decode.event(kind, data, full=full) for kind, data in frames]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("kind", _EVENT_TYPES)
def test_an_event_without_its_record_is_malformed(kind: str, full: bool) -> None:
    with pytest.raises(MalformedRecord, match=f"^a record of the kind '{kind}' has no "):
        decode.event(kind, b"", full=full)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (events_pb2.ActualLRPInstanceChangedEvent(actual_lrp_key=_KEY, after={}), "actual_lrp_instance_changed"),
        (events_pb2.ActualLRPInstanceChangedEvent(actual_lrp_key=_KEY, before={}), "actual_lrp_instance_changed"),
        (events_pb2.ActualLRPInstanceCreatedEvent(actual_lrp={"state": "RUNNING"}), "actual_lrp_instance_created"),
        (events_pb2.ActualLRPCreatedEvent(actual_lrp_group={}), "actual_lrp_created"),
        (events_pb2.ActualLRPChangedEvent(after={"instance": {"actual_lrp_key": _KEY}}), "actual_lrp_changed"),
        (events_pb2.ActualLRPRemovedEvent(actual_lrp_group={"evacuating": {}}), "actual_lrp_removed"),
        (events_pb2.DesiredLRPChangedEvent(before={"process_guid": "p"}), "desired_lrp_changed"),
    ],
)
def test_an_event_with_half_of_what_it_says_is_malformed(message: object, kind: str) -> None:
    with pytest.raises(MalformedRecord, match=f"the kind '{kind}' has no "):
        decode.event(kind, text(message))


_DECODERS = {
    "actual LRP": decode.actual_lrp,
    "actual LRP group": decode.actual_lrp_group,
    "desired LRP": decode.desired_lrp,
    "scheduling info": decode.scheduling_info,
    "routing info": decode.routing_info,
    "cell presence": decode.cell_presence,
}


@pytest.mark.parametrize("kind", _DECODERS)
@pytest.mark.parametrize(
    "record", [b"\x0a\x06secre", b"\x0a\x02\xff\xfe\x0b", b"\x0e", b"\x00\x00", b"\xff" * 11], ids=repr
)
def test_bytes_that_are_no_record_are_malformed_and_not_shown(kind: str, record: bytes) -> None:
    with pytest.raises(
        MalformedRecord, match=f"^{len(record)} bytes are no protobuf record of the kind '{kind}'"
    ) as caught:
        _DECODERS[kind](record)
    assert "secre" not in str(caught.value)


@pytest.mark.parametrize("kind", _DECODERS)
def test_a_record_without_what_names_it_is_malformed(kind: str) -> None:
    with pytest.raises(MalformedRecord, match=f"^a record of the kind '{kind}' has no "):
        _DECODERS[kind](b"")


def test_a_name_in_another_wire_type_is_no_name() -> None:
    with pytest.raises(MalformedRecord, match="'desired LRP' has no process guid"):
        decode.desired_lrp(b"\x08\x01")


def test_actions_nested_beyond_measure_are_malformed_when_they_are_read_at_all() -> None:
    action = b""
    for _ in range(200):
        tried = encode.reply([action], record_field=1)
        action = encode.reply([tried], record_field=6)
    record = encode.reply([b"p"], record_field=1) + encode.reply([action], record_field=7)
    assert decode.desired_lrp(record).process_guid == "p"
    with pytest.raises(MalformedRecord):
        decode.desired_lrp(record, full=True)


@given(st.sampled_from([*_EVENT_TYPES, "task_created"]), st.binary(max_size=60), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_an_event_or_malformed(kind: str, payload: bytes, full: bool) -> None:
    for data in (payload, b64encode(payload)):
        try:
            event = decode.event(kind, data, full=full)
        except MalformedRecord:
            continue
        assert event.type == kind


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_recorded_events_with_broken_bytes_are_events_or_malformed(data: st.DataObject) -> None:
    frames = _some_frames()
    kind, payload = data.draw(st.sampled_from(frames))
    broken = bytearray(payload)
    for at in data.draw(st.lists(st.integers(0, len(payload) - 1), min_size=1, max_size=3)):
        broken[at] = data.draw(st.integers(0, 255))
    try:
        event = decode.event_payload(kind, bytes(broken), full=data.draw(st.booleans()))
    except MalformedRecord:
        return
    assert decode.event_payload(kind, encode.event(event)).type == kind


@cache
def _some_frames() -> list[tuple[str, bytes]]:
    found: dict[str, bytes] = {}
    for path in recorded("0[127]*/*.sse"):
        for frame in EventStreamDecoder().feed(path.read_bytes()):
            found.setdefault(frame.event, b64decode(frame.data))
    assert set(found) == set(_EVENT_TYPES)
    return sorted(found.items())


@pytest.mark.parametrize(
    "decoded",
    [
        lambda name: decode.event(name, b"AA=="),
        lambda name: decode.event(name, b"%%%"),
        lambda name: decode.event_payload(name, b""),
        lambda name: decode.stream_event(name, b"AA=="),
        lambda name: decode.events([(name, b"AA==")])[0],
    ],
)
def test_of_the_name_of_an_unknown_event_no_more_is_kept_than_a_name_needs(decoded: Any) -> None:
    assert decoded("n" * 200).type == "n" * 200
    assert decoded("n" * 1_000_000).type == "n" * 200 + "…"
