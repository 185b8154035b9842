"""The file system as a state file uses it: single steps, each of which can fail by itself with OSError."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

MODE: Final = 0o600
"""A state file's permissions: for its owner alone."""


class Disk:
    """The real file system; tests have others, which fail or stop between two steps."""

    def create(self, path: Path) -> int:
        """Create a file for its owner alone and return its descriptor; an existing file of that name is removed."""
        with suppress(FileNotFoundError):
            path.unlink()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
        # A umask can only have removed permissions, so the file was never open to others.
        os.fchmod(descriptor, MODE)
        return descriptor

    def write(self, descriptor: int, data: bytes) -> None:
        """Write bytes, all of them. Other threads run meanwhile, since it releases the interpreter lock."""
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]

    def sync(self, descriptor: int) -> None:
        """Wait until what was written is on the disk."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a file."""
        os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file in one step; a file that had the new name is gone."""
        old.replace(new)

    def sync_directory(self, path: Path) -> None:
        """Wait until the entries of a directory are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def find(self, path: Path) -> os.stat_result:
        """Return the status of a file, without following a link."""
        return path.lstat()

    @contextmanager
    def reading(self, path: Path) -> Iterator[tuple[BinaryIO, int]]:
        """Open a regular file for reading, without following a link; yields it and its size."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise OSError("it is no regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                yield file, about.st_size
        finally:
            os.close(descriptor)
