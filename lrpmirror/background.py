"""Background tasks that live as long as a block, and the classification of what foreign code raises."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


def ends_the_task(error: BaseException) -> bool:
    """Return whether an exception ends a task from outside: its block was cancelled, or its coroutine closed.

    It must be raised again, also where it is only one in a group.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(map(ends_the_task, error.exceptions))
    return isinstance(error, (trio.Cancelled, GeneratorExit))


def is_failure(error: BaseException) -> bool:
    """Return whether what foreign code has raised is a failure of that code, of whatever class.

    If not, it ends the task, or the program (KeyboardInterrupt, SystemExit). An asyncio.CancelledError is a failure:
    in a trio task it comes from something else that the code has waited for.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_failure, error.exceptions))
    return not isinstance(error, (KeyboardInterrupt, SystemExit)) and not ends_the_task(error)


@asynccontextmanager
async def background() -> AsyncIterator[trio.Nursery]:
    """Open a nursery for tasks beside the block, which are cancelled at its end, however it ends.

    What the block itself raises leaves it unchanged, not in the ExceptionGroup of a nursery: so a context manager that
    is built on this is as transparent as one without tasks. What a task raises ends the block, in an ExceptionGroup;
    where both happen, one group has both, the block's first.
    """
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                if ends_the_task(error):
                    # It has to reach the cancel scope, or the generator, that it belongs to.
                    raise
                failure = error
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if failure is None:
            raise
        raise group.derive([failure, *group.exceptions]) from None
    if failure is not None:
        raise failure


async def let_others_go_first() -> None:
    """Give every task that can run its turn. They have it in random order, so only after two have all had theirs."""
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
