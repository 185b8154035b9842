"""What the client asks, and what it makes of the replies: lists, single records, fall-backs, the tap."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from client_support import PROTOBUF, Answering, by_path, recorded, reply, run, serving
from google.protobuf.message import Message

from lrpmirror.client import BBSClient
from lrpmirror.errors import ConfigurationError, ResourceNotFound, UnexpectedReply, UnknownPath
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.wire import decode, encode
from lrpmirror.wire.lists import ReplySplitter
from lrpmirror.wire.proto import diego_pb2, requests_pb2

URL = "http://bbs.test:8889"

ROW = ActualLRP(process_guid="p1", index=2, domain="cf-apps", cell_id="c1", instance_guid="i1")
GROUP = ActualLRPGroup(instance=ROW)
DESIRED = DesiredLRP(process_guid="p1", domain="cf-apps", instances=3)
CELL = CellPresence(cell_id="c1", zone="z1")

Call = Callable[[BBSClient], Awaitable[Any]]

DESIRED_FILTERS: dict[str, Any] = {"domain": "cf-apps", "process_guids": ("p1", "p2"), "app_guids": ("a1",)}
DESIRED_REQUEST = requests_pb2.DesiredLRPsRequest(domain="cf-apps", process_guids=["p1", "p2"], app_guids=["a1"])

CALLS: list[tuple[Call, str, Message, bytes, Any]] = [
    (
        lambda client: client.actual_lrps(domain="d", cell_id="c", process_guid="p", index=0),
        "/v1/actual_lrps/list",
        requests_pb2.ActualLRPsRequest(domain="d", cell_id="c", process_guid="p", index=0),
        encode.actual_lrp(ROW),
        (ROW,),
    ),
    (
        lambda client: client.actual_lrps(),
        "/v1/actual_lrps/list",
        requests_pb2.ActualLRPsRequest(),
        encode.actual_lrp(ROW),
        (ROW,),
    ),
    (
        lambda client: client.actual_lrps_by_process_guids(["p1", "p2", "p1"]),
        "/v1/actual_lrps/list_by_process_guids",
        requests_pb2.ActualLRPsByProcessGuidsRequest(process_guids=["p1", "p2"]),
        encode.actual_lrp(ROW),
        (ROW,),
    ),
    (
        lambda client: client.actual_lrp_groups(domain="d", cell_id="c"),
        "/v1/actual_lrp_groups/list",
        requests_pb2.ActualLRPGroupsRequest(domain="d", cell_id="c"),
        encode.actual_lrp_group(GROUP),
        (GROUP,),
    ),
    (
        lambda client: client.actual_lrp_groups_by_process_guid("p1"),
        "/v1/actual_lrp_groups/list_by_process_guid",
        requests_pb2.ActualLRPGroupsByProcessGuidRequest(process_guid="p1"),
        encode.actual_lrp_group(GROUP),
        (GROUP,),
    ),
    (
        lambda client: client.actual_lrp_group_by_process_guid_and_index("p1", 2),
        "/v1/actual_lrp_groups/get_by_process_guid_and_index",
        requests_pb2.ActualLRPGroupByProcessGuidAndIndexRequest(process_guid="p1", index=2),
        encode.actual_lrp_group(GROUP),
        GROUP,
    ),
    (
        lambda client: client.desired_lrps(**DESIRED_FILTERS),
        "/v1/desired_lrps/list.r3",
        DESIRED_REQUEST,
        encode.desired_lrp(DESIRED),
        (DESIRED,),
    ),
    (
        lambda client: client.desired_lrp("p1"),
        "/v1/desired_lrps/get_by_process_guid.r3",
        requests_pb2.DesiredLRPByProcessGuidRequest(process_guid="p1"),
        encode.desired_lrp(DESIRED),
        DESIRED,
    ),
    (
        lambda client: client.scheduling_infos(**DESIRED_FILTERS),
        "/v1/desired_lrp_scheduling_infos/list",
        DESIRED_REQUEST,
        encode.scheduling_info(DESIRED),
        (DESIRED,),
    ),
    (
        lambda client: client.scheduling_info("p1"),
        "/v1/desired_lrp_scheduling_infos/get_by_process_guid",
        requests_pb2.DesiredLRPByProcessGuidRequest(process_guid="p1"),
        encode.scheduling_info(DESIRED),
        DESIRED,
    ),
    (
        lambda client: client.routing_infos(**DESIRED_FILTERS),
        "/v1/desired_lrp_routing_infos/list",
        DESIRED_REQUEST,
        encode.routing_info(DESIRED),
        (decode.routing_info(encode.routing_info(DESIRED)),),
    ),
    (
        lambda client: client.domains(),
        "/v1/domains/list",
        requests_pb2.DesiredLRPsRequest(),
        encode.domain("cf-apps"),
        ("cf-apps",),
    ),
    (
        lambda client: client.cells(),
        "/v1/cells/list.r1",
        requests_pb2.DesiredLRPsRequest(),
        encode.cell_presence(CELL),
        (CELL,),
    ),
]


@pytest.mark.parametrize(("call", "path", "request_", "record", "expected"), CALLS, ids=[case[1] for case in CALLS])
def test_every_request_is_a_post_of_its_message_to_its_path_and_gives_its_values(
    call: Call, path: str, request_: Message, record: bytes, expected: object
) -> None:
    async def main() -> None:
        network = Answering(encode.reply([record]))
        async with BBSClient(URL, transport=network) as client:
            assert await call(client) == expected
        (received,) = network.received
        assert received.line == f"POST {path}"
        assert received.headers["content-type"] == PROTOBUF
        assert received.headers["host"] == "bbs.test:8889"
        assert type(request_).FromString(received.body) == request_

    run(main)


@pytest.mark.parametrize("call", [case[0] for case in CALLS if isinstance(case[4], tuple)])
def test_zero_bytes_are_an_empty_list(call: Call) -> None:
    async def main() -> None:
        async with BBSClient(URL, transport=Answering(b"")) as client:
            assert await call(client) == ()

    run(main)


def test_an_index_of_zero_is_a_filter_and_no_index_is_none() -> None:
    async def main() -> None:
        network = Answering(b"")
        async with BBSClient(URL, transport=network) as client:
            await client.actual_lrps(process_guid="p", index=0)
            await client.actual_lrps(process_guid="p")
        first, second = (requests_pb2.ActualLRPsRequest.FromString(received.body) for received in network.received)
        assert first.HasField("index")
        assert not second.HasField("index")

    run(main)


@pytest.mark.parametrize(("body", "alive"), [(b"\x08\x01", True), (b"", False)])
def test_a_ping_says_whether_the_bbs_is_available(body: bytes, alive: bool) -> None:
    async def main() -> None:
        network = Answering({"/v1/ping": body})
        async with BBSClient(URL, transport=network) as client:
            assert await client.ping() is alive

    run(main)


def test_a_prefix_in_the_url_stands_before_every_path() -> None:
    async def main() -> None:
        network = Answering({"/diego/bbs/v1/ping": b"\x08\x01"})
        async with BBSClient(URL + "/diego/bbs/", transport=network) as client:
            assert await client.ping()

    run(main)


def test_the_detail_of_a_desired_lrp_is_decoded_only_when_asked_for() -> None:
    record = diego_pb2.DesiredLRP(process_guid="p1", log_source="APP").SerializeToString()

    async def main() -> None:
        async with BBSClient(URL, transport=Answering(encode.reply([record]))) as client:
            for full in (False, True):
                one = await client.desired_lrp("p1", full=full)
                (listed,) = await client.desired_lrps(full=full)
                async with client.stream_list("desired_lrps", full=full) as batches:
                    (streamed,) = await anext(batches)
                assert one == listed == streamed
                assert (one.detail is not None) is full

    run(main)


def test_no_process_guids_ask_nothing() -> None:
    async def main() -> None:
        network = Answering(b"")
        async with BBSClient(URL, transport=network) as client:
            assert await client.actual_lrps_by_process_guids([]) == ()
        assert network.received == []

    run(main)


def test_an_old_server_is_asked_for_one_process_after_the_other_and_not_tried_again() -> None:
    async def main() -> None:
        network = Answering({"/v1/actual_lrps/list": encode.reply([encode.actual_lrp(ROW)])})
        async with BBSClient(URL, transport=network) as client:
            assert await client.actual_lrps_by_process_guids(["p1", "p2"]) == (ROW, ROW)
            await client.actual_lrps_by_process_guids(["p3"])
            client.forget_fallbacks()
            await client.actual_lrps_by_process_guids(["p4"])
        newest = "/v1/actual_lrps/list_by_process_guids"
        assert [received.path == newest for received in network.received] == [True, False, False, False, True, False]
        asked = [
            requests_pb2.ActualLRPsRequest.FromString(network.received[at].body).process_guid for at in (1, 2, 3, 5)
        ]
        assert asked == ["p1", "p2", "p3", "p4"]

    run(main)


@pytest.mark.parametrize("name", ["routing_infos", "desired_lrps"])
def test_what_has_no_older_way_is_an_unknown_path(name: str) -> None:
    async def main() -> None:
        async with BBSClient(URL, transport=Answering({})) as client:
            with pytest.raises(UnknownPath, match=r"POST /v1/desired_lrp\S+ at http://bbs.test:8889: 404"):
                await getattr(client, name)()

    run(main)


def test_a_record_that_is_not_there_is_resource_not_found_in_the_words_of_the_bbs() -> None:
    async def main() -> None:
        refusal = encode.error_reply("ResourceNotFound", "the requested resource could not be found")
        async with BBSClient(URL, transport=Answering(refusal)) as client:
            with pytest.raises(ResourceNotFound, match=r"POST /v1/desired_lrps/get_by_process_guid\.r3 at") as refused:
                await client.desired_lrp("p1")
        assert refused.value.type == "ResourceNotFound"
        assert refused.value.message == "the requested resource could not be found"

    run(main)


@pytest.mark.parametrize("count", [0, 2])
def test_a_single_record_that_is_none_or_two_is_an_unexpected_reply(count: int) -> None:
    async def main() -> None:
        body = encode.reply([encode.desired_lrp(DESIRED)] * count)
        async with BBSClient(URL, transport=Answering(body)) as client:
            with pytest.raises(UnexpectedReply, match=f"{count} records"):
                await client.desired_lrp("p1")

    run(main)


RECORDED_LISTS = [
    ("actual_lrps", "/v1/actual_lrps/list", "actual_lrps", decode.actual_lrp),
    ("actual_lrp_groups", "/v1/actual_lrp_groups/list", "actual_lrp_groups", decode.actual_lrp_group),
    ("desired_lrps", "/v1/desired_lrps/list.r3", "desired_lrps", decode.desired_lrp),
    (
        "scheduling_infos",
        "/v1/desired_lrp_scheduling_infos/list",
        "desired_lrp_scheduling_infos",
        decode.scheduling_info,
    ),
    ("routing_infos", "/v1/desired_lrp_routing_infos/list", "desired_lrp_routing_infos", decode.routing_info),
]


@pytest.mark.parametrize("folder", ["06-mixed/snapshot", "churn1/expected"])
@pytest.mark.parametrize(("name", "path", "file", "decoder"), RECORDED_LISTS, ids=[case[0] for case in RECORDED_LISTS])
def test_a_recorded_list_over_a_socket_gives_every_record_in_batches_and_is_tapped_as_it_was(
    name: Any, path: str, file: str, decoder: Callable[[bytes], object], folder: str
) -> None:
    body = recorded(f"{folder}/{file}.pb")
    splitter = ReplySplitter()
    expected = [decoder(record) for record in splitter.feed(body)]

    async def main() -> None:
        tapped: list[tuple[str, bytes]] = []
        async with (
            serving(by_path({path: reply(body)})) as bbs,
            BBSClient(bbs.url, tap=lambda name, data: tapped.append((name, data))) as client,
        ):
            seen: list[object] = []
            async with client.stream_list(name) as batches:
                async for batch in batches:
                    assert 0 < len(batch) <= 500
                    seen += batch
            assert seen == expected
            assert list(await getattr(client, name)()) == expected
        assert {name for name, _ in tapped} == {name}
        assert b"".join(data for _, data in tapped) == body + body

    run(main)


def test_a_long_list_gives_other_tasks_their_turn_between_batches() -> None:
    body = encode.reply([encode.actual_lrp(ROW)] * 3200)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery, BBSClient(URL, transport=Answering(body)) as client:
            nursery.start_soon(other)
            async with client.stream_list("actual_lrps") as batches:
                sizes, seen = [], []
                async for batch in batches:
                    sizes.append(len(batch))
                    seen.append(turns)
            nursery.cancel_scope.cancel()
        assert sizes == [100] * 32
        # A checkpoint lies between two batches; the scheduler's order within a turn is random.
        assert seen[-1] >= 30

    run(main)


def test_leaving_a_list_early_closes_its_connection_and_the_next_request_works() -> None:
    rows = encode.reply([encode.actual_lrp(ROW)] * 20000)
    answers = {"/v1/actual_lrps/list": reply(rows), "/v1/ping": reply(b"\x08\x01")}

    async def main() -> None:
        async with serving(by_path(answers)) as bbs, BBSClient(bbs.url) as client:
            async with client.stream_list("actual_lrps") as batches:
                assert (await anext(batches))[0] == ROW
            assert await client.ping()

    run(main)


def test_the_tap_sees_an_empty_piece_at_the_start_of_each_reply_and_nothing_of_replies_about_some_processes() -> None:
    async def main() -> None:
        tapped: list[tuple[str, bytes]] = []
        body = encode.reply([])
        async with BBSClient(
            URL, transport=Answering(body), tap=lambda name, data: tapped.append((name, data))
        ) as client:
            await client.domains()
            await client.cells()
            await client.actual_lrps(cell_id="c1")
            await client.scheduling_infos(domain="d")
            await client.actual_lrps(process_guid="p")
            await client.actual_lrps_by_process_guids(["p"])
            await client.scheduling_infos(process_guids=["p"])
            await client.routing_infos(app_guids=["a"])
            await client.actual_lrp_groups_by_process_guid("p")
            await client.ping()
        assert tapped == [("domains", b""), ("cells", b""), ("actual_lrps", b""), ("scheduling_infos", b"")]

    run(main)


def test_an_unknown_list_or_stream_is_a_configuration_error() -> None:
    async def main() -> None:
        name: Any = "tasks"
        async with BBSClient(URL, transport=Answering(b"")) as client:
            with pytest.raises(ConfigurationError, match="actual_lrps, "):
                client.stream_list(name)
            with pytest.raises(ConfigurationError, match="instances, groups"):
                await client.events(name).__aenter__()

    run(main)


def test_a_filter_that_a_list_does_not_have_is_refused_before_it_is_requested() -> None:
    async def main() -> None:
        async with BBSClient(URL, transport=Answering(b"")) as client:
            with pytest.raises(ConfigurationError, match="leave `full` out"):
                client.stream_list("scheduling_infos", full=True)
            with pytest.raises(ConfigurationError, match="colour"):
                client.stream_list("actual_lrps", colour="red")

    run(main)
