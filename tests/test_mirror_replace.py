"""Replacing the stream in use: the new one is subscribed, and a list committed, before the old one is given up."""

from math import inf
from typing import Any

import pytest
import trio
from mirror_support import (
    EVERY_LIST,
    FOREVER,
    GONE,
    Answer,
    FakeBBS,
    Fold,
    differences,
    lively,
    mirroring,
    settled,
    simulated,
    small,
)
from sim_support import A, wanted

from lrpmirror import ActualLRP, Mirror, Phase
from lrpmirror.core.rows.changes import RowKey
from lrpmirror.errors import ConnectionFailed, ServiceUnavailable

QUIET: dict[str, Any] = {"resync_interval": inf, "idle_limit": inf, "ping_interval": inf}


def open_streams(bbs: FakeBBS) -> list[int]:
    return [number for number, stream in enumerate(bbs.streams) if not stream._subscription.closed]


async def always_live(mirror: Mirror) -> None:
    """Look in every turn of the scheduler."""
    while True:
        assert mirror.status.phase is Phase.LIVE
        await trio.sleep(0.01)


@simulated
async def test_the_new_stream_is_subscribed_and_listed_on_before_the_old_one_is_given_up() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, **QUIET) as mirror, trio.open_nursery() as nursery:
        await mirror.wait_synced()
        nursery.start_soon(always_live, mirror)
        revision = mirror.revision
        bbs.gate = trio.Event()
        mirror.reconnect()
        await trio.sleep(1)
        assert (len(bbs.tries), open_streams(bbs), len(bbs.names())) == (2, [0], len(EVERY_LIST))

        bbs.once("cells", Answer(before=1))
        bbs.gate.set()
        await trio.sleep(0.5)
        assert (open_streams(bbs), tuple(bbs.names())) == ([0, 1], EVERY_LIST * 2)

        await trio.sleep(1)
        assert open_streams(bbs) == [1]
        assert mirror.revision == revision
        assert (mirror.counts.streams, mirror.counts.replacements) == (1, 1)
        nursery.cancel_scope.cancel()


@simulated
async def test_nothing_is_missed_nor_published_twice_while_a_stream_is_replaced() -> None:
    diego, autopilot = lively()
    bbs = FakeBBS(diego, batch=3)
    bbs.answer = lambda _: Answer(before=0.3, after=0.3, pause=0.05)
    async with mirroring(bbs, **QUIET) as mirror, trio.open_nursery() as nursery:
        await mirror.wait_synced()
        nursery.start_soon(always_live, mirror)
        rows: Fold[RowKey, ActualLRP] = Fold()
        mirror.subscribe(rows)
        for number in range(100):
            if number % 10 == 0:
                mirror.reconnect()
            autopilot.step()
            await trio.sleep(0.5)
        await trio.sleep(20)
        assert mirror.counts.replacements >= 5
        assert mirror.counts.streams == 1
        assert open_streams(bbs) == [len(bbs.streams) - 1]
        assert not differences(mirror, diego, notified=True)
        assert rows.known.keys() == {row.epoch for row in diego.actual_lrps()}
        nursery.cancel_scope.cancel()


@simulated
async def test_a_stream_that_was_silent_for_too_long_is_replaced_and_what_it_did_not_send_is_drift() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=inf, idle_limit=100) as mirror, trio.open_nursery() as nursery:
        await mirror.wait_synced()
        nursery.start_soon(always_live, mirror)
        bbs.streams[0].deaf = True
        server.desire(wanted("q"))
        await trio.sleep(99)
        assert len(bbs.streams) == 1

        await trio.sleep(2)

        assert open_streams(bbs) == [1]
        assert not differences(mirror, server)
        server.desire(wanted("r"))
        await settled()
        assert mirror.desired_lrp("r") is not None
        await trio.sleep(10)
        assert mirror.counts.drift_kinds == {"desired missing": 1, "row missing": 1}
        nursery.cancel_scope.cancel()


