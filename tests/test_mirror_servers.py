"""Servers that are older, newer or not quite well: what the mirror asks instead, keeps, or skips."""

import pytest
import trio
from mirror_support import EVERY_LIST, Answer, FakeBBS, differences, lively, mirroring, settled, simulated, small
from msgspec.structs import replace
from sim_support import NET, A, B, wanted

from lrpmirror.errors import (
    BBSError,
    ConnectionFailed,
    LimitExceeded,
    MalformedRecord,
    RequestRefused,
    UnknownPath,
)
from lrpmirror.events import UnknownEvent, UnreadableEvent
from lrpmirror.sim import Diego


def of_applications() -> Diego:
    """A Diego as the platform fills it, with details and metric tags, on which nothing is lost."""
    diego, _ = lively(seconds=5)
    return diego


@simulated
async def test_a_server_without_routing_infos_is_asked_for_whole_desired_lrps() -> None:
    bbs = FakeBBS(of_applications(), hidden=["routing_infos"])
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        assert "desired_lrps" in bbs.names()
        assert not differences(mirror, bbs.diego)
        assert all(lrp.metric_tags and lrp.detail is None for lrp in mirror.desired_lrps())


@simulated
async def test_a_server_without_scheduling_infos_is_asked_for_whole_desired_lrps() -> None:
    bbs = FakeBBS(of_applications(), hidden=["scheduling_infos"])
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        assert bbs.names() == ["domains", "actual_lrps", "scheduling_infos", "desired_lrps", "cells"]
        assert not differences(mirror, bbs.diego)


@simulated
async def test_a_server_without_a_list_of_rows_is_asked_for_groups() -> None:
    bbs = FakeBBS(of_applications(), hidden=["actual_lrps"], batch=3)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        assert bbs.names()[:3] == ["domains", "actual_lrps", "actual_lrp_groups"]
        assert not differences(mirror, bbs.diego)


@simulated
async def test_groups_bring_both_of_their_rows() -> None:
    diego = small()
    diego.evacuate_running("p", 0, A, NET, domain="cf-apps")
    bbs = FakeBBS(diego, hidden=["actual_lrps"])
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        assert [row.presence.name for row in mirror.actual_lrps("p")] == ["ORDINARY", "EVACUATING"]
        assert not differences(mirror, diego)


@simulated
async def test_what_a_server_lacks_is_remembered_for_the_connection_and_asked_again_on_the_next() -> None:
    bbs = FakeBBS(of_applications(), hidden=["actual_lrps", "scheduling_infos"])
    async with mirroring(bbs, resync_interval=1e9) as mirror:
        await mirror.wait_synced()
        mirror.resync()
        await settled()
        assert bbs.names()[6:] == ["domains", "actual_lrp_groups", "desired_lrps", "cells"]
        bbs.hidden.clear()
        bbs.asked.clear()
        bbs.cut()
        await mirror.wait_for(lambda m: not m.status.live)
        await mirror.wait_for(lambda m: m.status.live)
        assert tuple(bbs.names()) == EVERY_LIST


@simulated
async def test_a_server_that_lacks_even_the_oldest_list_is_an_error_in_the_status() -> None:
    bbs = FakeBBS(of_applications(), hidden=["actual_lrps", "actual_lrp_groups"])
    async with mirroring(bbs) as mirror:
        await trio.sleep(60)
        assert not mirror.status.live
        assert isinstance(mirror.status.last_error, UnknownPath)
        bbs.hidden.clear()
        bbs.cut()
        await mirror.wait_synced(timeout=60)


@simulated
async def test_the_group_stream_is_followed_where_it_is_asked_for() -> None:
    diego = small()
    bbs = FakeBBS(diego, hidden=["instances"])
    async with mirroring(bbs, stream="groups", resync_interval=1e9) as mirror:
        await mirror.wait_synced()
        diego.crash("p", 0, A)
        diego.claim("p", 0, B)
        diego.start("p", 0, B, NET, internal_routes=("p.internal",), metric_tags={"a": "1"})
        diego.evacuate_running("p", 0, B, NET, domain="cf-apps")
        diego.desire(wanted("q", instances=2))
        diego.remove("q", 1)
        diego.update_desired("q", annotation="1")
        await settled()
        assert not differences(mirror, diego)


