"""Views and subscriptions of a living mirror, on a mocked clock, over a BBS in memory."""

import logging
from collections.abc import Mapping
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from views_support import (
    CRASHED,
    EVACUATING,
    MemoryBBS,
    desired,
    in_mirror,
    running,
    settled,
    since,
)

from lrpmirror.core.derived.derive import Process, View
from lrpmirror.core.derived.subscriptions import Lag
from lrpmirror.core.rows.changes import Cause, Change
from lrpmirror.errors import MirrorClosed, NotSeen
from lrpmirror.events import DesiredLRPRemoved
from lrpmirror.mirror import Mirror, MirrorView, open_mirror
from lrpmirror.model import ModificationTag
from lrpmirror.views import HTTPRoutes, Processes

HOST = "app.example.com"
LRP = desired("p", 100, http=[HOST])


def hosts(n: int) -> tuple[Any, ...]:
    """A process each for n host names, with an instance."""
    lrps = [desired(f"p{i}", http=[f"{i}.example.com"]) for i in range(n)]
    return (*lrps, *(running(lrp.process_guid) for lrp in lrps))


class Told:
    """A callback that remembers what it was told, and when."""

    def __init__(self) -> None:
        self.changes: list[Change[Any, Any]] = []
        self.times: list[float] = []

    def __call__(self, change: Change[Any, Any]) -> None:
        self.changes.append(change)
        self.times.append(trio.current_time())

    @property
    def keys(self) -> list[Any]:
        return [change.key for change in self.changes]


# The mapping


def test_a_view_is_a_read_only_mapping_that_is_there_at_once() -> None:
    async def body(mirror: Mirror) -> None:
        routes = await mirror.view(HTTPRoutes())

        assert [one.index for one in routes[HOST]] == [0]
        assert routes.get("unknown") is None
        assert HOST in routes
        assert (list(routes), len(routes)) == ([HOST], 1)
        with pytest.raises(KeyError):
            routes["unknown"]
        with pytest.raises(TypeError):
            routes[HOST] = ()  # type: ignore[index]
        assert repr(routes) == f"<view HTTPRoutes: 1 keys at revision {mirror.revision}>"

    in_mirror(MemoryBBS(LRP, running()), body)


def test_at_any_moment_a_view_is_of_the_revision_that_the_rows_are_of() -> None:
    bbs = MemoryBBS(LRP)

    async def body(mirror: Mirror) -> None:
        routes, health = await mirror.view(HTTPRoutes()), await mirror.view(Processes())

        def consistent(_: object) -> None:
            indexes = [row.index for row in mirror.actual_lrps("p")]
            assert [one.index for one in routes.get(HOST, ())] == indexes
            assert health["p"].running == len(indexes)
            assert routes.revision == health.revision == mirror.revision

        for subscribe in (mirror.subscribe, routes.subscribe, health.subscribe):
            subscribe(consistent)
        for index in range(5):
            await bbs.write(running(index=index))
        await bbs.write(*(running(index=index) for index in range(5, 10)))
        await bbs.remove(running(index=3))
        await settled()
        consistent(None)

    in_mirror(bbs, body)


class ByHost(View[str, int, int]):
    """How many instances are on each host address: what a user writes."""

    def derive(self, process: Process) -> Mapping[str, int]:
        return {row.address: 1 for row in process.rows}

    def combine(self, key: str, contributions: Mapping[str, int]) -> int:  # noqa: ARG002
        return sum(contributions.values())


def test_a_view_of_ones_own_takes_a_few_lines() -> None:
    bbs = MemoryBBS(*hosts(3))

    async def body(mirror: Mirror) -> None:
        view = await mirror.view(ByHost())
        assert view == {"10.0.0.1": 3}

        await bbs.write(running("p1", tag_index=1, address="10.0.0.2"))
        await settled()
        assert view == {"10.0.0.1": 2, "10.0.0.2": 1}

    in_mirror(bbs, body)


def test_views_come_and_go_while_the_mirror_lives() -> None:
    bbs = MemoryBBS(LRP)

    async def body(mirror: Mirror) -> None:
        first, notified = await mirror.view(HTTPRoutes()), Told()
        first.subscribe(notified)
        await bbs.write(running(index=0))
        second = await mirror.view(HTTPRoutes())
        await settled()
        assert second[HOST] == first[HOST]
        first.drop()
        await bbs.write(running(index=1))
        await settled()

        assert [one.index for one in first[HOST]] == [0], "it stays as it was"
        assert [one.index for one in second[HOST]] == [0, 1]
        assert len(notified.changes) == 1
        with pytest.raises(MirrorClosed):
            first.subscribe(notified)

    in_mirror(bbs, body)


def test_a_closed_mirror_has_no_new_views_and_keeps_the_old_ones_as_they_are() -> None:
    kept: list[MirrorView[Any, Any]] = []
    mirrors: list[Mirror] = []

    async def body(mirror: Mirror) -> None:
        mirrors.append(mirror)
        kept.append(await mirror.view(HTTPRoutes()))
        await settled()

    in_mirror(MemoryBBS(LRP, running()), body)

    assert list(kept[0]) == [HOST]
    with pytest.raises(MirrorClosed):
        trio.run(mirrors[0].view, HTTPRoutes())


