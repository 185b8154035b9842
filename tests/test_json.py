"""The JSON of Diego's tools: the same keys and values that the real ones printed, and back."""

import json as reference
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from wire_support import (
    any_event,
    cells,
    desired_lrps,
    full_desired_lrps,
    groups,
    recorded,
    rows,
    scheduling_infos,
    without_younger,
)

from lrpmirror import events
from lrpmirror.detail import (
    Action,
    DesiredLRPDetail,
    EnvironmentVariable,
    ResourceLimits,
    RunAction,
    SharedDevice,
    TryAction,
    UpdateStrategy,
    VolumeMount,
)
from lrpmirror.errors import MalformedRecord
from lrpmirror.frozen import frozen
from lrpmirror.model import (
    ActualLRP,
    ActualLRPGroup,
    ActualLRPState,
    CellPresence,
    DesiredLRP,
    DynamicValue,
    MetricTagValue,
    PreferredAddress,
    Presence,
)
from lrpmirror.wire import decode, json
from lrpmirror.wire.lists import ReplySplitter
from lrpmirror.wire.sse import EventStreamDecoder


def printed(name: str) -> list[Any]:
    (path,) = recorded(f"06-mixed/json/{name}.ndjson")
    return [reference.loads(line) for line in path.read_text().splitlines()]


def records(name: str) -> list[bytes]:
    (path,) = recorded(f"06-mixed/expected/{name}.pb")
    return ReplySplitter().feed(path.read_bytes())


def recorded_events(stream: str) -> list[events.Event]:
    (path,) = recorded(f"06-mixed/events.{stream}.sse")
    return [decode.event(f.event, f.data, full=True) for f in EventStreamDecoder().feed(path.read_bytes())]


def as_the_tool(value: Any) -> str:
    """What is printed for a value, key order and all, without the keys that the recorded tool is too old for."""
    return reference.dumps(without_younger(reference.loads(json.dumps(value))))


@pytest.mark.parametrize(
    ("name", "lists", "read"),
    [
        ("actual-lrps", "actual_lrps", decode.actual_lrp),
        ("desired-lrps", "desired_lrps", lambda record: decode.desired_lrp(record, full=True)),
        ("desired-lrp-scheduling-infos", "desired_lrp_scheduling_infos", decode.scheduling_info),
        ("cells", "cells", decode.cell_presence),
        ("domains", "domains", decode.domain),
    ],
)
def test_recorded_records_print_as_the_real_tool_printed_them(name: str, lists: str, read: Any) -> None:
    ours = sorted(as_the_tool(read(record)) for record in records(lists))
    assert ours == sorted(map(reference.dumps, printed(name)))


def test_recorded_instance_events_print_as_the_real_tool_printed_them() -> None:
    ours = [as_the_tool(event) for event in recorded_events("instances")]
    assert ours == [reference.dumps(line) for line in printed("lrp-events-exclude-groups")]


def test_recorded_group_events_print_as_the_real_tool_printed_them() -> None:
    instance = {"actual_lrp_instance_created", "actual_lrp_instance_changed", "actual_lrp_instance_removed"}
    ours = [as_the_tool(event) for event in recorded_events("groups")]
    theirs = [reference.dumps(line) for line in printed("lrp-events") if line["type"] not in instance]
    assert sorted(ours) == sorted(theirs)


def test_what_the_real_tool_printed_reads_as_the_records_do() -> None:
    rows_read = {json.from_json(ActualLRP, line) for line in printed("actual-lrps")}
    assert rows_read == {replace(decode.actual_lrp(r), instance_ipv6_address="") for r in records("actual_lrps")}
    whole = [json.from_json(DesiredLRP, line) for line in printed("desired-lrps")]
    wanted = [decode.desired_lrp(record, full=True) for record in records("desired_lrps")]
    assert sorted(whole, key=hash) == sorted(wanted, key=hash)
    for line, event in zip(printed("lrp-events-exclude-groups"), recorded_events("instances"), strict=True):
        read = json.from_json(events.Event, line)
        assert read.type == event.type
        assert as_the_tool(read) == as_the_tool(event)


