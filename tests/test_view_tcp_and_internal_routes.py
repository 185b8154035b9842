"""Which instances are endpoints of TCP routes and of internal names: each rule by an example."""

from views_support import CLAIMED, EVACUATING, RUNNING, SUSPECT, desired, process, running, value_of, values_of

from lrpmirror.model import PreferredAddress
from lrpmirror.views import InternalEndpoint, InternalRoutes, TCPRoutes

# TCP routes


def test_tcp_routes_are_known_by_router_group_and_port() -> None:
    entries = [
        {"router_group_guid": "rg", "external_port": 1024, "container_port": 8080},
        {"router_group_guid": "rg", "external_port": 1025, "container_port": 9090},
        {"router_group_guid": "other", "external_port": 1024, "container_port": 8080},
        {"router_group_guid": "without a port"},
    ]
    lrp = desired("p", 2, tcp=entries)

    found = values_of(TCPRoutes(), process(lrp, running(index=1), running(index=0)))

    assert {key: [(one.host, one.port) for one in endpoints] for key, endpoints in found.items()} == {
        ("rg", 1024): [("10.0.0.1", 61000), ("10.0.0.1", 61001)],
        ("other", 1024): [("10.0.0.1", 61000), ("10.0.0.1", 61001)],
    }


def test_processes_that_share_a_port_are_joined() -> None:
    tcp = [{"router_group_guid": "rg", "external_port": 1024, "container_port": 8080}]

    found = value_of(TCPRoutes(), *(process(desired(guid, tcp=tcp), running(guid)) for guid in ("b", "a")))

    assert [one.process_guid for one in found] == ["a", "b"]


# Internal routes


def test_an_internal_name_leads_to_the_containers_and_each_index_has_its_own() -> None:
    lrp = desired("p", 2, internal=["app.internal"])

    found = values_of(InternalRoutes(), process(lrp, running(index=0), running(index=1)))

    zero, one = (
        InternalEndpoint(host=f"10.255.0.{i}", process_guid="p", app="log-p", instance_guid=f"p-{i}", index=i)
        for i in (0, 1)
    )
    assert found == {"app.internal": (zero, one), "0.app.internal": (zero,), "1.app.internal": (one,)}


def test_the_internal_names_come_from_the_desired_lrp_and_not_from_the_row() -> None:
    one = running(internal_routes=("of-the-row.internal",))

    assert values_of(InternalRoutes(), process(desired(internal=["a.internal"]), one)).keys() == {
        "a.internal",
        "0.a.internal",
    }


def test_the_internal_address_is_the_containers_whatever_is_preferred() -> None:
    one = running(preferred_address=PreferredAddress.HOST, availability_zone="z1")

    found = values_of(InternalRoutes(), process(desired(internal=["a.internal"]), one))

    assert [(each.host, each.availability_zone) for each in found["a.internal"]] == [("10.255.0.0", "z1")]


def test_an_instance_without_container_address_has_no_internal_name() -> None:
    lrp = desired("p", 2, internal=["a.internal"])

    found = values_of(InternalRoutes(), process(lrp, running(index=0, instance_address=""), running(index=1)))

    assert found.keys() == {"a.internal", "1.a.internal"}


def test_internal_routes_obey_the_same_rules_of_which_instances_serve() -> None:
    lrp = desired("p", 3, internal=["a.internal"])
    rows = (
        running(index=0, state=CLAIMED),
        running(index=1, routable=False),
        running(index=2, state=RUNNING, presence=SUSPECT),
        running(index=3),
    )

    assert values_of(InternalRoutes(), process(lrp, *rows)).keys() == {"a.internal", "2.a.internal"}


def test_an_instance_with_two_rows_is_one_internal_endpoint() -> None:
    lrp = desired(internal=["a.internal"])

    found = values_of(InternalRoutes(), process(lrp, running(), running(presence=EVACUATING)))

    assert [len(endpoints) for endpoints in found.values()] == [1, 1]


def test_processes_that_share_an_internal_name_are_joined() -> None:
    found = values_of(
        InternalRoutes(),
        *(process(desired(guid, internal=["a.internal"]), running(guid)) for guid in ("b", "a")),
    )

    assert [one.process_guid for one in found["a.internal"]] == ["a", "b"]
