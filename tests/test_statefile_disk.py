"""The state file and the disk: what the system does by halves, and what others put under its names."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from core_support import running
from msgspec.structs import replace
from statefile_support import BBS

from lrpmirror.core.knowledge import ExportedState
from lrpmirror.errors import ConfigurationError, StateFileError
from lrpmirror.statefile import Disk, StateFile

EXPORTED = ExportedState(
    revision=3,
    actual_lrps=tuple(running(f"e{number}", index=number) for number in range(100)),
    desired_lrps=(),
    retained=(),
    domains=frozenset({"apps"}),
    cells=(),
)
BESIDE = ["", ".lock", ".new", ".damaged", ".foreign", ".future"]
"""What follows the name of a state file in the names of the files that belong to it."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder / "state"


def saved(path: Path, exported: ExportedState = EXPORTED) -> bytes:
    StateFile(path).save(exported, bbs=BBS, taken_at=1000, age=0)
    return path.read_bytes()


def test_a_system_that_writes_less_than_it_was_given_is_given_the_rest(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = os.write, []

    def short(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        return write(descriptor, bytes(data[:100]))

    whole = saved(path)
    monkeypatch.setattr(os, "write", short)
    assert saved(path) == whole
    assert max(calls) > 100
    found = StateFile(path).load(BBS)
    assert found is not None
    assert found.exported == EXPORTED


def test_no_byte_of_a_file_can_differ_from_what_was_written(path: Path) -> None:
    whole = saved(path, replace(EXPORTED, actual_lrps=(running(),)))
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StateFileError):
            StateFile(path).load(BBS)


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("content", [b"precious", b"", None])
def test_a_link_under_any_of_its_names_is_never_followed(path: Path, beside: str, content: bytes | None) -> None:
    """A user who can write in the directory could have a file of the mirror's user overwritten, or opened to others."""
    elsewhere = path.parent.parent / "precious"
    if content is not None:
        elsewhere.write_bytes(content)
        elsewhere.chmod(0o640)
    Path(f"{path}{beside}").symlink_to(elsewhere)

    file = StateFile(path)
    for content_of_file in (b"damaged", b"lrpmirror state 1\n", b"lrpmirror state 99\n"):
        if beside:
            path.write_bytes(content_of_file)
            path.chmod(0o600)
        with suppress(ConfigurationError, StateFileError):
            file.acquire()
        with suppress(ConfigurationError, StateFileError):
            file.load(BBS)
        file.release()
    if beside:
        saved(path)

    assert elsewhere.exists() is (content is not None)
    if content is not None:
        assert elsewhere.read_bytes() == content
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o640


@pytest.mark.parametrize("there", [True, False])
def test_a_lock_that_is_a_link_is_refused(path: Path, *, there: bool) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    if there:
        elsewhere.write_bytes(b"")
    Path(f"{path}.lock").symlink_to(elsewhere)
    with pytest.raises(ConfigurationError, match=r"state\.lock cannot be opened: it is a symbolic link"):
        StateFile(path).acquire()


def test_a_file_that_became_a_link_since_it_was_looked_at_is_not_read(path: Path) -> None:
    saved(path)
    file = StateFile(path)
    file.acquire()
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")
    with pytest.raises(StateFileError, match="cannot be read: it is a symbolic link"):
        file.load(BBS)
    file.release()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list a process's descriptors")
def test_what_fails_leaves_no_descriptor_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = StateFile(path)
    first.acquire()
    saved(path)
    before = descriptors()
    with pytest.raises(ConfigurationError, match="in use by another mirror"):
        StateFile(path).acquire()
    assert descriptors() == before

    def failing(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        for _ in range(2):
            with pytest.raises(StateFileError, match="cannot be written"):
                saved(path)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                Disk().sync_directory(path.parent)
    assert descriptors() == before

    for content in (b"damaged", b"lrpmirror state 99\n", b"lrpmirror state 1\n"):
        path.write_bytes(content)
        with pytest.raises(StateFileError):
            StateFile(path).load(BBS)
    path.mkdir()
    with pytest.raises(StateFileError):
        StateFile(path).load(BBS)
    assert descriptors() == before
    first.release()
    first.release()
    assert descriptors() == before - 1


def test_a_file_that_was_given_up_serves_the_next_life(path: Path) -> None:
    file = StateFile(path)
    for _ in range(2):
        file.acquire()
        assert file.save(EXPORTED, bbs=BBS, taken_at=1000, age=0)
        file.give_up()
        assert not file.save(EXPORTED, bbs=BBS, taken_at=2000, age=0)
        file.release()


def test_a_pipe_in_the_place_of_a_file_blocks_nothing(path: Path) -> None:
    file = StateFile(path)
    file.acquire()
    os.mkfifo(path)
    with pytest.raises(StateFileError, match="it is no regular file"):
        file.load(BBS)
    file.release()
