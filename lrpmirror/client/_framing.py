"""The framing of a reply's body: chunks, a number of bytes, or all until the connection closes."""

from typing import Final

import h11

from lrpmirror.wire.chunked import ChunkedDecoder

# The extension of a response whose body ends where the connection does, so that a cut looks like its end.
OPEN_ENDED: Final = "lrpmirror.open_ended"

_BODYLESS = frozenset({204, 304})


class _ChunkedBody(ChunkedDecoder):
    """A body in chunks."""

    open_ended = False


class _SizedBody:
    """A body whose head says how long it is."""

    open_ended = False

    def __init__(self, length: int) -> None:
        self._missing = length

    @property
    def ended(self) -> bool:
        return not self._missing

    def feed(self, data: bytes) -> bytes:
        piece = data[: self._missing]
        self._missing -= len(piece)
        return piece


class _BodyUntilClose:
    """A body that ends where the connection does."""

    ended = False
    open_ended = True

    def feed(self, data: bytes) -> bytes:
        return data


Framing = _ChunkedBody | _SizedBody | _BodyUntilClose
"""Takes the bytes of a connection, in any pieces, and gives those of the body, until it has `ended`.

`feed` raises a WireError for malformed framing, at the latest with the next call. With `open_ended` the end of the
connection is the end of the body, rather than a cut.
"""


def framing_of(response: h11.Response, max_trailers: int) -> Framing:
    """Choose by the head of a reply, as RFC 9112 says; h11 has refused heads that contradict themselves."""
    if response.status_code in _BODYLESS:
        return _SizedBody(0)
    headers = {name: value for name, value in response.headers if name in {b"transfer-encoding", b"content-length"}}
    if b"transfer-encoding" in headers:
        # h11 lets no other coding than this one pass.
        return _ChunkedBody(max_trailers=max_trailers)
    if b"content-length" in headers:
        return _SizedBody(int(headers[b"content-length"]))
    return _BodyUntilClose()
