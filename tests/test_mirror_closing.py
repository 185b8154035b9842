"""What ends with a mirror or with a block of it, and who is woken by what goes wrong."""

from contextlib import suppress
from math import inf
from typing import Any

import pytest
import trio
from mirror_bbs_support import Stream
from mirror_support import Answer, FakeBBS, mirroring, settled, simulated, small
from sim_support import wanted
from thread_support import Versions

from lrpmirror.core.rows.changes import Commit
from lrpmirror.errors import MirrorClosed, ServiceUnavailable
from lrpmirror.events import Event
from lrpmirror.mirror import Mirror, Subscription

QUIET: dict[str, Any] = {"resync_interval": inf, "idle_limit": inf, "ping_interval": inf}


class Observer:
    def __init__(self) -> None:
        self.events = 0
        self.lists = 0

    def event(self, event: Event, outcome: object, commit: Commit | None) -> None:  # noqa: ARG002 - a observer's
        self.events += 1

    def listed(self, commit: Commit) -> None:  # noqa: ARG002 - a observer's
        self.lists += 1


@simulated
async def test_an_observer_sees_nothing_more_once_its_block_has_ended_however_it_ends() -> None:
    server = small()
    async with mirroring(FakeBBS(server), **QUIET) as mirror:
        await mirror.wait_synced()
        stays, leaves, fails = Observer(), Observer(), Observer()
        with mirror.observed(stays):
            with mirror.observed(leaves):
                server.desire(wanted("q"))
                await settled()
            with suppress(ZeroDivisionError), mirror.observed(fails):
                server.desire(wanted("r"))
                await settled()
                raise ZeroDivisionError
            seen = stays.events, leaves.events, fails.events
            assert min(seen) > 0
            server.desire(wanted("s"))
            await settled()
            assert (leaves.events, fails.events) == seen[1:]
            assert stays.events > seen[0]


@simulated
async def test_with_the_mirror_its_views_end_for_those_who_follow_them() -> None:
    notified: list[Any] = []
    async with trio.open_nursery() as nursery:
        async with mirroring(FakeBBS(small()), **QUIET) as mirror:
            await mirror.wait_synced()
            view = await mirror.view(Versions())
            ended = trio.Event()

            async def follow() -> None:
                async with view.changes() as changes:
                    async for batch in changes:
                        notified.extend(batch)
                ended.set()

            nursery.start_soon(follow)
            await settled()
            assert [change.key for change in notified] == ["p"]
        with trio.fail_after(1):
            await ended.wait()
    assert dict(view) == {"p": 2}
    with pytest.raises(MirrorClosed):
        view.subscribe(notified.append)


@simulated
async def test_who_waits_for_trouble_is_woken_by_a_list_that_fails() -> None:
    bbs = FakeBBS(small())
    error = ServiceUnavailable("503")
    async with mirroring(bbs, **QUIET, first_delay=1000, most_delay=1000) as mirror:
        await mirror.wait_synced()
        bbs.answer = lambda _: Answer(before=3, error=error)
        mirror.resync()
        began = trio.current_time()
        await mirror.wait_for(lambda one: one.status.trouble is not None)
        assert mirror.status.trouble is error
        assert trio.current_time() - began == pytest.approx(3)


class Odd(BaseException):
    """What no handler of Exception catches."""


@pytest.mark.parametrize("failure", [ZeroDivisionError, Odd, KeyboardInterrupt])
@simulated
async def test_who_waits_for_something_that_fails_has_the_failure_and_nobody_else(failure: type[BaseException]) -> None:
    def fail(one: Mirror) -> bool:
        if one.desired_lrp("q") is not None:
            raise failure
        return False

    server = small()
    async with mirroring(FakeBBS(server), **QUIET) as mirror:
        await mirror.wait_synced()
        failed = trio.Event()

        async def wait() -> None:
            with pytest.raises(failure):
                await mirror.wait_for(fail)
            failed.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await settled()
            assert not failed.is_set()
            server.desire(wanted("q"))
            await mirror.wait_for(lambda one: one.desired_lrp("q") is not None)
            await failed.wait()
        assert mirror.status.live


@simulated
async def test_who_passes_an_event_on_does_so_before_the_next_ones_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    ask = Stream.__anext__

    async def asked(stream: Stream) -> list[Event]:
        seen.append("asked")
        return await ask(stream)

    class Passing(Observer):
        news = trio.Event()

        def event(self, event: Event, outcome: object, commit: Commit | None) -> None:
            super().event(event, outcome, commit)
            self.news.set()

        async def run(self) -> None:
            while True:
                await self.news.wait()
                self.news = trio.Event()
                seen.append("passed on")

    server, observer = small(), Passing()
    async with mirroring(FakeBBS(server), **QUIET) as mirror, trio.open_nursery() as nursery:
        await mirror.wait_synced()
        nursery.start_soon(observer.run)
        with mirror.observed(observer):
            monkeypatch.setattr(Stream, "__anext__", asked)
            for n in range(20):
                server.desire(wanted(f"q{n}"))
                await settled()
            assert seen == ["passed on", "asked"] * 20
        nursery.cancel_scope.cancel()


@simulated
async def test_of_a_subscription_that_was_cancelled_nothing_goes_on() -> None:
    async with mirroring(FakeBBS(small())) as mirror:
        await mirror.wait_synced()
        await settled()
        before = len(mirror._nursery.child_tasks)
        subscriptions: list[Subscription[Any, Any]] = [
            mirror.subscribe(lambda _: None),
            mirror.subscribe_desired(lambda _: None, process_guids=["p"], replay=False),
            mirror.subscribe(lambda _: None, where=lambda _: False),
        ]
        await settled()
        assert len(mirror._nursery.child_tasks) == before + 3
        for subscription in subscriptions:
            subscription.cancel()
        await settled()
        assert len(mirror._nursery.child_tasks) == before
        assert mirror.counts.subscribers == ()
