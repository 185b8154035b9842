"""The simulated Diego for programs without an event loop: served by a thread of its own."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import trio

from lrpmirror.sim.diego import Diego
from lrpmirror.sim.serving import ServedDiego, serve_diego

T = TypeVar("T")


class DiegoThread:
    """A simulated Diego that is served in another thread. Made by `serve_diego_in_thread`."""

    def __init__(self, served: ServedDiego, token: trio.lowlevel.TrioToken, stop: trio.Event) -> None:
        self.served = served
        """What is served, with its switches: to be touched by `do` only."""
        self._token = token
        self._stop = stop

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.served.url

    @property
    def diego(self) -> Diego:
        """The simulation: to be touched by `do` only."""
        return self.served.diego

    def do(self, call: Callable[..., T], *args: Any) -> T:
        """Call a synchronous function in the server's thread, and return or raise what it does.

        `do(bbs.diego.advance, 30)`; for keyword arguments use functools.partial. Raises trio.RunFinishedError when the
        server has ended.
        """
        return trio.from_thread.run_sync(call, *args, trio_token=self._token)

    def calm(self) -> None:
        """End the fault plan now, and return when all faults have ended."""
        trio.from_thread.run(self.served.calm, trio_token=self._token)


@contextmanager
def serve_diego_in_thread(diego: Diego, **options: Any) -> Iterator[DiegoThread]:
    """Serve the simulation in a thread while the block runs; `options` are those of `serve_diego`, which see.

    What goes wrong in the server is raised at the end of the block.
    """
    emitted: queue.SimpleQueue[DiegoThread | BaseException] = queue.SimpleQueue()
    failures: list[BaseException] = []

    async def serve() -> None:
        async with serve_diego(diego, **options) as served:
            stop = trio.Event()
            emitted.put(DiegoThread(served, trio.lowlevel.current_trio_token(), stop))
            await stop.wait()

    def run() -> None:
        try:
            trio.run(serve)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits for it
            failures.append(error)
            emitted.put(error)

    thread = threading.Thread(target=run, name="simulated-diego", daemon=True)
    thread.start()
    served = emitted.get()
    if isinstance(served, BaseException):
        thread.join()
        raise served
    try:
        yield served
    finally:
        with suppress(trio.RunFinishedError):
            served.do(served._stop.set)  # noqa: SLF001 - made here
        thread.join()
    if failures:
        raise failures[0]
