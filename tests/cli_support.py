"""A simulated BBS in a thread of its own, for commands that have the main thread, and where recordings are."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

import pytest
import trio
from patience import PATIENCE

from lrpmirror.sim import Autopilot, Diego, Rates, ServedDiego, serve_diego

T = TypeVar("T")

RECORDINGS = Path(__file__).parents[2] / "shared" / "recordings"
NAMES = ("01-lifecycle", "02-crash", "03-evacuation", "06-mixed", "07-routes", "churn1")
IN_PARTS = ("09-not-ready", "10-start-again", "churn4")
"""Those whose desired LRPs were recorded in their two parts only."""


def recorded(name: str) -> Path:
    """Return the folder of a recording, or skip the test, loudly, where it is missing."""
    path = RECORDINGS / name
    if not path.is_dir():
        pytest.skip(f"the recording of a real BBS is not at {path}")
    return path


class Simulation:
    """A simulated BBS that is being served by another thread."""

    def __init__(self, pilot: Autopilot, diego: Diego) -> None:
        self.pilot = pilot
        self.diego = diego
        self.served: ServedDiego
        self.token: trio.lowlevel.TrioToken
        self.ready = Event()
        self.over: trio.Event

    @property
    def url(self) -> str:
        return self.served.url

    def call(self, function: Callable[[], T]) -> T:
        """Call in the thread of the simulation, between its other tasks."""
        return trio.from_thread.run_sync(function, trio_token=self.token)

    async def serve(self, steps: int) -> None:
        self.token = trio.lowlevel.current_trio_token()
        self.over = trio.Event()
        async with serve_diego(self.diego) as self.served, trio.open_nursery() as nursery:
            nursery.start_soon(self._live, steps)
            self.ready.set()
            await self.over.wait()
            nursery.cancel_scope.cancel()

    async def _live(self, steps: int) -> None:
        """Go on as soon as somebody follows the events: a hundred steps a second."""
        while not self.served.host.streams:  # noqa: ASYNC110 - a server has no event for it
            await trio.sleep(0.01)
        for _ in range(steps):
            self.pilot.step()
            await trio.sleep(0.01)


@contextmanager
def simulated_bbs(*, seed: int = 1, apps: int = 4, cells: int = 3, steps: int = 0) -> Iterator[Simulation]:
    """Serve a simulation that has run for a minute, and goes on for so many steps once it is followed.

    It loses no cells, of which the group stream does not tell.
    """
    diego = Diego(seed=seed)
    pilot = Autopilot(diego, seed=seed, apps=apps, cells=cells, rates=Rates(cell_losses=0.0))
    pilot.run(60)
    simulation = Simulation(pilot, diego)
    thread = Thread(target=trio.run, args=(simulation.serve, steps))
    thread.start()
    assert simulation.ready.wait(PATIENCE), "the simulation did not come up"
    try:
        yield simulation
    finally:
        simulation.call(simulation.over.set)
        thread.join(PATIENCE)


def started(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own."""
    # A terminal's size is its own.
    left_out = ("_FILE", "BBS_URL", "COLUMNS", "LINES")
    environment = {key: value for key, value in os.environ.items() if not key.endswith(left_out)}
    command = [sys.executable, "-c", "import sys; from lrpmirror.cli import main; sys.exit(main())", *arguments]
    popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
    return popen(command, env={**environment, "TERM": "xterm"}, **options)
