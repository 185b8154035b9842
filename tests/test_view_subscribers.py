"""Subscribers of a view of a live mirror: what they get, cancelling, and callbacks that raise."""

from typing import Any

import pytest
import trio
from views_support import (
    CRASHED,
    EVACUATING,
    HOST,
    LRP,
    MemoryBBS,
    Notified,
    desired,
    hosts,
    in_mirror,
    running,
    settled,
)

from lrpmirror.core.derived.subscriptions import Lag
from lrpmirror.core.rows.changes import Cause, Change
from lrpmirror.events import DesiredLRPRemoved
from lrpmirror.mirror import Mirror
from lrpmirror.views import HTTPRoutes, Processes

# Who is told what


def test_changes_say_key_before_after_revision_and_cause() -> None:
    bbs = MemoryBBS(LRP, running())

    async def body(mirror: Mirror) -> None:
        routes, notified = await mirror.view(HTTPRoutes()), Notified()
        there, start = routes[HOST], mirror.revision
        routes.subscribe(notified)
        await settled()
        await bbs.write(running(index=1))
        await settled()
        grown = routes[HOST]
        await bbs.send([DesiredLRPRemoved(LRP)])
        await settled()

        assert notified.changes == [
            Change(HOST, None, there, start, Cause.REPLAY),
            Change(HOST, there, grown, start + 1, Cause.EVENT),
            Change(HOST, grown, None, start + 2, Cause.EVENT),
        ]

    in_mirror(bbs, body)


def test_an_instance_that_begins_to_leave_is_a_change_of_its_row_and_not_of_its_routes() -> None:
    bbs = MemoryBBS(LRP, running())

    async def body(mirror: Mirror) -> None:
        routes, notified, rows = await mirror.view(HTTPRoutes()), Notified(), Notified()
        routes.subscribe(notified, replay=False)
        mirror.subscribe(rows, replay=False)
        await bbs.write(running(presence=EVACUATING, epoch="leaving"))
        await bbs.remove(running())
        await settled()

        assert rows.keys == ["leaving", "p/0/0"]
        assert notified.changes == []
        assert [one.evacuating for one in routes[HOST]] == [True]

    in_mirror(bbs, body)


def test_a_late_subscriber_gets_what_is_there_unless_without_replay() -> None:
    async def body(mirror: Mirror) -> None:
        routes, late, later = await mirror.view(HTTPRoutes()), Notified(), Notified()
        routes.subscribe(late)
        routes.subscribe(later, replay=False)
        await settled()

        assert {(change.key, change.cause) for change in late.changes} == {
            (f"{i}.example.com", Cause.REPLAY) for i in range(3)
        }
        assert later.changes == []

    in_mirror(MemoryBBS(*hosts(3)), body)


def test_a_subscriber_of_some_keys_gets_only_those() -> None:
    bbs = MemoryBBS(*hosts(3))

    async def body(mirror: Mirror) -> None:
        routes, notified = await mirror.view(HTTPRoutes()), Notified()
        routes.subscribe(notified, keys=["1.example.com", "unknown.example.com"])
        await bbs.write(running("p0", tag_index=1, address="10.0.0.2"), running("p1", tag_index=1, address="10.0.0.2"))
        await bbs.write(desired("new", http=["unknown.example.com"]), running("new"))
        await settled()

        assert sorted(set(notified.keys)) == ["1.example.com", "unknown.example.com"]

    in_mirror(bbs, body)


def test_to_a_subscriber_with_a_predicate_a_value_that_fails_it_is_not_there() -> None:
    bbs = MemoryBBS(desired("p", 3))

    async def body(mirror: Mirror) -> None:
        health, notified = await mirror.view(Processes()), Notified()
        health.subscribe(notified, where=lambda one: one.crashed > 0)
        await bbs.write(running(index=0))
        await settled()
        await bbs.write(running(index=1, state=CRASHED))
        await settled()
        await bbs.write(running(index=1, tag_index=1))
        await settled()

        assert [
            (change.before and change.before.crashed, change.after and change.after.crashed)
            for change in notified.changes
        ] == [
            (None, 1),
            (1, None),
        ]

    in_mirror(bbs, body)


def test_a_predicate_may_read_what_is_not_published_and_the_end_is_published_anyway() -> None:
    bbs = MemoryBBS(LRP, running())

    async def body(mirror: Mirror) -> None:
        routes, notified = await mirror.view(HTTPRoutes()), Notified()
        routes.subscribe(notified, where=lambda endpoints: not endpoints[0].evacuating)
        await settled()
        await bbs.write(running(presence=EVACUATING, epoch="leaving"))
        await bbs.remove(running())
        await settled()
        late = Notified()
        routes.subscribe(late, where=lambda endpoints: not endpoints[0].evacuating)
        await settled()
        await bbs.remove(running(presence=EVACUATING, epoch="leaving"))
        await settled()

        assert [change.after is None for change in notified.changes] == [False, True]
        assert [change.after is None for change in late.changes] == [False, True]

    in_mirror(bbs, body)


