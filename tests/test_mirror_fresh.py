"""Reads that insist on freshness, and waits that say what is wrong."""

from collections.abc import Callable
from math import inf
from typing import Any

import pytest
import trio
from mirror_support import EVERY_LIST, FOREVER, GONE, Answer, FakeBBS, mirroring, settled, simulated, small
from sim_support import wanted

from lrpmirror import Mirror, MirrorView, Tuning, open_mirror, views
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.errors import (
    ConfigurationError,
    ConnectionFailed,
    LimitExceeded,
    LRPMirrorError,
    MalformedRecord,
    NotFresh,
    NotSynced,
    RequestRefused,
    ServiceUnavailable,
    StreamDead,
    TimedOut,
    TLSFailed,
    TruncatedReply,
)

QUIET: dict[str, Any] = {"resync_interval": inf, "idle_limit": inf}

READS: dict[str, Callable[[Mirror, float | None], object]] = {
    "rows of a process": lambda mirror, age: mirror.actual_lrps("p", max_age=age),
    "rows": lambda mirror, age: mirror.actual_lrps(cell_id="cell-a", max_age=age),
    "groups": lambda mirror, age: mirror.actual_lrp_groups("p", max_age=age),
    "an instance": lambda mirror, age: mirror.instance("instance-a", max_age=age),
    "a desired LRP": lambda mirror, age: mirror.desired_lrp("p", max_age=age),
    "desired LRPs": lambda mirror, age: mirror.desired_lrps(domain="cf-apps", max_age=age),
}

READS_OF_A_VIEW: dict[str, Callable[[MirrorView[Any, Any], float | None], object]] = {
    "a key of a view": lambda view, age: view.get("cell-a", max_age=age),
    "a view": lambda view, age: view.copy(max_age=age),
}


@pytest.mark.parametrize("name", [*READS, *READS_OF_A_VIEW])
@simulated
async def test_a_read_may_insist_on_a_state_that_is_no_older(name: str) -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, **QUIET) as mirror:
        view = await mirror.view(views.Cells())

        def read(mirror: Mirror, age: float | None) -> object:
            return READS[name](mirror, age) if name in READS else READS_OF_A_VIEW[name](view, age)

        with pytest.raises(NotFresh, match="connecting and has no state yet"):
            read(mirror, 1e9)
        await mirror.wait_synced()
        found = read(mirror, 1.0)
        assert found == read(mirror, None)
        bbs.refusal = GONE
        bbs.cut()
        await trio.sleep(3)
        assert read(mirror, 3.5) == found
        with pytest.raises(NotFresh, match=r"stale and has a state that is 3.0 s old") as caught:
            read(mirror, 2.5)
        assert (caught.value.phase, caught.value.__cause__) == ("stale", GONE)
        assert caught.value.age == pytest.approx(3)
        assert read(mirror, None) == found


@pytest.mark.parametrize("what", ["everything", "one process"])
@simulated
async def test_the_age_counts_from_the_answers_to_a_list_however_late_it_is_committed(what: str) -> None:
    async with mirroring(FakeBBS(small()), **QUIET, ping_interval=inf, repair_delay=0.0) as mirror:
        await mirror.wait_synced()
        # As while a view is made.
        async with mirror._follower.views_lock:
            if what == "everything":
                mirror.resync()
            else:
                mirror._session.repairs.add("p", RepairReason.AMBIGUOUS)
                mirror._follower._repairs_wanted.set()
            await trio.sleep(5)
        await trio.sleep(1)

        assert sum(mirror.counts.lists.values()) == 2, "it was committed"
        status = mirror.status
        assert status.age == pytest.approx(6)
        if what == "everything":
            assert status.synced_at == status.alive_at


@simulated
async def test_a_view_has_its_values_and_defaults_by_get() -> None:
    async with mirroring(FakeBBS(small()), **QUIET) as mirror:
        await mirror.wait_synced()
        cells = await mirror.view(views.Cells())
        assert cells.get("cell-a") == cells["cell-a"]
        assert cells.get("nowhere") is None
        assert cells.get("nowhere", 7, max_age=60) == 7


@simulated
async def test_a_quiet_live_mirror_is_fresh_within_the_interval_of_its_pings() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, **QUIET, ping_interval=10) as mirror:
        await mirror.wait_synced()
        for _ in range(100):
            await trio.sleep(7)
            mirror.check_fresh(10.1)
        bbs.pong = FOREVER
        await trio.sleep(16)
        with pytest.raises(NotFresh, match="live") as caught:
            mirror.check_fresh(10.1)
        assert isinstance(caught.value.__cause__, TimedOut)


@simulated
async def test_a_closed_mirror_is_fresh_for_as_long_as_its_last_state_is() -> None:
    async with mirroring(FakeBBS(small()), **QUIET) as mirror:
        await mirror.wait_synced()
    mirror.check_fresh(1)
    await trio.sleep(5)
    with pytest.raises(NotFresh, match="closed"):
        mirror.check_fresh(1)


