"""How fresh a mirror is and how it says so: waiting for it, its phases, its age, its closing."""

from contextlib import AsyncExitStack

import pytest
import trio
from mirror_support import (
    EVERY_LIST,
    FOREVER,
    GONE,
    Answer,
    FakeBBS,
    differences,
    lively,
    mirroring,
    settled,
    simulated,
    small,
)

from lrpmirror import Mirror, ModificationTag, Phase, open_mirror
from lrpmirror.errors import (
    ConfigurationError,
    ConnectionFailed,
    MirrorClosed,
    NotSeen,
    NotSynced,
    RequestRefused,
    ServiceUnavailable,
)


@simulated
async def test_a_mirror_that_is_synchronised_has_the_servers_state_and_is_live() -> None:
    diego, _ = lively()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced(timeout=1)
        assert not differences(mirror, diego)
        status = mirror.status
        assert (status.phase, status.live, status.last_error) == (Phase.LIVE, True, None)
        assert (status.actual_lrps, status.desired_lrps) == (len(diego.actual_lrps()), len(diego.desired_lrps()))


@simulated
async def test_before_the_first_lists_are_in_reads_find_nothing() -> None:
    bbs = FakeBBS(small())
    bbs.once("cells", FOREVER)
    async with mirroring(bbs) as mirror:
        await settled()
        assert mirror.status.phase is Phase.SYNCING
        assert bbs.names()[-1] == "cells"
        assert mirror.actual_lrps() == mirror.actual_lrps("p") == ()
        assert mirror.desired_lrps() == ()
        assert mirror.cells == ()
        assert mirror.desired_lrp("p") is None
        assert mirror.domains == frozenset()
        assert (mirror.revision, mirror.status.synced_at) == (0, None)


@simulated
async def test_waiting_for_a_synchronised_mirror_returns_at_once_even_without_time_and_when_stale() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        began = trio.current_time()
        await mirror.wait_synced(timeout=0)
        bbs.refusal = GONE
        bbs.cut()
        await mirror.wait_for(lambda m: m.status.phase is Phase.STALE)
        await mirror.wait_synced(timeout=0)
        assert trio.current_time() == began


@simulated
async def test_the_error_of_waiting_too_long_has_the_last_error() -> None:
    bbs = FakeBBS(small())
    bbs.refusal = refusal = ServiceUnavailable("503: it is migrating")
    async with mirroring(bbs) as mirror:
        with pytest.raises(NotSynced, match=r"within 3 s.*it is migrating") as caught:
            await mirror.wait_synced(timeout=3)
        assert caught.value.__cause__ is refusal
        assert trio.current_time() == pytest.approx(bbs.tries[0] + 3)


@simulated
async def test_the_error_of_waiting_too_long_for_slow_lists_says_so() -> None:
    bbs = FakeBBS(small())
    bbs.once("actual_lrps", FOREVER)
    async with mirroring(bbs) as mirror:
        with pytest.raises(NotSynced, match="lists are still being read") as caught:
            await mirror.wait_synced(timeout=3)
        assert caught.value.__cause__ is None


@simulated
async def test_a_wait_raises_mirror_closed_when_the_mirror_is_closed_first() -> None:
    bbs = FakeBBS(small())
    bbs.refusal = GONE
    notified: list[str] = []

    async def wait(mirror: Mirror) -> None:
        with pytest.raises(MirrorClosed, match="before it was synchronised"):
            await mirror.wait_synced()
        notified.append("synced")

    async def wait_for(mirror: Mirror) -> None:
        with pytest.raises(MirrorClosed, match="a row"):
            await mirror.wait_for(lambda m: bool(m.actual_lrps()), what="a row")
        notified.append("row")

    async with trio.open_nursery() as nursery, mirroring(bbs) as mirror:
        nursery.start_soon(wait, mirror)
        nursery.start_soon(wait_for, mirror)
        await settled()
    assert sorted(notified) == ["row", "synced"]
    with pytest.raises(MirrorClosed):
        await mirror.wait_synced()


