"""Ctrl-C and the signal that service managers send (once to finish, twice to leave at once), and SIGHUP."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from lrpmirror.background import background
from lrpmirror.cli.shared.output import say_of
from lrpmirror.server import ServerTLS


@asynccontextmanager
async def interruptible() -> AsyncIterator[trio.Event]:
    """Yield an event that SIGINT or SIGTERM sets; a second one raises KeyboardInterrupt. For the main thread."""
    asked = trio.Event()

    async def watch() -> None:
        async for _ in signals:
            if asked.is_set():
                raise KeyboardInterrupt
            asked.set()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with background() as nursery:
            nursery.start_soon(watch)
            yield asked


@asynccontextmanager
async def until_interrupted() -> AsyncIterator[None]:
    """Leave the block, quietly, when the process is asked to end."""
    async with interruptible() as asked, until(asked):
        yield


@asynccontextmanager
async def until(event: trio.Event) -> AsyncIterator[None]:
    """Leave the block, quietly, when an event is set."""
    async with background() as nursery:

        async def leave() -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(leave)
        yield


async def look_at_files_again(command: str, tls: ServerTLS | None) -> None:
    """Check the TLS files at each SIGHUP, for ever. Where SIGHUP was to be ignored, as by nohup, it is."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            if tls is None:
                text = "SIGHUP: there are no TLS files to look at"
            else:
                before = tls.changes
                tls.check()
                outcome = "are taken up" if tls.changes > before else "are those in use"
                text = f"SIGHUP: the TLS files {f'cannot be used: {tls.problem}' if tls.problem else outcome}"
            say_of(command, text)
