"""Subscribers of a view that are slow, iterate its changes, or wait for something, on a living mirror."""

from typing import Any

import pytest
import trio
from views_support import HOST, LRP, MemoryBBS, Notified, desired, hosts, in_mirror, running, settled, since

from lrpmirror.core.derived.subscriptions import Lag
from lrpmirror.core.rows.changes import Cause, Change
from lrpmirror.errors import MirrorClosed, NotSeen
from lrpmirror.mirror import Mirror, open_mirror
from lrpmirror.model import ModificationTag
from lrpmirror.views import HTTPRoutes

# Fast and slow


def test_a_subscriber_that_sleeps_for_a_minute_delays_neither_the_other_nor_the_reader() -> None:
    keys = 20
    lrps = [desired(f"p{i}", http=[f"{i}.example.com"]) for i in range(keys)]
    bbs = MemoryBBS(*lrps)

    async def body(mirror: Mirror) -> None:
        routes, fast = await mirror.view(HTTPRoutes()), Notified()
        notified: dict[str, Any] = {}
        calls = 0

        async def sleeper(change: Change[Any, Any]) -> None:
            nonlocal calls
            calls += 1
            notified[change.key] = change.after
            await trio.sleep(60)

        routes.subscribe(fast)
        slow = routes.subscribe(sleeper)
        sent: list[float] = []
        for step in range(2000):
            start = trio.current_time()
            await bbs.write(running(f"p{step % keys}", tag_index=step // keys, address=f"10.0.{step // keys}.1"))
            assert since(start) == 0, "the reader never waits"
            sent.append(start)
            await trio.sleep(0.1)
            assert slow.lag.pending <= keys
            assert slow.lag.age <= since(sent[0])

        assert fast.times == sent, "each change is told the moment it is sent"
        assert calls < 10
        await trio.sleep(60 * 3 * keys)
        assert slow.lag == Lag(0, 0.0)
        assert notified == dict(routes), "everyone ends on the last value"

    in_mirror(bbs, body)


def test_lag_is_how_many_keys_wait_and_for_how_long() -> None:
    bbs = MemoryBBS(*hosts(1))

    async def body(mirror: Mirror) -> None:
        routes = await mirror.view(HTTPRoutes())
        async with routes.changes() as changes:
            assert changes.lag == Lag(1, 0.0)
            await anext(changes)
            assert changes.lag == Lag(0, 0.0)
            await bbs.write(*hosts(3))
            await trio.sleep(5)
            await bbs.write(desired("late", http=["late.example.com"]), running("late"))
            await trio.sleep(2)

            assert changes.lag == Lag(3, 7.0)
            assert routes.lags == [Lag(3, 7.0)]

    in_mirror(bbs, body)


# Iterating


def test_changes_are_iterated_in_batches_of_what_came_meanwhile() -> None:
    bbs = MemoryBBS(*hosts(2))

    async def body(mirror: Mirror) -> None:
        routes = await mirror.view(HTTPRoutes())
        async with routes.changes() as changes:
            replayed = await anext(changes)
            for address in ("10.0.0.2", "10.0.0.3"):
                await bbs.write(running("p0", tag_index=int(address[-1]), address=address))
            await bbs.write(*hosts(3)[2:3], running("p2"))
            await settled()
            batch = await anext(changes)

        assert {change.cause for change in replayed} == {Cause.REPLAY}
        assert len(replayed) == 2
        assert [change.key for change in batch] == ["0.example.com", "2.example.com"]
        assert [one.host for one in batch[0].before or ()] == ["10.0.0.1"]
        assert [one.host for one in batch[0].after or ()] == ["10.0.0.3"]

    in_mirror(bbs, body)


def test_an_iteration_can_be_of_some_keys_and_without_replay() -> None:
    bbs = MemoryBBS(*hosts(2))

    async def body(mirror: Mirror) -> None:
        routes = await mirror.view(HTTPRoutes())
        async with routes.changes(keys=["1.example.com"], replay=False) as changes:
            await bbs.write(*(running(f"p{i}", tag_index=1, address="10.0.0.2") for i in range(2)))
            assert [change.key for change in await anext(changes)] == ["1.example.com"]
        assert routes.lags == []

    in_mirror(bbs, body)


def test_an_iteration_ends_with_its_view_after_what_has_changed() -> None:
    async def body(mirror: Mirror) -> None:
        routes = await mirror.view(HTTPRoutes())
        async with routes.changes() as changes:
            routes.drop()
            assert [len(batch) async for batch in changes] == [2]

    in_mirror(MemoryBBS(*hosts(2)), body)


# Waiting


def test_one_can_wait_for_something_that_holds_already_or_comes() -> None:
    bbs = MemoryBBS(LRP)

    async def body(mirror: Mirror) -> None:
        routes = await mirror.view(HTTPRoutes())
        await mirror.wait_for(lambda mirror: mirror.desired_lrp("p") is not None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bbs.write, running())
            await mirror.wait_for(lambda _: HOST in routes, 10)

    in_mirror(bbs, body)


def test_what_does_not_come_in_time_is_named_with_what_there_is_instead() -> None:
    async def body(mirror: Mirror) -> None:
        start = trio.current_time()
        with pytest.raises(NotSeen) as caught:
            await mirror.wait_for(lambda _: False, 3, what="the impossible")
        assert since(start) == 3

        assert str(caught.value) == (
            "the impossible did not come within 3 s; the mirror is live at revision 1 with 2 actual and 2 desired LRPs"
        )

    in_mirror(MemoryBBS(*hosts(2)), body)


def test_one_can_wait_for_ones_own_write() -> None:
    bbs = MemoryBBS(LRP)

    async def body(mirror: Mirror) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bbs.write, running(epoch="e", tag_index=3))
            await mirror.wait_for_tag("p", ModificationTag("e", 2), 10)
        await mirror.wait_for_tag("p", LRP.modification_tag, 10)
        await bbs.remove(running(epoch="e", tag_index=3))
        await mirror.wait_for_tag("p", ModificationTag("e", 3), 10)

    in_mirror(bbs, body)


def test_a_write_that_does_not_come_is_named_with_the_tags_that_did() -> None:
    async def body(mirror: Mirror) -> None:
        with pytest.raises(NotSeen, match=r"a record of p with tag e:4 did not come .* it has: d-p:0, e:3$"):
            await mirror.wait_for_tag("p", ModificationTag("e", 4), 1)
        with pytest.raises(NotSeen, match=r"it has: none at all$"):
            await mirror.wait_for_tag("unknown", ModificationTag("e", 0), 1)

    in_mirror(MemoryBBS(LRP, running(epoch="e", tag_index=3)), body)


def test_a_wait_ends_with_an_error_when_the_mirror_is_closed() -> None:
    caught: list[BaseException] = []

    async def wait(mirror: Mirror) -> None:
        try:
            await mirror.wait_for(lambda _: False, what="anything")
        except MirrorClosed as error:
            caught.append(error)

    async def main() -> None:
        async with trio.open_nursery() as outside, open_mirror(MemoryBBS()) as mirror:
            await mirror.wait_synced()
            outside.start_soon(wait, mirror)
            await settled()

    trio.run(main)

    assert [str(error) for error in caught] == ["the mirror was closed before it had anything"]


def test_what_waits_behind_a_slow_call_is_pending_and_goes_on_being_coalesced() -> None:
    bbs = MemoryBBS(*hosts(3))

    async def body(mirror: Mirror) -> None:
        routes = await mirror.view(HTTPRoutes())
        notified: list[Change[Any, Any]] = []

        async def slow(change: Change[Any, Any]) -> None:
            notified.append(change)
            await trio.sleep(60)

        subscription = routes.subscribe(slow)
        await settled()
        assert subscription.lag.pending == 2
        # In no promised order.
        _, goes, moves = sorted(("p0", "p1", "p2"), key=lambda guid: f"{guid[1]}.example.com" != notified[0].key)
        await bbs.remove(running(goes))
        await bbs.write(running(moves, tag_index=1, address="10.0.0.2"))
        await trio.sleep(600)

        assert [change.key for change in notified[1:]] == [f"{moves[1]}.example.com"]
        assert [one.host for one in notified[1].after or ()] == ["10.0.0.2"]

    in_mirror(bbs, body)
