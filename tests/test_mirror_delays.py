"""What keeps failing is tried again for ever, ever more rarely: no server gets requests without a pause."""

from collections.abc import Callable
from itertools import pairwise
from math import inf
from statistics import mean
from typing import Any

import pytest
import trio
from mirror_support import GONE, Answer, FakeBBS, differences, mirroring, settled, simulated, small
from sim_support import NET, ROUTES, TAGS, A, B, diego, wanted

from lrpmirror.errors import RequestRefused, ServiceUnavailable

QUIET: dict[str, Any] = {
    "resync_interval": inf,
    "probe_interval": inf,
    "idle_limit": inf,
    "ping_interval": inf,
    "renewal_interval": inf,
}
FAILING = Answer(error=ServiceUnavailable("503"))
ROWS = "rows of processes"
HOUR = 3600.0


def no_stream(bbs: FakeBBS) -> Callable[[], list[float]]:
    bbs.refusal = GONE
    bbs.cut()
    return lambda: bbs.tries[1:]


def no_other_stream(bbs: FakeBBS) -> Callable[[], list[float]]:
    bbs.refusal = GONE
    bbs.renewals = 1
    return lambda: bbs.tries[1:]


def no_list(bbs: FakeBBS) -> Callable[[], list[float]]:
    bbs.answer = lambda _: FAILING
    bbs.cut()
    return lambda: bbs.times("domains")[1:]


def no_repair(bbs: FakeBBS, error: Any = FAILING.error) -> Callable[[], list[float]]:
    bbs.answer = lambda name: Answer(error=error) if name == ROWS else Answer()
    bbs.diego.start("p", 0, A, NET, internal_routes=ROUTES, metric_tags=TAGS, availability_zone="z9")
    return lambda: bbs.times(ROWS)


@pytest.mark.parametrize("failing", [no_stream, no_other_stream, no_list, no_repair])
@simulated
async def test_what_fails_for_an_hour_is_tried_after_delays_that_grow_to_a_bound(
    failing: Callable[[FakeBBS], Callable[[], list[float]]],
) -> None:
    bbs = FakeBBS(small())
    tuning = {**QUIET, "first_delay": 1.0, "most_delay": 60.0, "renewal_interval": 1.0}
    async with mirroring(bbs, **tuning) as mirror:
        await mirror.wait_synced()
        tries = failing(bbs)
        began = trio.current_time()
        await trio.sleep(HOUR)
        times = [at - began for at in tries()]
        # A delay is drawn evenly below a bound that doubles, so they are half a bound in the mean.
        late = [later - earlier for earlier, later in pairwise(times) if earlier > HOUR / 4]
        assert mean(late) == pytest.approx(30, rel=0.4)
        assert len([at for at in times if at < 30]) < 20
        assert max(late) <= 62


@simulated
async def test_after_a_success_the_delays_begin_anew() -> None:
    server = diego()
    for number in range(2):
        server.desire(wanted(f"p{number}"))
    bbs = FakeBBS(server)
    tuning = {**QUIET, "first_delay": 0.01, "most_delay": 1000.0, "repair_delay": 0.1}
    async with mirroring(bbs, **tuning) as mirror:
        await mirror.wait_synced()
        for guid, instance in (("p0", A), ("p1", B)):
            bbs.once(ROWS, *[FAILING] * 12)
            began = trio.current_time()
            server.start(guid, 0, instance, NET, internal_routes=ROUTES, metric_tags=TAGS, availability_zone="z1")
            await settled()
            await mirror.wait_for(lambda _: mirror.counts.repairs_pending == 0 and bool(bbs.times(ROWS)), timeout=200)
            await trio.sleep(200)
            waits = [at - began for at in bbs.times(ROWS) if at >= began]
            assert len(waits) == 13
            assert waits[5] < 2
            assert not differences(mirror, server)


@simulated
async def test_a_repair_that_the_server_refuses_is_given_up_for_the_next_list() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, **QUIET, first_delay=1.0) as mirror:
        await mirror.wait_synced()
        tries = no_repair(bbs, RequestRefused("UnknownError", "no"))
        await trio.sleep(HOUR)
        assert 1 <= len(tries()) < 10
        mirror.resync()
        await settled()
        assert not differences(mirror, bbs.diego)
