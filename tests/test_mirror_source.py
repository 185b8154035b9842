"""A mirror whose source is no BBS: how old the source says that its state is, and what that makes of the mirror's."""

import trio
from mirror_support import FOREVER, GONE, FakeBBS, differences, mirroring, settled, simulated, small

from lrpmirror import Mirror, Phase
from lrpmirror.errors import UpstreamStale


@simulated
async def test_the_age_of_the_source_is_part_of_the_mirrors_while_it_is_live() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        bbs.streams[-1].say(3.0)
        await settled()
        await trio.sleep(2)
        assert (mirror.status.phase, mirror.status.state_age) == (Phase.LIVE, 5.0)
        bbs.diego.update_desired("p", annotation="told, but nobody says how old the state is")
        await settled()
        assert mirror.status.state_age == 5.0
        assert mirror.status.silence == 0.0


@simulated
async def test_waits_are_woken_when_the_source_loses_the_bbs_and_when_it_follows_it_again() -> None:
    bbs = FakeBBS(small())
    phases: list[Phase] = []

    async def watch(mirror: Mirror) -> None:
        while len(phases) < 3:
            last = mirror.status.phase
            phases.append(last)
            await mirror.wait_for(lambda m: m.status.phase is not last)  # noqa: B023 - waited for at once

    async with mirroring(bbs) as mirror, trio.open_nursery() as nursery:
        await mirror.wait_synced()
        nursery.start_soon(watch, mirror)
        await settled()
        asked = len(bbs.asked)
        bbs.streams[-1].say(1.0, "ConnectionFailed")
        await settled()
        assert isinstance(mirror.status.trouble, UpstreamStale)
        bbs.diego.update_desired("p", annotation="what it had missed")
        bbs.streams[-1].say(0.0)
        await settled()
        assert phases == [Phase.LIVE, Phase.STALE, Phase.LIVE]
        assert not differences(mirror, bbs.diego)
        assert len(bbs.asked) == asked, "nothing is listed for it"
        nursery.cancel_scope.cancel()


@simulated
async def test_a_stream_that_takes_over_brings_the_source_status_that_it_had_received() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        bbs.streams[-1].say(1.0)
        gate = bbs.gate = trio.Event()
        mirror.reconnect()
        await settled()
        gate.set()
        await settled()
        bbs.streams[-1].say(9.0)
        await settled()
        assert len(bbs.streams) == 2
        assert mirror.status.state_age == 9.0
        bbs.streams[0].say(100.0)
        await settled()
        assert mirror.status.state_age == 9.0, "that stream was given up"


@simulated
async def test_the_source_status_of_a_replacement_counts_once_it_is_the_followed_stream() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        bbs.once("actual_lrps", FOREVER)
        mirror.reconnect()
        await settled()
        bbs.streams[-1].say(9.0)
        await settled()
        assert mirror.status.state_age == 0.0
        bbs.streams[0].cut(GONE)
        await settled()
        assert mirror.status.phase is Phase.LIVE
        assert mirror.status.state_age == 9.0
