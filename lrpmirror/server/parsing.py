"""Request bodies to protobuf messages."""

from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from lrpmirror.errors import RequestRefused
from lrpmirror.wire import text

_M = TypeVar("_M", bound=Message)

READABLE: Final = 8192
"""How long a body may be, in bytes, whose texts are not UTF-8: to make it readable takes a microsecond a field."""


def parse(kind: type[_M], body: bytes) -> _M:
    """Return the request; raise RequestRefused of type InvalidRequest for bytes of no such request."""
    try:
        return text.parse(kind, body) if len(body) <= READABLE else kind.FromString(body)
    except DecodeError as exc:
        raise RequestRefused("InvalidRequest", f"the body is not a {kind.DESCRIPTOR.name}") from exc
