"""Changes brought from the mirror's thread to callbacks and iterations in others."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest
import trio
from thread_support import (
    PATIENCE,
    FakeBBS,
    Gate,
    InThread,
    Versions,
    anywhere,
    changed,
    created,
    desired,
    place,
    pool,
    row,
    running_loop,
    seen,
    synced,
)

from lrpmirror import Cause, Change, MirrorThread
from lrpmirror.errors import ConfigurationError, MirrorClosed, MirrorError

Changes = list[Change[Any, Any]]


elsewhere = pytest.mark.parametrize("kind", ["pool", "loop"])


# Where, and in what order


@anywhere
def test_callbacks_run_where_they_were_asked_to(kind: str) -> None:
    gate = Gate()
    bbs = FakeBBS([row()])
    with place(kind) as where, synced(bbs) as mirror:
        mirror.subscribe(gate, **where)
        gate.wait(1)
        bbs.push(changed(row()))
        gate.wait(2)
        assert gate.steps() == [(None, 0), (0, 1)]
        assert [change.cause for change in gate.changes] == [Cause.REPLAY, Cause.EVENT]
    assert gate.threads == {kind}


@elsewhere
def test_while_a_callback_is_busy_changes_coalesce(kind: str) -> None:
    gate = Gate(shut=True)
    bbs = FakeBBS([row()])
    with place(kind) as where, synced(bbs) as mirror:
        subscription = mirror.subscribe(gate, **where)
        gate.wait(1)
        bbs.push(*(changed(row(version=version)) for version in range(100)))
        seen(mirror, 101)
        assert subscription.lag.pending == 1
        assert subscription.lag.age > 0
        gate.open()
        gate.wait(2)
        bbs.push(changed(row(version=100)))
        gate.wait(3)
        assert gate.steps() == [(None, 0), (0, 100), (100, 101)]
        assert gate.most_at_once == 1


def test_an_asynchronous_callback_runs_on_the_loop_one_change_after_the_other() -> None:
    gate = Gate()
    bbs = FakeBBS([row(str(number)) for number in range(3)])

    async def main() -> None:
        inside = 0

        async def callback(change: Change[Any, Any]) -> None:
            nonlocal inside
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1
            gate(change)
            if len(gate.changes) == 4:
                done.set()

        done = asyncio.Event()
        with synced(bbs) as mirror:
            mirror.subscribe(callback, loop=asyncio.get_running_loop())
            bbs.push(created(row("late")))
            await asyncio.wait_for(done.wait(), PATIENCE)

    asyncio.run(main())
    assert [change.after and change.after.process_guid for change in gate.changes] == ["0", "1", "2", "late"]


def test_an_asynchronous_callback_without_a_loop_runs_on_the_mirrors_trio() -> None:
    gate = Gate()

    async def callback(change: Change[Any, Any]) -> None:
        await trio.lowlevel.checkpoint()
        gate(change)

    with synced(FakeBBS([row()])) as mirror:
        mirror.subscribe(callback)
        gate.wait(1)


def test_others_on_the_loop_have_their_turn_during_a_long_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrpmirror.thread._delivery.SLICE", 0)
    bbs = FakeBBS([row(str(number)) for number in range(10)])

    async def main() -> None:
        turns: list[int] = []
        gate = Gate()
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def callback(change: Change[Any, Any]) -> None:
            gate(change)
            loop.call_soon(lambda: turns.append(len(gate.changes)))
            if len(gate.changes) == 10:
                loop.call_soon(done.set)

        with synced(bbs) as mirror:
            mirror.subscribe(callback, loop=loop)
            await asyncio.wait_for(done.wait(), PATIENCE)
        assert turns == list(range(1, 11))

    asyncio.run(main())


def test_the_mirror_goes_on_reading_during_a_long_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrpmirror.thread._delivery.SLICE", 0)
    bbs = FakeBBS([row(str(number)) for number in range(100)])
    revisions: list[int] = []
    gate = Gate()
    with synced(bbs) as mirror:

        def callback(change: Change[Any, Any]) -> None:
            if not revisions:
                bbs.push(created(row("late")))
            revisions.append(mirror.revision)
            gate(change)

        mirror.subscribe(callback)
        gate.wait(101)
    assert revisions[0] == 1
    assert revisions[99] == 2


def test_what_contradicts_itself_is_refused() -> None:
    async def asynchronous(_: object) -> None:
        pass

    with pool() as executor, running_loop() as loop, synced(FakeBBS()) as mirror:
        for options in (
            {"executor": executor, "loop": loop},
            {"errors": "ignore"},
        ):
            with pytest.raises(ConfigurationError):
                mirror.subscribe(print, **options)
        with pytest.raises(ConfigurationError, match="asynchronous"):
            mirror.subscribe(asynchronous, executor=executor)


def test_desired_lrps_and_views_have_subscribers_too() -> None:
    lrps, versions = Gate(), Gate()
    bbs = FakeBBS([row()], [desired()])
    with pool() as executor, synced(bbs) as mirror:
        mirror.subscribe_desired(lrps, executor=executor)
        view = mirror.view(Versions())
        view.subscribe(versions, keys=["p"], executor=executor)
        lrps.wait(1)
        versions.wait(1)
        bbs.push(created(row("q")), changed(row()))
        versions.wait(2)
    assert [(change.key, change.after) for change in lrps.changes] == [("p", desired())]
    assert [(change.key, change.before, change.after) for change in versions.changes] == [("p", None, 0), ("p", 0, 1)]
    assert view.copy() == {"p": 1, "q": 0}


# Ending


@anywhere
def test_cancelling_from_the_callback_is_the_last_of_it(kind: str) -> None:
    gate = Gate()
    bbs = FakeBBS([row(str(number)) for number in range(3)])
    with place(kind) as where, synced(bbs) as mirror:
        known = threading.Event()

        def callback(change: Change[Any, Any]) -> None:
            assert known.wait(PATIENCE)
            gate(change)
            subscription.cancel()

        subscription = mirror.subscribe(callback, **where)
        known.set()
        gate.wait(1)
        bbs.push(created(row("late")))
        seen(mirror, 2)
        assert subscription.cancelled
        assert len(gate.changes) == 1
        assert mirror.status.live


@elsewhere
def test_cancelling_from_another_thread_lets_a_running_call_end_and_begins_no_other(kind: str) -> None:
    gate = Gate(shut=True)
    bbs = FakeBBS([row(str(number)) for number in range(3)])
    with place(kind) as where, synced(bbs) as mirror:
        subscription = mirror.subscribe(gate, **where)
        gate.wait(1)
        subscription.cancel()
        subscription.cancel()
        gate.open()
        bbs.push(created(row("late")))
        seen(mirror, 2)
    assert len(gate.changes) == 1


def test_nothing_is_kept_for_a_subscriber_that_was_cancelled() -> None:
    gate = Gate()
    with synced(FakeBBS([row()])) as mirror:
        view = mirror.view(Versions())
        subscription = view.subscribe(gate)
        gate.wait(1)
        assert len(view.lags) == 1
        subscription.cancel()
        mirror.consistently(lambda: None)
        assert view.lags == []


@elsewhere
def test_closing_does_not_wait_for_a_callback_elsewhere_and_lets_it_end(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(shut=True)
    with place(kind) as where, caplog.at_level(logging.WARNING):
        with synced(FakeBBS([row("p"), row("q")])) as mirror:
            mirror.subscribe(gate, **where)
            gate.wait(1)
        assert not any(thread.name == "lrpmirror" for thread in threading.enumerate())
        gate.open()
    assert len(gate.changes) == 1
    assert caplog.records == []


@contextmanager
def warned(mirror: MirrorThread, why: str) -> Iterator[None]:
    """Within the block, or soon after it, one warning is logged in the mirror's thread."""
    records: list[logging.LogRecord] = []
    logged = threading.Event()

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)
            logged.set()

    handler = Note(logging.WARNING)
    logging.getLogger("lrpmirror").addHandler(handler)
    try:
        yield
        assert logged.wait(PATIENCE)
        mirror.consistently(lambda: None)
    finally:
        logging.getLogger("lrpmirror").removeHandler(handler)
    assert [(record.levelname, record.threadName) for record in records] == [("WARNING", "lrpmirror")]
    assert why in records[0].message


