"""Listing again: on every reconnection, at an interval, on demand; and how quietly."""

from collections.abc import Iterator, MutableMapping
from functools import partial
from itertools import count, pairwise
from math import inf
from random import Random
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
from sim_support import A, B, wanted

from lrpmirror import ActualLRP, Cause, Mirror, Phase
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.changes import RowKey
from lrpmirror.errors import ConnectionFailed, MalformedRecord, ServiceUnavailable, TimedOut, TruncatedReply
from lrpmirror.events import ActualLRPInstanceRemoved, Event


@simulated
async def test_the_lists_are_asked_for_once_the_stream_is_open_and_the_domains_first() -> None:
    bbs = FakeBBS(small())
    bbs.gate = trio.Event()
    async with mirroring(bbs) as mirror:
        await settled()
        assert bbs.names() == []
        bbs.gate.set()
        await mirror.wait_synced()
        assert tuple(bbs.names()) == EVERY_LIST


@pytest.mark.parametrize("name", EVERY_LIST)
@pytest.mark.parametrize("answer", [Answer(before=1), Answer(after=1), Answer(pause=1)])
@simulated
async def test_what_happens_while_a_list_is_read_is_brought_on_top_of_it(name: str, answer: Answer) -> None:
    diego, autopilot = lively()
    bbs = FakeBBS(diego, batch=3)
    bbs.once(name, answer)
    async with mirroring(bbs, resync_interval=1e9) as mirror:
        await settled()
        while not mirror.status.live:
            autopilot.step()
            await trio.sleep(0.07)
        await trio.sleep(3)
        assert not differences(mirror, diego, notified=True)


@simulated
async def test_the_old_state_stays_readable_and_marked_until_the_new_one_is_whole() -> None:
    diego = small()
    bbs = FakeBBS(diego, batch=1)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        old = mirror.actual_lrps()
        bbs.refusal = GONE
        bbs.cut()
        await mirror.wait_for(lambda m: m.status.phase is Phase.STALE)
        diego.desire(wanted("q", instances=3))
        diego.remove("p", 0, A)
        bbs.answer = lambda _: Answer(pause=1)
        bbs.refusal = None
        await mirror.wait_for(lambda m: m.status.phase is Phase.RESYNCING)
        while mirror.status.phase is Phase.RESYNCING:
            assert mirror.actual_lrps() == old
            assert len(mirror.desired_lrps()) == 1
            await trio.sleep(0.1)
        assert mirror.status.live
        assert not differences(mirror, diego)


@simulated
async def test_events_are_applied_to_the_old_state_while_the_lists_are_read_again() -> None:
    diego = small()
    bbs = FakeBBS(diego)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        bbs.once("actual_lrps", FOREVER)
        bbs.cut()
        await mirror.wait_for(lambda m: m.status.phase is Phase.RESYNCING)
        diego.crash("p", 0, A)
        await settled()
        assert mirror.status.phase is Phase.RESYNCING
        assert mirror.actual_lrps("p")[0].state == "UNCLAIMED"


@simulated
async def test_what_was_listed_is_freed_to_the_end_also_where_the_stream_is_lost_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_go = []
    free_in_slices = PendingSnapshot.free_in_slices

    def noted(snapshot: PendingSnapshot) -> Iterator[None]:
        yield from free_in_slices(snapshot)
        let_go.append(snapshot)

    monkeypatch.setattr(PendingSnapshot, "free_in_slices", noted)
    bbs = FakeBBS(small())
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        bbs.once("routing_infos", FOREVER)
        bbs.cut()
        await mirror.wait_for(lambda m: m.status.phase is Phase.RESYNCING)
        await settled()
        bbs.cut()
        await mirror.wait_for(lambda m: m.status.live)
        await settled()
        assert len(let_go) == 3


@simulated
async def test_delays_between_tries_have_full_jitter_under_a_bound_that_doubles() -> None:
    tries: list[list[float]] = []
    for seed in range(40):
        bbs = FakeBBS(small())
        bbs.refusal = GONE
        async with mirroring(bbs, seed=seed, first_delay=0.5, most_delay=30.0):
            await trio.sleep(300)
        tries.append([later - earlier for earlier, later in pairwise(bbs.tries)])
    bounds = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    for number, bound in enumerate(bounds):
        delays = [each[number] for each in tries]
        assert 0 <= min(delays) < bound * 0.25
        assert bound * 0.75 < max(delays) <= bound