def test_callbacks_are_synchronous_or_asynchronous_and_several_see_the_same() -> None:
    bbs = MemoryBBS(LRP)

    async def body(mirror: Mirror) -> None:
        routes, first, second, third = await mirror.view(HTTPRoutes()), Notified(), Notified(), Notified()

        async def asynchronous(change: Change[Any, Any]) -> None:
            await trio.lowlevel.checkpoint()
            third(change)

        for callback in (first, second, asynchronous):
            routes.subscribe(callback)
        await bbs.write(running())
        await settled()

        assert len(first.changes) == 1
        assert first.changes == second.changes == third.changes

    in_mirror(bbs, body)


def test_a_value_that_is_again_what_a_subscriber_saw_last_is_not_delivered() -> None:
    bbs = MemoryBBS(LRP, running())

    async def body(mirror: Mirror) -> None:
        routes = await mirror.view(HTTPRoutes())
        async with routes.changes() as changes:
            assert len(await anext(changes)) == 1
            await bbs.write(running(index=1))
            assert await until(lambda: changes.lag.pending == 1)
            await bbs.remove(running(index=1))
            assert await until(lambda: changes.lag.pending == 0)
            with trio.move_on_after(10) as waited:
                await anext(changes)
            assert waited.cancelled_caught

    in_mirror(bbs, body)


async def until(holds: Any) -> bool:
    await settled()
    return bool(holds())


# Cancelling


def test_a_subscriber_that_cancels_gets_nothing_more() -> None:
    bbs = MemoryBBS(*hosts(1))

    async def body(mirror: Mirror) -> None:
        routes, notified = await mirror.view(HTTPRoutes()), Notified()
        subscription = routes.subscribe(notified)
        await settled()
        subscription.cancel()
        subscription.cancel()
        await bbs.write(running("p0", tag_index=1, address="10.0.0.2"))
        await settled()

        assert len(notified.changes) == 1
        assert routes.lags == []
        assert subscription.lag == Lag(0, 0.0), "nothing is gathered for it either"

    in_mirror(bbs, body)


def test_a_callback_can_cancel_itself_or_another_in_the_middle_of_what_waits() -> None:
    async def body(mirror: Mirror) -> None:
        routes, mine, others = await mirror.view(HTTPRoutes()), Notified(), Notified()

        def callback(change: Change[Any, Any]) -> None:
            mine(change)
            if len(mine.changes) == 2:
                own.cancel()
                other.cancel()

        own = routes.subscribe(callback)
        other = routes.subscribe(others)
        routes.subscribe(Notified())
        await settled()

        assert len(mine.changes) == 2
        assert len(others.changes) <= 2
        assert own.cancelled
        assert [lag.pending for lag in routes.lags] == [0]

    in_mirror(MemoryBBS(*hosts(5)), body)


def test_one_that_cancels_before_it_was_ever_called_is_not_called() -> None:
    async def body(mirror: Mirror) -> None:
        notified = Notified()
        (await mirror.view(HTTPRoutes())).subscribe(notified).cancel()
        await settled()

        assert notified.changes == []

    in_mirror(MemoryBBS(*hosts(2)), body)


# A callback that raises


def broken(change: Change[Any, Any]) -> None:
    raise ValueError(change.key)


async def broken_later(change: Change[Any, Any]) -> None:
    await trio.lowlevel.checkpoint()
    raise ValueError(change.key)


@pytest.mark.parametrize("callback", [broken, broken_later])
def test_by_default_the_error_of_a_callback_ends_the_mirrors_block_with_it(callback: Any) -> None:
    async def body(mirror: Mirror) -> None:
        (await mirror.view(HTTPRoutes())).subscribe(callback)
        await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        in_mirror(MemoryBBS(*hosts(1)), body)
    assert caught.group_contains(ValueError, match=r"0\.example\.com")


@pytest.mark.parametrize("callback", [broken, broken_later])
def test_with_log_it_is_logged_and_the_next_change_is_delivered(
    callback: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(mirror: Mirror) -> None:
        notified = Notified()
        routes = await mirror.view(HTTPRoutes())
        subscription = routes.subscribe(callback, errors="log")
        routes.subscribe(notified)
        await settled()

        assert not subscription.cancelled
        assert len(notified.changes) == 2, "another is unharmed"

    in_mirror(MemoryBBS(*hosts(2)), body)

    assert sorted(record.getMessage().partition(" at revision")[0] for record in caplog.records) == [
        "a subscriber failed on the change of 0.example.com",
        "a subscriber failed on the change of 1.example.com",
    ]


def test_with_cancel_it_is_logged_and_ends_that_subscription_only(caplog: pytest.LogCaptureFixture) -> None:
    async def body(mirror: Mirror) -> None:
        notified = Notified()
        routes = await mirror.view(HTTPRoutes())
        subscription = routes.subscribe(broken, errors="cancel")
        routes.subscribe(notified)
        await settled()

        assert subscription.cancelled
        assert len(notified.changes) == 2

    in_mirror(MemoryBBS(*hosts(2)), body)

    assert len(caplog.records) == 1
