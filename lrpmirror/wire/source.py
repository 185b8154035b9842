"""How a replica reports the age of its state: on its stream, and in a header of each reply.

Diego's own clients know neither: they skip comments of a stream, and headers that they do not ask for.
"""

from base64 import b64decode
from typing import Annotated, Final

import msgspec

from lrpmirror.errors import MalformedFrame
from lrpmirror.events import SourceStatus
from lrpmirror.wire import sse

STATUS: Final = "source_status"
"""The name of the frame on a stream, which only mirrors see."""

HEADER: Final = b"x-lrpmirror-source"
"""The header of each reply, in lower case."""


class _StatusJSON(msgspec.Struct, omit_defaults=True):
    age: Annotated[float, msgspec.Meta(ge=0, le=1e12)]
    trouble: Annotated[str, msgspec.Meta(max_length=200, pattern="^[ -~]*$")] = ""


_parse: Final = msgspec.json.Decoder(_StatusJSON).decode


def header(status: SourceStatus) -> bytes:
    """Return the value of the header. Raises MalformedFrame for what no reader would understand."""
    text = msgspec.json.encode(_StatusJSON(round(status.age, 3), status.trouble))
    if parse_header(text) is None:
        raise MalformedFrame(f"{status} cannot be told: an age is in seconds, and trouble the name of an error")
    return text


def comment(status: SourceStatus) -> bytes:
    """Return the frame that is sent on a stream. Raises MalformedFrame as `header` does."""
    return sse.encode_aside(STATUS, header(status))


def parse_header(value: bytes) -> SourceStatus | None:
    """Read the value of the header; None for one that cannot be read, which says nothing of the state's age."""
    try:
        parsed = _parse(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return SourceStatus(parsed.age, parsed.trouble)


def parse_comment(data: bytes) -> SourceStatus | None:
    """Read the data of a frame of the name STATUS, as `parse_header` does."""
    try:
        value = b64decode(data, validate=True)
    except ValueError:
        return None
    return parse_header(value)
