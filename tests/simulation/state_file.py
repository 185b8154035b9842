"""The state file of a trial: a real file, written at once and by the trial's own clock, and what can happen to it."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

import trio

from lrpmirror.statefile import Disk, StateFile

__all__ = ["TrialStateFile"]

T = TypeVar("T")

START = 1_795_000_000.0
"""The time on the wall when a trial begins, in seconds since 1970."""


class TrialStateFile:
    """Where a mirror's state is kept from one life to the next, and the clock on the wall."""

    def __init__(self, folder: Path, rng: Random) -> None:
        self._path = folder / "state"
        self._rng = rng
        self._set_by = 0.0
        self._before: bytes | None = None

    def open(self) -> StateFile:
        """Return the file for a mirror that begins."""
        return StateFile(self._path, disk=_Memory(), wall=self._wall, offload=_at_once)

    def set_clock(self, seconds: float) -> None:
        """Set the clock on the wall by so much."""
        self._set_by += seconds

    @property
    def is_there(self) -> bool:
        """Whether there is a file."""
        return self._path.exists()

    def remember(self) -> None:
        """Record what the file has now: a mirror that is killed writes no other."""
        self._before = self._path.read_bytes() if self.is_there else None

    def end(self, how: str) -> None:
        """Let the file be as it is after a mirror that was `closed`, `killed`, or `killed` with its disk `damaged`."""
        if how == "closed":
            return
        if self._before is None:
            self._path.unlink(missing_ok=True)
            return
        data = bytearray(self._before)
        if how == "damaged" and self._rng.random() < 0.5:
            data = data[: self._rng.randrange(len(data))]
        elif how == "damaged":
            data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)
        self._path.write_bytes(data)

    def _wall(self) -> float:
        return START + trio.current_time() + self._set_by


class _Memory(Disk):
    """A disk that need not be waited for."""

    def sync(self, descriptor: int) -> None:
        pass

    def sync_directory(self, path: Path) -> None:
        pass


async def _at_once(work: Callable[[], T]) -> T:
    """Do it here and now: a mock clock does not wait for threads."""
    await trio.lowlevel.checkpoint()
    return work()
