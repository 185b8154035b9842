"""The state file by itself: what is written is read, and whatever else is there is refused, set aside and said."""

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import pytest
from core_support import desired, law, running
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from wire_support import TEXT, cells, full_desired_lrps, rows

from lrpmirror.core.exported import ExportedState
from lrpmirror.detail import DesiredLRPDetail, EnvironmentVariable
from lrpmirror.errors import ConfigurationError, StateFileError
from lrpmirror.model import ActualLRP, Presence
from lrpmirror.redaction import without_secrets
from lrpmirror.statefile import Disk, StateFile
from lrpmirror.statefile._format import parts
from lrpmirror.wire import decode, encode
from lrpmirror.wire.lazy import LazyActualLRP

BBS = "https://bbs.example:8889"

exported_states = st.builds(
    ExportedState,
    revision=st.integers(0, 2**62 - 1),
    actual_lrps=st.lists(rows, max_size=4).map(tuple),
    desired_lrps=st.lists(full_desired_lrps, max_size=2).map(tuple),
    retained=st.lists(full_desired_lrps, max_size=1).map(tuple),
    domains=st.frozensets(TEXT, max_size=3),
    cells=st.lists(cells, max_size=2).map(tuple),
)


def small(revision: int = 3, **fields: Any) -> ExportedState:
    whole: dict[str, Any] = {
        "actual_lrps": (running(), running("b", index=1)),
        "desired_lrps": (desired(routes={"cf-router": b"[]"}),),
        "retained": (desired("r", process_guid="q"),),
        "domains": frozenset({"apps", "tasks"}),
        "cells": (),
    }
    return ExportedState(revision=revision, **whole | fields)


def redacted(exported: ExportedState) -> ExportedState:
    return replace(
        exported,
        desired_lrps=tuple(map(without_secrets, exported.desired_lrps)),
        retained=tuple(map(without_secrets, exported.retained)),
    )


def save(file: StateFile, exported: ExportedState, *, bbs: str = BBS, taken_at: float = 1000, age: float = 0) -> bool:
    return file.save(exported, bbs=bbs, taken_at=taken_at, age=age)


def loaded(path: Path) -> ExportedState | None:
    found = StateFile(path).load(BBS)
    return None if found is None else found.exported


def saved(path: Path, exported: ExportedState | None = None, **options: Any) -> bytes:
    save(StateFile(path), exported or small(), **options)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


# What is written is read


@law(150)
@given(exported=exported_states)
def test_what_is_read_is_what_was_written_but_for_the_secrets(
    exported: ExportedState, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("law") / "state"
    save(StateFile(path), exported)

    assert loaded(path) == redacted(exported)


@law(60)
@given(one=rows, presence=st.sampled_from([0, 1, 2]))
def test_a_row_from_the_wire_is_written_as_it_is_now_and_stays_unread(
    one: ActualLRP, presence: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("law") / "state"
    listed = decode.actual_lrp(encode.actual_lrp(one))
    moved = replace(listed, presence=Presence(presence), epoch="moved")
    save(StateFile(path), small(actual_lrps=(listed, moved)))

    assert all(isinstance(row, LazyActualLRP) and row.memory.row is None for row in (listed, moved))
    found = loaded(path)
    assert found is not None
    assert found.actual_lrps == (one, replace(one, presence=Presence(presence), epoch="moved"))


def test_the_indexes_of_what_was_read_are_those_of_its_rows(path: Path) -> None:
    saved(path)
    found = StateFile(path).load(BBS)

    assert found is not None
    found.store._check()
    assert len(found.store) == 2
    assert found.store.domains == {"apps", "tasks"}


def test_where_there_is_no_file_yet_there_is_no_state(path: Path) -> None:
    assert StateFile(path).load(BBS) is None


@pytest.mark.parametrize(
    ("taken_at", "age", "now", "then"),
    [
        (1000, 0, 1060, 60),
        (1000, 7, 1060, 67),
        (1000, 7, 1000, 7),
        (1000, 7, 999.9, None),
        (1000, 0, 400, None),
        (-5, -3, 10, 10),
    ],
)
def test_the_age_counts_by_the_clock_on_the_wall_and_is_not_known_where_that_was_set_back(
    path: Path, taken_at: float, age: float, now: float, then: float | None
) -> None:
    saved(path, taken_at=taken_at, age=age)
    found = StateFile(path, wall=lambda: now).load(BBS)

    assert found is not None
    assert found.age == then


def test_many_records_are_written_in_small_parts() -> None:
    many = tuple(running(f"e{n}") for n in range(1000))
    sizes = [len(part) for part in parts(small(actual_lrps=many), bbs=BBS, taken_at=0, age=0)]

    assert max(sizes) < 20_000
    assert len(sizes) > 15


# Secrets and permissions


def test_no_secret_is_in_the_file(path: Path) -> None:
    secrets = ["marked-route", "marked-environment", "marked-password", "marked-user", "marked-custom"]
    detail = DesiredLRPDetail(
        environment_variables=(EnvironmentVariable(name="A", value="marked-environment"),),
        image_username="marked-user",
        image_password="marked-password",  # noqa: S106 - the mark that is looked for
    )
    routes = {"cf-router": b"[]", "diego-ssh": b'{"private_key":"marked-route"}', "own": b'"marked-custom"'}
    lrp = desired(routes=routes, detail=detail)
    data = saved(path, small(desired_lrps=(lrp,), retained=(replace(lrp, process_guid="q"),)))

    assert [secret for secret in secrets if secret.encode() in data] == []
    assert b"diego-ssh" in data


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777])
def test_the_files_are_for_their_owner_alone_under_any_umask(path: Path, umask: int) -> None:
    modes: list[int] = []

    class Looking(Disk):
        def create(self, path: Path) -> int:
            descriptor = super().create(path)
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
            return descriptor

    before = os.umask(umask)
    try:
        file = StateFile(path, disk=Looking())
        file.acquire()
        save(file, small())
        file.release()
    finally:
        os.umask(before)
    modes += [stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()]

    assert modes == [0o600] * 3


