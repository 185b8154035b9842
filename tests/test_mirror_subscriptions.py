"""What subscribers of a mirror get, and what their failures do."""

from collections import Counter

import pytest
import trio
from mirror_support import FakeBBS, Fold, RowChange, lively, mirroring, settled, simulated, small, two
from sim_support import OTHER_NET, A, B, wanted

from lrpmirror import ActualLRP, ActualLRPState, Cause, Change, DesiredLRP, Lag, Mirror
from lrpmirror.core.rows.changes import RowKey, row_key

RUNNING = ActualLRPState.RUNNING


def steps(notified: list[RowChange]) -> list[tuple[str | None, str | None]]:
    return [(_state(change.before), _state(change.after)) for change in notified]


def _state(row: ActualLRP | None) -> str | None:
    return None if row is None else row.state


@simulated
async def test_a_late_subscriber_first_gets_what_is_there() -> None:
    diego = two()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        rows: Fold[RowKey, ActualLRP] = Fold()
        desired: Fold[str, DesiredLRP] = Fold()
        mirror.subscribe(rows)
        mirror.subscribe_desired(desired)
        await settled()
        assert (
            {change.cause for change in rows.notified}
            == {change.cause for change in desired.notified}
            == {Cause.REPLAY}
        )
        assert rows.known == {row_key(row): row for row in mirror.actual_lrps()}
        assert desired.known.keys() == {"p", "q"}
        assert {change.revision for change in rows.notified} <= {mirror.revision, 0}


@simulated
async def test_without_replay_only_changes_are_delivered() -> None:
    diego = two()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        notified: list[RowChange] = []
        mirror.subscribe(notified.append, replay=False)
        await settled()
        assert notified == []
        diego.claim("q", 0, B)
        await settled()
        assert steps(notified) == [("UNCLAIMED", "CLAIMED")]
        assert (notified[0].cause, notified[0].revision) == (Cause.EVENT, mirror.revision)


@simulated
async def test_a_subscriber_before_the_first_list_gets_it_as_a_snapshot() -> None:
    diego = two()
    async with mirroring(FakeBBS(diego)) as mirror:
        notified: list[RowChange] = []
        mirror.subscribe(notified.append)
        await mirror.wait_synced()
        await settled()
        assert steps(notified) == [(None, row.state) for row in mirror.actual_lrps()]
        assert {change.cause for change in notified} == {Cause.SNAPSHOT}


@simulated
async def test_a_repair_is_named_as_the_cause() -> None:
    diego = two()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        notified: list[RowChange] = []
        mirror.subscribe(notified.append, replay=False)
        diego.start("q", 0, B, internal_routes=("q.internal",))
        await trio.sleep(5)
        assert [change.cause for change in notified] == [Cause.EVENT, Cause.REPAIR]
        assert [change.after and change.after.internal_routes for change in notified] == [(), ("q.internal",)]


@simulated
async def test_a_subscriber_of_some_processes_gets_only_those() -> None:
    diego = two()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        rows: list[RowChange] = []
        lrps: list[Change[str, DesiredLRP]] = []
        mirror.subscribe(rows.append, process_guids=["q", "never"])
        mirror.subscribe_desired(lrps.append, process_guids=["p", "never"])
        diego.start("p", 0, A, OTHER_NET)
        diego.claim("q", 0, B)
        diego.update_desired("p", annotation="1")
        diego.update_desired("q", annotation="1")
        await settled()
        assert {change.after and change.after.process_guid for change in rows} == {"q"}
        assert {change.key for change in lrps} == {"p"}


@simulated
async def test_to_a_subscriber_with_a_condition_other_rows_are_not_there() -> None:
    diego = small()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        notified: list[RowChange] = []
        mirror.subscribe(notified.append, where=lambda row: row.state is RUNNING)
        await settled()
        diego.crash("p", 0, A)
        await settled()
        diego.claim("p", 0, B)
        await settled()
        diego.start("p", 0, B)
        await settled()
        assert steps(notified) == [(None, RUNNING), (RUNNING, None), (None, RUNNING)]


@simulated
async def test_a_slow_subscriber_gets_fewer_larger_changes_and_ends_on_the_last_value() -> None:
    diego = small()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        notified: list[RowChange] = []

        async def slow(change: RowChange) -> None:
            notified.append(change)
            await trio.sleep(10)

        subscription = mirror.subscribe(slow)
        await settled()
        for number in range(100):
            diego.start("p", 0, A, routable=bool(number % 2))
            await settled()
        assert (subscription.lag.pending, len(notified)) == (1, 1)
        await trio.sleep(4)
        assert subscription.lag.age == pytest.approx(4)
        await trio.sleep(30)
        assert len(notified) == 2
        assert (notified[1].before, notified[1].after) == (notified[0].after, mirror.actual_lrps("p")[0])
        assert subscription.lag.pending == 0