# Waiting in vain, for each way of failing

REFUSED: list[LRPMirrorError] = [GONE, TLSFailed("bad certificate"), ServiceUnavailable("503"), MalformedRecord("bad")]
LISTS: list[LRPMirrorError] = [
    ConnectionFailed("reset"),
    TruncatedReply("half"),
    RequestRefused("Deadlock", "again"),
    TimedOut("late"),
]


@pytest.mark.parametrize("error", REFUSED, ids=lambda error: type(error).__name__)
@simulated
async def test_a_wait_says_what_keeps_the_stream_from_being_opened(error: Any) -> None:
    bbs = FakeBBS(small())
    bbs.refusal = error
    await _waits_in_vain(bbs, error)


@pytest.mark.parametrize("error", REFUSED, ids=lambda error: type(error).__name__)
@simulated
async def test_a_wait_says_what_ends_the_stream_before_the_lists_are_in(error: Any) -> None:
    bbs = FakeBBS(small())
    bbs.answer = lambda _: FOREVER

    async def cut() -> None:
        while True:
            await trio.sleep(0.7)
            if bbs.streams:
                bbs.cut(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut)
        await _waits_in_vain(bbs, error)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (name, error)
        for name in EVERY_LIST
        for error in LISTS
        # The cells are another service's, which holds up nothing.
        if name != "cells"
    ],
    ids=str,
)
@simulated
async def test_a_wait_says_why_the_lists_cannot_be_had(name: str, error: Any) -> None:
    bbs = FakeBBS(small())
    bbs.answer = lambda asked: Answer(error=error) if asked == name else Answer()
    await _waits_in_vain(bbs, error)


@simulated
async def test_a_wait_says_that_the_stream_was_dead() -> None:
    bbs = FakeBBS(small())
    bbs.answer = lambda _: FOREVER
    bbs.pong = Answer(error=GONE)
    await _waits_in_vain(bbs, StreamDead, ping_interval=1.0, first_delay=30.0)


@simulated
async def test_a_wait_says_that_a_list_takes_too_long() -> None:
    bbs = FakeBBS(small(), batch=1)
    bbs.answer = lambda _: Answer(pause=3)
    await _waits_in_vain(bbs, TimedOut, list_timeout=1)


@simulated
async def test_a_wait_says_that_a_list_is_too_long() -> None:
    server = small()
    server.desire(wanted("q", instances=2))
    await _waits_in_vain(FakeBBS(server), LimitExceeded, list_limit=2)


async def _waits_in_vain(bbs: FakeBBS, error: Any, **tuning: Any) -> None:
    async with mirroring(bbs, **QUIET, **tuning) as mirror:
        with pytest.raises(NotSynced) as caught:
            await mirror.wait_synced(timeout=5)
        cause = caught.value.__cause__
        assert isinstance(cause, error) if isinstance(error, type) else cause is error
        assert str(cause) in str(caught.value)
        with pytest.raises(NotFresh) as stale:
            mirror.check_fresh(1e9)
        assert type(stale.value.__cause__) is type(cause)


# Limits


@pytest.mark.parametrize("what", ["cells", "domains", "rows"])
@simulated
async def test_a_list_that_is_too_long_leaves_the_state_and_the_stream_as_they_are(what: str) -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET, list_limit=3) as mirror:
        await mirror.wait_synced()
        before = (mirror.actual_lrps(), mirror.desired_lrps(), mirror.cells, mirror.domains)
        bbs.loses = lambda _: True
        for number in range(4):
            if what == "cells":
                server.add_cell(f"more-{number}")
            elif what == "domains":
                server.upsert_domain(f"more-{number}")
            else:
                server.desire(wanted(f"q{number}"))
        mirror.resync()
        await settled()
        trouble = mirror.status.trouble
        assert isinstance(trouble, LimitExceeded)
        assert f"more than 3 {what}" in str(trouble)
        assert mirror.status.live
        assert (mirror.actual_lrps(), mirror.desired_lrps(), mirror.cells, mirror.domains) == before
        assert len(bbs.streams) == 1


@simulated
async def test_events_that_create_too_much_cost_the_stream_its_life_and_nothing_else() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET, row_limit=3) as mirror:
        await mirror.wait_synced()
        bbs.refusal = GONE
        for number in range(3):
            server.desire(wanted(f"q{number}"))
        await settled()
        assert not mirror.status.live
        assert mirror.counts.errors["LimitExceeded"] == 1
        assert mirror.status.actual_lrps == 4


@pytest.mark.parametrize("name", ["ping_interval", "brake_share", "list_limit", "repair_batch"])
@simulated
async def test_numbers_that_cannot_be_used_are_refused_when_a_mirror_is_opened(name: str) -> None:
    bbs = FakeBBS(small())
    wrong: dict[str, Any] = {name: -1}
    with pytest.raises(ConfigurationError, match=rf"Tuning\.{name}=-1"):
        async with open_mirror(bbs, tuning=Tuning(**wrong)):
            pass
    assert not bbs.tries
