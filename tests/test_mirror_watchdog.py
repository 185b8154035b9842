"""The watchdog: pings beside a silent stream, what follows from them, and how old the state is said to be."""

from itertools import pairwise
from math import inf
from typing import Any

import pytest
import trio
from mirror_support import FOREVER, GONE, Answer, FakeBBS, differences, mirroring, settled, simulated, small
from sim_support import wanted

from lrpmirror import Mirror, Phase
from lrpmirror.errors import (
    BBSError,
    ConnectionFailed,
    MalformedRecord,
    ServiceUnavailable,
    StreamDead,
    TimedOut,
    UnexpectedReply,
    WireError,
)

QUIET: dict[str, Any] = {"resync_interval": inf, "idle_limit": inf}
FAILING = Answer(error=ServiceUnavailable("503"))


@simulated
async def test_a_quiet_stream_is_pinged_at_an_interval_and_the_age_stays_below_it() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, ping_interval=10, **QUIET) as mirror:
        await mirror.wait_synced()
        began = trio.current_time()
        for _ in range(1000):
            await trio.sleep(0.7)
            age = mirror.status.age
            assert age is not None
            assert age <= 10
        assert [later - earlier for earlier, later in pairwise(bbs.pings)] == pytest.approx([10] * 69)
        assert bbs.pings[0] - began == pytest.approx(10)
        assert mirror.status.silence == pytest.approx(700)
        assert len(bbs.streams) == 1


@simulated
async def test_a_stream_that_brings_something_is_not_pinged() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, ping_interval=10, **QUIET) as mirror:
        await mirror.wait_synced()
        for number in range(50):
            await trio.sleep(8)
            server.update_desired("p", annotation=str(number))
        assert bbs.pings == []
        assert mirror.status.live


@pytest.mark.parametrize(
    "error", [ConnectionFailed("no"), ServiceUnavailable("503"), UnexpectedReply("502"), MalformedRecord("not a pong")]
)
@simulated
async def test_a_silent_stream_is_dead_after_so_many_failed_pings_and_another_is_opened(
    error: BBSError | WireError,
) -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, ping_interval=10, ping_failures=3, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.streams[-1].deaf = True
        server.desire(wanted("q"))
        bbs.pong = Answer(error=error)
        began = trio.current_time()
        await trio.sleep(29.9)
        assert mirror.status.live
        assert mirror.status.trouble is error

        await mirror.wait_for(lambda m: not m.status.live)

        status = mirror.status
        assert trio.current_time() - began == pytest.approx(30)
        assert status.phase is Phase.STALE
        assert isinstance(status.trouble, StreamDead)
        assert status.trouble.__cause__ is error
        assert status.age == pytest.approx(30)
        assert mirror.counts.errors == {type(error).__name__: 3, "StreamDead": 1}
        bbs.pong = Answer()
        await mirror.wait_for(lambda m: m.status.live, timeout=1)
        assert len(bbs.streams) == 2
        assert bbs.streams[0]._subscription.closed
        assert not differences(mirror, server)


@simulated
async def test_a_ping_that_takes_too_long_has_failed() -> None:
    bbs = FakeBBS(small())
    bbs.pong = FOREVER
    async with mirroring(bbs, ping_interval=10, ping_timeout=4, ping_failures=1, **QUIET) as mirror:
        await mirror.wait_synced()
        began = trio.current_time()
        await mirror.wait_for(lambda m: m.status.phase is Phase.STALE)
        assert trio.current_time() - began == pytest.approx(14)
        trouble = mirror.status.trouble
        assert trouble is not None
        assert isinstance(trouble.__cause__, TimedOut)


@simulated
async def test_a_few_failed_pings_are_forgiven_by_an_answer_or_an_event() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, ping_interval=10, ping_failures=3, **QUIET) as mirror:
        await mirror.wait_synced()
        for number in range(5):
            bbs.pong = FAILING
            await trio.sleep(19)
            if number % 2:
                bbs.pong = Answer()
                await trio.sleep(10)
                assert mirror.status.trouble is None
            else:
                server.update_desired("p", annotation=str(number))
                await settled()
        assert len(bbs.streams) == 1
        assert mirror.counts.errors["ServiceUnavailable"] >= 5


