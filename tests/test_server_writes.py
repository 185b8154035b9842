"""The writes of the served BBS, over a socket: what each request does and is answered."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from bbs_support import ACTION, RemoteBBS, desired_and, instance_of, key_of, net_of, over_http
from msgspec.structs import replace
from sim_support import NET, OTHER_NET, ROUTES, TAGS, A, B, diego, drain, row, run, wanted

from lrpmirror.detail import DesiredLRPDetail
from lrpmirror.errors import RequestRefused, ResourceNotFound
from lrpmirror.model import ActualLRPState, DynamicValue, MetricTagValue, Presence
from lrpmirror.server import InstanceKey
from lrpmirror.sim import Diego, Faults, StopRequest
from lrpmirror.wire.proto import requests_pb2 as pb

RUNNING: dict[str, Any] = {
    "domain": "cf-apps",
    "internal_routes": ROUTES,
    "metric_tags": TAGS,
    "availability_zone": "z2",
}


# ------------------------------------------------------------- desired LRPs and domains


def test_desiring_over_the_wire_is_desiring_with_every_detail() -> None:
    made = diego()
    detail = DesiredLRPDetail(action=ACTION, image_password="secret", privileged=True, ports=(8080,))  # noqa: S106
    tags = {"source_id": MetricTagValue(static="s"), "instance_id": MetricTagValue(dynamic=DynamicValue.INDEX)}
    lrp = wanted(instances=2, routes={"cf-router": b"[]"}, metric_tags=tags, annotation="a", detail=detail)
    over_http(made, lambda bbs: bbs.desire(lrp))
    (kept,) = made.desired_lrps()
    assert replace(kept, epoch="") == lrp
    assert kept.epoch
    assert [each.index for each in sorted(made.actual_lrps(), key=lambda each: each.index)] == [0, 1]


def test_what_is_desired_already_is_answered_with_the_error_of_that_name() -> None:
    made = desired_and()
    with pytest.raises(RequestRefused) as refusal:
        over_http(made, lambda bbs: bbs.desire(wanted(detail=DesiredLRPDetail(action=ACTION))))
    assert refusal.value.type == "ResourceExists"


@pytest.mark.parametrize(
    "changes",
    [
        {"instances": 3},
        {"instances": 0},
        {"annotation": ""},
        {"routes": {"tcp-router": b"{"}},
        {"routes": {}},
        {"metric_tags": {"a": MetricTagValue(static="b"), "i": MetricTagValue(dynamic=DynamicValue.INSTANCE_GUID)}},
        {"image_username": "u", "image_password": "p"},
    ],
    ids=str,
)
def test_an_update_over_the_wire_writes_what_it_names_and_nothing_else(changes: dict[str, Any]) -> None:
    def made() -> Diego:
        bbs = diego()
        bbs.desire(wanted(annotation="old", routes={"cf-router": b"[]"}))
        return bbs

    remote, local = made(), made()
    over_http(remote, lambda bbs: bbs.update_desired("p", **changes))
    local.update_desired("p", **changes)
    assert remote.snapshot() == local.snapshot()
    assert remote.desired_lrps()[0].tag_index == 1


def test_an_update_of_nothing_is_a_write_all_the_same() -> None:
    made = desired_and()
    asked = pb.UpdateDesiredLRPRequest(process_guid="p")
    over_http(made, lambda bbs: bbs.post("/v1/desired_lrp/update", asked))
    assert made.desired_lrps()[0].tag_index == 1


def test_removing_over_the_wire_removes_and_asks_the_cells() -> None:
    made = desired_and(A)
    over_http(made, lambda bbs: bbs.remove_desired("p"))
    assert made.desired_lrps() == []
    assert made.take_stop_requests() == (StopRequest("p", 0, A),)


def test_a_domain_is_fresh_for_its_time_to_live_and_without_one_for_ever() -> None:
    made = Diego()

    def drive(bbs: RemoteBBS) -> None:
        bbs.upsert_domain("short", ttl=30)
        bbs.upsert_domain("long")

    over_http(made, drive)
    assert made.domains() == ("short", "long")
    made.advance(30)
    assert made.domains() == ("long",)


# ------------------------------------------------------------------------- actual LRPs


def test_an_instance_is_claimed_started_and_crashed() -> None:
    made = desired_and()

    def drive(bbs: RemoteBBS) -> None:
        bbs.claim("p", 0, A)
        assert row(made).state is ActualLRPState.CLAIMED
        bbs.start("p", 0, A, NET, routable=False, **RUNNING)

    over_http(made, drive)
    running = row(made)
    assert (running.state, InstanceKey.of(running), running.routable) == (ActualLRPState.RUNNING, A, False)
    assert (running.address, running.ports, running.instance_address) == (NET.address, NET.ports, NET.instance_address)
    assert (running.preferred_address, running.internal_routes) == (NET.preferred_address, ROUTES)
    assert (running.metric_tags, running.availability_zone) == (TAGS, "z2")

    over_http(made, lambda bbs: bbs.crash("p", 0, A, "out of memory"))
    assert (row(made).state, row(made).crash_reason) == (ActualLRPState.UNCLAIMED, "out of memory")


def test_a_cell_that_does_not_say_whether_its_instance_is_routable_means_that_it_is() -> None:
    made = desired_and()
    over_http(made, lambda bbs: bbs.start("p", 0, A, NET, routable=None, **RUNNING))
    assert row(made).routable is True


def older(path: str, net: Any = NET) -> Callable[[RemoteBBS], bytes]:
    """Report as an older cell does: what it never knew is not said, and what it says of that is not heard."""
    kind: type[Any] = pb.StartActualLRPRequest if "start" in path else pb.EvacuateRunningActualLRPRequest
    asked = kind(
        actual_lrp_key=key_of("p", 0),
        actual_lrp_instance_key=instance_of(A),
        actual_lrp_net_info=net_of(net),
        metric_tags={"unheard": "of"},
        routable=False,
        availability_zone="unheard of",
    )
    return lambda bbs: bbs.post(path, asked)


def test_the_older_start_knows_neither_routable_nor_zone_nor_tags() -> None:
    made = desired_and()
    over_http(made, older("/v1/actual_lrps/start"))
    running = row(made)
    assert (running.state, running.address) == (ActualLRPState.RUNNING, NET.address)
    assert (running.routable, running.availability_zone, running.metric_tags) == (True, "", {})


def test_the_older_evacuate_running_moves_the_row_as_the_newer_one_does() -> None:
    made = desired_and(A)
    reply = over_http(made, older("/v1/actual_lrps/evacuate_running"))
    assert pb.EvacuationResponse.FromString(reply).keep_container
    moved = made.row("p", 0, Presence.EVACUATING)
    assert moved is not None
    assert (InstanceKey.of(moved), moved.metric_tags, moved.availability_zone) == (A, TAGS, "z1")


def test_a_row_fails_is_retired_and_removed() -> None:
    made = diego()
    made.desire(wanted(instances=3))
    run(made, A, 1)

    def drive(bbs: RemoteBBS) -> None:
        bbs.fail("p", 0, "no room")
        bbs.retire("p", 1)
        bbs.remove("p", 2)

    over_http(made, drive)
    assert row(made, 0).placement_error == "no room"
    assert made.take_stop_requests() == (StopRequest("p", 1, A),)
    assert made.row("p", 2) is None


def test_a_row_is_removed_only_from_the_instance_that_is_given() -> None:
    made = desired_and(A)
    with pytest.raises(ResourceNotFound):
        over_http(made, lambda bbs: bbs.remove("p", 0, B))
    over_http(made, lambda bbs: bbs.remove("p", 0, A))
    assert made.actual_lrps() == []


def test_without_an_instance_a_row_is_removed_whoever_holds_it() -> None:
    made = desired_and(A)
    over_http(made, lambda bbs: bbs.remove("p", 0))
    assert made.actual_lrps() == []


@pytest.mark.parametrize(
    ("error", "write"),
    [
        ("ActualLRPCannotBeClaimed", lambda bbs: bbs.claim("p", 0, B)),
        ("ActualLRPCannotBeStarted", lambda bbs: bbs.start("p", 0, B, NET)),
        ("ActualLRPCannotBeStarted", lambda bbs: bbs.start("p", 0, A, NET, domain="other")),
        ("ActualLRPCannotBeCrashed", lambda bbs: bbs.crash("p", 0, B)),
        ("ActualLRPCannotBeFailed", lambda bbs: bbs.fail("p", 0, "no room")),
        ("ResourceNotFound", lambda bbs: bbs.claim("p", 9, A)),
        ("ResourceNotFound", lambda bbs: bbs.crash("p", 9, A)),
        ("ResourceNotFound", lambda bbs: bbs.fail("p", 9, "no room")),
        ("ResourceNotFound", lambda bbs: bbs.retire("p", 9)),
        ("ResourceNotFound", lambda bbs: bbs.remove("p", 9)),
        ("ResourceNotFound", lambda bbs: bbs.update_desired("none", instances=1)),
        ("ResourceNotFound", lambda bbs: bbs.remove_desired("none")),
        ("ResourceNotFound", lambda bbs: bbs.evacuate_claimed("p", 0, B)),
        ("ResourceNotFound", lambda bbs: bbs.evacuate_stopped("p", 0, B)),
        ("ResourceNotFound", lambda bbs: bbs.evacuate_crashed("p", 0, B, "why")),
        ("ResourceNotFound", lambda bbs: bbs.remove_evacuating("p", 0, A)),
        ("InvalidRequest", lambda bbs: bbs.update_desired("p", instances=-1)),
        ("InvalidRequest", lambda bbs: bbs.desire(wanted("q"))),
    ],
)
def test_what_the_state_does_not_allow_is_answered_in_the_error_field(
    error: str, write: Callable[[RemoteBBS], None]
) -> None:
    made = desired_and(A)
    before, notified = made.snapshot(), made.subscribe("instances")
    with pytest.raises(RequestRefused) as refusal:
        over_http(made, write)
    assert refusal.value.type == error
    assert refusal.value.message
    assert (made.snapshot(), drain(notified)) == (before, [])


# -------------------------------------------------------------------------- evacuation


def test_a_cell_is_told_whether_to_keep_the_container() -> None:
    made = desired_and(A, B)
    made.update_desired("p", instances=3)
    made.claim("p", 2, A)

    def drive(bbs: RemoteBBS) -> list[bool]:
        kept = [bbs.evacuate_running("p", 0, A, NET, **RUNNING), bbs.evacuate_claimed("p", 2, A)]
        bbs.start("p", 0, B, OTHER_NET, **RUNNING)
        return [*kept, bbs.evacuate_running("p", 0, A, NET, **RUNNING), bbs.evacuate_stopped("p", 1, B)]

    assert over_http(made, drive) == [True, False, False, False]
    assert [(each.index, each.state.value) for each in made.actual_lrps()] == [(0, "RUNNING"), (2, "UNCLAIMED")]


def test_an_instance_without_a_row_is_evacuated_as_its_cell_describes_it() -> None:
    made = desired_and()
    assert over_http(made, lambda bbs: bbs.evacuate_running("p", 0, A, NET, routable=False, **RUNNING))
    moved = made.row("p", 0, Presence.EVACUATING)
    assert moved is not None
    assert (moved.address, moved.internal_routes, moved.metric_tags) == (NET.address, ROUTES, TAGS)
    assert (moved.routable, moved.availability_zone) == (False, "z2")


def test_and_by_an_older_cell_without_what_that_never_knew() -> None:
    made = desired_and()
    over_http(made, older("/v1/actual_lrps/evacuate_running"))
    moved = made.row("p", 0, Presence.EVACUATING)
    assert moved is not None
    assert (moved.address, moved.routable, moved.availability_zone) == (NET.address, True, "")
    assert moved.metric_tags == {}


def test_a_crash_during_an_evacuation_is_noted_and_an_evacuating_row_removed() -> None:
    made = desired_and(A, B)
    made.evacuate_running("p", 1, B)

    def drive(bbs: RemoteBBS) -> bool:
        bbs.remove_evacuating("p", 1, B)
        return bbs.evacuate_crashed("p", 0, A, "gone")

    assert over_http(made, drive) is False
    assert made.row("p", 1, Presence.EVACUATING) is None
    assert (row(made).state, row(made).crash_reason) == (ActualLRPState.UNCLAIMED, "gone")


# ------------------------------------------------------------------------- around them


def test_a_client_in_any_language_writes_with_plain_http() -> None:
    """What `curl --data-binary @body -H 'Content-Type: application/x-protobuf'` sends, byte for byte."""
    made = desired_and()
    body = b"\x0a\x01p\x1a\x09\x0a\x01i\x12\x04cell"

    def drive(bbs: RemoteBBS) -> bytes:
        with socket.create_connection((bbs.http.base_url.host, bbs.http.base_url.port or 0)) as client:
            client.sendall(
                b"POST /v1/actual_lrps/claim HTTP/1.1\r\nHost: bbs\r\nUser-Agent: curl/8\r\nAccept: */*\r\n"
                b"Content-Type: application/x-protobuf\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
                % (len(body), body)
            )
            return b"".join(iter(lambda: client.recv(65536), b""))

    head, _, reply = over_http(made, drive).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (reply, InstanceKey.of(row(made))) == (b"", InstanceKey("i", "cell"))


def test_the_events_that_a_write_causes_carry_its_request_id() -> None:
    made = desired_and()
    notified = made.subscribe("instances")

    def drive(bbs: RemoteBBS) -> None:
        bbs.trace_id = "request-1"
        bbs.claim("p", 0, A)
        bbs.crash("p", 0, A)
        bbs.trace_id = ""
        bbs.claim("p", 0, B)

    over_http(made, drive)
    made.update_desired("p", annotation="by somebody else")
    traces = [event.trace_id for event in drain(notified) if not event.type.endswith("crashed")]  # type: ignore[union-attr]
    assert traces == ["request-1"] * 3 + ["", ""]


def test_an_event_that_is_late_carries_the_request_id_of_its_own_write() -> None:
    made = diego(faults=Faults(delay=1.0))
    notified = made.subscribe("instances")
    made.trace_id = "first"
    made.desire(wanted("p", 0))
    made.trace_id = "second"
    made.desire(wanted("q", 0))
    made.trace_id = ""
    made.settle()
    traces = {event.desired_lrp.process_guid: event.trace_id for event in drain(notified)}  # type: ignore[union-attr]
    assert traces == {"p": "first", "q": "second"}
