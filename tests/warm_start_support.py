"""What the tests of a warm start share: the lives of a mirror with a state file, by the mock clock."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import trio
from mirror_support import FakeBBS, mirroring

from lrpmirror import Mirror
from lrpmirror.statefile import Disk, StateFile

T = TypeVar("T")


async def at_once(work: Callable[[], T]) -> T:
    """In place of a thread, which the mock clock would not wait for."""
    await trio.lowlevel.checkpoint()
    return work()


class Wall:
    """The clock on the wall, which goes with the mock clock until somebody sets it."""

    def __init__(self) -> None:
        self.ahead = 1e9

    def __call__(self) -> float:
        return trio.current_time() + self.ahead


class FailingDisk(Disk):
    """A disk on which writing fails by the error of this number, while there is one."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def write(self, descriptor: int, data: bytes) -> None:
        if self.number:
            raise OSError(self.number, os.strerror(self.number))
        super().write(descriptor, data)


def state_file(path: Path, wall: Callable[[], float] | None = None, disk: Disk | None = None) -> StateFile:
    return StateFile(path, wall=wall or Wall(), disk=disk, offload=at_once)


def warm(bbs: FakeBBS, file: StateFile, **options: Any) -> AbstractAsyncContextManager[Mirror]:
    return mirroring(bbs, state_file=file, **options)


async def one_life(bbs: FakeBBS, file: StateFile, **options: Any) -> int:
    """Open a mirror, have it synchronised, close it; return its revision."""
    async with warm(bbs, file, **options) as mirror:
        await mirror.wait_synced()
        return mirror.revision
