"""Reading a recording: its files, lists as bytes, records and values, streams as frames and events."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar, get_args

import msgspec
from msgspec import Struct

from lrpmirror.errors import RecordingError, TruncatedReply, WireError
from lrpmirror.events import Event, UnreadableEvent
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.wire import decode, encode
from lrpmirror.wire.lists import ReplySplitter
from lrpmirror.wire.sse import EventStreamDecoder, Frame

T = TypeVar("T")

FORMAT: Final = 1  # the version of the format that is written, and the newest that is read

ABOUT: Final = "about.json"
SNAPSHOT: Final = "snapshot"
EXPECTED: Final = "expected"
STEPS: Final = "steps"

ListName = Literal[
    "actual_lrps",
    "actual_lrp_groups",
    "desired_lrps",
    "desired_lrp_scheduling_infos",
    "desired_lrp_routing_infos",
    "domains",
    "cells",
]
"""The lists that a recording can hold, by the names of their files without `.pb`."""

LIST_NAMES: Final[tuple[ListName, ...]] = get_args(ListName)
StreamName = Literal["instances", "groups"]
"""The streams that a recording can hold."""

STREAM_NAMES: Final[tuple[StreamName, ...]] = get_args(StreamName)

_ANY_SIZE: Final = 2**31 - 1  # records need no limit here: their file is in memory already
_PIECE: Final = 1024 * 1024  # how many bytes of a stream are in memory at once


class About(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The content of about.json."""

    format: int = FORMAT
    note: str = ""  # what was recorded, for people
    steps: tuple[str, ...] = ()  # the label of each folder in `steps`, in order
    secrets: bool = True
    """Whether desired LRPs are whole, as the server sent them; else without environments, actions and credentials."""
    recorded_at: str = ""  # when the recording began, in UTC (ISO 8601)
    ended: str = ""  # why the recording ended before it was closed; empty where it was closed


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(About)


def dump_about(about: About) -> bytes:
    """Return the bytes of about.json; `format`, `note`, `steps` and `secrets` are always in it."""
    always = {"format": about.format, "note": about.note, "steps": about.steps, "secrets": about.secrets}
    return msgspec.json.format(_ENCODER.encode({**always, **msgspec.to_builtins(about)}), indent=1) + b"\n"


def load_about(path: Path) -> About:
    """Read about.json; raises RecordingError where it cannot be read or decoded, or has a newer format."""
    try:
        about = _DECODER.decode(path.read_bytes())
    except OSError as exc:
        raise RecordingError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise RecordingError(f"{path} is not what describes a recording: {exc}") from exc
    if about.format > FORMAT:
        raise RecordingError(f"{path}: format {about.format} is newer than {FORMAT}: read it with a newer lrpmirror")
    return about


def list_file(name: str) -> str:
    """Return the name of a list's file."""
    return f"{name}.pb"


def stream_file(name: str) -> str:
    """Return the name of a stream's file."""
    return f"events.{name}.sse"


