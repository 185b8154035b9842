"""The lists of the served BBS, over a socket: every path, its filters, its errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from patience import PATIENCE
from sim_support import A, B, diego, run, wanted

from lrpmirror.errors import ConfigurationError, ConnectionFailed, ServiceUnavailable
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.server import LISTS, BBSApp, Lag, serve_app
from lrpmirror.sim import Autopilot, Diego, ServedDiego, serve_diego
from lrpmirror.wire import decode
from lrpmirror.wire.proto import requests_pb2 as pb


@asynccontextmanager
async def served(bbs: Diego, **options: Any) -> AsyncIterator[tuple[ServedDiego, httpx.AsyncClient]]:
    async with (
        serve_diego(bbs, **options) as server,
        httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client,
    ):
        yield server, client


def post(bbs: Diego, path: str, body: bytes = b"", **options: Any) -> httpx.Response:
    """Serve the BBS, ask it once, and return the reply."""

    async def main() -> httpx.Response:
        async with served(bbs, **options) as (_, client):
            return await client.post(path, content=body)

    return trio.run(main)


def populated() -> Diego:
    bbs = diego("cell-a", "cell-b")
    bbs.desire(wanted("p", 2, routes={"cf-router": b"[]"}, memory_mb=64, annotation="one"))
    bbs.desire(wanted("app2-v1", 1, domain="other", log_guid="log"))
    run(bbs, A, 0)
    bbs.evacuate_running("p", 0, A)
    run(bbs, B, 1)
    return bbs


def test_ping_says_that_it_is_there() -> None:
    reply = post(Diego(), "/v1/ping")
    assert pb.PingResponse.FromString(reply.content).available
    assert reply.headers["content-type"] == "application/x-protobuf"


def test_an_empty_list_is_zero_bytes_of_the_protobuf_type() -> None:
    reply = post(Diego(), "/v1/actual_lrps/list")
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-type"] == "application/x-protobuf"
    assert reply.headers["content-length"] == "0"


@pytest.mark.parametrize(
    ("request_", "filters"),
    [
        (pb.ActualLRPsRequest(), {}),
        (pb.ActualLRPsRequest(domain="other"), {"domain": "other"}),
        (pb.ActualLRPsRequest(cell_id="cell-b"), {"cell_id": "cell-b"}),
        (pb.ActualLRPsRequest(process_guid="p"), {"process_guid": "p"}),
        (pb.ActualLRPsRequest(process_guid="p", index=0), {"process_guid": "p", "index": 0}),
    ],
)
def test_rows_are_listed_by_their_filters(request_: pb.ActualLRPsRequest, filters: dict[str, Any]) -> None:
    bbs = populated()
    reply = pb.ActualLRPsResponse.FromString(post(bbs, "/v1/actual_lrps/list", request_.SerializeToString()).content)
    listed = [decode.actual_lrp(each.SerializeToString()) for each in reply.actual_lrps]
    assert listed == bbs.actual_lrps(**filters)
    assert listed


def test_rows_of_some_processes_are_listed() -> None:
    bbs = populated()
    asked = pb.ActualLRPsByProcessGuidsRequest(process_guids=["app2-v1", "none"])
    body = post(bbs, "/v1/actual_lrps/list_by_process_guids", asked.SerializeToString()).content
    found = pb.ActualLRPsByProcessGuidsResponse.FromString(body).actual_lrps
    assert [each.actual_lrp_key.process_guid for each in found] == ["app2-v1"]


def test_groups_are_listed_whole_by_process_and_by_index() -> None:
    bbs = populated()

    def groups(path: str, asked: Any) -> list[tuple[str, int, bool]]:
        body = post(bbs, f"/v1/actual_lrp_groups/{path}", asked.SerializeToString()).content
        return [
            (each.instance.actual_lrp_key.process_guid, each.instance.actual_lrp_key.index, each.HasField("evacuating"))
            for each in pb.ActualLRPGroupsResponse.FromString(body).actual_lrp_groups
        ]

    assert sorted(groups("list", pb.ActualLRPGroupsRequest())) == [
        ("app2-v1", 0, False),
        ("p", 0, True),
        ("p", 1, False),
    ]
    assert len(groups("list_by_process_guid", pb.ActualLRPGroupsByProcessGuidRequest(process_guid="p"))) == 2
    by_index = pb.ActualLRPGroupByProcessGuidAndIndexRequest(process_guid="p", index=1)
    assert groups("get_by_process_guid_and_index", by_index) == [("p", 1, False)]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (pb.DesiredLRPsRequest(), ["p", "app2-v1"]),
        (pb.DesiredLRPsRequest(domain="other"), ["app2-v1"]),
        (pb.DesiredLRPsRequest(process_guids=["p"]), ["p"]),
        (pb.DesiredLRPsRequest(app_guids=["app2"]), ["app2-v1"]),
    ],
)
@pytest.mark.parametrize(
    "path",
    ["/v1/desired_lrps/list.r3", "/v1/desired_lrp_scheduling_infos/list", "/v1/desired_lrp_routing_infos/list"],
)
def test_desired_lrps_are_listed_by_their_filters(
    path: str, request_: pb.DesiredLRPsRequest, expected: list[str]
) -> None:
    assert [each.process_guid for each in desired(populated(), path, request_)] == expected


def desired(bbs: Diego, path: str, asked: Any) -> list[DesiredLRP]:
    body = post(bbs, path, asked.SerializeToString()).content
    if "scheduling" in path:
        infos = pb.DesiredLRPSchedulingInfosResponse.FromString(body).desired_lrp_scheduling_infos
        return [decode.scheduling_info(each.SerializeToString()) for each in infos]
    return [
        decode.desired_lrp(each.SerializeToString()) for each in pb.DesiredLRPsResponse.FromString(body).desired_lrps
    ]


def test_a_desired_lrp_is_had_by_its_guid_whole_or_in_part() -> None:
    bbs = populated()
    asked = pb.DesiredLRPByProcessGuidRequest(process_guid="p")
    (whole,) = desired(bbs, "/v1/desired_lrps/get_by_process_guid.r3", asked)
    (part,) = desired(bbs, "/v1/desired_lrp_scheduling_infos/get_by_process_guid", asked)
    assert whole == bbs.desired_lrps(process_guids=["p"])[0]
    assert (part.memory_mb, part.routes, part.annotation) == (64, {"cf-router": b"[]"}, "one")


def test_domains_and_cells_are_listed() -> None:
    bbs = populated()
    assert list(pb.DomainsResponse.FromString(post(bbs, "/v1/domains/list").content).domains) == ["cf-apps"]
    found = pb.CellsResponse.FromString(post(bbs, "/v1/cells/list.r1").content).cells
    assert tuple(decode.cell_presence(each.SerializeToString()) for each in found) == bbs.cells()


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/v1/desired_lrps/get_by_process_guid.r3", pb.DesiredLRPByProcessGuidRequest(process_guid="none")),
        ("/v1/desired_lrps/get_by_process_guid.r3", pb.DesiredLRPByProcessGuidRequest()),
        (
            "/v1/desired_lrp_scheduling_infos/get_by_process_guid",
            pb.DesiredLRPByProcessGuidRequest(process_guid="none"),
        ),
        (
            "/v1/actual_lrp_groups/get_by_process_guid_and_index",
            pb.ActualLRPGroupByProcessGuidAndIndexRequest(process_guid="p", index=9),
        ),
        ("/v1/actual_lrp_groups/get_by_process_guid_and_index", pb.ActualLRPGroupByProcessGuidAndIndexRequest()),
    ],
)
def test_what_is_not_there_is_an_error_inside_a_good_reply(path: str, request_: Any) -> None:
    reply = post(populated(), path, request_.SerializeToString())
    assert reply.status_code == 200
    assert pb.DesiredLRPLifecycleResponse.FromString(reply.content).error.type == 13


@pytest.mark.parametrize("path", [path for path in LISTS if path not in ("/v1/domains/list", "/v1/cells/list.r1")])
def test_a_body_that_is_no_request_is_an_error_inside_a_good_reply(path: str) -> None:
    reply = post(Diego(), path, b"\xff\xff")
    assert reply.status_code == 200
    assert pb.DesiredLRPLifecycleResponse.FromString(reply.content).error.type == 4


@pytest.mark.parametrize(
    "path", ["/", "/v1/actual_lrps/list.r9", "/v1/tasks/list.r3", "/v1/desired_lrp_routing_infos/list"]
)
def test_an_unknown_or_hidden_path_is_a_404_in_plain_text(path: str) -> None:
    reply = post(Diego(), path, hidden=["/v1/desired_lrp_routing_infos/list"])
    assert (reply.status_code, reply.text) == (404, "404 page not found\n")
    assert reply.headers["content-type"].startswith("text/plain")


def test_another_method_is_refused() -> None:
    async def main() -> None:
        async with served(Diego()) as (_, client):
            assert (await client.get("/v1/actual_lrps/list")).status_code == 405

    trio.run(main)


def test_a_server_that_is_not_available_answers_503_to_everything_until_it_is() -> None:
    async def main() -> None:
        async with served(Diego(), available=False) as (server, client):
            for path in ("/v1/ping", "/v1/actual_lrps/list", "/v1/events/lrp_instances.r1"):
                assert (await client.post(path)).status_code == 503
            server.app.available = True
            assert (await client.post("/v1/ping")).status_code == 200

    trio.run(main)


def test_a_request_that_is_too_large_is_refused() -> None:
    assert post(Diego(), "/v1/actual_lrps/list", b"x" * (1024 * 1024 + 1)).status_code == 413


class Broken(Diego):
    """A source whose state cannot be had."""

    def actual_lrps(self, *_filters: object, **_more: object) -> list[ActualLRP]:
        raise ConnectionFailed("the database is away")

    def actual_lrps_by_process_guids(self, *_guids: object, **_more: object) -> list[ActualLRP]:
        raise ServiceUnavailable("migrating")


@pytest.mark.parametrize("path", ["/v1/actual_lrps/list", "/v1/actual_lrps/list_by_process_guids"])
def test_a_source_without_its_state_is_a_503_never_an_empty_list(path: str) -> None:
    assert post(Broken(), path).status_code == 503


def test_a_long_list_comes_in_pieces_and_is_whole() -> None:
    bbs = Diego()
    bbs.adopt(ActualLRP(process_guid=f"p{number:05}", domain="d", epoch=str(number)) for number in range(2000))

    async def main() -> None:
        async with served(bbs) as (_, client), client.stream("POST", "/v1/actual_lrps/list") as reply:
            assert reply.headers["transfer-encoding"] == "chunked"
            body = b"".join([piece async for piece in reply.aiter_raw()])
        assert len(pb.ActualLRPsResponse.FromString(body).actual_lrps) == 2000

    trio.run(main)


def test_other_tasks_run_while_a_long_list_is_sent() -> None:
    bbs = Diego()
    bbs.adopt(ActualLRP(process_guid=f"p{number:05}", domain="d") for number in range(5000))
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async def discard(_message: object) -> None:
        await trio.lowlevel.checkpoint()

    async def no_body() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            scope = {"type": "http", "method": "POST", "path": "/v1/actual_lrps/list"}
            await BBSApp(bbs)(scope, no_body, discard)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert turns >= 5000 / 256


@pytest.mark.parametrize(("lag", "sees_it"), [(Lag(before_read=0.2), True), (Lag(after_read=0.2), False)])
def test_a_list_is_as_new_as_its_lag_says(lag: Lag, sees_it: bool) -> None:
    async def main() -> None:
        bbs = Diego()
        async with served(bbs, lag=lag) as (_, client), trio.open_nursery() as nursery:

            async def write_meanwhile() -> None:
                await trio.sleep(0.1)
                bbs.start("p", 0, A, domain="d")

            nursery.start_soon(write_meanwhile)
            reply = await client.post("/v1/actual_lrps/list")
            assert bool(reply.content) is sees_it

    trio.run(main)


def test_requests_follow_one_another_on_a_connection() -> None:
    async def main() -> None:
        async with served(populated()) as (server, client):
            for _ in range(3):
                assert (await client.post("/v1/actual_lrps/list")).content
            assert server.host.connections == 1

    trio.run(main)


def test_an_autopilot_lives_while_it_is_served() -> None:
    async def main() -> None:
        bbs = Diego()
        pilot = Autopilot(bbs, apps=20, cells=2)
        before = bbs.now
        async with served(bbs, autopilot=pilot, pace=100) as (_, client):
            while bbs.now < before + 3_000_000_000:  # noqa: ASYNC110 - virtual time has no event
                await trio.sleep(0.01)
            assert (await client.post("/v1/actual_lrps/list")).content

    trio.run(main)


def test_a_server_that_is_left_to_itself_lets_time_pass_and_converges() -> None:
    async def main() -> None:
        bbs = diego("cell-a")
        bbs.desire(wanted())
        bbs.upsert_domain("short", 10)
        run(bbs, A, 0)
        bbs.lose_cell("cell-a")
        async with served(bbs, ticking=True, pace=1000) as (_, client):
            with trio.fail_after(PATIENCE):
                while len(bbs.actual_lrps()) == 1:  # noqa: ASYNC110 - virtual time has no event
                    await trio.sleep(0.01)
            assert pb.DomainsResponse.FromString((await client.post("/v1/domains/list")).content).domains == ["cf-apps"]

    trio.run(main)


def test_otherwise_its_time_stands_still() -> None:
    async def main() -> None:
        bbs = Diego()
        before = bbs.now
        async with served(bbs, pace=1000):
            await trio.sleep(0.05)
        assert bbs.now == before

    trio.run(main)


def test_a_port_that_is_taken_is_named() -> None:
    async def main() -> None:
        async with serve_app(BBSApp(Diego())) as host:
            with pytest.raises(ConfigurationError, match=str(host.port)):
                async with serve_app(BBSApp(Diego()), port=host.port):
                    raise AssertionError("unreachable")

    trio.run(main)
