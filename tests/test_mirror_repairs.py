"""Reading single processes again: what a diff does not carry, and what an event leaves undecided."""

from typing import Any

import pytest
import trio
from mirror_support import FOREVER, GONE, Answer, FakeBBS, differences, mirroring, settled, simulated, small
from sim_support import NET, ROUTES, TAGS, A, B, diego, wanted

from lrpmirror import Cause
from lrpmirror.core.lists.slices import SLICE
from lrpmirror.errors import ConnectionFailed, RequestRefused, ServiceUnavailable
from lrpmirror.events import DesiredLRPCreated
from lrpmirror.model import MetricTagValue
from lrpmirror.sim import Diego, InstanceKey

ROWS = "rows of processes"
DESIRED = "desired of processes"
QUIET: dict[str, Any] = {"resync_interval": 1e9, "probe_interval": 1e9, "idle_limit": 1e9}


def many(count: int) -> Diego:
    """A Diego with processes p0, p1, … that wait to be placed."""
    made = diego()
    for number in range(count):
        made.desire(wanted(f"p{number}"))
    return made


def start(where: Diego, guid: str, instance: InstanceKey = B) -> None:
    where.start(guid, 0, instance, NET, internal_routes=ROUTES, metric_tags=TAGS, availability_zone="z1")


@simulated
async def test_internal_routes_and_metric_tags_of_a_started_instance_are_read() -> None:
    server = many(1)
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        start(server, "p0")
        await settled()
        row = mirror.actual_lrps("p0")[0]
        assert (row.state, row.internal_routes, dict(row.metric_tags)) == ("RUNNING", (), {})
        await trio.sleep(1)
        row = mirror.actual_lrps("p0")[0]
        assert (row.internal_routes, dict(row.metric_tags)) == (ROUTES, TAGS)
        assert not differences(mirror, server)


@simulated
async def test_a_new_start_report_that_the_diff_does_not_show_is_read() -> None:
    server = small()
    async with mirroring(FakeBBS(server), **QUIET) as mirror:
        await mirror.wait_synced()
        server.start("p", 0, A, NET, internal_routes=("new",), metric_tags={"new": "1"}, availability_zone="z1")
        await trio.sleep(1)
        assert mirror.actual_lrps("p")[0].internal_routes == ("new",)
        assert not differences(mirror, server)


@simulated
async def test_what_changes_no_started_instance_is_not_read() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        listed = len(bbs.asked)
        server.crash("p", 0, A)
        server.claim("p", 0, B)
        server.update_desired("p", annotation="1")
        server.desire(wanted("q"))
        await trio.sleep(10)
        assert len(bbs.asked) == listed
        assert not differences(mirror, server)


@simulated
@pytest.mark.parametrize("seen", [{}, {"routable": False}])
async def test_what_a_start_changes_of_an_instance_that_runs_is_read_within_one_repair(seen: dict[str, Any]) -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        server.start("p", 0, A, NET, internal_routes=("new.internal",), metric_tags={"new": "1"}, **seen)
        await trio.sleep(1)
        (row,) = mirror.actual_lrps("p")
        assert (row.internal_routes, row.metric_tags) == (("new.internal",), {"new": "1"})
        assert not differences(mirror, server)


@simulated
async def test_repairs_are_collected_and_read_in_batches_with_a_pause_before_each() -> None:
    server = many(25)
    bbs = FakeBBS(server)
    async with mirroring(bbs, repair_batch=10, repair_delay=0.5, **QUIET) as mirror:
        await mirror.wait_synced()
        began = trio.current_time()
        for number in range(25):
            start(server, f"p{number}", InstanceKey(f"i{number}", "cell-a"))
        await trio.sleep(0.4)
        assert bbs.times(ROWS) == []
        await trio.sleep(10)
        reads = [each for each in bbs.asked if each.name == ROWS]
        assert [each.at - began for each in reads] == pytest.approx([0.5, 1.0, 1.5])
        assert [len(each.process_guids) for each in reads] == [10, 10, 5]
        assert {guid for each in reads for guid in each.process_guids} == {f"p{number}" for number in range(25)}
        assert not differences(mirror, server)


@simulated
async def test_a_process_that_is_requested_twice_is_read_once() -> None:
    server = many(1)
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        start(server, "p0")
        server.crash("p0", 0, B)
        start(server, "p0", A)
        await trio.sleep(10)
        assert len(bbs.times(ROWS)) == 1
        assert not differences(mirror, server)