# Files that are of no use


def test_every_truncation_is_said_and_set_aside(path: Path) -> None:
    whole = saved(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StateFileError, match="begins without a state"):
            StateFile(path).load(BBS)
        assert not path.exists()
        assert Path(f"{path}.damaged").read_bytes() == whole[:length]


@law(400)
@given(data=st.data())
def test_flipped_bytes_end_in_an_error_or_in_what_was_written(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("law") / "state"
    whole = bytearray(saved(path))
    for at, bits in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)):
        whole[at] ^= bits
    path.write_bytes(whole)
    try:
        assert loaded(path) == small()
    except StateFileError:
        assert not path.exists(), "it is set aside"


@law(400)
@given(data=st.data())
def test_content_that_nobody_would_write_ends_in_an_error_also_under_a_right_checksum(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("law") / "state"
    whole = bytearray(saved(path)[:-16])
    first = whole.index(b"\n") + 1
    kind = data.draw(st.sampled_from(["flip", "cut", "garbage"]))
    if kind == "flip":
        for at, bits in data.draw(st.lists(st.tuples(st.integers(first, len(whole) - 1), st.integers(0, 255)))):
            whole[at] ^= bits
    elif kind == "cut":
        del whole[data.draw(st.integers(first, len(whole))) :]
    else:
        whole[first:] = data.draw(st.binary(max_size=200))
    path.write_bytes(whole + blake2b(whole, digest_size=16).digest())
    try:
        found = StateFile(path).load(BBS)
    except StateFileError:
        return
    assert found is not None
    found.store._check()


def test_a_file_that_goes_on_after_its_last_record_is_damaged(path: Path) -> None:
    whole = saved(path)[:-16] + b"\0\0\0\0"
    path.write_bytes(whole + blake2b(whole, digest_size=16).digest())
    with pytest.raises(StateFileError, match="goes on after its last record"):
        StateFile(path).load(BBS)


def test_a_header_cannot_ask_for_more_memory_than_the_file_has_bytes(path: Path) -> None:
    whole = saved(path)[:-16].replace(b'"cells":0', b'"cells":9')
    path.write_bytes(whole + blake2b(whole, digest_size=16).digest())
    with pytest.raises(StateFileError, match="in the middle of a record"):
        StateFile(path).load(BBS)
    header = whole.replace(b'"actual_lrps":2', b'"actual_lrps":9999999999999')
    at = whole.index(b"\n") + 1
    length = int.from_bytes(whole[at : at + 4], "big") + 12
    header = header[:at] + length.to_bytes(4, "big") + header[at + 4 :]
    path.write_bytes(header + blake2b(header, digest_size=16).digest())
    with pytest.raises(StateFileError, match="no room for them"):
        StateFile(path).load(BBS)


@pytest.mark.parametrize(
    ("content", "kind", "why"),
    [
        (b"127.0.0.1 localhost\n", "foreign", "is no state file of lrpmirror"),
        (b"\0" * 4096, "foreign", "is no state file of lrpmirror"),
        (b"lrpmirror state 2\nwhatever", "future", "has format 2, and this lrpmirror reads formats up to 1"),
        (b"lrpmirror state 0\n", "damaged", "names no version"),
        (b"lrpmirror state one\n", "damaged", "names no version"),
        (b"lrpmirror state 99999999999\n", "damaged", "names no version"),
        (b"", "damaged", "has 0 bytes only"),
    ],
)
def test_a_file_of_another_kind_is_set_aside_by_its_kind(path: Path, content: bytes, kind: str, why: str) -> None:
    path.write_bytes(content)
    with pytest.raises(StateFileError) as caught:
        StateFile(path).load(BBS)

    aside = Path(f"{path}.{kind}")
    assert aside.read_bytes() == content
    assert not path.exists()
    for part in (str(path), why, f"it is now {aside}", "the mirror begins without a state"):
        assert part in str(caught.value)


def test_the_state_of_another_bbs_is_foreign(path: Path) -> None:
    saved(path, bbs="https://other.example:8889")
    with pytest.raises(StateFileError, match=r"has the state of https://other\.example:8889, not of https://bbs\.ex"):
        StateFile(path).load(BBS)

    assert Path(f"{path}.foreign").exists()


def test_of_what_is_set_aside_one_file_of_each_kind_is_kept(path: Path) -> None:
    for n in range(3):
        path.write_bytes(b"lrpmirror state 1\n%d" % n)
        with pytest.raises(StateFileError):
            StateFile(path).load(BBS)

    assert [one.name for one in path.parent.iterdir()] == ["state.damaged"]
    assert Path(f"{path}.damaged").read_bytes().endswith(b"2")


def test_a_file_that_cannot_be_set_aside_is_ignored_all_the_same(path: Path) -> None:
    path.write_bytes(b"lrpmirror state 1\n")
    Path(f"{path}.damaged").mkdir()
    with pytest.raises(StateFileError, match=r"could not be set aside as .*\.damaged"):
        StateFile(path).load(BBS)


def test_a_file_that_was_released_while_it_was_read_is_left_alone(path: Path) -> None:
    path.write_bytes(b"lrpmirror state 1\n")
    file = StateFile(path)
    file.acquire()
    file.release()
    with pytest.raises(StateFileError, match="it stays where it is"):
        file.load(BBS)

    assert path.exists()


def test_a_disk_that_fails_while_it_is_read_is_an_error_that_says_so(path: Path) -> None:
    class Failing(Disk):
        def reading(self, path: Path) -> Any:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    saved(path)
    with pytest.raises(StateFileError, match="cannot be read: Input/output error"):
        StateFile(path, disk=Failing()).load(BBS)

    assert loaded(path) == small()


# What an operator has to mend


def refused(path: Path, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StateFile(path).acquire()
    assert str(path) in str(caught.value)
    assert why in str(caught.value)


def test_a_path_that_is_none_is_refused() -> None:
    for path in ("", "a\0b"):
        with pytest.raises(ConfigurationError, match="is no path"):
            StateFile(path)


def test_a_symbolic_link_is_refused(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")
    refused(path, "is a symbolic link, which writing would replace: name the file itself")


def test_a_directory_is_refused(path: Path) -> None:
    path.mkdir()
    refused(path, "is a directory: name a file in it")


def test_a_pipe_is_refused(path: Path) -> None:
    os.mkfifo(path)
    refused(path, "is no regular file")


def test_a_file_that_everybody_can_write_is_refused(path: Path) -> None:
    saved(path)
    path.chmod(0o666)
    refused(path, "can be written by everybody, so it cannot be believed")


def test_a_file_of_somebody_else_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(path)
    if path.stat().st_uid == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    refused(path, "belongs to another user")


def test_a_directory_that_is_not_there_is_refused(path: Path) -> None:
    refused(path / "deeper", "cannot be entered: No such file or directory; create it first")


def test_a_directory_that_is_a_file_is_refused(path: Path) -> None:
    saved(path)
    refused(path / "deeper", "is no directory")


def test_a_directory_that_everybody_can_write_in_is_refused_unless_only_owners_can_remove(path: Path) -> None:
    path.parent.chmod(0o777)
    refused(path, "everybody can write in its directory")
    path.parent.chmod(0o1777)
    StateFile(path).acquire()


def test_a_lock_that_cannot_be_opened_is_refused(path: Path) -> None:
    Path(f"{path}.lock").mkdir()
    refused(path, "cannot be locked")


def test_a_file_that_cannot_be_opened_is_refused(path: Path) -> None:
    class Forbidding(Disk):
        def reading(self, path: Path) -> Any:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    saved(path)
    with pytest.raises(ConfigurationError, match="cannot be read: Permission denied; give the mirror the right to"):
        StateFile(path, disk=Forbidding()).load(BBS)


def test_two_mirrors_cannot_share_a_file(path: Path) -> None:
    first = StateFile(path)
    first.acquire()
    refused(path, "is in use by another mirror: give each mirror a file of its own")
    first.release()
    first.release()
    second = StateFile(path)
    second.acquire()
    second.release()


# Writing in one step

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


def test_random_garbage_is_never_more_than_an_error(path: Path) -> None:
    rng = Random(5)
    for _ in range(300):
        path.write_bytes(b"lrpmirror state 1\n"[: rng.randrange(19)] + rng.randbytes(rng.randrange(60)))
        with pytest.raises(StateFileError):
            StateFile(path).load(BBS)


KILLED = """
import os, signal, sys
from lrpmirror.core.exported import ExportedState
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
