"""Freeing large state a slice at a time, while the mirror runs and after the program has let go of it.

Whatever is freed at once, by a reference count or by the garbage collector, is freed in one piece: the views of 30,000
rows in 40 to 60 ms each.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress

import trio


async def in_slices(steps: Iterator[None]) -> None:
    """Take all steps, such as freeing what is no longer used, and give others a turn after each."""
    for _ in steps:
        await trio.lowlevel.checkpoint()


def free_after(owner: object, steps: Callable[[], Iterator[None]]) -> None:
    """Free something in slices once nothing refers to its owner, to which `steps` must not refer either.

    At once where trio has ended by then. Call it within trio.
    """
    finalizer = weakref.finalize(owner, _begin, trio.lowlevel.current_trio_token(), steps)
    # When the program ends, all memory goes anyway.
    finalizer.atexit = False


def _begin(token: trio.lowlevel.TrioToken, steps: Callable[[], Iterator[None]]) -> None:
    # The collector can run in any thread.
    with suppress(trio.RunFinishedError):
        token.run_sync_soon(_spawn, steps)


def _spawn(steps: Callable[[], Iterator[None]]) -> None:
    # No task of the mirror's, which may be closed.
    trio.lowlevel.spawn_system_task(in_slices, steps())