@simulated
async def test_a_value_that_returned_to_what_a_slow_subscriber_saw_is_not_delivered() -> None:
    diego = small()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        notified: list[RowChange] = []

        async def slow(change: RowChange) -> None:
            notified.append(change)
            await trio.sleep(10)

        mirror.subscribe(slow, where=lambda row: row.process_guid == "q")
        diego.desire(wanted("q"))
        await settled()
        diego.desire(wanted("r"))
        diego.update_desired("q", instances=2)
        await settled()
        diego.update_desired("q", instances=1)
        await trio.sleep(30)
        assert [change.after and change.after.index for change in notified] == [0]


@simulated
async def test_a_callback_is_never_called_twice_at_once() -> None:
    diego, autopilot = lively()
    running = 0

    async def callback(_: RowChange) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await trio.sleep(0.01)
        running -= 1

    async with mirroring(FakeBBS(diego)) as mirror:
        mirror.subscribe(callback)
        for _ in range(20):
            autopilot.step()
            await trio.sleep(0.1)


@simulated
async def test_a_subscription_can_be_cancelled_from_inside_and_from_outside() -> None:
    diego = two()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        inside: list[RowChange] = []
        outside: list[RowChange] = []

        def once(change: RowChange) -> None:
            inside.append(change)
            first.cancel()
            first.cancel()

        first = mirror.subscribe(once)
        second = mirror.subscribe(outside.append, replay=False)
        await settled()
        second.cancel()
        diego.claim("q", 0, B)
        await settled()
        assert (len(inside), len(outside)) == (1, 0)
        assert first.cancelled
        assert second.cancelled


@simulated
async def test_changes_come_in_batches_of_one_change_a_key() -> None:
    diego = two()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        async with mirror.changes() as changes:
            first = await anext(changes)
            assert steps(first) == [(None, row.state) for row in mirror.actual_lrps()]
            diego.claim("q", 0, B)
            diego.start("q", 0, B)
            diego.start("p", 0, A, OTHER_NET)
            await settled()
            assert changes.lag.pending == 2
            batch = await anext(changes)
            assert steps(batch) == [("UNCLAIMED", "RUNNING"), ("RUNNING", "RUNNING")]
            assert changes.lag.pending == 0


@simulated
async def test_a_batch_is_never_empty_also_where_all_returned_to_what_it_was() -> None:
    diego = small()
    batches: list[list[RowChange]] = []

    async def iterate(mirror: Mirror) -> None:
        async with mirror.changes(replay=False) as changes:
            async for batch in changes:
                batches.append(batch)  # noqa: PERF401 - they are wanted as they come

    async with trio.open_nursery() as nursery, mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        nursery.start_soon(iterate, mirror)
        await settled()
        for turns in range(8):
            diego.update_desired("p", instances=2)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            diego.update_desired("p", instances=1)
            await settled()
    assert all(batches)
    assert sum(map(len, batches)) % 2 == 0


@simulated
async def test_an_iteration_ends_with_the_mirror_after_what_changed_before() -> None:
    diego = two()
    seen: list[RowChange] = []

    async def iterate(mirror: Mirror) -> None:
        async with mirror.changes() as changes:
            async for batch in changes:
                seen.extend(batch)
                await trio.sleep(5)

    async with trio.open_nursery() as nursery, mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        nursery.start_soon(iterate, mirror)
        await settled()
        diego.claim("q", 0, B)
        await settled()
    assert steps(seen)[-1] == ("UNCLAIMED", "CLAIMED")


@simulated
async def test_a_subscriber_that_left_costs_nothing_and_gets_nothing() -> None:
    diego = two()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        async with mirror.changes(process_guids=["q"]) as changes:
            await anext(changes)
        mirror.subscribe(lambda _: None).cancel()
        diego.claim("q", 0, B)
        await settled()
        assert changes.lag.pending == 0
        assert mirror._rows.lags() == []


@simulated
async def test_a_subscription_that_was_cancelled_with_changes_pending_is_behind_no_more() -> None:
    diego = two()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()

        async def slow(_: RowChange) -> None:
            await trio.sleep(10)

        subscription = mirror.subscribe(slow, replay=False)
        diego.claim("q", 0, B)
        await settled()
        diego.start("q", 0, B)
        await settled()
        assert subscription.lag.pending == 1
        subscription.cancel()
        await trio.sleep(20)
        assert subscription.lag == Lag(0, 0.0)


@simulated
async def test_between_two_calls_of_a_callback_others_get_their_turn() -> None:
    diego, _ = lively()
    notified: list[int] = []
    turn = 0
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        mirror.subscribe(lambda _: notified.append(turn))
        while len(notified) < len(diego.actual_lrps()):
            turn += 1
            await trio.lowlevel.checkpoint()
    # Two, where it was the last task of one turn and the first of the next.
    assert max(Counter(notified).values()) <= 2


@simulated
async def test_after_closing_no_callback_is_called_again() -> None:
    diego, _ = lively()
    notified: list[RowChange] = []
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        mirror.subscribe(notified.append)
        while not notified:
            await trio.lowlevel.checkpoint()
        seen = len(notified)
    await settled()
    assert len(notified) <= seen + 1 < len(mirror.actual_lrps())
