"""The event stream's framing: bytes in any pieces to frames, and a frame to the bytes that a BBS writes.

The lines are those of the WHATWG's event streams (LF, CR or CRLF line ends, comments, data over several lines, a byte
order mark at the start, an id that stays until the next one). A BBS writes only one shape of them, `id`, `event` and
`data` on one line each and a blank line, and whole bursts of that shape take one pass of a regular expression.

A replica sends frames for mirrors only as comments, which every other reader skips: `:lrpmirror NAME`,
`:data: DATA` and a blank line. Here it is a frame like any other, without an id.
"""

import re
from binascii import b2a_base64
from operator import itemgetter
from typing import Final, get_args

from msgspec import Struct

from lrpmirror.errors import LimitExceeded, MalformedFrame, WireError
from lrpmirror.events import Event, UnknownEvent, UnreadableEvent
from lrpmirror.wire.text import from_utf8

_BOM: Final = b"\xef\xbb\xbf"
# The last alternative takes all the rest, so that nothing can stand between two matches unseen.
_BURST: Final = re.compile(rb"(?:id: ([0-9]+)\nevent: |:lrpmirror )([ -~]+)\n(?(1)|:)data: ([^\n]*)\n\n|[\s\S]+")
_ASIDE: Final = re.compile(rb":lrpmirror ([ -~]+)")

_Raw = tuple[bytes, bytes, bytes]
"""An event's id, name and data."""


class _EventNames(dict[bytes, str]):
    """The known events' names, shared by all frames; others are decoded each time, so that it cannot grow."""

    def __missing__(self, name: bytes) -> str:
        return from_utf8(name)


_NAMES: Final = _EventNames(
    (kind.type.encode(), kind.type) for kind in get_args(Event) if kind not in (UnknownEvent, UnreadableEvent)
)


class Frame(Struct, frozen=True, gc=False):
    """One event as framed: its name, its data still as base64 text, and the id that was last given.

    The id is empty before any was given, and of a frame for mirrors only. The repr shows the size of the data, not the
    data, which can be secret.
    """

    event: str
    data: bytes
    id: str

    def __repr__(self) -> str:
        return f"Frame({self.event!r}, <{len(self.data)} bytes>, id={self.id!r})"


