"""One state file on a disk: locking, reading, writing in one step, setting aside a file that cannot be used."""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Final, TypeVar

import trio
from msgspec import Struct

from lrpmirror.core.knowledge import ExportedState
from lrpmirror.core.rows.store import Store
from lrpmirror.errors import ConfigurationError, MalformedRecord, MirrorForked, StateFileError
from lrpmirror.forks import notify_when_forked
from lrpmirror.statefile._format import UnusableError, parts, read

MODE: Final = 0o600  # a state file's permissions: for its owner alone


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


T = TypeVar("T")
Offload = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Does some work without stopping the event loop, and returns what it returns."""


class Loaded(Struct, frozen=True):
    """The state of a file, also indexed, and seconds since it was the server's; None where the clock was set back."""

    exported: ExportedState
    store: Store
    age: float | None


async def in_thread(work: Callable[[], T]) -> T:
    """Do some work in a thread beside the event loop; where the wait is cancelled, the work goes on."""
    # A limiter of its own, so that closing a mirror does not wait for threads that the program uses.
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))


class StateFile:
    """A state file, which belongs to one mirror at a time.

    `acquire` comes first and `release` last. Every method but `give_up` can block, and may be called in any thread.
    `disk` and `wall` (the time in seconds since 1970) stand in for the real ones in tests, `offload` for `in_thread`.
    It is written as PATH.new and then renamed, so there is always a complete one. Beside it are PATH.lock, which stays,
    and files that were set aside, at most one of each kind: PATH.damaged, PATH.foreign and PATH.future.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        disk: Disk | None = None,
        wall: Callable[[], float] = time.time,
        offload: Offload = in_thread,
    ) -> None:
        given = os.fspath(path)
        if not isinstance(given, str) or not given or "\0" in given:
            raise ConfigurationError(f"the state file {given!r} is no path: give the name of a file")
        self.path: Final = Path(given).absolute()
        self._new: Final = Path(f"{self.path}.new")
        self.wall = wall
        self.offload = offload
        self._disk = Disk() if disk is None else disk
        self._lock = -1
        self._release_lock = Lock()
        self._released = False
        self._turn = Lock()
        self._current: object = None
        self._given_up = False

    def acquire(self) -> None:
        """Check that the file can be used, and lock it against other mirrors. Raises ConfigurationError."""
        self._check_directory()
        self._check_file()
        try:
            descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, MODE)
        except OSError as exc:
            raise self._unusable(
                f"cannot be locked, since {self.path}.lock cannot be opened: {_reason(exc)}; the mirror "
                "must be able to write in that directory"
            ) from exc
        try:
            # Permissions that the umask removed would keep the next mirror from opening it.
            os.fchmod(descriptor, MODE)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(descriptor)
            if exc.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise self._unusable("is in use by another mirror: give each mirror a file of its own") from exc
            raise self._unusable(f"cannot be locked: {_reason(exc)}") from exc
        self._lock = descriptor
        self._released = self._given_up = False
        notify_when_forked(self)

    def release(self) -> None:
        """Unlock the file. Does nothing where it is not locked."""
        with self._release_lock:
            self._unlock()

    def load(self, bbs: str) -> Loaded | None:
        """Read the state of that BBS; None where there is no file yet. O(records), 20 µs each.

        The age counts by the system's clock, and is not known where that was set back since. Raises StateFileError for
        a file that is damaged, of another BBS or of a later version, after setting it aside; ConfigurationError for one
        that cannot be opened.
        """
        try:
            with self._disk.reading(self.path) as (file, size):
                header, exported = read(file, size, bbs)
        except FileNotFoundError:
            return None
        except PermissionError as exc:
            raise self._unusable(f"cannot be read: {_reason(exc)}; give the mirror the right to, or remove it") from exc
        except OSError as exc:
            raise StateFileError(
                f"the state file {self.path} cannot be read: {_reason(exc)}; {_WITHOUT_STATE}"
            ) from exc
        except UnusableError as exc:
            raise StateFileError(
                f"the state file {self.path} {exc}; {self._set_aside(exc.kind)}; {_WITHOUT_STATE}"
            ) from exc
        passed = self.wall() - header.taken_at
        return Loaded(exported, exported.indexed(), header.age + passed if passed >= 0 else None)

    def save(self, exported: ExportedState, *, bbs: str, taken_at: float, age: float) -> bool:
        """Replace the state in the file; return False where a later `save`, or `give_up`, ended this one.

        `taken_at` is when the state was taken, by the system's clock; `age` how long before that it was last known to
        be the server's. O(records), 10 µs each. Raises StateFileError where it cannot be written; the old state stays
        then.
        """
        # A `save` of an older state that is still running stops at its next part.
        self._current = mine = object()
        data = parts(exported, bbs=bbs, taken_at=max(0.0, taken_at), age=max(0.0, age))
        with self._turn:
            try:
                written = self._write_beside(data, lambda: self._current is mine and not self._given_up)
                if written:
                    self._disk.rename(self._new, self.path)
                    self._disk.sync_directory(self.path.parent)
            except (OSError, MalformedRecord) as exc:
                with suppress(OSError):
                    self._disk.remove(self._new)
                why = f"cannot be written: {_reason(exc)}; the one before stays, and the mirror tries again"
                raise StateFileError(f"the state file {self.path} {why}") from exc
        return written

    def forked(self, _: MirrorForked) -> None:
        """Leave the file to the parent process. Its lock would last as long as a child had it open."""
        self._given_up = True
        self._unlock()

    def give_up(self) -> None:
        """Make every `save` end soon and change nothing, running or not begun yet."""
        self._given_up = True

    def _unlock(self) -> None:
        descriptor, self._lock = self._lock, -1
        self._released = True
        if descriptor >= 0:
            os.close(descriptor)

    def _write_beside(self, data: Iterator[bytes], wanted: Callable[[], bool]) -> bool:
        descriptor = self._disk.create(self._new)
        try:
            for part in data:
                if not wanted():
                    break
                self._disk.write(descriptor, part)
            else:
                self._disk.sync(descriptor)
                return True
        finally:
            self._disk.close(descriptor)
        self._disk.remove(self._new)
        return False

    def _set_aside(self, kind: str) -> str:
        name = Path(f"{self.path}.{kind}")
        with self._release_lock:
            # Where the mirror was cancelled during the read, another mirror may have the file by now.
            if self._released:
                return "it stays where it is"
            try:
                self._disk.rename(self.path, name)
            except OSError as exc:
                return f"it could not be set aside as {name} ({_reason(exc)})"
        return f"it is now {name}"

    def _check_directory(self) -> None:
        directory = self.path.parent
        try:
            mode = directory.stat().st_mode
        except OSError as exc:
            raise self._unusable(
                f"cannot be there: its directory {directory} cannot be entered: {_reason(exc)}; create it first"
            ) from exc
        if not stat.S_ISDIR(mode):
            raise self._unusable(f"cannot be there: {directory} is no directory")
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise self._unusable(
                f"is not safe: everybody can write in its directory {directory}; take that right away (chmod o-w)"
            )

    def _check_file(self) -> None:
        try:
            about = self._disk.find(self.path)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise self._unusable(f"cannot be looked at: {_reason(exc)}") from exc
        if stat.S_ISLNK(about.st_mode):
            raise self._unusable("is a symbolic link, which writing would replace: name the file itself")
        if stat.S_ISDIR(about.st_mode):
            raise self._unusable("is a directory: name a file in it")
        if not stat.S_ISREG(about.st_mode):
            raise self._unusable("is no regular file: name another")
        if about.st_mode & stat.S_IWOTH:
            raise self._unusable("can be written by everybody, so it cannot be believed: remove it, or chmod 600 it")
        if about.st_uid not in (0, os.geteuid()):
            raise self._unusable(
                f"belongs to another user, {about.st_uid}, so it cannot be believed: remove it, or chown it"
            )

    def _unusable(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"the state file {self.path} {why}")


_WITHOUT_STATE: Final = "the mirror begins without a state"

_PLAIN: Final = {errno.ELOOP: "it is a symbolic link"}


def _reason(exc: Exception) -> str:
    if not isinstance(exc, OSError):
        return str(exc)
    return _PLAIN.get(exc.errno or 0) or exc.strerror or str(exc)
