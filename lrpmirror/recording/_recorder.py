"""Writing a recording, from what a client receives from the BBS."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, Self, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.errors import RecordingError, RequestRefused, TruncatedReply, WireError
from lrpmirror.recording import _reader as layout
from lrpmirror.recording._reader import About, ListName, StreamName
from lrpmirror.recording._redaction import RECORDS, redacted
from lrpmirror.wire import encode
from lrpmirror.wire.lists import ReplySplitter
from lrpmirror.wire.sse import EventStreamDecoder, Frame

T = TypeVar("T")

_LISTS: Final[Mapping[str, ListName]] = {name.removeprefix("desired_lrp_"): name for name in layout.LIST_NAMES}
"""The lists by the names that a client passes to its tap."""

_STREAMS: Final[Mapping[str, StreamName]] = {f"events.{name}": name for name in layout.STREAM_NAMES}

_UNCLOSED: Final = "the recorder was not closed: its process ended first"
_REOPENED: Final = "a stream was lost and opened again: what happened in between is not known"


class Counts(Struct, frozen=True):
    """How much a recorder has written so far."""

    events: dict[StreamName, int]  # events of each stream
    records: dict[ListName, int]  # records of each list, of its latest reply
    bytes: int  # bytes in all files


class Recorder:
    """Writes the traffic of a client, or of a mirror on that client, to a new folder.

        with Recorder("incident-7") as recorder:
            async with BBSClient(url, tls=tls, tap=recorder.tap) as client: …

    Open a stream before listing, as a mirror does. Of each list the latest complete reply is kept, in `snapshot` until
    `step` or `expect` choose another folder. It ends when a stream is opened again: a gap could not be seen in it.

    By default nothing secret is written: desired LRPs are without environment, actions and credentials, and their
    routes without the values of other routers than the HTTP, TCP and internal ones; all else is byte for byte.
    `secrets=True` writes every byte, for which `desired_lrps` have to be listed. Files are readable by their owner only
    (0600, in folders of 0700).

    A recorder that received nothing leaves no files. `tap` never raises; an error ends the recording, is in `error`,
    and is raised by `close`. A disk that stalls stalls the client, in whose task it writes. Raises RecordingError at
    construction where the folder is not empty or cannot be made.
    """

    def __init__(self, path: str | Path, *, secrets: bool = False, note: str = "") -> None:
        self.path: Final = Path(path)
        self.error: RecordingError | None = None  # the error that ended the recording, if any
        self.ended = ""  # why the recording has ended before it was closed; empty: it has not
        started = datetime.now(UTC).isoformat(timespec="seconds")
        self._about = About(note=note, secrets=secrets, recorded_at=started)
        self._folder = layout.SNAPSHOT
        self._lists: dict[ListName, _ListFile] = {}
        self._streams: dict[StreamName, _File[Frame]] = {}
        self._begun = False
        self._closed = False
        self._made = False
        with self._writing():
            self._made = _make_folder(self.path)
            self._write_about(replace(self._about, ended=_UNCLOSED))
        if self.error is not None:
            raise self.error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self._close()
        if value is None:
            self.close()

    @property
    def counts(self) -> Counts:
        """How much has been written. O(lists)."""
        streams = {name: file.count for name, file in self._streams.items()}
        lists = {name: file.count for name, file in self._lists.items()}
        files: list[_File[Any]] = [*self._streams.values(), *self._lists.values()]
        return Counts(streams, lists, sum(file.size for file in files))

    def tap(self, name: str, chunk: bytes) -> None:
        """Write a piece of a reply; an empty piece begins a reply. For `BBSClient(tap=…)`."""
        if self.ended or self._closed:
            return
        with self._writing():
            if name in _STREAMS:
                self._take_stream(_STREAMS[name], chunk)
            elif name in _LISTS:
                self._take_list(_LISTS[name], chunk)

    def step(self, label: str) -> None:
        """Write lists to the folder of a new step from now on; the label goes to about.json."""
        self._about = replace(self._about, steps=(*self._about.steps, label))
        self._move_to(f"{layout.STEPS}/{len(self._about.steps) - 1:02}")

    def expect(self) -> None:
        """Write lists to `expected` from now on; call it after the last event."""
        self._move_to(layout.EXPECTED)

    def drop_expected(self) -> None:
        """Remove the lists of `expected`, where an event arrived after their request."""
        folder = self.path / layout.EXPECTED
        with self._writing():
            if self._folder == layout.EXPECTED:
                for list_ in self._lists.values():
                    list_.complete(keep=False)
                self._lists.clear()
            for file in folder.glob("*.pb"):
                file.unlink()
            if folder.exists():
                folder.rmdir()

    def end(self, reason: str) -> None:
        """End the recording: nothing is written from now on, and about.json says why."""
        self.ended = self.ended or reason

    def close(self) -> None:
        """Complete the files; closing again does nothing. Raises RecordingError where anything was not written."""
        self._close()
        if self.error is not None:
            raise self.error

    # Inside

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with self._writing():
            if not self._streams and not self._begun:
                (self.path / layout.ABOUT).unlink()
                if self._made:
                    self.path.rmdir()
                return
            self._complete_lists()
            for stream in self._streams.values():
                stream.close()
            self._write_about(replace(self._about, ended=self.ended))

    def _take_stream(self, name: StreamName, chunk: bytes) -> None:
        stream = self._streams.get(name)
        if stream is None:
            redact = None if self._about.secrets else redacted
            self._streams[name] = _File(self.path / layout.stream_file(name), EventStreamDecoder().feed, redact)
        elif chunk:
            stream.write(chunk)
        else:
            self.end(_REOPENED)

    def _take_list(self, name: ListName, chunk: bytes) -> None:
        reply = self._lists.get(name)
        if chunk and reply is not None:
            reply.write(chunk)
            return
        if reply is not None:
            reply.complete()
        self._begun = True
        folder = self.path / self._folder
        for part in reversed([folder, *folder.parents][: len(Path(self._folder).parts)]):
            part.mkdir(mode=0o700, exist_ok=True)
        redact = None if self._about.secrets else RECORDS.get(name)
        self._lists[name] = _ListFile(folder / layout.list_file(name), redact)

    def _move_to(self, folder: str) -> None:
        with self._writing():
            self._complete_lists()
        self._folder = folder

    def _complete_lists(self) -> None:
        for list_ in self._lists.values():
            list_.complete()
        self._lists.clear()

    def _write_about(self, about: About) -> None:
        path = self.path / layout.ABOUT
        part = path.with_suffix(".part")
        with _created(part) as file:
            file.write(layout.dump_about(about))
        part.replace(path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Record errors of the file system, and of data that cannot be decoded for the removal of secrets."""
        try:
            yield
        except OSError as exc:
            self._fail(f"{exc.filename or self.path} cannot be written: {exc.strerror or exc}", exc)
        except WireError as exc:
            self._fail(f"what came cannot be recorded without secrets: {exc}", exc)

    def _fail(self, message: str, cause: Exception) -> None:
        if self.error is None:
            self.error = RecordingError(message)
            self.error.__cause__ = cause
        self.end(message)


