"""The options of a client, checked at its construction: the URL, the timeouts and the limits."""

import math
import re
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from lrpmirror.client._tls import TLS
from lrpmirror.errors import ConfigurationError

_HOST = re.compile(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.?", re.IGNORECASE)


_KIBIBYTE: Final = 1024
_MEBIBYTE: Final = 1024 * _KIBIBYTE
_GIBIBYTE: Final = 1024 * _MEBIBYTE


class Timeouts(Struct, frozen=True):
    """How long to wait, in seconds, for each step of a request. A plain number in its place stands for the first three.

    `connect`: name resolution, TCP and TLS together. `write`: sending a piece of the request. `read`: the whole head of
    a reply, and each pause in the body of a list; a stream's body may pause for ever, since a BBS sends no heartbeats.
    `list`: all pauses in the body of one list together, so that one which trickles in comes to an end.
    """

    connect: float = 10.0
    write: float = 10.0
    read: float = 30.0
    list: float = 600.0


class Limits(Struct, frozen=True):
    """How much a server may send: more raises LimitExceeded and ends the connection.

    In bytes: `max_frame`, one event of a stream; `max_record`, one record of a list; `max_list`, the whole body of one;
    `max_head`, the head of a reply with the interim ones before it; `max_trailers`, what follows a body in chunks. In
    number: `max_records` of one list; `max_headers` of a reply; `max_interim` replies (status 1xx) before it.

    The defaults are far beyond what a BBS sends: a deployment of 250,000 instances has a list of 138 MB.
    """

    max_frame: int = 16 * _MEBIBYTE
    max_record: int = 16 * _MEBIBYTE
    max_list: int = 8 * _GIBIBYTE
    max_records: int = 50_000_000
    max_head: int = 64 * _KIBIBYTE
    max_headers: int = 100
    max_interim: int = 10
    max_trailers: int = 16 * _KIBIBYTE


def checked_timeouts(timeout: Timeouts | float) -> Timeouts:
    """Return the timeouts; raise ConfigurationError unless each is a positive number of seconds."""
    given = timeout if isinstance(timeout, Timeouts) else Timeouts(timeout, timeout, timeout)
    for name in given.__struct_fields__:
        seconds = getattr(given, name)
        if not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds <= 0:
            raise ConfigurationError(f"timeout {name}={seconds!r} is not a positive number of seconds")
    return given


def checked_limits(limits: Limits) -> Limits:
    """Return the limits; raise ConfigurationError unless each is a positive whole number."""
    for name in limits.__struct_fields__:
        limit = getattr(limits, name)
        if not isinstance(limit, int) or limit < 1:
            raise ConfigurationError(f"limit {name}={limit!r} is not a positive whole number")
    return limits


def checked_url(url: str, tls: TLS | None) -> str:
    """Return the URL as `scheme://host[:port][/prefix]`; raises ConfigurationError, which repeats no password."""
    try:
        parts = urlsplit(url)
        # Reading the port is what checks it.
        host, _ = parts.hostname, parts.port
    except ValueError as exc:
        raise ConfigurationError(f"the BBS URL cannot be read: {exc}") from exc
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("the BBS URL holds a user or password, which a BBS does not know: leave them out")
    if parts.scheme not in {"http", "https"}:
        raise ConfigurationError(f"the BBS URL {url!r} must begin with https:// or http://")
    if not host:
        raise ConfigurationError(f"the BBS URL {url!r} names no host")
    if any(not "!" <= character <= "~" for character in url) or not (":" in host or _HOST.fullmatch(host)):
        raise ConfigurationError(f"the BBS URL {url!r} has characters that the URL of a BBS cannot have")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"the BBS URL {url!r} must end with its host, port or path prefix")
    if parts.scheme == "http" and tls is not None:
        raise ConfigurationError(
            f"TLS options are given, but the BBS URL {url!r} is http: use https, or leave them out"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