def test_go_prints_nil_as_null_and_a_false_routable_in_two_ways() -> None:
    row = ActualLRP(process_guid="p", routable=False)
    shown = json.to_json(row)
    assert (shown["ports"], shown["OptionalRoutable"]) == (None, {"routable": False})
    assert "metric_tags" not in shown
    changed = json.to_json(events.ActualLRPInstanceChanged(row, replace(row, routable=True)))["data"]
    assert (changed["before"]["OptionalRoutable"], changed["after"]["OptionalRoutable"]) == ({}, {"Routable": True})
    assert json.to_json(ActualLRP(process_guid="p"))["OptionalRoutable"] is None


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("actual_lrp_instance_removed", {"trace_id": ""}),
        ("actual_lrp_removed", {}),
        ("desired_lrp_changed", {"trace_id": ""}),
    ],
)
def test_an_empty_event_prints_as_the_tool_prints_it(name: str, data: dict[str, str]) -> None:
    event = decode.stream_event(name, b"")
    assert isinstance(event, events.UnreadableEvent)
    assert json.to_json(event) == {"type": name, "data": data}
    assert json.from_json(events.Event, json.to_json(event)) == event


def test_an_event_that_cannot_be_read_prints_why() -> None:
    event = decode.stream_event("desired_lrp_created", b"////")
    reason = "3 bytes are no protobuf record of the kind 'desired_lrp_created'"
    assert json.to_json(event) == {"type": "desired_lrp_created", "data": None, "error": reason}
    read = json.from_json(events.Event, json.to_json(event))
    assert (read.type, json.to_json(read)) == ("unreadable", json.to_json(event))


def test_enums_print_as_names_and_unknown_ones_as_numbers_in_strings() -> None:
    row = ActualLRP(
        process_guid="p", presence=Presence(7), preferred_address=PreferredAddress.HOST, state=ActualLRPState("PAUSED")
    )
    shown = json.to_json(row)
    assert (shown["presence"], shown["preferred_address"], shown["state"]) == ("7", "HOST", "PAUSED")
    assert json.from_json(ActualLRP, shown) == row


def test_an_empty_map_that_is_not_left_out_prints_as_an_object() -> None:
    shown = json.to_json(CellPresence(cell_id="cell-1"))
    assert shown["annotations"] == {}
    assert list(shown)[-1] == "annotations"
    assert json.from_json(CellPresence, shown) == CellPresence(cell_id="cell-1")


@pytest.mark.parametrize("strategy", [*UpdateStrategy, UpdateStrategy(9)])
def test_the_update_strategy_prints_as_its_number_and_reads_by_number_or_name(strategy: UpdateStrategy) -> None:
    desired = DesiredLRP(process_guid="p", detail=DesiredLRPDetail(update_strategy=strategy))
    shown = json.to_json(desired)
    assert (list(shown)[-1], shown["update_strategy"]) == ("update_strategy", int(strategy))
    assert json.from_json(DesiredLRP, shown) == desired
    named = {**shown, "update_strategy": strategy.name if strategy in UpdateStrategy.__members__.values() else "9"}
    assert json.from_json(DesiredLRP, named) == desired


def test_an_update_strategy_beyond_its_range_names_its_place() -> None:
    shown = json.to_json(DesiredLRP(process_guid="p", detail=DesiredLRPDetail()))
    with pytest.raises(MalformedRecord, match=r"\$\.update_strategy"):
        json.from_json(DesiredLRP, {**shown, "update_strategy": 2**31})


def test_a_desired_lrp_without_detail_prints_as_its_scheduling_info() -> None:
    desired = DesiredLRP(process_guid="p", instances=2, epoch="e", metric_tags={"a": MetricTagValue("b")})
    shown = json.to_json(desired)
    assert (shown["epoch"], shown["index"], shown["volume_placement"]) == ("e", 0, {"driver_names": None})
    assert "metric_tags" not in shown
    assert "env" not in shown
    assert json.from_json(DesiredLRP, shown) == replace(desired, metric_tags=frozen({}))


