"""The end of the program: when its main thread has ended, open mirrors are closed."""

import atexit

# Imported first, since it registers a function that waits for the threads of executors, which may wait for a mirror.
# What is registered later runs earlier.
import concurrent.futures.thread  # noqa: F401 - as above
import threading
from collections.abc import Callable
from typing import Final, Protocol

from lrpmirror.errors import MirrorForked
from lrpmirror.forks import notify_when_forked


class Closable(Protocol):
    """An object whose thread has to be stopped."""

    def request_stop(self) -> None:
        """Request that the thread ends, without waiting."""
        ...

    def stop_at_exit(self) -> None:
        """Wait for its end, for a bounded time."""
        ...


class Running:
    """The objects whose threads have not ended."""

    def __init__(self) -> None:
        self._all: dict[Closable, None] = {}
        notify_when_forked(self)

    def add(self, closable: Closable) -> None:
        """Register an object, to be stopped at the end of the program."""
        self._all[closable] = None

    def discard(self, closable: Closable) -> None:
        """Unregister an object whose thread has ended."""
        self._all.pop(closable, None)

    def forked(self, _: MirrorForked) -> None:
        """Unregister all, in a forked child, which does not have the parent's threads."""
        self._all = {}

    def close(self) -> None:
        """Stop all of them, at the same time, and wait for that."""
        running = list(self._all)
        for closable in running:
            closable.request_stop()
        for closable in running:
            closable.stop_at_exit()


RUNNING: Final = Running()


def _at_end_of_main_thread(function: Callable[[], None]) -> None:
    """Register a function to be called when the main thread has ended, while threads can still be started."""
    try:
        # Not public, but used by executors for many years. `atexit` is too late: it runs after the wait for all
        # threads that are no daemons, and since CPython 3.12 no thread can be started then.
        threading._register_atexit(function)  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    except (AttributeError, RuntimeError):
        atexit.register(function)


_at_end_of_main_thread(RUNNING.close)