@simulated
async def test_a_stream_is_replaced_when_the_certificates_are() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, **QUIET, renewal_interval=60) as mirror, trio.open_nursery() as nursery:
        await mirror.wait_synced()
        nursery.start_soon(always_live, mirror)
        await trio.sleep(200)
        assert len(bbs.streams) == 1
        bbs.renewals = 2
        await trio.sleep(61)
        assert open_streams(bbs) == [1]
        await trio.sleep(200)
        assert open_streams(bbs) == [1]
        nursery.cancel_scope.cancel()


@simulated
async def test_a_stream_that_brings_events_is_not_replaced() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=inf, idle_limit=100) as mirror:
        await mirror.wait_synced()
        for number in range(20):
            await trio.sleep(90)
            server.update_desired("p", annotation=str(number))
        assert len(bbs.streams) == 1


@simulated
async def test_a_replacement_that_fails_leaves_the_old_stream_and_is_tried_again_with_delays() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET, first_delay=1, most_delay=8) as mirror, trio.open_nursery() as nursery:
        await mirror.wait_synced()
        nursery.start_soon(always_live, mirror)
        bbs.refusal = GONE
        mirror.reconnect()
        await trio.sleep(40)
        assert mirror.status.trouble is GONE
        assert 4 < len(bbs.tries) < 40
        server.desire(wanted("q"))
        await settled()
        assert not differences(mirror, server)

        bbs.refusal = None
        await trio.sleep(10)
        assert open_streams(bbs) == [1]
        assert mirror.status.trouble is None
        assert mirror.counts.replacements == 1
        nursery.cancel_scope.cancel()


@simulated
async def test_a_replacement_that_ends_before_its_list_is_in_leaves_the_old_stream() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.once("routing_infos", Answer(before=5))
        mirror.reconnect()
        await trio.sleep(1)
        bbs.streams[1].cut(ConnectionFailed("the new one"))
        await settled()
        assert mirror.status.live
        assert open_streams(bbs) == [0]
        await trio.sleep(30)
        assert open_streams(bbs) == [2]
        assert mirror.status.live


@simulated
async def test_the_list_of_a_replacement_is_tried_again_while_both_streams_are_read() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET, first_delay=1) as mirror:
        await mirror.wait_synced()
        bbs.once("actual_lrps", *[Answer(error=ServiceUnavailable("503"))] * 3)
        mirror.reconnect()
        await trio.sleep(0.5)
        assert open_streams(bbs) == [0, 1]
        server.desire(wanted("q"))
        await settled()
        assert mirror.desired_lrp("q") is not None
        await trio.sleep(30)
        assert open_streams(bbs) == [1]
        assert not differences(mirror, server)


@simulated
async def test_a_list_that_was_begun_before_the_new_stream_was_open_does_not_count() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.once("routing_infos", Answer(before=5))
        mirror.resync()
        await settled()
        bbs.once("routing_infos", Answer(before=5))
        mirror.reconnect()
        await trio.sleep(6)
        assert open_streams(bbs) == [0, 1]
        await trio.sleep(6)
        assert open_streams(bbs) == [1]


@pytest.mark.parametrize("listing", [0.0, 5.0])
@simulated
async def test_where_the_old_stream_ends_first_the_new_one_goes_on_and_lists_anew(listing: float) -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET, first_delay=1000, most_delay=1000) as mirror:
        await mirror.wait_synced()
        bbs.once("routing_infos", FOREVER)
        mirror.reconnect()
        await trio.sleep(1)
        bbs.once("routing_infos", Answer(before=listing))
        server.desire(wanted("q"))
        bbs.streams[0].cut(ConnectionFailed("the old one"))
        await settled()
        if listing:
            assert mirror.status.phase is Phase.RESYNCING
            assert str(mirror.status.trouble) == "the old one"
        await trio.sleep(listing + 0.1)
        assert mirror.status.live
        assert open_streams(bbs) == [1]
        assert (mirror.counts.streams, mirror.counts.replacements) == (2, 0)
        assert not differences(mirror, server)


@simulated
async def test_where_the_old_stream_ends_while_the_new_one_is_being_opened_everything_begins_anew() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.gate = trio.Event()
        mirror.reconnect()
        await trio.sleep(1)
        bbs.cut()
        await settled()
        assert mirror.status.phase is Phase.STALE
        bbs.gate.set()
        await mirror.wait_for(lambda m: m.status.live, timeout=10)
        server.desire(wanted("q"))
        await settled()
        assert not differences(mirror, server)
        assert len(open_streams(bbs)) == 1


