"""A scene of the relay's tests: a BBS that lives, publishers, a reader, and a judge of what the reader says it is."""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio
from patience import PATIENCE
from relay_support import Autopilot, publishing, reading, serve_diego, settled, small_diego

from lrpmirror import Mirror
from lrpmirror.core.rows.changes import row_key
from lrpmirror.relay import Publisher
from lrpmirror.sim import Diego
from lrpmirror.sim.serving import ServedDiego

__all__ = ["Process", "Scene", "playing", "publisher_process"]

SLACK = 1.5
"""Seconds by which a mirror may be wrong about how old its state is: what is on its way, on a busy machine."""


MAIN = "import sys; from lrpmirror.cli import main; sys.exit(main())"


class Judge:
    """Looks again and again whether a mirror that says LIVE has a state that the BBS had when it says that it was."""

    def __init__(self, mirror: Mirror, diego: Diego) -> None:
        self._mirror = mirror
        self._diego = diego
        self._past: deque[tuple[float, dict[Any, Any]]] = deque()
        self.lies: list[str] = []
        self.looks = 0

    def note(self) -> None:
        """Record the state of the BBS now."""
        now = trio.current_time()
        self._past.append((now, {row_key(row): row for row in self._diego.actual_lrps()}))
        while self._past[0][0] < now - 60:
            self._past.popleft()

    def look(self) -> None:
        status = self._mirror.status
        if not status.live or status.state_age is None:
            return
        self.looks += 1
        since = trio.current_time() - status.state_age - SLACK
        # What was the state just before that counts, too: it was until the next note.
        recent = [rows for at, rows in self._past if at >= since]
        recent += [rows for at, rows in self._past if at < since][-1:]
        held = {row_key(row): row for row in self._mirror.actual_lrps()}
        for key in held.keys() | recent[-1].keys():
            if not any(_alike(held.get(key), rows.get(key)) for rows in recent):
                self.lies.append(f"{status.phase} of {status.state_age:.1f} s: {key}: {held.get(key)}")

    async def run(self) -> None:
        while True:
            self.note()
            self.look()
            await trio.sleep(0.05)


def _alike(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return (one.tag_index, one.presence, one.state) == (other.tag_index, other.presence, other.state)


class Scene:
    """What a test plays with."""

    def __init__(self, diego: Diego, pilot: Autopilot, served: ServedDiego, mirror: Mirror) -> None:
        self.diego = diego
        self.pilot = pilot
        self.served = served
        self.mirror = mirror
        self.judge = Judge(mirror, diego)
        self.resting = False
        self.publisher: Publisher
        """The one in this process."""

    async def live(self) -> None:
        while True:
            if not self.resting:
                self.pilot.step()
                self.judge.note()
            await trio.sleep(0.02)

    async def settle(self, seconds: float = PATIENCE) -> None:
        """Stop the life, and wait until the reader has what the BBS has."""
        self.resting = True
        await settled(self.mirror, self.diego, seconds)
        assert not self.judge.lies, self.judge.lies[:3]
        with trio.fail_after(seconds):
            # It looks at a live reader now and then, and may not have had its turn yet.
            while not self.judge.looks:  # noqa: ASYNC110 - a count has no event
                await trio.sleep(0.02)
        self.resting = False


@asynccontextmanager
async def playing(url: str, *, publish: bool = True, to: str = "", **options: Any) -> AsyncIterator[Scene]:
    """Have a BBS that lives, a publisher in this process unless one is started otherwise, and a reader."""
    diego, pilot = small_diego()
    async with serve_diego(diego) as served, trio.open_nursery() as nursery, reading(url) as mirror:
        scene = Scene(diego, pilot, served, mirror)
        nursery.start_soon(scene.live)
        nursery.start_soon(scene.judge.run)
        if publish:
            async with publishing(served, to or url, **options) as publisher:
                await mirror.wait_synced(PATIENCE)
                scene.publisher = publisher
                yield scene
        else:
            yield scene
        nursery.cancel_scope.cancel()


class Process:
    """`lrpmirror publish` as a process of its own."""

    def __init__(self, bbs: str, to: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "publish", "--bbs-url", bbs, "--to", to],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONWARNINGS": ""},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> str:
        """Kill it as a crash would; return what it had said."""
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        return self._process.communicate()[1].decode()


@contextmanager
def publisher_process(bbs: str, to: str) -> Iterator[Process]:
    process = Process(bbs, to)
    try:
        yield process
    finally:
        process.kill()