@simulated
async def test_waiting_for_a_condition_ends_with_the_commit_that_makes_it_true() -> None:
    diego = small()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()

        async def retire() -> None:
            await trio.sleep(5)
            diego.update_desired("p", annotation="seen")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(retire)
            await mirror.wait_for(lambda m: any(lrp.annotation == "seen" for lrp in m.desired_lrps()), timeout=10)
            assert trio.current_time() < 6
        await mirror.wait_for(lambda m: m.status.live, timeout=0)


@simulated
async def test_a_condition_that_does_not_come_true_is_named_with_the_state_of_the_mirror() -> None:
    async with mirroring(FakeBBS(small())) as mirror:
        await mirror.wait_synced()
        with pytest.raises(
            NotSeen, match=r"a miracle did not come within 2 s; the mirror is live .* 1 actual and 1 des"
        ):
            await mirror.wait_for(lambda _: False, timeout=2, what="a miracle")


@simulated
async def test_a_program_can_wait_for_its_own_write() -> None:
    diego = small()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        diego.update_desired("p", annotation="mine")
        tag = diego.desired_lrps()[0].modification_tag
        await mirror.wait_for_tag("p", tag, timeout=1)
        assert mirror.desired_lrp("p").annotation == "mine"  # type: ignore[union-attr]
        diego.remove_desired("p")
        await mirror.wait_for(lambda m: not m.desired_lrps(), timeout=1)
        await mirror.wait_for_tag("p", tag, timeout=0)
        with pytest.raises(NotSeen, match=r"other:7.*of that process it has: "):
            await mirror.wait_for_tag("p", ModificationTag("other", 7), timeout=1)


@simulated
async def test_the_phases_of_a_mirror_from_connecting_to_closed() -> None:
    bbs = FakeBBS(small())
    bbs.refusal = GONE
    phases: list[Phase] = []

    async def watch(mirror: Mirror) -> None:
        while mirror.status.phase is not Phase.CLOSED:
            phases.append(mirror.status.phase)
            await mirror.wait_for(lambda m: m.status.phase is not phases[-1])

    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        async with mirroring(bbs) as mirror:
            nursery.start_soon(watch, mirror)
            await trio.sleep(1)
            assert mirror.status.last_error is GONE
            bbs.once("domains", Answer(after=1))
            bbs.refusal = None
            await mirror.wait_synced()
            bbs.refusal = GONE
            bbs.cut()
            await trio.sleep(100)
            bbs.once("domains", Answer(after=1))
            bbs.refusal = None
            await mirror.wait_for(lambda m: m.status.live)
    assert phases == [Phase.CONNECTING, Phase.SYNCING, Phase.LIVE, Phase.STALE, Phase.RESYNCING, Phase.LIVE]
    assert mirror.status.phase is Phase.CLOSED


@simulated
async def test_a_stream_lost_during_the_first_lists_means_connecting_again() -> None:
    bbs = FakeBBS(small())
    bbs.once("actual_lrps", FOREVER)
    async with mirroring(bbs) as mirror:
        await settled()
        assert bbs.names()[-1] == "actual_lrps"
        assert mirror.status.phase is Phase.SYNCING
        bbs.cut()
        await mirror.wait_for(lambda m: m.status.phase is Phase.CONNECTING)
        await mirror.wait_for(lambda m: m.status.phase is Phase.LIVE)
        assert not differences(mirror, bbs.diego)


@simulated
async def test_age_is_the_time_since_the_servers_last_sign_of_life() -> None:
    bbs = FakeBBS(small())
    bbs.refusal = GONE
    async with mirroring(bbs, resync_interval=1e6) as mirror:
        await trio.sleep(1)
        assert mirror.status.age is None
        bbs.refusal = None
        await mirror.wait_synced()
        assert mirror.status.age == 0
        await trio.sleep(7)
        assert mirror.status.age == pytest.approx(7)
        bbs.diego.update_desired("p", annotation="alive")
        await settled()
        assert mirror.status.age == 0
        bbs.refusal = GONE
        bbs.cut()
        await trio.sleep(40)
        assert mirror.status.age == pytest.approx(40)
        assert mirror.status.synced_at is not None


