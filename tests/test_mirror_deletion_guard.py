"""The deletion guard on a mirror: one bad answer does not empty it."""

from math import inf
from typing import Any

import pytest
import trio
from mirror_support import FakeBBS, Fold, differences, mirroring, settled, simulated
from sim_support import A, diego, wanted

from lrpmirror import ActualLRP, DesiredLRP, Phase
from lrpmirror.core.rows.changes import RowKey
from lrpmirror.errors import ListNotBelieved, NotFresh
from lrpmirror.sim import Diego

DELETION_GUARD: dict[str, Any] = {"brake_rows": 20, "brake_wait": 10.0, "resync_interval": inf, "idle_limit": inf}


def full(count: int = 30) -> Diego:
    made = diego()
    for number in range(count):
        made.desire(wanted(f"p{number}"))
    return made


def bare() -> Diego:
    return diego()


@pytest.mark.parametrize("cut", [False, True], ids=["on the living stream", "after a fail-over"])
@simulated
async def test_an_empty_list_does_not_empty_the_mirror(cut: bool) -> None:
    server = full()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **DELETION_GUARD, first_delay=0.1) as mirror:
        await mirror.wait_synced()
        rows: Fold[RowKey, ActualLRP] = Fold()
        desired: Fold[str, DesiredLRP] = Fold()
        mirror.subscribe(rows)
        mirror.subscribe_desired(desired)
        await settled()
        notified = len(rows.notified)
        bbs.diego = bare()
        if cut:
            bbs.cut()
        else:
            mirror.resync()
        await trio.sleep(1)

        status = mirror.status
        assert status.phase is Phase.STALE
        assert isinstance(status.trouble, ListNotBelieved)
        assert "30 of 30 rows" in str(status.trouble)
        assert (status.actual_lrps, status.desired_lrps) == (30, 30)
        assert (len(rows.notified), mirror.revision) == (notified, 1)
        with pytest.raises(NotFresh) as caught:
            mirror.actual_lrps("p1", max_age=0.5)
        assert caught.value.__cause__ is status.trouble

        bbs.diego = server
        await trio.sleep(10)
        assert mirror.status.live
        assert mirror.status.trouble is None
        assert mirror.revision == 1
        assert not differences(mirror, server)


@simulated
async def test_a_second_list_that_agrees_is_believed_no_sooner_than_after_the_wait() -> None:
    bbs = FakeBBS(full())
    async with mirroring(bbs, **DELETION_GUARD) as mirror:
        await mirror.wait_synced()
        bbs.diego = empty = bare()
        mirror.resync()
        await settled()
        began = trio.current_time()
        mirror.resync()
        await settled()
        assert mirror.status.phase is Phase.STALE
        await mirror.wait_for(lambda m: m.status.live, timeout=20)
        assert trio.current_time() - began == pytest.approx(10)
        assert not differences(mirror, empty)
        assert mirror.counts.lists_held == 2


@simulated
async def test_events_are_applied_while_a_list_is_not_believed() -> None:
    server = full()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **DELETION_GUARD) as mirror:
        await mirror.wait_synced()
        bbs.diego = bare()
        mirror.resync()
        await settled()
        server.claim("p3", 0, A)
        await settled()
        assert mirror.actual_lrps("p3")[0].state == "CLAIMED"
        assert mirror.status.phase is Phase.STALE


@simulated
async def test_where_it_is_turned_off_a_list_is_believed_at_once() -> None:
    bbs = FakeBBS(full())
    async with mirroring(bbs, **DELETION_GUARD, brake_share=1.0) as mirror:
        await mirror.wait_synced()
        bbs.diego = empty = bare()
        mirror.resync()
        await settled()
        assert mirror.status.live
        assert not differences(mirror, empty)


@simulated
async def test_what_events_say_is_believed_however_much_they_remove() -> None:
    server = full()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **DELETION_GUARD) as mirror:
        await mirror.wait_synced()
        for number in range(30):
            server.remove_desired(f"p{number}")
        await settled()
        assert mirror.status.live
        mirror.resync()
        await settled()
        assert mirror.status.live
        assert not differences(mirror, server)


@simulated
async def test_the_second_list_is_tried_again_when_it_fails() -> None:
    bbs = FakeBBS(full())
    async with mirroring(bbs, **DELETION_GUARD, first_delay=1) as mirror:
        await mirror.wait_synced()
        bbs.diego = empty = bare()
        mirror.resync()
        await settled()
        bbs.hidden.add("domains")
        await trio.sleep(30)
        assert mirror.status.phase is Phase.STALE
        bbs.hidden.clear()
        await mirror.wait_for(lambda m: m.status.live, timeout=31)
        assert not differences(mirror, empty)
