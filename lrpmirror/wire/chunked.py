"""The chunked transfer coding of HTTP/1.1: a body's bytes as sent, in any pieces, to the bytes of the body.

A BBS sends each event as a chunk of its own, so an event costs what a chunk costs: five operations of Python here, a
tenth of what h11, which makes an object of each, takes for it.
"""

import re
from typing import Final

from lrpmirror.errors import LimitExceeded, MalformedChunk, WireError

_CRLF: Final = b"\r\n"
_SIZE: Final = re.compile(rb"\r\n([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\r\n\0]*\r\n")
_REMEMBERED: Final = 4096
_SHORT: Final = 24


class _ChunkSizes(dict[bytes, int]):
    """The size that a chunk's line states; 0 for the last chunk, and for a line that `_slowly` has to read.

    The events of a stream have a few hundred sizes, so a line is read once and looked up from then on. Nothing is kept
    of a long line, which only an extension makes, and the number of lines is bounded.
    """

    def __missing__(self, line: bytes) -> int:
        found = _SIZE.fullmatch(line) if len(line) <= _SHORT else None
        size = int(found[1], 16) if found else 0
        if size and len(self) < _REMEMBERED:
            self[line] = size
        return size


class ChunkedDecoder:
    """Takes a body out of its chunks, with no I/O: any partition of the bytes gives the same body and the same error.

    Chunk extensions and trailers are skipped. `max_line` bounds, in bytes, the line before a chunk and each trailer,
    `max_trailers` all trailers together; chunks may be of any size, since what has come of one is handed on.
    """

    def __init__(self, *, max_line: int = 4096, max_trailers: int = 16 * 1024) -> None:
        self._max_line = max_line
        self._max_trailers = max_trailers
        self._sizes = _ChunkSizes({b"": 0})
        self._failed: WireError | None = None
        self._offset = 0  # of the first byte at hand, among those that were sent
        # The line before a chunk is read together with the CRLF that ends the chunk before it. The first has none.
        self._line = _CRLF
        self._missing = 0  # bytes that are still to come of a chunk
        self._trailers = -1  # bytes of the trailers so far; -1 before the last chunk
        self.ended = False
        """Whether the body is complete; what is fed after its end is ignored."""

    @property
    def buffered(self) -> int:
        """The number of bytes that are kept of a line which is not complete."""
        return len(self._line)

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes as sent, and return those of the body among them.

        Raises MalformedChunk for what is no chunk, and LimitExceeded for a line or trailers that are too long; both
        name the offset among the bytes as sent. The bytes of the body before the error are returned first, and the
        error is raised by the next call, which may bring no bytes. Cost: below 1 µs a chunk, and two copies.
        """
        if self._failed is not None:
            raise self._failed
        if not data:
            return b""
        out: list[bytes] = []
        try:
            self._read(data, out)
        except WireError as exc:
            self._failed = exc
            if not out:
                raise
        return b"".join(out)

    def _read(self, data: bytes, out: list[bytes]) -> None:
        if self._missing:
            data = self._rest_of_chunk(data, out)
        if self._line:
            self._offset -= len(self._line)
            data, self._line = self._line + data, b""
        pos = 0
        while pos < len(data) and not self.ended:
            if self._trailers < 0:
                pos = self._chunks(data, pos, out)
            pos = self._slowly(data, pos, out)
        self._offset += len(data)

    def _rest_of_chunk(self, data: bytes, out: list[bytes]) -> bytes:
        consumed = data[: self._missing]
        out.append(consumed)
        self._missing -= len(consumed)
        self._offset += len(consumed)
        return data[len(consumed) :]

    def _chunks(self, data: bytes, pos: int, out: list[bytes]) -> int:
        """Take the chunks that are whole; return where the next begins, with the CRLF that ends the last of these."""
        find, sizes, end = data.find, self._sizes, len(data)
        while True:
            start = find(b"\n", pos + 2) + 1
            size = sizes[data[pos:start]]
            stop = start + size
            if not size or stop > end:
                return pos
            out.append(data[start:stop])
            pos = stop

    def _slowly(self, data: bytes, pos: int, out: list[bytes]) -> int:
        """Take what is no whole chunk: its line and the part received; the last chunk; a trailer; part of a line."""
        before = len(_CRLF) if self._trailers < 0 else 0
        start = data.find(b"\n", pos + before) + 1
        if (start or len(data)) - pos - before > self._max_line:
            where = self._offset + pos + before
            raise LimitExceeded(
                f"a line between the chunks of the body is over {self._max_line} bytes, at byte {where}"
            )
        if not start:
            self._line = data[pos:]
            return len(data)
        if before:
            return self._begin(data, pos, start, out)
        self._end(data[pos:start], self._offset + pos)
        return start

    def _begin(self, data: bytes, pos: int, start: int, out: list[bytes]) -> int:
        """Begin the chunk whose line is data[pos:start]; return where the received part of it ends."""
        found = _SIZE.fullmatch(data, pos, start)
        if not found:
            where = self._offset + pos + len(_CRLF)
            raise MalformedChunk(f"the body has something else where a chunk should begin, at byte {where}")
        size = int(found[1], 16)
        if not size:
            self._trailers = 0
            return start
        stop = min(start + size, len(data))
        self._missing = start + size - stop
        if stop > start:
            out.append(data[start:stop])
        return stop

    def _end(self, line: bytes, offset: int) -> None:
        """Take a line after the last chunk: a trailer, or the empty line that ends the body."""
        if line == _CRLF:
            self.ended = True
            return
        self._trailers += len(line)
        if self._trailers > self._max_trailers:
            raise LimitExceeded(f"the trailers of the body are over {self._max_trailers} bytes, at byte {offset}")
        if not _TRAILER.fullmatch(line):
            raise MalformedChunk(f"the body has something else where a trailer should be, at byte {offset}")
