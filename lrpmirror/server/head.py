"""Checks of a request's head that h11 does not make though HTTP/1.1 demands them, and the split of its target."""

import re
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

import h11

LONGEST: Final = 8192  # how long the head of a request may be, in bytes
MOST_LINES: Final = 100  # how many lines it may have

METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"})

# A line that ends without a carriage return, and one that begins with white space: the folding of older times.
_FORBIDDEN: Final = re.compile(rb"(?<!\r)\n|\n[ \t]")
_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)


class Refusal(h11.RemoteProtocolError):
    """A request that is refused by the server itself, with this status; the connection is closed."""

    def __init__(self, status: int) -> None:
        super().__init__(HTTPStatus(status).phrase, error_status_hint=status)


class HeadCheck:
    """Checks the bytes of one request's head as they come, until the empty line that ends it."""

    def __init__(self) -> None:
        self._size = 0
        self._lines = 0
        self._last = b"\r"  # as after a line
        self._done = False

    def feed(self, data: bytes | bytearray) -> None:
        """Check more bytes. O(bytes of the head). Raises Refusal for a malformed or too long head."""
        if self._done or not data:
            return
        seen = self._last + data
        end = seen.find(b"\r\n\r\n")
        self._done = end >= 0
        head = seen[: end + 2] if self._done else seen
        # From the second byte on: the first has been judged, beside the one that was before it.
        if _FORBIDDEN.search(head, 1):
            raise Refusal(400)
        new = head[len(self._last) :]
        self._size += len(new)
        self._lines += new.count(b"\n")
        if self._size > LONGEST or self._lines > MOST_LINES:
            raise Refusal(431)
        self._last = bytes(seen[-3:])


def check_framing(request: h11.Request) -> int | None:
    """Return the length that a body is said to have, if any; raises Refusal for one beside chunks, or a wrong head."""
    length: int | None = None
    chunked = False
    for name, value in request.headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            chunked = True
    if not request.http_version.startswith(b"1."):
        raise Refusal(505)
    if chunked and (length is not None or request.http_version == b"1.0"):
        raise Refusal(400)
    if request.method not in METHODS:
        raise Refusal(501)
    return length


def split_target(target: bytes) -> tuple[str, bytes, bytes]:
    """Return the path of a target, which can be a URL, as text and as sent, and the query. Raises Refusal."""
    absolute = _ABSOLUTE.match(target)
    if absolute:
        target = target[absolute.end() :]
        target = target if target.startswith(b"/") else b"/" + target
    path, _, query = target.partition(b"?")
    if not path.startswith(b"/") and path != b"*":
        raise Refusal(400)
    return unquote(path.decode("ascii")), path, query