@simulated
async def test_closing_leaves_the_last_state_readable() -> None:
    diego, _ = lively()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        before = (mirror.actual_lrps(), mirror.desired_lrps(), mirror.domains, mirror.cells, mirror.revision)
    assert (mirror.actual_lrps(), mirror.desired_lrps(), mirror.domains, mirror.cells, mirror.revision) == before
    assert mirror.status.phase is Phase.CLOSED
    await mirror.wait_synced(timeout=0)
    mirror.resync()
    with pytest.raises(MirrorClosed):
        mirror.subscribe(lambda _: None)
    with pytest.raises(MirrorClosed):
        mirror.subscribe_desired(lambda _: None)
    with pytest.raises(MirrorClosed):
        async with mirror.changes():
            pass


@pytest.mark.parametrize("name", ["domains", "actual_lrps", "routing_infos", "cells"])
@simulated
async def test_closing_while_a_list_hangs_takes_no_time(name: str) -> None:
    bbs = FakeBBS(small())
    bbs.once(name, FOREVER)
    async with mirroring(bbs) as mirror:
        await settled()
        assert bbs.names()[-1] == name
        began = trio.current_time()
    assert trio.current_time() == began
    assert mirror.status.phase is Phase.CLOSED
    assert all(stream._subscription.closed for stream in bbs.streams)


@pytest.mark.parametrize("turns", range(40))
@pytest.mark.parametrize("refusal", [None, GONE])
@simulated
async def test_closing_at_any_turn_of_the_scheduler_ends_in_closed(
    turns: int, refusal: ConnectionFailed | None
) -> None:
    bbs = FakeBBS(small())
    bbs.refusal = refusal
    async with mirroring(bbs, first_delay=0.0) as mirror:
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
    assert mirror.status.phase is Phase.CLOSED


@simulated
async def test_a_refusal_that_arrives_with_the_closing_is_not_recorded() -> None:
    bbs = FakeBBS(small())
    bbs.gate, bbs.refusal = trio.Event(), GONE
    async with mirroring(bbs) as mirror:
        await settled()
        bbs.gate.set()
    assert mirror.status.phase is Phase.CLOSED


@simulated
async def test_an_answer_that_arrives_with_the_closing_is_not_recorded() -> None:
    bbs = FakeBBS(small())
    bbs.gate = trio.Event()
    async with mirroring(bbs) as mirror:
        await settled()
        bbs.gate.set()
    assert mirror.status.phase is Phase.CLOSED
    assert not mirror.actual_lrps()


@pytest.mark.parametrize("name", EVERY_LIST)
@simulated
async def test_a_list_that_comes_with_the_closing_is_whole_or_not_there(name: str) -> None:
    bbs = FakeBBS(small())
    gate = trio.Event()
    bbs.once(name, Answer(gate=gate))
    async with mirroring(bbs) as mirror:
        await settled()
        gate.set()
    assert mirror.status.phase is Phase.CLOSED
    assert not mirror.actual_lrps() or not differences(mirror, bbs.diego)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"stream": "rows"}, "stream='rows'"), ({"detail": "all"}, "detail='all'"), ({"timeout": 3.0}, "timeout")],
)
@simulated
async def test_options_that_cannot_be_used_are_refused_at_once(options: dict[str, object], message: str) -> None:
    bbs = FakeBBS(small())
    with pytest.raises(ConfigurationError, match=message):
        async with open_mirror(bbs, **options):  # type: ignore[arg-type]
            pass
    assert not bbs.tries


@simulated
async def test_the_error_of_the_block_leaves_it_as_it_was_raised() -> None:
    with pytest.raises(RequestRefused, match="Mine"):  # noqa: PT012 - the whole block is what ends
        async with mirroring(FakeBBS(small())) as mirror:
            await mirror.wait_synced()
            raise RequestRefused("Mine", "from the block")
    assert mirror.status.phase is Phase.CLOSED


@simulated
async def test_cancelling_the_block_closes_the_mirror() -> None:
    async def work() -> None:
        await trio.sleep_forever()

    with trio.move_on_after(5) as scope:
        async with mirroring(FakeBBS(small())) as mirror, trio.open_nursery() as nursery:
            nursery.start_soon(work)
            nursery.start_soon(work)
    assert scope.cancelled_caught
    assert mirror.status.phase is Phase.CLOSED