def test_a_desired_lrp_with_detail_prints_whole() -> None:
    limits = ResourceLimits(nofile=0)
    desired = DesiredLRP(
        process_guid="p",
        metric_tags={"i": MetricTagValue(dynamic=DynamicValue.INDEX)},
        detail=DesiredLRPDetail(
            environment_variables=(EnvironmentVariable(name="n", value="v"),),
            action=Action(run_action=RunAction(path="x", resource_limits=limits)),
            update_strategy=UpdateStrategy.RECREATE,
            start_timeout_ms=5,
        ),
    )
    shown = json.to_json(desired)
    assert shown["env"] == [{"name": "n", "value": "v"}]
    assert shown["action"]["run"]["resource_limits"] == {"nofile": 0}
    assert shown["metric_tags"] == {"i": {"dynamic": "INDEX"}}
    assert (shown["update_strategy"], shown["volume_mounted_files"]) == (1, None)
    assert json.from_json(DesiredLRP, shown) == desired


def test_a_volume_mount_prints_null_for_the_kind_of_device_that_it_is_not() -> None:
    mount = VolumeMount(driver="nfs", shared=SharedDevice(volume_id="v1"))
    desired = DesiredLRP(process_guid="p", detail=DesiredLRPDetail(volume_mounts=(mount,)), volume_drivers=("nfs",))
    shown = json.to_json(desired)
    assert shown["volume_mounts"][0]["shared"] == {"volume_id": "v1", "mount_config": ""}
    assert shown["volume_mounts"][0]["dedicated"] is None
    assert json.from_json(DesiredLRP, shown) == desired


@pytest.mark.parametrize(
    ("route", "shown"),
    [
        (b'[{"port": 8080}]', [{"port": 8080}]),
        (b"null", None),
        (b"12345678901234567890123", 12345678901234567890123),
        (b"not json", "not json"),
        (b"", ""),
        (b"1e999", "1e999"),
        (b"NaN", "NaN"),
        (b"[" * 150 + b"]" * 150, "[" * 150 + "]" * 150),
        (b"[" * 100_000, "[" * 100_000),
    ],
)
def test_a_route_prints_as_the_json_it_holds_or_else_as_its_text_and_comes_back(route: bytes, shown: Any) -> None:
    desired = DesiredLRP(process_guid="p", routes={"r": route})
    assert json.to_json(desired)["routes"] == {"r": shown}
    back = json.loads(DesiredLRP, json.dumps(desired)).routes["r"]
    assert back.replace(b" ", b"") == route.replace(b" ", b"") or back == route


def test_a_route_that_is_not_text_prints_with_replacement_characters() -> None:
    assert json.to_json(DesiredLRP(process_guid="p", routes={"r": b"a\xff"}))["routes"] == {"r": "a\ufffd"}


def test_a_route_that_is_a_json_string_of_json_stays_one() -> None:
    desired = DesiredLRP(process_guid="p", routes={"r": b'"[1]"'})
    assert json.from_json(DesiredLRP, json.to_json(desired)) == desired


def test_an_event_without_a_name_here_prints_its_payload_as_base64() -> None:
    event = events.UnknownEvent("task_created", b"\xff")
    assert json.to_json(event) == {"type": "task_created", "data": "/w=="}
    assert json.from_json(events.Event, json.to_json(event)) == event


@given(rows | groups | cells | any_event(scheduling_infos.map(lambda desired: replace(desired, routes={}))))
@settings(max_examples=150, deadline=None)
def test_any_value_comes_back(value: ActualLRP | ActualLRPGroup | CellPresence | events.Event) -> None:
    line = json.dumps(value)
    assert b"\n" not in line
    assert json.loads(type(value), line) == value


