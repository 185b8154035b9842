"""The process that changed last is read at an interval, and nothing else of it is noticed where it is as it was."""

from math import inf

import trio
from mirror_bbs_support import Answer
from mirror_support import GONE, FakeBBS, differences, mirroring, settled, simulated, small
from sim_support import A, wanted

from lrpmirror.errors import ServiceUnavailable

ROWS = "rows of processes"


@simulated
async def test_a_mirror_to_which_nothing_has_happened_probes_nothing() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, resync_interval=inf) as mirror:
        await mirror.wait_synced()
        await trio.sleep(100)
        assert bbs.times(ROWS) == []


@simulated
async def test_a_probe_that_finds_nothing_changes_nothing_and_explains_nothing() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=inf) as mirror:
        await mirror.wait_synced()
        server.crash("p", 0, A)
        await settled()
        before = mirror.revision, mirror.explain("p"), mirror.counts.drift
        await trio.sleep(65)
        assert mirror.counts.lists == {"first": 1, "probe": 5}
        assert (mirror.revision, mirror.explain("p"), mirror.counts.drift) == before


@simulated
async def test_what_has_changed_since_the_last_probe_is_left_to_the_next() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=inf, probe_interval=10) as mirror:
        await mirror.wait_synced()
        await trio.sleep(9)
        server.crash("p", 0, A)
        await trio.sleep(2)
        assert bbs.times(ROWS) == []
        await trio.sleep(10)
        assert len(bbs.times(ROWS)) == 1


@simulated
async def test_a_probe_that_fails_is_noted_and_another_follows() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=inf) as mirror:
        await mirror.wait_synced()
        server.crash("p", 0, A)
        await settled()
        bbs.once(ROWS, Answer(error=ServiceUnavailable("503: not now")))
        await trio.sleep(60)
        assert mirror.status.live
        assert mirror.counts.errors == {"ServiceUnavailable": 1}
        assert mirror.counts.repairs_pending == 0
        assert mirror.counts.lists["probe"] >= 3


@simulated
async def test_a_lost_event_of_the_process_that_changed_last_is_found_and_counts_as_drift() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=inf) as mirror:
        await mirror.wait_synced()
        server.desire(wanted("q", instances=2))
        await settled()
        bbs.loses = lambda _: True
        server.remove_desired("q")
        await trio.sleep(30)
        assert not differences(mirror, server)
        assert mirror.counts.drift > 0
        assert mirror.counts.lists["audit"] >= 1, "there may be more"


@simulated
async def test_nothing_is_probed_while_the_mirror_is_not_live() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=inf) as mirror:
        await mirror.wait_synced()
        server.crash("p", 0, A)
        await settled()
        bbs.refusal = GONE
        bbs.cut()
        await trio.sleep(100)
        assert bbs.times(ROWS) == []