@simulated
async def test_a_repair_that_fails_is_tried_again_and_forgets_nothing() -> None:
    server = many(3)
    bbs = FakeBBS(server)
    error = ServiceUnavailable("503: not now")
    async with mirroring(bbs, repair_batch=2, first_delay=1.0, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.once(ROWS, *[Answer(error=error)] * 4)
        for number in range(3):
            start(server, f"p{number}", InstanceKey(f"i{number}", "cell-a"))
        await trio.sleep(0.6)
        assert mirror.status.last_error is error
        assert mirror.status.live
        await trio.sleep(30)
        assert len(bbs.times(ROWS)) == 6
        assert len(bbs.streams) == 1
        assert not differences(mirror, server)


@simulated
async def test_the_stream_is_read_on_while_a_repair_hangs() -> None:
    server = many(2)
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.once(ROWS, Answer(before=100, error=ConnectionFailed("gave up")))
        start(server, "p0")
        await trio.sleep(1)
        assert bbs.names()[-1] == ROWS
        server.claim("p1", 0, A)
        await settled()
        assert mirror.actual_lrps("p1")[0].state == "CLAIMED"


@pytest.mark.parametrize("answer", [Answer(before=3), Answer(after=3)])
@simulated
async def test_what_happens_while_a_repair_is_read_is_brought_on_top_of_it(answer: Answer) -> None:
    server = many(2)
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.once(ROWS, answer)
        start(server, "p0")
        await trio.sleep(1)
        server.crash("p0", 0, B)
        server.remove("p1", 0)
        await trio.sleep(0.1)
        server.update_desired("p0", instances=2)
        await trio.sleep(20)
        assert not differences(mirror, server)


@simulated
async def test_a_repair_touches_no_other_process() -> None:
    server = many(2)
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.loses = lambda event: "p1" in str(event)
        server.remove("p1", 0)
        start(server, "p0")
        await trio.sleep(5)
        assert bbs.times(ROWS)
        assert len(mirror.actual_lrps("p1")) == 1


@simulated
async def test_an_instance_that_runs_without_a_known_desired_lrp_has_it_read_once() -> None:
    server = many(1)
    bbs = FakeBBS(server)

    bbs.loses = lambda event: isinstance(event, DesiredLRPCreated)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        server.desire(wanted("q", instances=2))
        start(server, "q", A)
        await trio.sleep(5)
        assert mirror.desired_lrp("q") is not None
        assert [each.process_guids for each in bbs.asked if each.name == DESIRED] == [("q",)]
        assert not differences(mirror, server)


@simulated
async def test_a_desired_lrp_that_is_not_there_is_asked_for_once_until_the_next_list() -> None:
    server = many(1)
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        for number in range(6):
            server.start("orphan", 0, A, NET, domain="cf-apps", routable=bool(number % 2))
            await trio.sleep(5)
        assert [each.process_guids for each in bbs.asked if each.name == DESIRED] == [("orphan",)]
        assert not differences(mirror, server)


@simulated
async def test_where_whole_desired_lrps_are_refused_their_parts_are_read() -> None:
    server = many(1)
    bbs = FakeBBS(server)
    bbs.once(DESIRED, Answer(error=RequestRefused("InvalidRequest", "a replica has their parts only")))
    bbs.loses = lambda event: isinstance(event, DesiredLRPCreated)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        server.desire(wanted("q", metric_tags={"a": MetricTagValue(static="1")}))
        start(server, "q", A)
        await trio.sleep(5)
        asked = [(each.name, each.process_guids) for each in bbs.asked[5:]]
        assert asked == [(ROWS, ("q",)), (DESIRED, ("q",)), ("scheduling_infos", ("q",)), ("routing_infos", ("q",))]
        assert not differences(mirror, server)


@simulated
async def test_a_list_of_everything_settles_the_repairs_before_it() -> None:
    server = many(3)
    bbs = FakeBBS(server)
    async with mirroring(bbs, repair_delay=50.0, **QUIET) as mirror:
        await mirror.wait_synced()
        start(server, "p0")
        await settled()
        mirror.resync()
        await trio.sleep(100)
        assert bbs.times(ROWS) == []
        assert not differences(mirror, server)


@simulated
async def test_repairs_wait_for_the_list_that_is_being_read() -> None:
    server = many(3)
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.once("actual_lrps", Answer(after=10))
        mirror.resync()
        await settled()
        start(server, "p0")
        await trio.sleep(9)
        assert bbs.times(ROWS) == []
        await trio.sleep(9)
        assert not differences(mirror, server)


@simulated
async def test_repairs_of_a_connection_that_was_lost_are_settled_after_the_next() -> None:
    server = many(3)
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.once(ROWS, FOREVER)
        start(server, "p0")
        await trio.sleep(1)
        assert bbs.times(ROWS)
        bbs.refusal = GONE
        bbs.cut()
        await trio.sleep(100)
        bbs.refusal = None
        await mirror.wait_for(lambda m: m.status.live)
        assert not differences(mirror, server)
        start(server, "p1", A)
        await trio.sleep(1)
        assert not differences(mirror, server)


@simulated
async def test_a_repair_that_brings_nothing_new_publishes_nothing() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        causes: list[Cause] = []
        mirror.subscribe(lambda change: causes.append(change.cause), replay=False)
        server.crash("p", 0, A)
        # It runs again with what its row had kept, so that the read finds what is known.
        start(server, "p", B)
        await trio.sleep(5)
        assert len(bbs.times(ROWS)) == 1
        assert set(causes) == {Cause.EVENT}
        assert not differences(mirror, server)


@simulated
async def test_a_process_that_the_server_refuses_to_list_keeps_no_other_waiting() -> None:
    server = many(40)
    bbs = FakeBBS(server)
    read = bbs.actual_lrps_by_process_guids

    async def refuse_one(process_guids: Any, **_: Any) -> Any:
        guids = tuple(process_guids)
        rows = await read(guids)
        if "p7" in guids:
            raise RequestRefused("UnknownError", "p7 cannot be read")
        return rows

    bbs.actual_lrps_by_process_guids = refuse_one  # type: ignore[method-assign]
    async with mirroring(bbs, repair_batch=16, first_delay=0.5, most_delay=4.0, **QUIET) as mirror:
        await mirror.wait_synced()
        for number in range(40):
            start(server, f"p{number}", InstanceKey(f"i{number}", "cell-a"))
        await trio.sleep(60)
        assert mirror.counts.repairs_pending == 0
        assert mirror.counts.repairs_dropped == 1
        assert [line.split(":")[0] for line in differences(mirror, server)] == [
            f"row {server.actual_lrps_by_process_guids(['p7'])[0].epoch}"
        ]
        reads = len(bbs.asked)
        await trio.sleep(1000)
        assert len(bbs.asked) == reads, "it is left to the next list"
        mirror.resync()
        await trio.sleep(1)
        assert not differences(mirror, server)


@simulated
async def test_a_repair_that_drips_is_given_up_and_lists_go_on() -> None:
    server = many(2)
    bbs = FakeBBS(server)
    async with mirroring(bbs, repair_timeout=20, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.once(ROWS, FOREVER)
        start(server, "p0")
        await trio.sleep(1)
        assert bbs.times(ROWS)
        listed = len(bbs.times("cells"))
        mirror.resync()
        await trio.sleep(18)
        assert len(bbs.times("cells")) == listed
        await trio.sleep(3)
        assert len(bbs.times("cells")) == listed + 1
        assert "not complete within 20 s" in str(mirror.status.last_error)
        assert not differences(mirror, server)


@simulated
async def test_a_list_that_drips_is_given_up_and_repairs_go_on() -> None:
    server = many(2)
    bbs = FakeBBS(server)
    async with mirroring(bbs, list_timeout=20, first_delay=100.0, most_delay=100.0, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.once("routing_infos", FOREVER)
        mirror.resync()
        await trio.sleep(1)
        start(server, "p0")
        await trio.sleep(21)
        assert "not complete within 20 s" in str(mirror.status.trouble)
        assert bbs.times(ROWS)
        assert not differences(mirror, server)
        assert mirror.status.live


@simulated
async def test_failed_repairs_do_not_delay_the_lists_and_are_soon_tried_again_after_a_success() -> None:
    server = many(4)
    bbs = FakeBBS(server)
    async with mirroring(bbs, first_delay=1.0, most_delay=64.0, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.once(ROWS, *[Answer(error=ServiceUnavailable("503"))] * 6)
        start(server, "p0")
        await mirror.wait_for(lambda m: m.counts.repairs_pending == 0 and not differences(m, server), timeout=200)
        bbs.once(ROWS, Answer(error=ServiceUnavailable("503")))
        start(server, "p1")
        await trio.sleep(2.1)
        assert not differences(mirror, server)


@simulated
async def test_what_a_large_repair_changed_is_explained_of_each_process() -> None:
    server = many(2 * SLICE)
    async with mirroring(FakeBBS(server), **QUIET, repair_batch=2 * SLICE) as mirror:
        await mirror.wait_synced()
        for number in range(2 * SLICE):
            start(server, f"p{number}", InstanceKey(f"i{number}", "cell"))
        await trio.sleep(2)

        assert not differences(mirror, server)
        last = {str(mirror.explain(f"p{number}")[-1].outcome) for number in range(2 * SLICE)}
        assert last == {"repaired"}