@given(full_desired_lrps.map(lambda desired: replace(desired, routes=frozen({"r": b"[]"}))))
@settings(max_examples=80, deadline=None)
def test_any_desired_lrp_with_its_detail_comes_back(desired: DesiredLRP) -> None:
    assert json.loads(DesiredLRP, json.dumps(desired)) == desired


@given(desired_lrps)
@settings(deadline=None)
def test_any_routes_print(desired: DesiredLRP) -> None:
    once = json.from_json(DesiredLRP, json.to_json(desired))
    assert json.to_json(once) == json.to_json(desired)


_ROW: dict[str, Any] = {"process_guid": "p"}


@pytest.mark.parametrize(
    ("kind", "value", "path"),
    [
        (ActualLRP, [], r"at \$ needs an object, not a list"),
        (ActualLRP, {"process_guid": 5}, r"\$\.process_guid needs a string, not an integer"),
        (ActualLRP, {**_ROW, "index": "5"}, r"\$\.index needs an integer, not a string"),
        (ActualLRP, {**_ROW, "index": True}, r"\$\.index needs an integer, not true or false"),
        (ActualLRP, {**_ROW, "index": 2**31}, r"\$\.index needs a number from -2147483648 to 2147483647"),
        (ActualLRP, {**_ROW, "since": 1.5}, r"\$\.since needs an integer, not a fraction"),
        (ActualLRP, {**_ROW, "ports": {}}, r"\$\.ports needs a list, not an object"),
        (ActualLRP, {**_ROW, "ports": [{}, {"host_port": -1}]}, r"\$\.ports\[1\]\.host_port needs a number from 0"),
        (ActualLRP, {**_ROW, "ports": [None]}, r"\$\.ports\[0\] needs an object, not null"),
        (ActualLRP, {**_ROW, "presence": "GONE"}, r"\$\.presence needs one of ORDINARY, EVACUATING, SUSPECT, or a"),
        (ActualLRP, {**_ROW, "presence": str(2**40)}, r"\$\.presence needs a number from"),
        (ActualLRP, {**_ROW, "presence": 1}, r"\$\.presence needs a string, not an integer"),
        (ActualLRP, {**_ROW, "metric_tags": {"k": 1}}, r"\$\.metric_tags\.k needs a string"),
        (ActualLRP, {**_ROW, "metric_tags": {1: "v"}}, r"\$\.metric_tags\.1 needs a string"),
        (ActualLRP, {**_ROW, "OptionalRoutable": True}, r"\$\.OptionalRoutable needs an object"),
        (ActualLRP, {**_ROW, "OptionalRoutable": {"routable": 1}}, r"\$\.OptionalRoutable\.routable needs true or"),
        (ActualLRP, {**_ROW, "domain": "\ud800"}, r"\$\.domain has half of a surrogate pair"),
        (ActualLRP, {**_ROW, "domain": object()}, r"\$\.domain needs a string, not what is there"),
        (ActualLRP, {}, "'actual LRP' has no process guid"),
        (ActualLRPGroup, {"instance": {}}, "has no process guid"),
        (CellPresence, {"cell_id": "c", "placement_tags": ["a", 1]}, r"\$\.placement_tags\[1\] needs a string"),
        (CellPresence, {"cell_id": "c", "capacity": 1}, r"\$\.capacity needs an object"),
        (
            DesiredLRP,
            {"env": None, "process_guid": "p", "metric_tags": {"k": 1}},
            r"\$\.metric_tags\.k needs an object",
        ),
        (DesiredLRP, {"process_guid": "p", "routes": []}, r"\$\.routes needs an object"),
        (DesiredLRP, {"process_guid": "p", "routes": {"r": object()}}, r"\$\.routes\.r is a value that JSON cannot"),
        (DesiredLRP, {"process_guid": "p", "routes": {"r": ["\ud800"]}}, r"\$\.routes\.r is a value that JSON cannot"),
        (str, 5, "needs to be a string"),
        (int, 5, "has no JSON of Diego's"),
        (events.Event, {}, r"a string at \$\.type"),
        (events.Event, {"type": "new", "data": "?"}, r"\$\.data of an event without a name here needs to be base64"),
        (events.Event, {"type": "new"}, r"\$\.data of an event without a name here needs to be base64"),
        (events.Event, {"type": "actual_lrp_crashed"}, r"\$\.data needs an object, not null"),
        (events.Event, {"type": "actual_lrp_created", "data": {"actual_lrp_group": 1}}, r"\$\.data\.actual_lrp_group "),
        (events.Event, {"type": "desired_lrp_created", "data": []}, r"\$\.data needs to be an object"),
        (events.Event, {"type": "desired_lrp_created", "data": {"trace_id": 1}}, "its trace_id a string"),
        (events.Event, {"type": "desired_lrp_changed", "data": {"before": {}}}, "has no process guid"),
        (
            events.Event,
            {"type": "desired_lrp_removed", "data": {"desired_lrp": {"domain": 1}}},
            r"\$\.data\.desired_lrp\.domain needs a string",
        ),
        (
            events.ActualLRPCreated,
            {"type": "new", "data": ""},
            r"\$\.type is 'new': another event than ActualLRPCreated",
        ),
    ],
)
def test_json_that_is_no_such_value_is_malformed_and_says_where(kind: Any, value: Any, path: str) -> None:
    with pytest.raises(MalformedRecord, match=path):
        json.from_json(kind, value)