@pytest.mark.parametrize("lives", [0.0, 0.1, 1.0], ids=["not at all", "a moment", "a second"])
@pytest.mark.parametrize("listed", [True, False], ids=["after each list", "after each opening"])
@simulated
async def test_a_server_that_ends_every_stream_soon_is_not_asked_for_everything_without_end(
    lives: float, listed: bool
) -> None:
    bbs = FakeBBS(small())
    bbs.answer = lambda name: Answer(after=2.0 if name == "actual_lrps" else 0.0)

    def has_opened(number: int, mirror: Mirror) -> bool:
        return len(bbs.streams) == number and (mirror.status.live or not listed)

    async def end_streams(mirror: Mirror) -> None:
        for number in count(2):
            await mirror.wait_for(partial(has_opened, number))
            await trio.sleep(lives)
            bbs.cut()

    async with mirroring(bbs) as mirror, trio.open_nursery() as nursery:
        await mirror.wait_synced()
        nursery.start_soon(end_streams, mirror)
        bbs.cut()
        await trio.sleep(15)
        assert len(bbs.times("domains")) <= 10
        await trio.sleep(585)
        assert len(bbs.times("domains")) <= 60
        nursery.cancel_scope.cancel()


@simulated
async def test_the_delays_begin_anew_after_a_stream_has_lived_and_not_before() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, first_delay=0.5, most_delay=64.0) as mirror:
        await mirror.wait_synced()
        for _ in range(30):
            await trio.sleep(20)
            bbs.cut()
            began = trio.current_time()
            await mirror.wait_for(lambda m: m.status.phase is Phase.STALE)
            await mirror.wait_for(lambda m: m.status.live)
            assert trio.current_time() - began <= 0.5
        bbs.answer = lambda _: FOREVER
        for _ in range(30):
            bbs.cut()
            await mirror.wait_for(lambda m: m.status.phase is Phase.STALE)
            await mirror.wait_for(lambda m: m.status.phase is Phase.RESYNCING)
        delays = [later - earlier for earlier, later in pairwise(bbs.tries)]
        assert max(delays) > 16


@pytest.mark.parametrize(
    "error", [ConnectionFailed("reset"), TimedOut("late"), MalformedRecord("not an event"), ServiceUnavailable("503")]
)
@simulated
async def test_whatever_ends_the_stream_is_answered_by_connecting_and_listing_again(
    error: ConnectionFailed | MalformedRecord,
) -> None:
    diego = small()
    bbs = FakeBBS(diego)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        bbs.cut(error)
        await mirror.wait_for(lambda m: m.status.phase is Phase.STALE)
        assert mirror.status.last_error is error
        diego.desire(wanted("q"))
        await mirror.wait_for(lambda m: m.status.live)
        assert tuple(bbs.names()) == EVERY_LIST * 2
        assert not differences(mirror, diego)


@simulated
async def test_a_living_stream_is_audited_at_an_interval_with_jitter() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, resync_interval=100.0, idle_limit=inf) as mirror:
        await mirror.wait_synced()
        await trio.sleep(100 * 200)
        assert len(bbs.streams) == 1
    intervals = [later - earlier for earlier, later in pairwise(bbs.times("actual_lrps"))]
    assert 75 <= min(intervals) < 80
    assert 120 < max(intervals) <= 125
    assert mirror.revision == 1


@simulated
async def test_a_list_can_be_asked_for_now_and_one_more_while_one_is_read() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, resync_interval=1e6, idle_limit=inf) as mirror:
        await mirror.wait_synced()
        await trio.sleep(1000)
        mirror.resync()
        mirror.resync()
        await settled()
        assert tuple(bbs.names()) == EVERY_LIST * 2
        bbs.once("domains", Answer(before=5))
        mirror.resync()
        await settled()
        mirror.resync()
        await trio.sleep(20)
        assert tuple(bbs.names()) == EVERY_LIST * 4


@simulated
async def test_an_audit_leaves_the_mirror_live() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, resync_interval=1e6, idle_limit=inf) as mirror:
        await mirror.wait_synced()
        bbs.once("actual_lrps", FOREVER)
        mirror.resync()
        await settled()
        assert mirror.status.live


def _shuffle(order: Random, table: MutableMapping[str, Any]) -> None:
    items = list(table.items())
    order.shuffle(items)
    table.clear()
    table.update(items)


@simulated
async def test_nothing_is_published_where_nothing_differs() -> None:
    diego, _ = lively()
    order = Random(0)
    bbs = FakeBBS(diego)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        notified: list[object] = []
        mirror.subscribe(notified.append, replay=False)
        mirror.subscribe_desired(notified.append, replay=False)
        revision = mirror.revision
        for _ in range(5):
            # A server lists in no order that means anything.
            for table in (diego._state.rows, diego._state.desired, diego._state.cells):
                _shuffle(order, table)
            bbs.cut()
            await mirror.wait_for(lambda m: m.status.phase is Phase.STALE)
            await mirror.wait_for(lambda m: m.status.live)
            mirror.resync()
            await settled()
        assert (notified, mirror.revision) == ([], revision)