def _created(path: Path) -> BinaryIO:
    """Create a file that only its owner can read, in place of one of that name."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


class _File(Generic[T]):
    """A file of events or records, which `split` finds in what comes: written as it came, or redacted."""

    def __init__(
        self, path: Path, split: Callable[[bytes], list[T]], redact: Callable[[Iterable[T]], bytes] | None
    ) -> None:
        self.size = 0
        self.count = 0  # events or records
        self._file = _created(path)
        self._split: Callable[[bytes], list[T]] | None = split
        self._redact = redact

    def write(self, chunk: bytes) -> None:
        if self._redact is None:
            self._put(chunk)
        if self._split is None:
            return
        try:
            found = self._split(chunk)
        except RequestRefused as exc:
            self._split = None
            if self._redact is not None:
                self._put(encode.error_reply(exc.type, exc.message))
            return
        except WireError:
            if self._redact is not None:
                raise
            # It is recorded byte for byte; only the counting ends.
            self._split = None
            return
        self.count += len(found)
        if self._redact is not None:
            self._put(self._redact(found))

    def close(self) -> None:
        self._file.close()

    def _put(self, data: bytes) -> None:
        self.size += len(data)
        self._file.write(data)
        # So that it is in the file if the process is killed.
        self._file.flush()


class _ListFile(_File[bytes]):
    """One list's reply that is being written: under another name, until it is complete."""

    def __init__(self, path: Path, redact: Callable[[bytes], bytes] | None) -> None:
        self._path = path
        self._part = path.with_suffix(".part")
        self._splitter = ReplySplitter(what=path.stem)
        redact_all = None if redact is None else lambda records: encode.reply(map(redact, records))
        super().__init__(self._part, self._splitter.feed, redact_all)

    def complete(self, *, keep: bool = True) -> None:
        """Close it; it is kept if the reply was whole."""
        self.close()
        try:
            if self._split is not None:
                self._splitter.finish()
        except TruncatedReply:
            keep = False
        if keep:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)


def _make_folder(path: Path) -> bool:
    """Make a folder that only its owner can enter; return whether it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise RecordingError(f"{path} is a file: choose a folder that does not exist yet") from None
        if any(path.iterdir()):
            raise RecordingError(f"{path} is not empty: choose a folder that does not exist yet") from None
        path.chmod(0o700)
        return False
    return True
