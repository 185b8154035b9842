"""The limits of a server's clients: time, connections and memory."""

import resource
from typing import Final

from msgspec import Struct

RESERVED: Final = 64
"""Descriptors reserved for the process itself: its connections to a BBS, files, and listening sockets."""

MOST: Final = 10_000
"""How many connections a server has at most where descriptors would allow more, by default."""

FEWEST: Final = 4

ENOUGH: Final = 16_384
"""As many open files as anyone needs for so many connections."""


class Limits(Struct, frozen=True, kw_only=True):
    """What one connection, and all of them together, may use of a server.

    Times are in seconds. Up to `handshake_timeout` for the TLS handshake, `head_timeout` for the head of a request,
    `body_timeout` for its body, `idle_timeout` between two requests on one connection; a client that takes longer is
    cut off. So is one that does not take what is written to it for `write_timeout`, or that lets one reply, other than
    an event stream, wait for longer than `reply_timeout` in all.

    `max_body` is the size of the largest body, in bytes, and `max_buffered` that of all bodies together that are being
    received: beyond it the connection that has been sending the longest is cut off.

    `max_connections` is how many may be open; None for as many as the process's limit of open files allows, less what
    the process needs itself. One more takes the place of the connection that the server has waited for the longest,
    first of those that have never asked for anything; where all are being answered, it is closed.
    """

    max_connections: int | None = None
    handshake_timeout: float = 10.0
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 120.0
    write_timeout: float = 30.0
    reply_timeout: float = 300.0
    max_body: int = 512 * 1024
    max_buffered: int = 16 * 1024 * 1024

    @property
    def connections(self) -> int:
        """How many connections may be open."""
        return connections_allowed() if self.max_connections is None else self.max_connections

    @property
    def shortest(self) -> float:
        """The shortest of the times."""
        times: list[float] = [getattr(self, name) for name in self.__struct_fields__ if name.endswith("_timeout")]
        return min(times)


def connections_allowed(share: float = 1.0) -> int:
    """Return how many connections the limit of open files allows, if a server may have this share of the files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MOST
    return max(FEWEST, min(MOST, int((files - RESERVED) * share)))


def allow_more_files() -> None:
    """Raise this process's limit of open files as far as the system lets it, as servers do: for its main program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft not in {hard, resource.RLIM_INFINITY} and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
