"""Views as `lrpmirror replay --print` shows them."""

import json
from types import MappingProxyType
from typing import Any

import pytest
from views_support import recording

from lrpmirror.cli import main
from lrpmirror.cli.shared.view_json import VIEWS
from lrpmirror.frozen import frozen
from lrpmirror.model import CellCapacity
from lrpmirror.views import CellLoad, Crash, Endpoint, Health, InternalEndpoint, ProcessHealth

BARE = Endpoint(host="10.0.0.1", port=61000, process_guid="p", instance_guid="i", index=0)
BARE_JSON = {"host": "10.0.0.1", "port": 61000, "process_guid": "p", "instance_guid": "i", "index": 0}

FULL = Endpoint(
    host="10.0.0.1",
    port=61000,
    tls_port=62000,
    process_guid="p",
    app="log",
    instance_guid="i",
    index=3,
    protocol="http2",
    route_service_url="https://rs",
    isolation_segment="iso",
    availability_zone="z1",
    options=MappingProxyType({"z": 1, "a": {"nested": [0, None, ""]}}),
    tags=frozen({"z": "", "a": "1"}),
    evacuating=True,
    since=42,
)


def test_an_endpoint_has_all_its_fields_in_their_order() -> None:
    ((_, (printed,)),) = (one.values() for one in VIEWS["http-routes"].objects({"app.example.com": (FULL,)}))

    assert list(printed) == [
        "host",
        "port",
        "tls_port",
        "process_guid",
        "app",
        "instance_guid",
        "index",
        "protocol",
        "route_service_url",
        "isolation_segment",
        "availability_zone",
        "options",
        "tags",
        "evacuating",
        "since",
    ]
    assert json.loads(json.dumps(printed)) == {
        **{name: getattr(FULL, name) for name in printed},
        "options": {"z": 1, "a": {"nested": [0, None, ""]}},
        "tags": {"z": "", "a": "1"},
    }
    assert list(printed["tags"]) == ["a", "z"], "tags come in an order"
    assert list(printed["options"]) == ["z", "a"], "options as they were pushed"


def test_what_is_empty_is_left_out_but_for_an_index() -> None:
    assert list(VIEWS["http-routes"].objects({"app.example.com": (BARE,)})) == [
        {"hostname": "app.example.com", "endpoints": [BARE_JSON]}
    ]


def test_there_is_one_object_a_key_sorted_by_key() -> None:
    found = list(VIEWS["http-routes"].objects(dict.fromkeys(("b", "a/path", "a"), (BARE,))))

    assert [one["hostname"] for one in found] == ["a", "a/path", "b"]


def test_tcp_routes_are_sorted_by_router_group_and_then_by_port_as_a_number() -> None:
    found = list(
        VIEWS["tcp-routes"].objects(
            {("rg", 1025): (BARE,), ("rg", 1024): (BARE,), ("rg", 999): (BARE,), ("a", 2000): (BARE,)}
        )
    )

    assert [(one["router_group_guid"], one["external_port"]) for one in found] == [
        ("a", 2000),
        ("rg", 999),
        ("rg", 1024),
        ("rg", 1025),
    ]
    assert list(found[0]) == ["router_group_guid", "external_port", "endpoints"]
    assert found[0]["endpoints"] == [BARE_JSON]


def test_internal_routes_are_printed_with_the_names_of_single_instances() -> None:
    one = InternalEndpoint(host="10.255.0.1", process_guid="p", app="log", instance_guid="i", index=0)
    zoned = InternalEndpoint(host="10.255.0.2", process_guid="p", instance_guid="j", index=1, availability_zone="z1")

    assert list(VIEWS["internal-routes"].objects({"a.internal": (one, zoned), "0.a.internal": (one,)})) == [
        {
            "hostname": "0.a.internal",
            "endpoints": [{"host": "10.255.0.1", "process_guid": "p", "app": "log", "instance_guid": "i", "index": 0}],
        },
        {
            "hostname": "a.internal",
            "endpoints": [
                {"host": "10.255.0.1", "process_guid": "p", "app": "log", "instance_guid": "i", "index": 0},
                {
                    "host": "10.255.0.2",
                    "process_guid": "p",
                    "instance_guid": "j",
                    "index": 1,
                    "availability_zone": "z1",
                },
            ],
        },
    ]


def test_processes_are_printed_with_their_word_and_what_there_is_to_count() -> None:
    sick = ProcessHealth(
        health=Health.CRASHING, desired=2, crashed=1, missing=1, last_crash=Crash(0, 3, "", 42), placement_error="full"
    )

    assert list(VIEWS["processes"].objects({"q": sick, "p": ProcessHealth(health=Health.STOPPED)})) == [
        {"process_guid": "p", "health": "stopped"},
        {
            "process_guid": "q",
            "health": "crashing",
            "desired": 2,
            "crashed": 1,
            "missing": 1,
            "placement_error": "full",
            "last_crash": {"index": 0, "count": 3, "since": 42},
        },
    ]


def test_cells_are_printed_with_their_capacity() -> None:
    load = CellLoad(running=2, memory_mb=512, present=True, zone="z1", capacity=CellCapacity(1000, 2000, 250))

    assert list(VIEWS["cells"].objects({"two": load, "one": CellLoad(claimed=1, unsized=1)})) == [
        {"cell_id": "one", "claimed": 1, "unsized": 1},
        {
            "cell_id": "two",
            "running": 2,
            "memory_mb": 512,
            "present": True,
            "zone": "z1",
            "capacity": {"memory_mb": 1000, "disk_mb": 2000, "containers": 250},
        },
    ]


@pytest.mark.parametrize("name", list(VIEWS))
def test_the_table_has_a_view_and_its_printed_form_under_each_name(name: str) -> None:
    assert list(VIEWS[name].objects({})) == []
    assert VIEWS[name].make() is not VIEWS[name].make()


# The command


def printed(capfdbinary: pytest.CaptureFixture[bytes], what: str, *options: str) -> list[dict[str, Any]]:
    path = recording("07-routes").path
    assert main(["replay", str(path), "--print", what, *options]) == 0
    return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("what", "count", "key"),
    [
        ("http-routes", 11, "hostname"),
        ("tcp-routes", 2, "router_group_guid"),
        ("internal-routes", 5, "hostname"),
        ("processes", 13, "process_guid"),
        ("cells", 3, "cell_id"),
    ],
)
@pytest.mark.parametrize("stream", ["instances", "groups"])
def test_a_recording_is_printed_one_object_a_line_sorted(
    capfdbinary: pytest.CaptureFixture[bytes], what: str, count: int, key: str, stream: str
) -> None:
    found = printed(capfdbinary, what, "--stream", stream)

    assert len(found) == count
    keys = [one[key] for one in found]
    assert keys == sorted(keys)
    assert next(iter(found[0])) == key


def test_an_endpoint_of_a_recording_is_as_its_emitter_registered_it(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    (found,) = (one for one in printed(capfdbinary, "http-routes") if one["hostname"] == "six-k1.example.com")
    path = recording("07-routes").path / "json" / "registrations.ndjson"
    (emitted,) = (
        said
        for said in (json.loads(line)["data"] for line in path.read_text().splitlines())
        if said["uris"] == ["six-k1.example.com"]
    )

    (endpoint,) = found["endpoints"]
    same = ("host", "port", "tls_port", "app", "route_service_url", "isolation_segment", "availability_zone", "options")
    assert {name: endpoint.get(name) for name in same} == {name: emitted.get(name) for name in same}
    assert {"component": "route-emitter", **endpoint["tags"]} == emitted["tags"]