class FreshProcesses(View[str, bool, bool]):
    """The processes that there are, and whether their domain is fresh."""

    follows_domains = True

    def derive(self, process: Process) -> Mapping[str, bool]:
        return {process.guid: process.domain_fresh}

    def combine(self, key: str, contributions: Mapping[str, bool]) -> bool:
        return contributions[key]


def test_a_view_that_follows_domains_is_derived_again_when_one_turns_fresh_or_stale() -> None:
    bbs = MemoryBBS(desired("p"), desired("q", domain="tasks"))

    async def body(mirror: Mirror) -> None:
        view = await mirror.view(FreshProcesses())
        assert view == {"p": True, "q": False}

        bbs.fresh = ("tasks",)
        mirror.resync()
        await settled()
        assert view == {"p": False, "q": True}

    in_mirror(bbs, body)


def test_a_process_that_goes_with_the_list_that_changes_the_domains_is_gone_from_such_a_view() -> None:
    bbs = MemoryBBS(desired("p"), desired("q"))

    async def body(mirror: Mirror) -> None:
        view = await mirror.view(FreshProcesses())
        bbs.fresh = ("apps", "tasks")
        del bbs.lrps["p"]
        mirror.resync()
        await settled()

        assert view == {"q": True}

    in_mirror(bbs, body)


# A view that raises


class Picky(HTTPRoutes):
    def terms(self, process: Process, before: Any) -> Any:
        if process.routed is not None and process.routed.annotation == "broken":
            raise ValueError(f"cannot stand {process.guid}")
        return super().terms(process, before)


def test_a_view_that_raises_for_one_process_is_reported_once_and_keeps_its_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bbs = MemoryBBS(*hosts(2))

    async def body(mirror: Mirror) -> None:
        view = await mirror.view(Picky())
        broken = desired("p0", http=["new.example.com"], annotation="broken", tag_index=1)
        await bbs.write(broken)
        await bbs.write(running("p0", tag_index=1, address="10.0.0.2"))
        await bbs.write(running("p1", tag_index=1, address="10.0.0.2"))
        await settled()

        assert {name: [one.host for one in found] for name, found in view.items()} == {
            "0.example.com": ["10.0.0.1"],
            "1.example.com": ["10.0.0.2"],
        }
        assert {what: str(error) for what, error in view.failures.items()} == {"p0": "cannot stand p0"}
        assert view.failures["p0"].__traceback__ is None, "what the view had in its hands is not kept"

        await bbs.write(replace(broken, annotation="", tag_index=2))
        await settled()
        assert view.keys() == {"1.example.com", "new.example.com"}
        assert view.failures == {}

    in_mirror(bbs, body)

    (record,) = caplog.records
    assert record.name == "lrpmirror"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "the view Picky failed on p0 and keeps what it had for it"
    assert record.exc_info is not None
    assert record.exc_info[2] is not None


# Routes of a domain that is not fresh, and of a desired LRP that is not known


def test_on_a_mirror_too_routes_outlive_a_list_that_lacks_their_desired_lrp_in_a_stale_domain() -> None:
    bbs = MemoryBBS(LRP, running(), domains=())

    async def body(mirror: Mirror) -> None:
        routes, notified = await mirror.view(HTTPRoutes()), Told()
        routes.subscribe(notified, replay=False)
        del bbs.lrps["p"]
        mirror.resync()
        await settled()
        assert mirror.desired_lrp("p") is None
        assert HOST in routes
        assert notified.changes == []

        bbs.fresh = ("apps",)
        mirror.resync()
        await settled()
        assert HOST not in routes
        assert [(change.after, change.cause) for change in notified.changes] == [(None, Cause.SNAPSHOT)]

    in_mirror(bbs, body)


def test_an_instance_that_runs_without_a_known_desired_lrp_has_exactly_one_targeted_read() -> None:
    bbs = MemoryBBS()

    async def body(mirror: Mirror) -> None:
        routes, notified = await mirror.view(HTTPRoutes()), Told()
        routes.subscribe(notified)
        await bbs.write(running())
        bbs.have(LRP)
        for tag_index in range(1, 20):
            await bbs.write(running(tag_index=tag_index))
            await trio.sleep(0.1)

        assert bbs.reads == [("desired", ("p",))]
        assert [one.index for one in routes[HOST]] == [0]
        assert [change.cause for change in notified.changes] == [Cause.REPAIR]

    in_mirror(bbs, body)


def test_one_that_the_server_does_not_know_either_is_not_asked_for_again() -> None:
    bbs = MemoryBBS()

    async def body(_: Mirror) -> None:
        for tag_index in range(20):
            await bbs.write(running(tag_index=tag_index))
            await trio.sleep(1)

        assert bbs.reads == [("desired", ("p",))]

    in_mirror(bbs, body)


# Who is told what


def test_changes_say_key_before_after_revision_and_cause() -> None:
    bbs = MemoryBBS(LRP, running())

    async def body(mirror: Mirror) -> None:
        routes, notified = await mirror.view(HTTPRoutes()), Told()
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


