"""Writing a state file in one step: whatever fails, and wherever the process ends, one whole file is left."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from core_support import running
from statefile_support import BBS, loaded, save, saved, small

from lrpmirror.errors import StateFileError
from lrpmirror.statefile import Disk, StateFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


STEPS = ("create", "write", "sync", "close", "rename", "sync_directory")


class Killed(BaseException):
    """The process ends here."""


class Faulty(Disk):
    """A disk that stops before or after one of its steps: it is killed there, or the step fails."""

    def __init__(self, at: int, failure: Callable[[], BaseException], *, after: bool) -> None:
        self._at = at
        self._failure = failure
        self._after = after
        self._dead = False
        self.steps: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name not in (*STEPS, "remove"):
            return method

        def step(*args: Any) -> Any:
            if self._dead:
                raise Killed
            self.steps.append(name)
            hit = len(self.steps) == self._at
            if hit and not self._after:
                self._fail()
            result = method(*args)
            if hit and self._after:
                self._fail()
            return result

        return step

    def _fail(self) -> None:
        failure = self._failure()
        # Nothing is cleared up after a process was killed.
        self._dead = isinstance(failure, Killed)
        raise failure


@pytest.mark.parametrize("after", [False, True])
def test_killed_between_any_two_steps_the_old_file_or_the_new_one_is_whole(tmp_path: Path, after: bool) -> None:
    old, new = small(1), small(2, actual_lrps=tuple(running(f"e{n}") for n in range(300)))
    seen: list[int] = []
    for at in range(1, 30):
        path = tmp_path / f"{at}"
        saved(path, old)
        disk = Faulty(at, Killed, after=after)
        try:
            save(StateFile(path, disk=disk), new)
        except Killed:
            found = loaded(path)
            assert found in (old, new)
            assert found is not None
            seen.append(found.revision)
            # The next life writes as if nothing had been.
            saved(path, small(3))
            assert sorted(one.name for one in tmp_path.glob(f"{at}*")) == [f"{at}"]
            continue
        assert set(disk.steps) == set(STEPS)
        break
    assert seen == sorted(seen)
    assert set(seen) == {1, 2}
    assert len(seen) > 8


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.ENOENT])
def test_a_step_that_fails_leaves_a_whole_file_and_nothing_beside_it(path: Path, number: int, after: bool) -> None:
    for at in range(1, 8):
        saved(path, small(1))
        disk = Faulty(at, lambda: OSError(number, os.strerror(number)), after=after)
        with pytest.raises(StateFileError, match=os.strerror(number)) as caught:
            save(StateFile(path, disk=disk), small(2))
        assert isinstance(caught.value.__cause__, OSError)
        assert loaded(path) in (small(1), small(2))
        assert [one.name for one in path.parent.iterdir()] == ["state"]


def test_every_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_it_is_done(path: Path) -> None:
    disk = Faulty(0, Killed, after=False)
    save(StateFile(path, disk=disk), small())

    steps = [step for step in disk.steps if step != "write"]
    assert steps == ["create", "sync", "close", "rename", "sync_directory"]


def test_a_value_that_no_record_can_hold_is_an_error_and_leaves_the_file(path: Path) -> None:
    saved(path)
    with pytest.raises(StateFileError, match="cannot be written: a value cannot be written as ActualLRP"):
        save(StateFile(path), small(4, actual_lrps=(running(crash_count=2**40),)))

    assert loaded(path) == small()
    assert [one.name for one in path.parent.iterdir()] == ["state"]


def test_what_is_left_of_a_killed_process_is_replaced_and_never_followed(path: Path) -> None:
    other = path.parent / "other"
    other.write_bytes(b"precious")
    Path(f"{path}.new").symlink_to(other)
    saved(path)

    assert other.read_bytes() == b"precious"
    assert loaded(path) == small()


def test_a_later_save_overtakes_one_that_is_under_way(path: Path) -> None:
    results: dict[int, bool] = {}
    later = threading.Thread(target=lambda: results.update({2: save(file, small(2))}))

    class Slow(Disk):
        def write(self, descriptor: int, data: bytes) -> None:
            if later.ident is None:
                mine = file._current
                later.start()
                while file._current is mine:
                    later.join(0.001)
            super().write(descriptor, data)

    file = StateFile(path, disk=Slow())
    results[1] = save(file, small(1))
    later.join()

    assert results == {1: False, 2: True}
    assert loaded(path) == small(2)


def test_a_save_that_was_given_up_changes_nothing(path: Path) -> None:
    saved(path)
    file = StateFile(path)
    file.give_up()

    assert not save(file, small(9))
    assert loaded(path) == small()
    assert [one.name for one in path.parent.iterdir()] == ["state"]


KILLED = """
import os, signal, sys
from lrpmirror.core.knowledge import ExportedState
from lrpmirror.model import ActualLRP
from lrpmirror.statefile import StateFile

file = StateFile(sys.argv[1])
file.acquire()
revision = 0
while True:
    revision += 1
    rows = tuple(ActualLRP(process_guid="p", index=n, epoch=f"{revision}-{n}") for n in range(200))
    exported = ExportedState(
        revision=revision, actual_lrps=rows, desired_lrps=(), retained=(), domains=frozenset(), cells=()
    )
    file.save(exported, bbs="https://bbs.example:8889", taken_at=0, age=0)
    print(revision, flush=True)
"""


def test_a_process_that_is_killed_leaves_a_whole_file_and_no_lock(path: Path) -> None:
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            written = int(process.stdout.readline())
            process.kill()
        file = StateFile(path)
        file.acquire()
        found = file.load(BBS)
        file.release()

        assert found is not None
        assert found.exported.revision >= written
        assert {row.epoch for row in found.exported.actual_lrps} == {
            f"{found.exported.revision}-{n}" for n in range(200)
        }
