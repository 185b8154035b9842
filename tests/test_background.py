"""Tasks beside a block: they end with it, and what is raised comes out as its reader expects."""

import asyncio

import pytest
import trio

from lrpmirror.background import background, ends_the_task, is_failure


class Mine(Exception):  # noqa: N818 - a thing to raise
    pass


async def fail(error: Exception) -> None:
    raise error


def test_tasks_end_with_the_block() -> None:
    ended: list[bool] = []

    async def task() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    async def main() -> None:
        async with background() as tasks:
            tasks.start_soon(task)
            await trio.testing.wait_all_tasks_blocked()

    trio.run(main)
    assert ended == [True]


class Outcome(BaseException):
    """What is no Exception, as pytest's own outcomes are none."""


@pytest.mark.parametrize(
    "error",
    [
        Mine("one"),
        KeyboardInterrupt(),
        SystemExit(3),
        ExceptionGroup("own", [Mine()]),
        Outcome(),
        asyncio.CancelledError(),
        BaseExceptionGroup("own", [Outcome()]),
    ],
)
def test_what_the_block_raises_leaves_it_as_it_was_raised(error: BaseException) -> None:
    async def main() -> None:
        async with background() as tasks:
            tasks.start_soon(trio.sleep_forever)
            raise error

    with pytest.raises(type(error)) as raised:
        trio.run(main)
    assert raised.value is error


def test_what_a_task_raises_ends_the_block_in_a_group() -> None:
    async def main() -> None:
        async with background() as tasks:
            tasks.start_soon(fail, Mine())
            await trio.sleep_forever()

    with pytest.RaisesGroup(Mine):
        trio.run(main)


def test_where_both_fail_one_group_has_both() -> None:
    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Mine("the task")

    async def main() -> None:
        async with background() as tasks:
            tasks.start_soon(fail_when_cancelled)
            await trio.testing.wait_all_tasks_blocked()
            raise ValueError("the block")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="block"), pytest.RaisesExc(Mine, match="task")):
        trio.run(main)


def test_a_cancelled_block_is_cancelled_and_no_error() -> None:
    async def main() -> bool:
        with trio.move_on_after(0) as scope:
            async with background():
                await trio.sleep_forever()
        return scope.cancelled_caught

    assert trio.run(main)


def cancelled() -> BaseException:
    """Return a Cancelled, which nobody but trio can make."""
    found: list[BaseException] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                found.append(error)
                raise

    trio.run(main)
    return found[0]


@pytest.mark.parametrize(
    ("error", "failure", "ends"),
    [
        (Mine(), True, False),
        (Outcome(), True, False),
        (asyncio.CancelledError(), True, False),
        (ExceptionGroup("", [Mine()]), True, False),
        (KeyboardInterrupt(), False, False),
        (SystemExit(), False, False),
        (BaseExceptionGroup("", [Mine(), SystemExit()]), False, False),
        (GeneratorExit(), False, True),
        (cancelled(), False, True),
        (BaseExceptionGroup("", [Mine(), BaseExceptionGroup("", [cancelled()])]), False, True),
    ],
)
def test_what_foreign_code_raises_is_its_failure_unless_it_ends_the_task_or_the_program(
    error: BaseException, *, failure: bool, ends: bool
) -> None:
    assert is_failure(error) == failure
    assert ends_the_task(error) == ends