@simulated
async def test_a_list_publishes_nothing_that_events_brought_while_it_was_read() -> None:
    diego = small()
    bbs = FakeBBS(diego)
    async with mirroring(bbs, resync_interval=1e9) as mirror:
        await mirror.wait_synced()
        bbs.once("domains", Answer(before=5))
        mirror.resync()
        await settled()
        diego.start("p", 0, A, routable=False)
        diego.crash("p", 0, A)
        diego.update_desired("p", annotation="told")
        await settled()
        revision, synced = mirror.revision, mirror.status.synced_at
        await trio.sleep(10)
        assert mirror.status.synced_at != synced
        assert mirror.revision == revision
        assert not differences(mirror, diego)


@simulated
async def test_a_resynchronisation_publishes_differences_and_no_removal_before_a_creation() -> None:
    diego, autopilot = lively()
    bbs = FakeBBS(diego)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        rows: Fold[RowKey, ActualLRP] = Fold()
        mirror.subscribe(rows, replay=True)
        await settled()
        for _ in range(10):
            bbs.refusal = GONE
            bbs.cut()
            rows.notified.clear()
            known = dict(rows.known)
            autopilot.run(10)
            bbs.refusal = None
            await mirror.wait_for(lambda m: m.status.phase is Phase.STALE)
            await mirror.wait_for(lambda m: m.status.live)
            await settled()
            assert len({change.key for change in rows.notified}) == len(rows.notified)
            assert {change.cause for change in rows.notified} == {Cause.SNAPSHOT}
            assert {change.revision for change in rows.notified} == {mirror.revision}
            changed = {key for key in known.keys() | rows.known.keys() if known.get(key) != rows.known.get(key)}
            assert changed == {change.key for change in rows.notified}
            await trio.sleep(5)


@pytest.mark.parametrize("name", [name for name in EVERY_LIST if name != "cells"])
@simulated
async def test_a_list_that_fails_is_tried_again_while_the_stream_is_read_on(name: str) -> None:
    diego = small()
    bbs = FakeBBS(diego, batch=1)
    error = TruncatedReply("in the middle")
    async with mirroring(bbs, resync_interval=1e6, first_delay=2.0) as mirror:
        await mirror.wait_synced()
        bbs.once(name, Answer(error=error), Answer(error=error, batches=1), Answer(error=error))
        mirror.resync()
        await settled()
        assert mirror.status.last_error is error
        assert mirror.status.live
        for number in range(1, 20):
            diego.update_desired("p", annotation=str(number))
            await settled()
            assert [lrp.annotation for lrp in mirror.desired_lrps()] == [str(number)]
            await trio.sleep(1)
        assert len(bbs.streams) == 1
        assert len(bbs.times("domains")) == 5
        assert len(bbs.times("cells")) >= 2
        assert not differences(mirror, diego)


@simulated
async def test_the_first_lists_are_tried_again_on_the_same_stream() -> None:
    bbs = FakeBBS(small())
    bbs.once("actual_lrps", *[Answer(error=ServiceUnavailable("503"))] * 3)
    async with mirroring(bbs) as mirror:
        await settled()
        assert mirror.status.phase is Phase.SYNCING
        await mirror.wait_synced(timeout=10)
        assert len(bbs.streams) == 1
        assert not differences(mirror, bbs.diego)


@simulated
async def test_an_event_that_was_lost_is_repaired_by_the_next_list() -> None:
    diego = small()
    bbs = FakeBBS(diego)
    async with mirroring(bbs, resync_interval=100.0) as mirror:
        await mirror.wait_synced()
        bbs.loses = lambda _: True
        diego.remove("p", 0, A)
        diego.desire(wanted("q"))
        diego.claim("q", 0, B)
        diego.update_desired("p", annotation="new")
        await settled()
        assert len(differences(mirror, diego)) == 4
        await trio.sleep(125)
        assert not differences(mirror, diego)


@simulated
async def test_a_removal_that_is_lost_while_a_list_is_read_is_repaired_by_the_list_after() -> None:
    diego = small()
    bbs = FakeBBS(diego)

    def is_removal(event: Event) -> bool:
        return isinstance(event, ActualLRPInstanceRemoved)

    bbs.loses = is_removal
    bbs.once("actual_lrps", Answer(after=1))
    async with mirroring(bbs, resync_interval=100.0) as mirror:
        await settled()
        diego.remove("p", 0, A)
        await mirror.wait_synced()
        assert len(mirror.actual_lrps()) == 1
        await trio.sleep(130)
        assert mirror.actual_lrps() == ()
