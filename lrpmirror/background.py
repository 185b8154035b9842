"""Tasks that live as long as a block of code and are nobody's business after it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

__all__ = ["background"]


@asynccontextmanager
async def background() -> AsyncIterator[trio.Nursery]:
    """Open a nursery for tasks beside the block, which are cancelled at its end, however it ends.

    What the block itself raises leaves it as it was raised, and not in the ExceptionGroup that a nursery would make of
    it: so a context manager that is built on this is as transparent as one without tasks. What a task raises ends the
    block, in an ExceptionGroup; where both happen, one group has both, the block's first.
    """
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - raised again below
                # Not what holds a Cancelled, also in a group: that has to pass the scope which it belongs to.
                failure = error
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if failure is None:
            raise
        raise group.derive([failure, *group.exceptions]) from None
    if failure is not None:
        raise failure