class Lists:
    """The lists of one folder: `snapshot`, `expected`, or one of the steps.

    Every read raises RecordingError, which names the file and what is wrong with it, and RequestRefused where the
    recorded reply is the BBS's refusal. Nothing is cached: each call reads its file again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def names(self) -> tuple[ListName, ...]:
        """The names of the lists in the folder."""
        return tuple(name for name in LIST_NAMES if (self.path / list_file(name)).is_file())

    def raw(self, name: ListName) -> bytes:
        """Return the body of a list's reply as it was received."""
        path = self.path / list_file(name)
        try:
            return path.read_bytes()
        except FileNotFoundError as exc:
            there = ", ".join(map(list_file, self.names)) or "no list at all"
            raise RecordingError(f"{path} is missing: {self.path} has {there}") from exc
        except OSError as exc:
            raise RecordingError(f"{path} cannot be read: {exc.strerror or exc}") from exc

    def records(self, name: ListName) -> list[bytes]:
        """Return the records of a list, as protobuf bytes."""
        path, body = self.path / list_file(name), self.raw(name)
        splitter = ReplySplitter(what=str(path), max_record=_ANY_SIZE)
        records: list[bytes] = []
        try:
            records = splitter.feed(body)
            splitter.finish()
        except TruncatedReply as exc:
            start = len(encode.reply(records))
            raise RecordingError(
                f"{path} is truncated: its {len(body)} bytes end within a record that starts at byte {start}"
            ) from exc
        except WireError as exc:
            raise RecordingError(f"{exc}: it is no list, or was damaged") from exc
        return records

    def actual_lrps(self) -> list[ActualLRP]:
        """Return the rows."""
        return self._values("actual_lrps", decode.actual_lrp)

    def actual_lrp_groups(self) -> list[ActualLRPGroup]:
        """Return the groups."""
        return self._values("actual_lrp_groups", decode.actual_lrp_group)

    def desired_lrps(self, *, full: bool = False) -> list[DesiredLRP]:
        """Return the desired LRPs; `full`: with their `detail`, which is where the secrets are."""
        return self._values("desired_lrps", partial(decode.desired_lrp, full=full))

    def scheduling_infos(self) -> list[DesiredLRP]:
        """Return the scheduling part of the desired LRPs."""
        return self._values("desired_lrp_scheduling_infos", decode.scheduling_info)

    def routing_infos(self) -> list[DesiredLRP]:
        """Return the routing part of the desired LRPs."""
        return self._values("desired_lrp_routing_infos", decode.desired_lrp)

    def domains(self) -> list[str]:
        """Return the fresh domains."""
        return self._values("domains", decode.domain)

    def cells(self) -> list[CellPresence]:
        """Return the cells."""
        return self._values("cells", decode.cell_presence)

    def _values(self, name: ListName, decoder: Callable[[bytes], T]) -> list[T]:
        values: list[T] = []
        for record in self.records(name):
            try:
                values.append(decoder(record))
            except WireError as exc:
                raise RecordingError(f"{self.path / list_file(name)}, record {len(values)}: {exc}") from exc
        return values


class Recording:
    """A folder of recorded traffic. Read-only; only its about.json is kept in memory.

    Raises RecordingError at construction where there is no such folder or its about.json cannot be read; without
    about.json its defaults apply.
    """

    def __init__(self, path: str | Path) -> None:
        self.path: Final = Path(path)
        if not self.path.is_dir():
            what = "is a file, not the folder of a recording" if self.path.exists() else "does not exist"
            raise RecordingError(f"{self.path} {what}: give the folder that `lrpmirror record` made")
        about = self.path / ABOUT
        self.about: Final = load_about(about) if about.exists() else About()

    @property
    def streams(self) -> tuple[StreamName, ...]:
        """The names of the streams in the recording."""
        return tuple(name for name in STREAM_NAMES if (self.path / stream_file(name)).is_file())

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the recording that have lists: `snapshot`, `steps/NN` in order, `expected`."""
        steps = sorted(f"{STEPS}/{step.name}" for step in (self.path / STEPS).glob("*") if step.is_dir())
        return tuple(name for name in (SNAPSHOT, *steps, EXPECTED) if (self.path / name).is_dir())

    def lists(self, folder: str | Path = SNAPSHOT) -> Lists:
        """Return the lists of a folder: a path, or relative to the recording; raises RecordingError."""
        # The recording's own folders come first, whatever the working directory has.
        given = Path(folder)
        path = self.path / given if str(folder) in self.folders or not given.is_dir() else given
        if not path.is_dir():
            raise RecordingError(f"{folder} is no folder with lists: {self.path} has {_or_nothing(self.folders)}")
        return Lists(path)

    def frames(self, stream: StreamName = "instances") -> Iterator[Frame]:
        """Yield the frames of a stream, without an incomplete one at the end. Raises RecordingError."""
        path = self.path / stream_file(stream)
        if not path.is_file():
            raise RecordingError(f"{path} is missing: {self.path} has the streams {_or_nothing(self.streams)}")
        decoder = EventStreamDecoder()
        try:
            with path.open("rb") as file:
                while piece := file.read(_PIECE):
                    yield from decoder.feed(piece)
        except OSError as exc:
            raise RecordingError(f"{path} cannot be read: {exc.strerror or exc}") from exc
        except WireError as exc:
            raise RecordingError(f"{path}: {exc}") from exc

    def events(self, stream: StreamName = "instances", *, full: bool = False) -> Iterator[Event]:
        """Yield the events of a stream, whole if `full`, also UnreadableEvents. Raises RecordingError."""
        for frame in self.frames(stream):
            event = decode.stream_event(frame.event, frame.data, full=full)
            # No server sends such a frame, so the file was damaged.
            if type(event) is UnreadableEvent and not decode.is_base64(frame.data):
                raise RecordingError(f"{self.path / stream_file(stream)}, event {frame.id!r}: {event.reason}")
            yield event


def _or_nothing(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
