"""Audits on a mirror: what is counted, logged and done when a list differs from what the events have led to."""

import logging
from math import inf
from random import Random
from typing import Any

import pytest
import trio
from mirror_support import Answer, FakeBBS, differences, lively, mirroring, simulate, simulated, small
from sim_support import A, B, run, wanted

from lrpmirror.events import DesiredLRPCreated, Event
from lrpmirror.sim import Autopilot, Diego, Faults

QUIET: dict[str, Any] = {"resync_interval": inf, "idle_limit": inf}
GRACE = 5.0


def is_new(event: Event) -> bool:
    return isinstance(event, DesiredLRPCreated)


@simulated
async def test_what_a_stream_lost_is_corrected_at_once_and_counted_and_logged_after_the_grace_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET, audit_grace=GRACE) as mirror:
        await mirror.wait_synced()
        bbs.loses = is_new
        server.desire(wanted("q"))
        await trio.sleep(1)
        mirror.resync()
        await trio.sleep(GRACE - 0.1)
        assert not differences(mirror, server)
        assert (mirror.counts.drift, caplog.messages) == (0, [])

        await trio.sleep(0.2)

        assert mirror.counts.drift_kinds == {"desired missing": 1}
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("lrpmirror", logging.WARNING)
        epoch = server.desired_lrps(process_guids=["q"])[0].epoch
        assert record.message == (
            f"a list differed from what the events had led to, in 1 desired missing: desired missing q ({epoch}:0)"
        )
        assert [str(decision.outcome) for decision in mirror.explain("q")][-1] == "drifted"


@simulated
@pytest.mark.parametrize("stream", ["instances", "groups"])
async def test_a_long_text_that_lists_have_cut_is_no_drift(stream: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET, stream=stream, audit_grace=GRACE) as mirror:
        await mirror.wait_synced()
        for restarts in (True, True, False):
            server.crash("p", 0, A, "é" * 600)
            await trio.sleep(1)
            assert not differences(mirror, server)
            mirror.resync()
            await trio.sleep(2 * GRACE)
            if restarts:
                run(server, A)
        assert (mirror.counts.drift, caplog.messages, len(bbs.streams)) == (0, [], 1)
        assert mirror.actual_lrps("p")[0].crash_reason == "é" * 506 + "\ufffd(truncated)"


@simulated
async def test_the_first_drift_has_everything_listed_again_soon_and_the_second_replaces_the_stream() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET, audit_grace=GRACE) as mirror:
        await mirror.wait_synced()
        bbs.loses = is_new
        server.desire(wanted("q"))
        mirror.resync()
        await trio.sleep(GRACE - 1)
        server.desire(wanted("r"))
        await trio.sleep(2)
        assert len(bbs.times("cells")) == 3, "the first, the one that found it, and the one soon after"
        assert len(bbs.streams) == 1

        await trio.sleep(GRACE)

        assert len(bbs.streams) == 2
        assert bbs.streams[0]._subscription.closed
        assert (mirror.counts.drift, mirror.counts.replacements) == (2, 1)
        assert mirror.status.live


@simulated
async def test_a_clean_audit_after_a_drift_lets_the_stream_be() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=100.0, idle_limit=inf, audit_grace=GRACE) as mirror:
        await mirror.wait_synced()
        bbs.loses = is_new
        server.desire(wanted("q"))
        await trio.sleep(1000)
        assert (mirror.counts.drift, len(bbs.streams)) == (1, 1)


@simulated
async def test_events_that_come_late_but_in_time_are_no_drift() -> None:
    server = small()
    bbs = FakeBBS(server)
    bbs.lag = lambda: GRACE - 1
    async with mirroring(bbs, **QUIET, audit_grace=GRACE) as mirror:
        await mirror.wait_synced()
        server.desire(wanted("q"))
        server.claim("q", 0, B)
        mirror.resync()
        await trio.sleep(1)
        assert mirror.actual_lrps("q"), "listed before it was told"
        assert mirror.counts.events == {}
        await trio.sleep(10)
        assert mirror.counts.events
        assert (mirror.counts.drift, len(bbs.streams)) == (0, 1)


@simulated
async def test_events_that_come_too_late_are_drift() -> None:
    server = small()
    bbs = FakeBBS(server)
    bbs.lag = lambda: GRACE + 1
    async with mirroring(bbs, **QUIET, audit_grace=GRACE) as mirror:
        await mirror.wait_synced()
        server.desire(wanted("q"))
        mirror.resync()
        await trio.sleep(10)
        assert mirror.counts.drift_kinds == {"desired missing": 1, "row missing": 1}


@pytest.mark.parametrize("seed", range(6))
def test_a_stream_that_sends_everything_in_time_never_drifts_however_often_it_is_audited(seed: int) -> None:
    async def main() -> None:
        rng = Random(seed)
        server = Diego(seed=seed, faults=Faults(seed=seed, delay=0.0, duplicate=0.1, stale_removed=0.3))
        autopilot = Autopilot(server, seed=seed, apps=6, cells=3)
        autopilot.run(10)
        bbs = FakeBBS(server, batch=7)
        # What comes while one read is under way has to wait for the next.
        bbs.lag = lambda: rng.choice((0.0, 0.0, 0.3, GRACE / 2.5))
        bbs.answer = lambda _: Answer(before=rng.choice((0.0, 0.5)), after=rng.choice((0.0, 0.5)))
        async with mirroring(bbs, seed=seed, resync_interval=4.0, idle_limit=inf, audit_grace=GRACE) as mirror:
            await mirror.wait_synced()
            for _ in range(300):
                autopilot.step()
                await trio.sleep(1)
            server.settle()
            await trio.sleep(20)
            assert mirror.counts.lists["audit"] > 40
            assert mirror.counts.drift_kinds == {}, f"seed {seed}"
            assert not differences(mirror, server)

    simulate(main, seed=seed)


@simulated
async def test_every_event_that_is_lost_and_not_overtaken_is_found() -> None:
    server, autopilot = lively(3)
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET, audit_grace=GRACE) as mirror:
        await mirror.wait_synced()
        bbs.loses = lambda _: True
        autopilot.run(10)
        await trio.sleep(1)
        wrong = [line for line in differences(mirror, server, notified=True) if line.split()[0] in ("row", "desired")]
        assert len(wrong) > 3
        mirror.resync()
        await trio.sleep(GRACE + 1)
        assert mirror.counts.drift == len(wrong)
