"""The end of a program: its main thread has ended, and mirrors that nobody has closed are closed."""

import atexit

# It has to be there before what is registered here, and is so told after that: it waits for the threads of executors,
# which may wait for a mirror.
import concurrent.futures.thread  # noqa: F401 - as above
import threading
from collections.abc import Callable
from typing import Final, Protocol

from lrpmirror.errors import MirrorForked
from lrpmirror.forks import notify_when_forked

__all__ = ["RUNNING"]


class Closable(Protocol):
    """What has a thread that must be told to end."""

    def request_stop(self) -> None:
        """Have the thread end soon."""
        ...

    def stop_at_exit(self) -> None:
        """Wait for its end, but not for ever."""
        ...


class Running:
    """Those whose threads have not ended."""

    def __init__(self) -> None:
        self._all: dict[Closable, None] = {}
        notify_when_forked(self)

    def add(self, one: Closable) -> None:
        """Close it at the end of the program."""
        self._all[one] = None

    def discard(self, one: Closable) -> None:
        """Record that it has ended."""
        self._all.pop(one, None)

    def forked(self, _: MirrorForked) -> None:
        """Forget those of the parent: their threads are not here."""
        self._all = {}

    def close(self) -> None:
        """Have all of them end at once, and wait for that."""
        running = list(self._all)
        for one in running:
            one.request_stop()
        for one in running:
            one.stop_at_exit()


RUNNING: Final = Running()


def _at_end_of_main_thread(function: Callable[[], None]) -> None:
    """Have a function called when the main thread has ended, while threads can still be started and waited for."""
    try:
        # Not public, but for many years what executors end their threads by. What `atexit` calls comes too late: after
        # the wait for all threads that are no daemons, and since CPython 3.12 no thread can be started then.
        threading._register_atexit(function)  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    except (AttributeError, RuntimeError):
        atexit.register(function)


_at_end_of_main_thread(RUNNING.close)