class EventStreamDecoder:
    """Turns the bytes of an event stream into frames, with no I/O: any partition of the bytes gives the same frames.

    `max_frame` bounds, in bytes, what one event may hold in its lines together with the line that is being received.
    After an error the stream cannot be read on: every later `feed` raises the same error.
    """

    def __init__(self, *, max_frame: int = 16 * 1024 * 1024) -> None:
        self._max_frame = max_frame
        self._failed: WireError | None = None
        self._offset = 0  # of the first byte of the chunk at hand, in the stream
        self._head: bytes | None = b""  # what could be a byte order mark; None when that is settled
        self._after_cr = False
        self._line = bytearray()  # what has arrived of a line whose end has not
        self._line_offset = 0
        self._held = 0  # bytes of the lines that make up the event so far
        self._has_data = False
        self._data = bytearray()
        self._event = b""
        self._id = b""
        self._aside = b""  # the name of what is said in comments, until its data has come
        self.asides = False
        """Whether a frame for mirrors only has come so far: no BBS sends one."""

    @property
    def buffered(self) -> int:
        """The number of bytes that are kept of an event which is not complete."""
        return len(self._head or b"") + len(self._line) + self._held

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes of the stream, and return the frames that they complete.

        Raises LimitExceeded for a frame beyond `max_frame`, with the offset in the stream. In a name or id that is not
        UTF-8 stands U+FFFD for what is no character. Cost: below 2 µs a frame of the shape that a BBS writes, and
        linear in the bytes for any other.
        """
        names = _NAMES
        return [Frame(names[name], data, from_utf8(number)) for number, name, data in self._feed(data)]

    def texts(self, data: bytes) -> list[tuple[str, bytes]]:
        """Do as `feed`, but return only the name and data of each frame, in half the time."""
        names = _NAMES
        return [(names[name], data) for _, name, data in self._feed(data)]

    def _feed(self, data: bytes) -> list[_Raw]:
        if self._failed is not None:
            raise self._failed
        if self._head is not None:
            data = self._strip_mark(data)
        try:
            found = self._frames(data)
        except WireError as exc:
            self._failed = exc
            self._line, self._data, self._held = bytearray(), bytearray(), 0
            raise
        self._offset += len(data)
        return found

    def _strip_mark(self, data: bytes) -> bytes:
        data = (self._head or b"") + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._head = data
            return b""
        self._head = None
        if data.startswith(_BOM):
            self._offset = len(_BOM)
            return data[len(_BOM) :]
        return data

    def _frames(self, data: bytes) -> list[_Raw]:
        out: list[_Raw] = []
        pos = 0
        if self._after_cr and data:
            self._after_cr = False
            pos = int(data.startswith(b"\n"))
        if self._line or self._held:
            pos = self._lines(data, pos, out, one_event=True)
        if b"\r" not in data:
            pos = self._burst(data, pos, out)
        self._lines(data, pos, out, one_event=False)
        return out

    def _burst(self, data: bytes, pos: int, out: list[_Raw]) -> int:
        """Append the frames of whole events in a BBS's own shape; return where they end: `pos` if any is not."""
        end = data.rfind(b"\n\n", pos) + len(b"\n\n")
        if end - pos > self._max_frame:
            return pos
        found = _BURST.findall(data, pos, end)
        if not found:
            return pos
        number, name, _ = found[-1]
        if not name:
            return pos
        out += found
        if not self.asides:
            self.asides = not all(map(itemgetter(0), found))
        self._id = number or next((one for one, _, _ in reversed(found) if one), self._id)
        return end

    def _lines(self, data: bytes, pos: int, out: list[_Raw], *, one_event: bool) -> int:
        """Read line by line from `pos`, to the end of the first event or of the data; return where that is."""
        size = len(data)
        feed = -2  # where the next LF is, looked for again only once it is passed; -1: there is none
        while pos < size:
            if -1 != feed < pos:
                feed = data.find(b"\n", pos)
            stop = data.find(b"\r", pos, feed if feed >= 0 else size)
            if stop < 0:
                stop = feed
            if stop < 0:
                self._keep(data[pos:], self._offset + pos)
                return size
            piece, offset = data[pos:stop], self._offset + pos
            pos = stop + 1
            if stop != feed:
                self._after_cr = pos == size
                pos += pos == feed
            if self._take(piece, offset, out) and one_event:
                break
        return pos

    def _keep(self, piece: bytes, offset: int) -> None:
        if not self._line:
            self._line_offset = offset
        self._line += piece
        self._check(len(self._line), self._line_offset)

    def _take(self, piece: bytes, offset: int, out: list[_Raw]) -> bool:
        """Take the line that ends with this piece; return whether it completed an event."""
        if self._line:
            self._keep(piece, offset)
            piece, offset = bytes(self._line), self._line_offset
            self._line = bytearray()
        if not piece:
            return self._dispatch(out)
        if piece.startswith(b":"):
            self._comment(piece, offset, out)
        else:
            self._field(piece, offset)
        return False

    def _check(self, length: int, offset: int) -> None:
        if self._held + length > self._max_frame:
            raise LimitExceeded(
                f"an event of the stream is larger than max_frame, {self._max_frame} bytes, in the line at byte "
                f"{offset}: raise max_frame if such events are real"
            )

    def _comment(self, line: bytes, offset: int, out: list[_Raw]) -> None:
        self._check(len(line), offset)
        aside, self._aside = self._aside, b""
        if aside and line.startswith(b":data: "):
            self.asides = True
            out.append((b"", aside, line.removeprefix(b":data: ")))
        elif begun := _ASIDE.fullmatch(line):
            self._aside = begun[1]

    def _field(self, line: bytes, offset: int) -> None:
        self._check(len(line), offset)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._has_data = True
            self._data += value
            self._data += b"\n"
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if b"\0" in value:
                return
            self._id = value
        else:
            return
        self._held += len(line)

    def _dispatch(self, out: list[_Raw]) -> bool:
        complete = self._has_data
        if complete:
            out.append((self._id, self._event or b"message", bytes(self._data[:-1])))
            self._data = bytearray()
            self._has_data = False
        self._event = self._aside = b""
        self._held = 0
        return complete


def encode_frame(id: int, event: str, payload: bytes) -> bytes:  # noqa: A002 - the protocol's own name for it
    r"""Return the frame that a BBS writes for an event's protobuf bytes: id, event, data (as base64) and a blank line.

    Raises MalformedFrame for a name that is empty or has a line end in it, which no reader could take for a name.
    """
    if not event or "\n" in event or "\r" in event:
        raise MalformedFrame("an event's name needs one line of text: give it the `type` of the event")
    try:
        name = event.encode()
    except UnicodeEncodeError as exc:
        raise MalformedFrame("an event's name is not Unicode text that UTF-8 can hold") from exc
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (id, name, b2a_base64(payload, newline=False))


def encode_aside(event: str, payload: bytes) -> bytes:
    """Return the comments that carry an event to mirrors only; any other reader of the stream skips them.

    Raises MalformedFrame for a name that is not printable ASCII.
    """
    if not (event and event.isascii() and event.isprintable()):
        raise MalformedFrame("the name of what is said in comments needs printable ASCII: give it the event's `type`")
    return b":lrpmirror %s\n:data: %s\n\n" % (event.encode(), b2a_base64(payload, newline=False))