@simulated
async def test_a_replacement_that_is_asked_for_while_one_is_under_way_is_made_after_it() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.once("routing_infos", Answer(before=5))
        mirror.reconnect()
        await trio.sleep(1)
        mirror.reconnect()
        mirror.reconnect()
        await trio.sleep(20)
        assert mirror.counts.replacements == 2
        assert open_streams(bbs) == [2]


@simulated
async def test_there_is_nothing_to_replace_while_there_is_no_stream() -> None:
    bbs = FakeBBS(small())
    bbs.refusal = GONE
    async with mirroring(bbs, **QUIET) as mirror:
        mirror.reconnect()
        await trio.sleep(5)
        mirror.reconnect()
        bbs.refusal = None
        await mirror.wait_synced()
        await trio.sleep(20)
        assert len(bbs.streams) == 1


@simulated
async def test_a_list_that_is_not_believed_does_not_let_the_new_stream_take_over() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET, brake_rows=1, brake_wait=10) as mirror:
        await mirror.wait_synced()
        bbs.loses = lambda _: True
        server.remove("p", 0, A)
        mirror.reconnect()
        await trio.sleep(9)
        assert mirror.status.phase is Phase.STALE
        assert open_streams(bbs) == [0, 1]
        await trio.sleep(2)
        assert mirror.status.live
        assert open_streams(bbs) == [1]


@simulated
async def test_closing_while_a_stream_is_being_replaced_closes_both() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.once("routing_infos", FOREVER)
        mirror.reconnect()
        await settled()
        assert open_streams(bbs) == [0, 1]
    assert mirror.status.phase is Phase.CLOSED
    assert open_streams(bbs) == []
    mirror.reconnect()


@simulated
async def test_a_list_that_ends_before_the_new_stream_is_open_gives_the_old_one_not_up() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.gate = trio.Event()
        mirror.reconnect()
        await settled()
        mirror.resync()
        await settled()
        assert tuple(bbs.names()) == EVERY_LIST * 2
        server.desire(wanted("q"))
        await settled()
        assert not differences(mirror, server)

        # Nor does it when the new stream is refused after all.
        bbs.refusal = GONE
        bbs.gate.set()
        await settled()
        server.desire(wanted("r"))
        await settled()
        assert not differences(mirror, server)
        assert open_streams(bbs) == [0]
        assert mirror.status.live
        assert mirror.counts.replacements == 0


@simulated
async def test_a_list_begun_before_the_new_stream_was_open_does_not_vouch_for_it() -> None:
    """What happens between that list and the opening is sent on the old stream only."""
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror:
        await mirror.wait_synced()
        bbs.gate = trio.Event()
        mirror.reconnect()
        await settled()
        bbs.once("routing_infos", Answer(before=5))
        mirror.resync()
        await trio.sleep(1)
        server.desire(wanted("q"))
        bbs.gate.set()
        await trio.sleep(1)
        assert open_streams(bbs) == [0, 1]
        await trio.sleep(4)
        # The list of its own.
        assert tuple(bbs.names()) == EVERY_LIST * 3
        assert open_streams(bbs) == [1]
        assert not differences(mirror, server)


@simulated
async def test_a_dead_stream_is_closed_when_the_one_that_was_to_replace_it_takes_over() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **{**QUIET, "ping_interval": 10, "ping_failures": 2}) as mirror:
        await mirror.wait_synced()
        bbs.answer = lambda _: FOREVER
        bbs.streams[0].deaf = True
        mirror.reconnect()
        await trio.sleep(1)
        assert open_streams(bbs) == [0, 1]
        bbs.pong = Answer(error=ServiceUnavailable("503"))
        await mirror.wait_for(lambda m: m.status.phase is Phase.RESYNCING, timeout=30)
        await settled()
        assert open_streams(bbs) == [1]
        bbs.pong, bbs.answer = Answer(), lambda _: Answer()
        bbs.streams[0].deaf = False
        mirror.resync()
        server.desire(wanted("q"))
        await mirror.wait_for(lambda m: m.status.live, timeout=1000)
        assert not differences(mirror, server)
