"""Messages whose texts are not UTF-8, which a BBS sends: it checks no text, and cuts long ones by bytes.

protobuf refuses such a message as a whole. So where one is refused, and only there, its bytes are walked along the
message's description, what is no character in a text becomes U+FFFD, and it is parsed again. The rest stays as it is.
"""

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

_M = TypeVar("_M", bound=Message)

LOW: Final = 0x7F
"""The bits of a byte of a number that are the number's; the other one says that more bytes follow."""

MAX_VARINT: Final = 10
"""How many bytes a number has at most."""

_MAX_DEPTH: Final = 100  # protobuf's own limit of messages in messages
MAX_FIELDS: Final = 100_000
"""How many fields of one message are walked, in a tenth of a second; no record that a BBS keeps has so many."""

VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5
FIXED: Final = {_FIXED64: 8, _FIXED32: 4}
"""How many bytes the fields of the wire types of one size have."""

_NO_MESSAGE: Final = "the bytes are no protobuf message"


def from_utf8(data: bytes) -> str:
    """Return the text that bytes hold, with U+FFFD in place of what is no character. O(bytes)."""
    return data.decode(errors="replace")


def parse(kind: type[_M], record: bytes) -> _M:
    """Parse a message, also one whose texts are not UTF-8.

    Raises protobuf's DecodeError for bytes that are no message. Costs nothing beyond the parsing where all is well.
    """
    try:
        return kind.FromString(record)
    except DecodeError:
        return kind.FromString(readable(kind, record))


def readable(kind: type[Message], record: bytes) -> bytes:
    """Return a message that cannot be parsed as one that can: with U+FFFD in its texts where they are not UTF-8.

    Raises protobuf's DecodeError where something else is wrong with it, or it has over MAX_FIELDS fields. Cost: some
    20 µs for a row.
    """
    made = rewritten(kind, record, _made_text)
    kind.FromString(made)
    return made


def rewritten(kind: type[Message], record: bytes, text: Callable[[str, bytes], bytes]) -> bytes:
    """Return a message with each of its texts, at any depth, replaced by what `text` makes of its name and bytes.

    Raises protobuf's DecodeError for bytes that are no message.
    """
    return _rewritten(record, kind.DESCRIPTOR, text, _MAX_DEPTH, repeat(None, MAX_FIELDS))


def varint(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    out = bytearray()
    while number > LOW:
        out.append(number & LOW | LOW + 1)
        number >>= 7
    out.append(number)
    return bytes(out)


def number_at(data: bytes, pos: int) -> tuple[int, int]:
    """Return the number at `pos`, and where it ends. Raises protobuf's DecodeError where it has no end."""
    value = 0
    for shift, byte in enumerate(data[pos : pos + MAX_VARINT]):
        value |= (byte & LOW) << 7 * shift
        if byte <= LOW:
            return value, pos + shift + 1
    raise DecodeError(_NO_MESSAGE)


def _made_text(_: str, data: bytes) -> bytes:
    return from_utf8(data).encode()


def _rewritten(
    data: bytes, message: Any, text: Callable[[str, bytes], bytes], depth: int, budget: Iterator[None]
) -> bytes:
    """Return a message rewritten along its description."""
    if not depth:
        raise DecodeError(_NO_MESSAGE)
    out: list[bytes] = []
    kept = 0  # up to where the bytes are in `out`
    for tag, head, at, stop in _bodies(data, budget):
        field = message.fields_by_number.get(tag >> 3)
        if field is None:
            continue
        body = data[at:stop]
        if field.type == FieldDescriptor.TYPE_STRING:
            made = text(field.name, body)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            made = _rewritten(body, field.message_type, text, depth - 1, budget)
        else:
            continue
        if made != body:
            out += (data[kept:head], varint(len(made)), made)
            kept = stop
    out.append(data[kept:])
    return b"".join(out)


def _bodies(data: bytes, budget: Iterator[None]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the tag of each field that has a body, where the body's length stands, and where it begins and ends."""
    pos, end = 0, len(data)
    while pos < end:
        if next(budget, budget) is budget:
            raise DecodeError(_NO_MESSAGE)
        tag, pos = number_at(data, pos)
        wire = tag & 7
        if wire == VARINT:
            _, pos = number_at(data, pos)
        elif wire in FIXED:
            pos += FIXED[wire]
        elif wire == BYTES:
            head = pos
            length, at = number_at(data, head)
            pos = at + length
            if pos <= end:
                yield tag, head, at, pos
        else:
            raise DecodeError(_NO_MESSAGE)
    if pos != end:
        raise DecodeError(_NO_MESSAGE)
