"""A state file whose disk is slow or fails, and a mirror that is cancelled meanwhile: lock, file, and what is said."""
# ruff: noqa: ASYNC240 - nobody else waits while these tests look at their files

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from mirror_support import FakeBBS, mirroring, settled, simulated, small
from sim_support import wanted
from warm_start_support import FailingDisk

from lrpmirror import Mirror
from lrpmirror.errors import ConfigurationError, StateFileError
from lrpmirror.statefile import Disk, StateFile

T = TypeVar("T")

WALL = 1e9


class Threads:
    """In place of threads: work begins at once, or waits; what is no longer waited for goes on by itself."""

    def __init__(self) -> None:
        self.gate: trio.Event | None = None
        self.begun = trio.Event()
        self.left: list[Callable[[], object]] = []

    async def __call__(self, work: Callable[[], T]) -> T:
        self.begun.set()
        if self.gate is None:
            await trio.lowlevel.checkpoint()
            return work()
        try:
            await self.gate.wait()
        except trio.Cancelled:
            self.left.append(work)
            raise
        return work()


def more_failures(than: int, mirror: Mirror) -> bool:
    return mirror.counts.errors.get("StateFileError", 0) > than


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


def state_file(path: Path, threads: Threads, disk: Disk | None = None) -> StateFile:
    return StateFile(path, wall=lambda: WALL, disk=disk, offload=threads)


def revision_of(path: Path) -> int:
    found = StateFile(path).load("")
    assert found is not None
    return found.exported.revision


def is_locked(path: Path) -> bool:
    other = StateFile(path)
    try:
        other.acquire()
    except ConfigurationError:
        return True
    other.release()
    return False


@simulated
async def test_a_mirror_that_is_cancelled_while_the_lock_is_taken_lets_go_of_it(path: Path) -> None:
    threads = Threads()
    threads.gate = trio.Event()

    async def open_it() -> None:
        with scope:
            async with mirroring(FakeBBS(small()), state_file=state_file(path, threads)):
                raise AssertionError("it is cancelled before")

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_it)
        await threads.begun.wait()
        scope.cancel()
        await settled()
        threads.gate.set()
    for work in threads.left:
        work()
    assert not is_locked(path)


@simulated
async def test_a_mirror_that_is_cancelled_while_the_file_is_read_lets_go_of_it(path: Path) -> None:
    class Reading(Threads):
        async def __call__(self, work: Callable[[], T]) -> T:
            result = await super().__call__(work)
            self.gate = trio.Event()
            return result

    threads = Reading()
    with trio.move_on_after(5):
        async with mirroring(FakeBBS(small()), state_file=state_file(path, threads)):
            raise AssertionError("it is cancelled before")
    assert len(threads.left) == 1
    assert not is_locked(path)


@simulated
async def test_a_file_that_cannot_be_read_lets_nobody_wait_for_its_lock(path: Path) -> None:
    class Forbidding(Disk):
        def reading(self, path: Path) -> Any:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with pytest.raises(ConfigurationError, match="cannot be read"):
        async with mirroring(FakeBBS(small()), state_file=state_file(path, Threads(), Forbidding())):
            raise AssertionError("it does not open")
    assert not is_locked(path)


@simulated
async def test_what_is_written_too_late_changes_nothing_and_unlocks_the_file(path: Path) -> None:
    threads = Threads()
    server = small()
    async with mirroring(FakeBBS(server), state_file=state_file(path, threads)) as mirror:
        await mirror.wait_synced()
    before = path.read_bytes()
    async with mirroring(FakeBBS(server), state_file=state_file(path, threads), state_patience=5) as mirror:
        await mirror.wait_synced()
        server.desire(wanted("q"))
        await settled()
        threads.gate = trio.Event()
    assert is_locked(path), "somebody is writing it"
    (work,) = threads.left
    work()
    assert path.read_bytes() == before
    assert not is_locked(path)
    assert {one.name for one in path.parent.iterdir()} == {"state", "state.lock"}


@simulated
async def test_a_file_that_cannot_be_written_at_the_end_is_unlocked(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FailingDisk()
    async with mirroring(FakeBBS(small()), state_file=state_file(path, Threads(), disk)) as mirror:
        await mirror.wait_synced()
        disk.number = errno.ENOSPC
    assert not is_locked(path)
    assert caplog.text.count("No space left on device") == 1


@simulated
async def test_a_failure_is_said_again_after_a_success_and_whoever_waits_for_it_sees_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FailingDisk()
    server = small()
    tuning: dict[str, Any] = {"state_interval": 60.0, "resync_interval": 1e9, "idle_limit": 1e9, "ping_interval": 1e9}
    async with mirroring(FakeBBS(server), state_file=state_file(path, Threads(), disk), **tuning) as mirror:
        await mirror.wait_synced()
        for number in range(3):
            disk.number = errno.ENOSPC
            server.desire(wanted(f"q{number}"))
            await settled()
            failures = mirror.counts.errors.get("StateFileError", 0)
            began = trio.current_time()
            await mirror.wait_for(partial(more_failures, failures))
            assert trio.current_time() - began <= 60
            assert isinstance(mirror.status.last_error, StateFileError)
            assert mirror.status.live
            await trio.sleep(300)
            disk.number = 0
            await trio.sleep(61)
            assert revision_of(path) == mirror.revision
            assert caplog.text.count("No space left on device") == number + 1


@simulated
async def test_what_is_in_the_file_is_not_written_again(path: Path) -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, state_file=state_file(path, Threads())) as mirror:
        await mirror.wait_synced()
    written = path.stat().st_mtime_ns
    bbs.refusal = None
    async with mirroring(bbs, state_file=state_file(path, Threads()), state_interval=60) as mirror:
        await mirror.wait_synced()
        await trio.sleep(300)
        assert path.stat().st_mtime_ns == written
        server.desire(wanted("q"))
        await trio.sleep(61)
        assert revision_of(path) == mirror.revision