@simulated
async def test_an_event_while_a_ping_is_under_way_is_a_sign_of_life() -> None:
    server = small()
    bbs = FakeBBS(server)
    bbs.pong = Answer(before=3, error=ServiceUnavailable("503"))
    async with mirroring(bbs, ping_interval=10, ping_failures=1, **QUIET) as mirror:
        await mirror.wait_synced()
        await trio.sleep(11)
        server.update_desired("p", annotation="alive")
        await trio.sleep(5)
        assert mirror.status.live


@simulated
async def test_a_server_that_does_not_know_pings_has_answered() -> None:
    bbs = FakeBBS(small(), hidden=["ping"])
    async with mirroring(bbs, ping_interval=10, **QUIET) as mirror:
        await mirror.wait_synced()
        await trio.sleep(1000)
        assert mirror.status.live
        assert mirror.status.trouble is None
        assert mirror.status.age == pytest.approx(0, abs=10)
        assert (len(bbs.streams), mirror.status.last_error) == (1, None)


@simulated
async def test_an_answer_that_the_server_is_not_available_is_a_failed_ping() -> None:
    bbs = FakeBBS(small())
    bbs.available = False
    async with mirroring(bbs, ping_interval=10, ping_failures=2, **QUIET) as mirror:
        await mirror.wait_synced()
        await mirror.wait_for(lambda m: m.status.phase is Phase.STALE, timeout=21)
        assert mirror.counts.errors == {"ServiceUnavailable": 2, "StreamDead": 1}


@simulated
async def test_the_stream_is_read_and_lists_are_made_while_a_ping_hangs() -> None:
    server = small()
    bbs = FakeBBS(server)
    bbs.pong = FOREVER
    async with mirroring(bbs, ping_interval=10, ping_timeout=1000, **QUIET) as mirror:
        await mirror.wait_synced()
        await trio.sleep(20)
        server.desire(wanted("q"))
        await settled()
        assert mirror.desired_lrp("q") is not None
        listed = len(bbs.asked)
        mirror.resync()
        await settled()
        assert len(bbs.asked) > listed


@simulated
async def test_there_are_no_pings_without_a_stream() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, ping_interval=10, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.refusal = GONE
        bbs.cut()
        await trio.sleep(500)
        assert bbs.pings == []
        assert mirror.status.age == pytest.approx(500)


@simulated
async def test_a_stream_that_is_dead_before_the_first_list_is_given_up_too() -> None:
    bbs = FakeBBS(small())
    bbs.once("actual_lrps", FOREVER)
    bbs.pong = FAILING
    async with mirroring(bbs, ping_interval=10, ping_failures=2, **QUIET) as mirror:
        await mirror.wait_for(lambda m: m.status.phase is Phase.CONNECTING and bool(m.status.last_error))
        assert isinstance(mirror.status.trouble, StreamDead)
        await mirror.wait_synced(timeout=2)


@simulated
async def test_a_mirror_is_never_live_once_its_stream_is_known_to_be_over() -> None:
    """Closing a connection can take a while, in which a reader may look."""
    bbs = FakeBBS(small())
    bbs.closing = 5.0
    seen: list[tuple[float, Phase]] = []

    async def look(mirror: Mirror) -> None:
        while True:
            seen.append((trio.current_time(), mirror.status.phase))
            await trio.sleep(1)

    async with mirroring(bbs, **QUIET) as mirror, trio.open_nursery() as nursery:
        await mirror.wait_synced()
        await trio.sleep(0.5)
        bbs.cut()
        await settled()
        nursery.start_soon(look, mirror)
        await trio.sleep(4.5)
        nursery.cancel_scope.cancel()
    assert {phase for _, phase in seen} == {Phase.STALE}