@simulated
async def test_a_stream_that_the_server_lacks_is_an_error_in_the_status_and_tried_again() -> None:
    bbs = FakeBBS(small(), hidden=["instances"])
    async with mirroring(bbs) as mirror:
        await trio.sleep(100)
        assert isinstance(mirror.status.last_error, UnknownPath)
        assert len(bbs.tries) > 3
        bbs.hidden.clear()
        await mirror.wait_synced(timeout=60)


@pytest.mark.parametrize("hidden", [[], ["scheduling_infos", "routing_infos"]])
@simulated
async def test_in_full_everything_of_a_desired_lrp_is_kept(hidden: list[str]) -> None:
    diego = of_applications()
    bbs = FakeBBS(diego, hidden=hidden)
    async with mirroring(bbs, detail="full", resync_interval=1e9) as mirror:
        await mirror.wait_synced()
        assert "scheduling_infos" not in bbs.names()
        assert not differences(mirror, diego, full=True)
        lrp = diego.desired_lrps()[0]
        diego.update_desired(lrp.process_guid, annotation="new")
        diego.desire(replace(lrp, process_guid="another"))
        await settled()
        assert not differences(mirror, diego, full=True)
        detail = mirror.desired_lrp("another").detail  # type: ignore[union-attr]
        assert detail is not None
        assert detail.environment_variables == lrp.detail.environment_variables  # type: ignore[union-attr]


@simulated
async def test_by_default_no_detail_is_kept_wherever_it_comes_from() -> None:
    diego = of_applications()
    bbs = FakeBBS(diego, hidden=["scheduling_infos"])
    async with mirroring(bbs, resync_interval=1e9) as mirror:
        await mirror.wait_synced()
        lrp = diego.desired_lrps()[0]
        assert lrp.detail is not None
        diego.update_desired(lrp.process_guid, annotation="new")
        diego.desire(replace(lrp, process_guid="another"))
        await settled()
        assert {each.detail for each in mirror.desired_lrps()} == {None}
        assert not differences(mirror, diego)


@pytest.mark.parametrize("error", [RequestRefused("UnknownError", "locket is down"), UnknownPath("404: cells")])
@simulated
async def test_the_known_cells_are_kept_while_the_registry_cannot_be_asked(error: BBSError) -> None:
    diego = small()
    bbs = FakeBBS(diego)
    async with mirroring(bbs, resync_interval=1e9) as mirror:
        await mirror.wait_synced()
        cells = mirror.cells
        assert [cell.cell_id for cell in cells] == ["cell-a", "cell-b", "cell-c"]
        diego.lose_cell("cell-b")
        bbs.once("cells", Answer(error=error))
        mirror.resync()
        await settled()
        assert mirror.cells == cells
        assert mirror.status.live
        assert mirror.status.last_error is (None if isinstance(error, UnknownPath) else error)
        mirror.resync()
        await settled()
        assert [cell.cell_id for cell in mirror.cells] == ["cell-a", "cell-c"]


@simulated
async def test_domains_are_those_of_the_last_list() -> None:
    diego = small()
    bbs = FakeBBS(diego)
    async with mirroring(bbs, resync_interval=1e9) as mirror:
        await mirror.wait_synced()
        assert mirror.domains == {"cf-apps"}
        diego.upsert_domain("cf-tasks", ttl=10)
        mirror.resync()
        await settled()
        assert mirror.domains == {"cf-apps", "cf-tasks"}
        diego.advance(11)
        mirror.resync()
        await settled()
        assert mirror.domains == {"cf-apps"}


