"""Ctrl-C, and the signal that service managers send: once to finish, twice to leave at once."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def interruptible() -> AsyncIterator[trio.Event]:
    """Yield an event that SIGINT or SIGTERM sets, instead of ending the process; a second one raises KeyboardInterrupt.

    For the main thread.
    """
    asked = trio.Event()

    async def watch() -> None:
        async for _ in signals:
            if asked.is_set():
                raise KeyboardInterrupt
            asked.set()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            yield asked
            nursery.cancel_scope.cancel()
