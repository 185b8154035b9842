"""The file names of a recording, and its about.json."""

from pathlib import Path
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

from lrpmirror.errors import RecordingError

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
"""All list names."""

StreamName = Literal["instances", "groups"]
"""The streams that a recording can hold."""

STREAM_NAMES: Final[tuple[StreamName, ...]] = get_args(StreamName)


class About(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The content of about.json."""

    format: int = FORMAT
    note: str = ""
    """What was recorded, for people."""
    steps: tuple[str, ...] = ()
    """The label of each folder in `steps`, in order."""
    secrets: bool = True
    """Whether desired LRPs are whole, as the server sent them; else without environments, actions and credentials."""
    recorded_at: str = ""
    """When the recording began, in UTC (ISO 8601)."""
    ended: str = ""
    """Why the recording ended before it was closed; empty where it was closed."""


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