def test_an_executor_that_was_shut_down_ends_the_subscription() -> None:
    gate = Gate()
    bbs = FakeBBS([row()])
    with synced(bbs) as mirror:
        with pool() as executor:
            subscription = mirror.subscribe(gate, executor=executor)
            gate.wait(1)
        with warned(mirror, "executor has been shut down"):
            bbs.push(changed(row()))
        assert subscription.cancelled
        assert mirror.status.live
    assert len(gate.changes) == 1


def test_an_executor_that_drops_what_it_was_given_ends_the_subscription() -> None:
    held, handed = threading.Event(), threading.Event()

    class Pool(ThreadPoolExecutor):
        def submit(self, *args: Any, **options: Any) -> Future[Any]:
            future = super().submit(*args, **options)
            if threading.current_thread() is not threading.main_thread():
                handed.set()
            return future

    with Pool(1) as executor, synced(FakeBBS([row()])) as mirror:
        executor.submit(held.wait, PATIENCE)
        subscription = mirror.subscribe(Gate(), executor=executor)
        assert handed.wait(PATIENCE)
        with warned(mirror, "executor has been shut down"):
            executor.shutdown(wait=False, cancel_futures=True)
            held.set()
        assert subscription.cancelled
        assert mirror.status.live


def test_a_loop_that_was_closed_ends_the_subscription() -> None:
    gate = Gate()
    bbs = FakeBBS([row()])
    with synced(bbs) as mirror:
        with running_loop() as loop:
            subscription = mirror.subscribe(gate, loop=loop)
            gate.wait(1)
        with warned(mirror, "asyncio loop has been closed"):
            bbs.push(changed(row()))
        assert subscription.cancelled
        assert mirror.status.live
    assert len(gate.changes) == 1


