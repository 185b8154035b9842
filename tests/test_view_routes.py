"""Which instances are endpoints of which names, and what is said of them: each rule by an example."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from views_support import (
    CLAIMED,
    CRASHED,
    EVACUATING,
    SUSPECT,
    UNCLAIMED,
    desired,
    process,
    running,
    value_of,
    values_of,
)

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.derived.views.definitions import http_routes, internal_routes, tcp_routes
from lrpmirror.model import ActualLRPState, DynamicValue, MetricTagValue, PortMapping, PreferredAddress
from lrpmirror.views import Endpoint, HTTPRoutes, InternalRoutes, TCPRoutes

APP = desired("p", 2, http=["app.example.com"], tcp=[{"router_group_guid": "rg", "external_port": 1024}])


def indexes(endpoints: tuple[Endpoint, ...]) -> list[int]:
    return [endpoint.index for endpoint in endpoints]


def served(*rows: Any, instances: int = 2) -> list[int]:
    """The indexes that serve app.example.com."""
    lrp = desired("p", instances, http=["app.example.com"])
    return indexes(values_of(HTTPRoutes(), process(lrp, *rows)).get("app.example.com", ()))


# Which instances


@pytest.mark.parametrize("state", [UNCLAIMED, CLAIMED, CRASHED, ActualLRPState("PAUSED")])
def test_only_running_instances_are_endpoints(state: ActualLRPState) -> None:
    assert served(running(index=0), running(index=1, state=state)) == [0]


def test_evacuating_and_suspect_instances_stay_endpoints() -> None:
    assert served(running(index=0, presence=EVACUATING), running(index=1, presence=SUSPECT)) == [0, 1]


def test_the_rows_of_an_index_in_several_presences_are_all_endpoints() -> None:
    rows = (
        running(index=0, instance_guid="new"),
        running(index=0, instance_guid="leaving", presence=EVACUATING),
        running(index=0, instance_guid="lost", presence=SUSPECT),
    )

    endpoints = value_of(HTTPRoutes(), process(desired(http=["app.example.com"]), *rows))

    assert [endpoint.instance_guid for endpoint in endpoints] == ["new", "leaving", "lost"]
    assert [endpoint.evacuating for endpoint in endpoints] == [False, True, False]


def test_an_instance_that_moves_is_left_out_where_neither_row_has_the_port() -> None:
    assert served(running(index=0, ports=()), running(index=0, ports=(), presence=EVACUATING)) == []


def test_an_instance_with_two_rows_at_one_address_is_one_endpoint() -> None:
    endpoints = value_of(
        HTTPRoutes(),
        process(desired(http=["app.example.com"]), running(index=0), running(index=0, presence=EVACUATING)),
    )

    assert len(endpoints) == 1
    assert not endpoints[0].evacuating


@pytest.mark.parametrize(("routable", "expected"), [(True, [0]), (None, [0]), (False, [])])
def test_an_absent_routable_counts_as_true(routable: bool | None, expected: list[int]) -> None:
    assert served(running(routable=routable)) == expected


def test_an_index_at_or_above_the_desired_number_is_left_out() -> None:
    assert served(*(running(index=index) for index in range(4)), instances=2) == [0, 1]


def test_a_stopped_process_has_no_endpoints() -> None:
    assert served(running(), instances=0) == []


def test_a_process_without_desired_lrp_has_no_endpoints() -> None:
    for view in (HTTPRoutes(), TCPRoutes(), InternalRoutes()):
        assert values_of(view, process(None, running())) == {}


def test_the_routes_are_those_of_the_desired_lrp_that_is_believed() -> None:
    assert values_of(HTTPRoutes(), process(None, running(), routed=APP)).keys() == {"app.example.com"}


# Which address


BOTH: dict[str, Any] = {
    "address": "10.0.0.1",
    "instance_address": "10.255.0.1",
    "ports": (PortMapping(8080, 61000, 61443, 62000),),
}
HOST, CONTAINER = ("10.0.0.1", 61000, 62000), ("10.255.0.1", 8080, 61443)


@pytest.mark.parametrize(
    ("preferred", "expected"),
    [
        (PreferredAddress.HOST, HOST),
        (PreferredAddress.INSTANCE, CONTAINER),
        (PreferredAddress.UNKNOWN, HOST),
        (PreferredAddress(9), HOST),
    ],
)
def test_the_address_is_the_one_that_the_row_prefers(
    preferred: PreferredAddress, expected: tuple[str, int, int]
) -> None:
    assert addresses(HTTPRoutes(), preferred) == [expected]
    assert addresses(TCPRoutes(), preferred) == [expected]


@pytest.mark.parametrize("preferred", list(PreferredAddress))
def test_the_preference_can_be_overridden(preferred: PreferredAddress) -> None:
    for view in (HTTPRoutes, TCPRoutes):
        assert addresses(view(address="host"), preferred) == [HOST]
        assert addresses(view(address="container"), preferred) == [CONTAINER]


def addresses(view: HTTPRoutes | TCPRoutes, preferred: PreferredAddress) -> list[tuple[str, int, int]]:
    tcp = [{"router_group_guid": "rg", "external_port": 1024, "container_port": 8080}]
    lrp = desired(http=["app.example.com"], tcp=tcp)
    endpoints = value_of(view, process(lrp, running(**BOTH, preferred_address=preferred)))
    return [(endpoint.host, endpoint.port, endpoint.tls_port) for endpoint in endpoints]


def test_without_tls_proxy_there_is_no_tls_port() -> None:
    (endpoint,) = value_of(HTTPRoutes(), process(APP, running(ports=(PortMapping(8080, 61000),))))

    assert endpoint.tls_port == 0


def test_an_instance_without_the_address_that_it_is_routed_to_is_left_out() -> None:
    nowhere = running(instance_address="")

    assert values_of(HTTPRoutes(address="container"), process(APP, nowhere)) == {}
    assert values_of(HTTPRoutes(), process(APP, nowhere)).keys() == {"app.example.com"}


# Which ports


def test_each_route_leads_to_its_own_container_port() -> None:
    lrp = desired(
        http=[{"hostnames": ["app.example.com"], "port": 8080}, {"hostnames": ["admin.example.com"], "port": 9090}]
    )
    two = running(ports=(PortMapping(8080, 61000, 61443, 62000), PortMapping(9090, 61001, 61444, 62001)))

    found = values_of(HTTPRoutes(), process(lrp, two))

    assert {name: [(one.port, one.tls_port) for one in endpoints] for name, endpoints in found.items()} == {
        "app.example.com": [(61000, 62000)],
        "admin.example.com": [(61001, 62001)],
    }


def test_one_name_on_two_ports_has_two_endpoints_of_the_instance() -> None:
    lrp = desired(http=[{"hostnames": ["app.example.com"], "port": port} for port in (8080, 9090)])
    two = running(ports=(PortMapping(8080, 61000), PortMapping(9090, 61001)))

    endpoints = value_of(HTTPRoutes(), process(lrp, two))

    assert [endpoint.port for endpoint in endpoints] == [61000, 61001]


def test_a_route_to_a_port_that_an_instance_has_not_leaves_the_instance_out() -> None:
    lrp = desired(http=[{"hostnames": ["app.example.com"], "port": 9090}])

    assert values_of(HTTPRoutes(), process(lrp, running())) == {}


# Which names


def test_a_route_can_have_several_host_names_and_paths() -> None:
    names = ["app.example.com", "app.example.com/path", "*.example.com"]
    lrp = desired(http=[{"hostnames": names, "port": 8080}])

    found = values_of(HTTPRoutes(), process(lrp, running()))

    assert set(found) == set(names)
    assert len(set(found.values())) == 1


def test_a_name_that_is_given_twice_or_is_empty_counts_once_or_not() -> None:
    lrp = desired(http=["a.example.com", "a.example.com", ""], internal=["a.internal", "a.internal", ""])
    one = process(lrp, running())

    assert {name: len(found) for name, found in values_of(HTTPRoutes(), one).items()} == {"a.example.com": 1}
    assert {name: len(found) for name, found in values_of(InternalRoutes(), one).items()} == {
        "a.internal": 1,
        "0.a.internal": 1,
    }


def test_processes_that_share_a_name_are_joined_by_process_guid_then_index() -> None:
    lrps = [desired(guid, 2, http=["app.example.com"]) for guid in ("b", "a")]
    found = value_of(HTTPRoutes(), *(process(lrp, *(running(lrp.process_guid, i) for i in (1, 0))) for lrp in lrps))

    assert [(one.process_guid, one.index) for one in found] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


# What is said of an endpoint


def test_an_endpoint_has_the_fields_of_its_route() -> None:
    entry = {
        "hostnames": ["app.example.com"],
        "port": 8080,
        "protocol": "http2",
        "route_service_url": "https://rs.example.com",
        "isolation_segment": "iso",
        "options": {"loadbalancing": "least-connection"},
    }

    (endpoint,) = value_of(HTTPRoutes(), process(desired(http=[entry]), running()))

    assert endpoint.protocol == "http2"
    assert endpoint.route_service_url == "https://rs.example.com"
    assert endpoint.isolation_segment == "iso"
    assert endpoint.options == {"loadbalancing": "least-connection"}


def test_what_a_route_does_not_say_is_empty() -> None:
    entry = {"hostnames": ["app.example.com"], "port": 8080, "protocol": None, "options": "none of it"}

    (endpoint,) = value_of(HTTPRoutes(), process(desired(http=[entry]), running()))

    assert (endpoint.protocol, endpoint.route_service_url, endpoint.isolation_segment) == ("", "", "")
    assert endpoint.options is None
    assert endpoint.tags == {}


def test_an_endpoint_has_the_fields_of_its_instance() -> None:
    one = running(index=1, instance_guid="ig", availability_zone="z1", since=42, presence=EVACUATING)

    (endpoint,) = value_of(HTTPRoutes(), process(APP, one))

    assert endpoint == Endpoint(
        host="10.0.0.1",
        port=61001,
        tls_port=62001,
        process_guid="p",
        app="log-p",
        instance_guid="ig",
        index=1,
        availability_zone="z1",
        evacuating=True,
        since=42,
    )


def test_metric_tags_are_filled_in_for_each_instance() -> None:
    tags = {
        "app_name": MetricTagValue("shop"),
        "instance_id": MetricTagValue(dynamic=DynamicValue.INDEX),
        "instance_guid": MetricTagValue(dynamic=DynamicValue.INSTANCE_GUID),
        "newer": MetricTagValue("as given", dynamic=DynamicValue(7)),
    }
    lrp = desired("p", 2, http=["app.example.com"], metric_tags=tags)

    found = value_of(HTTPRoutes(), process(lrp, running(index=0), running(index=1)))

    assert [dict(endpoint.tags) for endpoint in found] == [
        {"app_name": "shop", "instance_id": str(i), "instance_guid": f"p-{i}", "newer": "as given"} for i in (0, 1)
    ]


def test_endpoints_can_be_kept_in_sets() -> None:
    entry = {"hostnames": ["app.example.com"], "port": 8080, "options": {"a": {"b": [1]}}}
    one = process(desired(http=[entry]), running())
    endpoints = [*value_of(HTTPRoutes(), one), *value_of(HTTPRoutes(), one)]

    assert len(set(endpoints)) == 1


# What is published


def test_a_change_of_the_evacuating_flag_or_since_alone_publishes_nothing_but_is_in_the_value() -> None:
    tcp = [{"router_group_guid": "rg", "external_port": 1024, "container_port": 8080}]
    lrp = desired(http=["app.example.com"], tcp=tcp)
    for view in (HTTPRoutes(), TCPRoutes()):
        derivation: Derivation[Any, Any, Any] = Derivation(view)
        derivation.update([process(lrp, running(since=1))])

        assert derivation.update([process(lrp, running(since=2, presence=EVACUATING))]) == []

        ((endpoint,),) = derivation.values.values()
        assert endpoint.evacuating
        assert endpoint.since == 2


def test_another_address_is_published() -> None:
    derivation = Derivation(HTTPRoutes())
    derivation.update([process(APP, running(since=1))])

    (delta,) = derivation.update([process(APP, running(since=2, address="10.0.0.2"))])

    assert [(one.host, two.host) for one, two in zip(delta.before or (), delta.after or (), strict=True)] == [
        ("10.0.0.1", "10.0.0.2")
    ]


def test_another_number_of_endpoints_is_published() -> None:
    derivation = Derivation(HTTPRoutes())
    derivation.update([process(APP, running(index=0))])

    (delta,) = derivation.update([process(APP, running(index=0), running(index=1))])

    assert [indexes(side or ()) for side in (delta.before, delta.after)] == [[0], [0, 1]]


# Malformed routes


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"{",
        b"not json",
        b'"text"',
        b"{}",
        b'[{"hostnames": ["a"]',
        b"\xff\xfe",
        b'["\xff"]',
        b"[" * 100_000,
        b'[{"hostnames": ["a"], "port": 8080, "options": ' + b'{"a":' * 100_000,
    ],
)
def test_routes_that_are_no_json_list_break_only_their_own_router(raw: bytes) -> None:
    whole = desired(tcp=[{"router_group_guid": "rg", "external_port": 1024, "container_port": 8080}])
    broken = replace(whole, routes={**whole.routes, "cf-router": raw, "internal-router": raw})

    assert values_of(HTTPRoutes(), process(broken, running())) == {}
    assert values_of(InternalRoutes(), process(broken, running())) == {}
    assert values_of(TCPRoutes(), process(broken, running())).keys() == {("rg", 1024)}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        1,
        "text",
        [],
        {"hostnames": "app.example.com", "port": 8080},
        {"hostnames": ["bad.example.com", 1], "port": 8080},
        {"hostnames": ["bad.example.com"], "port": "8080"},
        {"hostnames": ["bad.example.com"], "port": 8080, "protocol": 1},
    ],
)
def test_an_entry_that_cannot_be_read_is_left_out_and_the_others_stay(entry: Any) -> None:
    lrp = desired(http=[{"hostnames": ["good.example.com"], "port": 8080}])
    entries = [entry, *json.loads(lrp.routes["cf-router"]), entry]
    lrp = replace(lrp, routes={"cf-router": json.dumps(entries).encode()})

    assert values_of(HTTPRoutes(), process(lrp, running())).keys() == {"good.example.com"}


def test_a_text_that_is_not_utf8_costs_its_entry_nothing() -> None:
    raw = b'[{"hostnames":["app.example.com"],"port":8080,"options":{"x":"\xc3"}},{"hostnames":["\xff.b"],"port":8080}]'
    lrp = replace(desired(), routes={"cf-router": raw})

    routes = values_of(HTTPRoutes(), process(lrp, running()))

    assert routes.keys() == {"app.example.com", "\ufffd.b"}


def test_fields_that_are_not_known_are_no_mistake() -> None:
    entry = {"hostnames": ["app.example.com"], "port": 8080, "of_the_future": {"a": 1}}

    assert values_of(HTTPRoutes(), process(desired(http=[entry]), running())).keys() == {"app.example.com"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["hostnames", "a.b"]),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["hostnames", "port", "options", "hostname"]), inner)
    ),
    max_leaves=8,
)


@settings(derandomize=True, deadline=None, max_examples=150, database=None)
@given(st.binary() | JSON.map(json.dumps).map(str.encode) | st.lists(JSON).map(json.dumps).map(str.encode))
def test_whatever_an_app_pushes_is_read_or_left_out(raw: bytes) -> None:
    routes = {"cf-router": raw, "tcp-router": raw, "internal-router": raw}

    found = (*http_routes(routes), *tcp_routes(routes), *internal_routes(routes))

    for name in (name for route in found for name in getattr(route, "hostnames", ())):
        name.encode()