def test_an_instance_that_begins_to_leave_is_told_to_those_who_follow_rows_and_not_to_those_who_route() -> None:
    bbs = MemoryBBS(LRP, running())

    async def body(mirror: Mirror) -> None:
        routes, notified, rows = await mirror.view(HTTPRoutes()), Told(), Told()
        routes.subscribe(notified, replay=False)
        mirror.subscribe(rows, replay=False)
        await bbs.write(running(presence=EVACUATING, epoch="leaving"))
        await bbs.remove(running())
        await settled()

        assert rows.keys == ["leaving", "p/0/0"]
        assert notified.changes == []
        assert [one.evacuating for one in routes[HOST]] == [True]

    in_mirror(bbs, body)


def test_a_late_subscriber_is_told_what_is_there_unless_it_does_not_want_to_know() -> None:
    async def body(mirror: Mirror) -> None:
        routes, late, later = await mirror.view(HTTPRoutes()), Told(), Told()
        routes.subscribe(late)
        routes.subscribe(later, replay=False)
        await settled()

        assert {(change.key, change.cause) for change in late.changes} == {
            (f"{i}.example.com", Cause.REPLAY) for i in range(3)
        }
        assert later.changes == []

    in_mirror(MemoryBBS(*hosts(3)), body)


def test_a_subscriber_of_some_keys_is_told_of_those_only() -> None:
    bbs = MemoryBBS(*hosts(3))

    async def body(mirror: Mirror) -> None:
        routes, notified = await mirror.view(HTTPRoutes()), Told()
        routes.subscribe(notified, keys=["1.example.com", "unknown.example.com"])
        await bbs.write(running("p0", tag_index=1, address="10.0.0.2"), running("p1", tag_index=1, address="10.0.0.2"))
        await bbs.write(desired("new", http=["unknown.example.com"]), running("new"))
        await settled()

        assert sorted(set(notified.keys)) == ["1.example.com", "unknown.example.com"]

    in_mirror(bbs, body)


def test_to_a_subscriber_with_a_predicate_a_value_that_fails_it_is_not_there() -> None:
    bbs = MemoryBBS(desired("p", 3))

    async def body(mirror: Mirror) -> None:
        health, notified = await mirror.view(Processes()), Told()
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


def test_a_predicate_may_look_at_what_is_not_published_and_the_end_is_told_all_the_same() -> None:
    bbs = MemoryBBS(LRP, running())

    async def body(mirror: Mirror) -> None:
        routes, notified = await mirror.view(HTTPRoutes()), Told()
        routes.subscribe(notified, where=lambda endpoints: not endpoints[0].evacuating)
        await settled()
        await bbs.write(running(presence=EVACUATING, epoch="leaving"))
        await bbs.remove(running())
        await settled()
        late = Told()
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
        routes, first, second, third = await mirror.view(HTTPRoutes()), Told(), Told(), Told()

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


def test_a_value_that_is_again_what_a_subscriber_saw_last_is_not_told() -> None:
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


def test_a_subscriber_that_cancels_is_told_nothing_more() -> None:
    bbs = MemoryBBS(*hosts(1))

    async def body(mirror: Mirror) -> None:
        routes, notified = await mirror.view(HTTPRoutes()), Told()
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
        routes, mine, others = await mirror.view(HTTPRoutes()), Told(), Told()

        def callback(change: Change[Any, Any]) -> None:
            mine(change)
            if len(mine.changes) == 2:
                own.cancel()
                other.cancel()

        own = routes.subscribe(callback)
        other = routes.subscribe(others)
        routes.subscribe(Told())
        await settled()

        assert len(mine.changes) == 2
        assert len(others.changes) <= 2
        assert own.cancelled
        assert [lag.pending for lag in routes.lags] == [0]

    in_mirror(MemoryBBS(*hosts(5)), body)


def test_one_that_cancels_before_it_was_ever_called_is_not_called() -> None:
    async def body(mirror: Mirror) -> None:
        notified = Told()
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
def test_with_log_it_is_logged_and_the_next_change_is_told(callback: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def body(mirror: Mirror) -> None:
        notified = Told()
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
        notified = Told()
        routes = await mirror.view(HTTPRoutes())
        subscription = routes.subscribe(broken, errors="cancel")
        routes.subscribe(notified)
        await settled()

        assert subscription.cancelled
        assert len(notified.changes) == 2

    in_mirror(MemoryBBS(*hosts(2)), body)

    assert len(caplog.records) == 1


# Fast and slow


def test_a_subscriber_that_sleeps_for_a_minute_delays_neither_the_other_nor_the_reader() -> None:
    keys = 20
    lrps = [desired(f"p{i}", http=[f"{i}.example.com"]) for i in range(keys)]
    bbs = MemoryBBS(*lrps)

    async def body(mirror: Mirror) -> None:
        routes, fast = await mirror.view(HTTPRoutes()), Told()
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


def test_who_waits_when_the_mirror_is_closed_is_told_so() -> None:
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
