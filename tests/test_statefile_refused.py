"""A state file that an operator has to mend: which paths, files and directories are refused, and why."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from statefile_support import BBS, saved

from lrpmirror.errors import ConfigurationError
from lrpmirror.statefile import Disk, StateFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


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


def test_a_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
