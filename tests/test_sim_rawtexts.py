"""A simulated BBS sends what is left of a cut character as a server does that checks no text."""

import httpx
import pytest
import trio
from google.protobuf.message import DecodeError
from replica_support import on_loopback, replicating
from sim_support import NET, A, diego, wanted

from lrpmirror import open_mirror
from lrpmirror.model import MetricTagValue
from lrpmirror.sim import Diego, serve_diego
from lrpmirror.wire.proto import requests_pb2

LONG = "x" * 1012 + "é" * 50
KEPT = "x" * 1012 + "\ufffd(truncated)"
CUT = "caf\ufffd"


def cut_texts() -> Diego:
    """A Diego in which a text of every kind of record was cut."""
    made = diego("cell-a", CUT)
    made.upsert_domain(CUT)
    made.desire(
        wanted(domain=CUT, annotation=CUT, metric_tags={CUT: MetricTagValue(CUT)}, routes={"cf-router": b'["caf\xc3"]'})
    )
    made.start("p", 0, A, NET, domain=CUT, metric_tags={CUT: CUT}, internal_routes=[CUT], availability_zone=CUT)
    return made


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/domains/list", requests_pb2.DomainsResponse),
        ("/v1/cells/list.r1", requests_pb2.CellsResponse),
        ("/v1/actual_lrps/list", requests_pb2.ActualLRPsResponse),
        ("/v1/actual_lrp_groups/list", requests_pb2.ActualLRPGroupsResponse),
        ("/v1/desired_lrps/list.r3", requests_pb2.DesiredLRPsResponse),
        ("/v1/desired_lrp_scheduling_infos/list", requests_pb2.DesiredLRPSchedulingInfosResponse),
        ("/v1/desired_lrp_routing_infos/list", requests_pb2.DesiredLRPsResponse),
    ],
)
def test_its_lists_have_texts_that_are_none(path: str, kind: type[requests_pb2.DomainsResponse]) -> None:
    @on_loopback
    async def main() -> None:
        async with serve_diego(cut_texts()) as served, httpx.AsyncClient(base_url=served.url) as client:
            reply = await client.post(path, headers={"Content-Type": "application/x-protobuf"})
            with pytest.raises(DecodeError):
                kind.FromString(reply.content)

    main()


@on_loopback
async def test_a_mirror_and_one_behind_a_replica_follow_it_as_any_other_and_find_no_drift() -> None:
    bbs = cut_texts()
    async with (
        serve_diego(bbs) as served,
        replicating(served.url) as replica,
        open_mirror(served.url) as mirror,
        open_mirror(replica.url) as follower,
    ):
        for one in (mirror, follower):
            await one.wait_synced()
        bbs.trace_id = CUT
        bbs.crash("p", 0, A, LONG)
        bbs.update_desired("p", annotation=CUT + CUT)
        for one in (mirror, follower):
            await one.wait_for(lambda m: [row.crash_reason for row in m.actual_lrps("p")] == [KEPT], 5)
            await one.wait_for(lambda m: [lrp.annotation for lrp in m.desired_lrps()] == [CUT + CUT], 5)
            one.resync()
            await one.wait_for(lambda m: m.counts.lists.get("audit", 0) == 1, 5)
            assert list(one.actual_lrps()) == bbs.actual_lrps()
            assert one.domains == {"cf-apps", CUT}
            assert [cell.cell_id for cell in one.cells] == [CUT, "cell-a"]
            (lrp,) = one.desired_lrps()
            assert (lrp.domain, lrp.metric_tags) == (CUT, {CUT: MetricTagValue(CUT)})
            assert lrp.routes == {"cf-router": b'["caf\xc3"]'}
        await trio.sleep(0.1)
        assert (mirror.counts.streams, mirror.counts.unreadable, mirror.counts.errors) == (1, 0, {})