@simulated
async def test_more_events_than_may_be_kept_while_a_list_is_read_begin_it_anew() -> None:
    diego = small()
    bbs = FakeBBS(diego)
    bbs.once("actual_lrps", Answer(after=10))
    async with mirroring(bbs, in_flight_limit=20) as mirror:
        await settled()
        for number in range(21):
            diego.update_desired("p", annotation=str(number))
        await trio.sleep(10.1)
        assert isinstance(mirror.status.last_error, LimitExceeded)
        assert mirror.status.synced_at is None
        await mirror.wait_synced(timeout=5)
        assert len(bbs.times("actual_lrps")) == 2
        assert len(bbs.streams) == 1
        assert not differences(mirror, diego)


@simulated
async def test_as_many_events_as_may_be_kept_are_brought_on_top() -> None:
    diego = small()
    bbs = FakeBBS(diego)
    bbs.once("actual_lrps", Answer(after=10))
    async with mirroring(bbs, in_flight_limit=20) as mirror:
        await settled()
        for number in range(20):
            diego.update_desired("p", annotation=str(number))
        await mirror.wait_synced()
        assert len(bbs.times("actual_lrps")) == 1
        assert not differences(mirror, diego)


@simulated
async def test_an_event_that_cannot_be_read_leads_to_a_new_connection_and_not_to_an_end() -> None:
    diego = small()
    bbs = FakeBBS(diego)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        for _ in range(5):
            bbs.cut(MalformedRecord("not a desired_lrp_changed event"))
            await mirror.wait_for(lambda m: not m.status.live)
            diego.update_desired("p", annotation=str(trio.current_time()))
            await mirror.wait_for(lambda m: m.status.live)
            assert not differences(mirror, diego)
        assert len(bbs.streams) == 6


@simulated
async def test_events_that_say_nothing_cost_no_stream_and_bring_the_next_list_forward_where_there_are_several() -> None:
    diego = small()
    bbs = FakeBBS(diego)
    async with mirroring(bbs, resync_interval=300) as mirror:
        await mirror.wait_synced()
        bbs.streams[-1].put(UnreadableEvent("actual_lrp_instance_removed"))
        await trio.sleep(60)
        assert len(bbs.times("actual_lrps")) == 1
        bbs.streams[-1].put(UnreadableEvent("actual_lrp_instance_changed"))
        await trio.sleep(1)
        assert len(bbs.times("actual_lrps")) == 2
        bbs.streams[-1].put(UnreadableEvent("actual_lrp_instance_removed"))
        bbs.streams[-1].put(UnreadableEvent("actual_lrp_instance_removed"))
        await trio.sleep(57)
        assert len(bbs.times("actual_lrps")) == 2
        await trio.sleep(4)
        assert len(bbs.times("actual_lrps")) == 3
        assert len(bbs.streams) == 1


@simulated
async def test_events_of_unknown_types_are_counted_and_skipped() -> None:
    diego = small()
    bbs = FakeBBS(diego)
    async with mirroring(bbs, resync_interval=1e9) as mirror:
        await mirror.wait_synced()
        revision = mirror.revision
        for _ in range(3):
            bbs.streams[-1].put(UnknownEvent("desired_lrp_moved", b"\xff"))
        await settled()
        assert (mirror.revision, mirror.status.live, len(bbs.streams)) == (revision, True, 1)
        assert mirror._session.counts().events["desired_lrp_moved noted"] == 3
        diego.update_desired("p", annotation="after them")
        await settled()
        assert not differences(mirror, diego)


@simulated
async def test_a_reader_that_the_server_dropped_comes_back() -> None:
    diego = small()
    bbs = FakeBBS(diego)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        for number in range(1100):
            diego.update_desired("p", annotation=str(number))
        await mirror.wait_for(lambda m: not m.status.live)
        assert isinstance(mirror.status.last_error, ConnectionFailed)
        await mirror.wait_for(lambda m: m.status.live)
        assert not differences(mirror, diego)