def test_json_nested_beyond_measure_is_malformed() -> None:
    action: dict[str, Any] = {}
    for _ in range(150):
        action = {"try": {"action": action}}
    with pytest.raises(MalformedRecord, match="nested deeper than any record"):
        json.from_json(DesiredLRP, {"process_guid": "p", "env": None, "action": action})
    for line in ("[" * 100_000, "{", "", "\ud800", b"\xff"):
        with pytest.raises(MalformedRecord, match="not JSON, or is nested too deeply"):
            json.loads(DesiredLRP, line)


def test_what_is_nested_as_deep_as_a_record_can_be_comes_back() -> None:
    action = Action(run_action=RunAction(path="x"))
    for _ in range(40):
        action = Action(try_action=TryAction(action=action))
    desired = DesiredLRP(process_guid="p", detail=DesiredLRPDetail(action=action))
    assert json.loads(DesiredLRP, json.dumps(desired)) == desired


def test_a_domain_is_a_string() -> None:
    assert json.loads(str, json.dumps("cf-apps")) == "cf-apps"


def test_keys_that_the_schema_lacks_are_skipped_and_null_is_nothing() -> None:
    value = {"process_guid": "p", "later": {"a": 1}, "ports": None, "metric_tags": None, "presence": None}
    assert json.from_json(ActualLRP, value) == ActualLRP(process_guid="p", state=ActualLRPState(""))


def test_a_value_without_json_of_diegos_is_refused() -> None:
    with pytest.raises(MalformedRecord, match="a value of type int"):
        json.to_json(5)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["process_guid", "env", "action", "routes", "type", "data", "instance", "before", "ports"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_KINDS = st.sampled_from([ActualLRP, ActualLRPGroup, DesiredLRP, CellPresence, str, events.Event])


@given(_KINDS, _ANY | st.fixed_dictionaries({"type": st.just("desired_lrp_created"), "data": _ANY}))
@settings(max_examples=300, deadline=None)
def test_any_json_is_a_value_or_malformed(kind: Any, value: Any) -> None:
    try:
        read = json.from_json(kind, value)
    except MalformedRecord:
        return
    assert json.from_json(kind, json.to_json(read)) == read


@given(_KINDS, st.binary(max_size=40) | st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_value_or_malformed(kind: Any, data: bytes | str) -> None:
    try:
        read = json.loads(kind, data)
    except MalformedRecord:
        return
    assert isinstance(read, str)


def test_base64_is_the_standard_alphabet() -> None:
    assert json.to_json(events.UnknownEvent("x", b"\xfb\xff"))["data"] == b64encode(b"\xfb\xff").decode() == "+/8="
