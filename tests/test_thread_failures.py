"""What the failures of callbacks and filters do, wherever they are called, and of whatever class they are."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from thread_support import PATIENCE, FakeBBS, Gate, anywhere, created, place, row, running_loop, seen, synced

from lrpmirror import Change, Phase
from lrpmirror.errors import MirrorError


@anywhere
def test_a_callback_that_raises_ends_the_mirror_and_is_raised_to_the_owner(kind: str) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    with place(kind) as where, synced(FakeBBS([row()])) as mirror:
        mirror.subscribe(fail, **where)
        with pytest.raises(ZeroDivisionError):
            mirror.wait_for(lambda _: False, PATIENCE)


@anywhere
def test_a_callback_whose_errors_are_logged_goes_on(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()

    def fail(change: Change[Any, Any]) -> None:
        gate(change)
        raise ZeroDivisionError

    with place(kind) as where, synced(FakeBBS([row("p"), row("q")])) as mirror:
        mirror.subscribe(fail, errors="log", **where)
        gate.wait(2)
    assert mirror.status.last_error is None
    assert [(record.name, record.exc_info is not None) for record in caplog.records] == [("lrpmirror", True)] * 2
    assert "epoch-p-0" in caplog.text


@anywhere
def test_a_callback_whose_errors_cancel_it_is_not_called_again(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    bbs = FakeBBS([row("p"), row("q")])

    def fail(change: Change[Any, Any]) -> None:
        gate(change)
        raise ZeroDivisionError

    with place(kind) as where, synced(bbs) as mirror:
        subscription = mirror.subscribe(fail, errors="cancel", **where)
        gate.wait(1)
        bbs.push(created(row("late")))
        seen(mirror, 2)
    assert subscription.cancelled
    assert len(gate.changes) == 1
    assert len(caplog.records) == 1


# Of whatever class


class Outcome(BaseException):
    """What is no Exception, as test frameworks and greenlets have it."""


strange = pytest.mark.parametrize("kind_of_error", [asyncio.CancelledError, Outcome])


@anywhere
@strange
def test_an_error_that_is_no_exception_ends_the_mirror_too(kind: str, kind_of_error: type[BaseException]) -> None:
    def fail(_: object) -> None:
        raise kind_of_error("of the callback's")

    with place(kind) as where, synced(FakeBBS([row()])) as mirror:
        mirror.subscribe(fail, **where)
        with pytest.raises(MirrorError, match=r"a subscriber failed on the change of .*epoch-p-0") as raised:
            mirror.wait_for(lambda _: False, PATIENCE)
        assert isinstance(raised.value.__cause__, kind_of_error)
        assert mirror.status.phase is Phase.CLOSED
        assert mirror.status.last_error is raised.value


@anywhere
@strange
def test_an_error_that_is_no_exception_is_logged_too(
    kind: str, kind_of_error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    bbs = FakeBBS([row("p"), row("q")])

    def fail(change: Change[Any, Any]) -> None:
        gate(change)
        raise kind_of_error

    with place(kind) as where, synced(bbs) as mirror:
        subscription = mirror.subscribe(fail, errors="log", **where)
        gate.wait(2)
        bbs.push(created(row("late")))
        gate.wait(3)
        assert not subscription.cancelled
    assert len(caplog.records) == 3


async def something_cancelled() -> None:
    waited_for = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(waited_for.cancel)
    await waited_for


async def some_group() -> None:
    raise BaseExceptionGroup("some", [Outcome()])


failing = pytest.mark.parametrize("fail", [something_cancelled, some_group])


@failing
def test_a_callback_that_awaits_something_cancelled_has_failed(
    fail: Callable[[], Coroutine[Any, Any, None]], caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    bbs = FakeBBS([row("p"), row("q")])

    async def callback(change: Change[Any, Any]) -> None:
        gate.note(change)
        await fail()

    with running_loop() as loop, synced(bbs) as mirror:
        subscription = mirror.subscribe(callback, errors="log", loop=loop)
        gate.wait(2)
        bbs.push(created(row("late")))
        gate.wait(3)
        assert not subscription.cancelled

        mirror.subscribe(callback, errors="cancel", loop=loop)
        gate.wait(4)
        mirror.subscribe(callback, loop=loop)
        with pytest.raises(MirrorError, match="a subscriber failed"):
            mirror.wait_for(lambda _: False, PATIENCE)
    assert {record.getMessage().split(" on ")[0] for record in caplog.records} == {"a subscriber failed"}


@anywhere
@strange
def test_a_filter_may_fail_by_such_an_error(kind: str, kind_of_error: type[BaseException]) -> None:
    gate = Gate()
    bbs = FakeBBS([row("p"), row("q")])

    def picky(one: Any) -> bool:
        if one.process_guid == "q":
            raise kind_of_error
        return True

    with place(kind) as where, synced(bbs) as mirror:
        mirror.subscribe(gate, where=picky, errors="log", **where)
        gate.wait(1)
        bbs.push(created(row("late")))
        seen(mirror, 2)
        gate.wait(2)
        assert mirror.status.live


@pytest.mark.parametrize("kind", ["lrpmirror", "pool"])  # asyncio ends its loop by it
def test_the_end_of_the_program_is_no_failure_and_ends_the_mirror_whatever_the_policy(kind: str) -> None:
    def leave(_: object) -> None:
        raise SystemExit(3)

    with place(kind) as where, synced(FakeBBS([row()])) as mirror:
        mirror.subscribe(leave, errors="log", **where)
        with pytest.raises(SystemExit):
            mirror.wait_for(lambda _: False, PATIENCE)


def test_a_loop_that_makes_no_task_ends_the_mirror_by_what_it_raised() -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    with running_loop() as loop, synced(FakeBBS([row()])) as mirror:
        loop.set_exception_handler(lambda _loop, _context: None)
        loop.set_task_factory(refuse)
        mirror.subscribe(print, loop=loop)
        with pytest.raises(ZeroDivisionError):
            mirror.wait_for(lambda _: False, PATIENCE)