def test_a_loop_that_is_closed_with_a_batch_before_it_ends_the_subscription(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrpmirror.thread._delivery.CHECK", 0.001)
    gate = Gate()
    handed = threading.Event()

    class Loop(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(self, *args: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
            handle = super().call_soon_threadsafe(*args, **options)
            handed.set()
            return handle

    loop = Loop()
    with closing(loop), synced(FakeBBS([row()])) as mirror:
        subscription = mirror.subscribe(gate, loop=loop)
        assert handed.wait(PATIENCE)
        with warned(mirror, "asyncio loop has been closed"):
            loop.close()
        assert subscription.cancelled
        assert mirror.status.live
    assert gate.changes == []


def test_a_loop_that_ends_its_tasks_ends_the_subscription() -> None:
    async def main() -> Any:
        begun = asyncio.Event()

        async def callback(_: object) -> None:
            begun.set()
            await asyncio.Event().wait()

        subscription = mirror.subscribe(callback, loop=asyncio.get_running_loop())
        await asyncio.wait_for(begun.wait(), PATIENCE)
        return subscription

    with synced(FakeBBS([row()])) as mirror:
        with warned(mirror, "ends its tasks"):
            subscription = asyncio.run(main())
        assert subscription.cancelled
        assert mirror.status.live


# From inside, and iterating


def test_a_callback_in_the_mirrors_thread_may_subscribe_but_not_wait_for_a_view() -> None:
    gate = Gate()
    with synced(FakeBBS([row()])) as mirror:
        versions = mirror.view(Versions())

        def callback(_: object) -> None:
            versions.subscribe(gate)
            assert mirror.consistently(lambda: mirror.revision) == 1
            with pytest.raises(MirrorError, match="cannot wait for the mirror"):
                mirror.view(Versions())

        mirror.subscribe(callback)
        gate.wait(1)
    assert gate.changes[0].after == 0


def test_iterating_blocks_until_there_is_something_and_ends_with_the_mirror() -> None:
    bbs = FakeBBS([row()])
    with synced(bbs) as mirror, mirror.changes() as changes:
        got = [next(changes)]
        taking = InThread(lambda: list(changes))
        bbs.push(changed(row()))
        mirror.wait_for(lambda one: one.revision == 2, PATIENCE)
        mirror.close()
        got += taking.result()
        with pytest.raises(MirrorClosed):
            changes.take()
    assert [[change.after.tag_index for change in batch if change.after] for batch in got] == [[0], [1]]


def test_what_is_left_can_be_taken_after_the_end() -> None:
    with synced(FakeBBS([row()])) as mirror, mirror.changes() as changes:
        assert changes.lag.pending == 1
        mirror.close()
        assert [len(batch) for batch in changes] == [1]


def test_taking_gives_up_after_its_timeout_and_loses_nothing() -> None:
    bbs = FakeBBS([row()], [desired()])
    with synced(bbs) as mirror, mirror.changes(replay=False) as changes, mirror.changes_desired() as lrps:
        assert changes.take(0) == []
        assert [change.key for change in lrps.take()] == ["p"]
        bbs.push(changed(row()))
        seen(mirror, 2)
        assert [change.after.tag_index for change in changes.take(PATIENCE) if change.after] == [1]


def test_iterating_raises_what_ends_the_mirror() -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    bbs = FakeBBS()
    with synced(bbs) as mirror, mirror.changes() as changes:
        taking = InThread(lambda: list(changes))
        mirror.subscribe(fail)
        bbs.push(created(row()))
        with pytest.raises(ZeroDivisionError):
            taking.result()


def test_a_view_that_is_dropped_stays_as_it_is_and_ends_its_iterations() -> None:
    bbs = FakeBBS([row()])
    with synced(bbs) as mirror:
        view = mirror.view(Versions())
        gate = Gate()
        subscription = view.subscribe(gate)
        with view.changes() as changes:
            assert len(next(changes)) == 1
            gate.wait(1)
            assert [lag.pending for lag in view.lags] == [0, 0]
            view.drop()
            assert list(changes) == []
        bbs.push(changed(row()))
        seen(mirror, 2)
        assert subscription.cancelled
        assert view.copy() == {"p": 0}
        assert view.revision == 1
        with pytest.raises(MirrorClosed):
            view.subscribe(gate)
