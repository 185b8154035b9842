"""What a server's clients may use, in time, connections and memory; who is admitted; and counters of all of that."""

import logging
import resource
import traceback
from collections import Counter, OrderedDict
from typing import Final

from msgspec import Struct
from trio import CancelScope

logger: Final = logging.getLogger("lrpmirror.server")

KINDS: Final = 30  # how many kinds of failures are distinguished

_LONGEST: Final = 200  # characters of what failed in the log

RESERVED: Final = 64  # descriptors for the process itself: its connections to a BBS, files, and listening sockets
MOST: Final = 10_000  # how many connections a server has at most where descriptors would allow more, by default
FEWEST: Final = 4
ENOUGH: Final = 16_384  # as many open files as anyone needs for so many connections


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


class Traffic:
    """Counts what became of connections and requests. The numbers only grow, but for `open`."""

    def __init__(self) -> None:
        self.open = 0  # open connections
        self.accepted = 0
        self.refused = 0  # closed at once, because there were too many that were being answered
        self.displaced = 0  # cut off while the server waited for them, to make room for others
        self.timeouts: Counter[str] = Counter()  # cut off for what the client took too long for: `head`, `write`…
        self.replies: Counter[int] = Counter()  # by status
        self.failures: Counter[str] = Counter()  # requests and connections by the error of the server's that ended them
        self.first: dict[str, Exception] = {}  # the first failure of each kind: of a class, in a line of code

    def failed(self, error: Exception, what: str) -> None:
        """Count an error of the server's own, and log it with its traceback if it is the first of its kind."""
        name = type(error).__name__
        self.failures[name if len(self.failures) < KINDS or name in self.failures else "other"] += 1
        frames = traceback.extract_tb(error.__traceback__, limit=-1)
        kind = f"{name} at {frames[-1].filename}:{frames[-1].lineno}" if frames else name
        if kind in self.first or len(self.first) >= KINDS:
            return
        self.first[kind] = error
        told = "%s failed, which costs its connection; more of this kind are counted but not logged"
        logger.error(told, what[:_LONGEST], exc_info=error)
        # What the functions had in hand is not kept with it.
        traceback.clear_frames(error.__traceback__)

    def raise_failures(self, what: str) -> None:
        """Raise the failures, if there are any, in an ExceptionGroup."""
        if self.first:
            raise ExceptionGroup(f"{what} failed: {dict(self.failures)}", list(self.first.values()))


class Admission:
    """The connections of a server, by their cancel scopes, and their bodies, held to its limits. Every method is O(1).

    One is `waiting` while the server waits for its handshake, head, body or next request. Connections that have never
    sent a whole request are cut off first, then the others, each in order of waiting.
    """

    def __init__(self, limits: Limits, traffic: Traffic) -> None:
        self.limits = limits
        self.traffic = traffic
        self._most = limits.connections
        self._new: OrderedDict[CancelScope, None] = OrderedDict()
        self._returning: OrderedDict[CancelScope, None] = OrderedDict()
        self._sending: OrderedDict[CancelScope, int] = OrderedDict()
        self.buffered = 0  # how many bytes of request bodies are held

    def waiting(self, client: CancelScope, *, known: bool) -> None:
        """Record that the server waits for a connection from now on; for a new one the first time counts."""
        if known:
            self._returning[client] = None
        else:
            self._new.setdefault(client, None)

    def answering(self, client: CancelScope) -> None:
        """Record that a connection has sent its request: it is not cut off until it is waited for again."""
        self._new.pop(client, None)
        self._returning.pop(client, None)

    def gone(self, client: CancelScope) -> None:
        """Forget a connection."""
        self.answering(client)
        self.release(client)

    def make_room(self, connections: int) -> bool:
        """Return whether one more than `connections` fits; if need be, cut off one that is waiting."""
        if connections < self._most:
            return True
        oldest = next(iter(self._new or self._returning), None)
        if oldest is not None:
            self._cut(oldest)
        return oldest is not None

    def hold(self, client: CancelScope, size: int) -> bool:
        """Count `size` more bytes of a body; return whether they fit, if need be after cutting off older senders."""
        self._sending[client] = self._sending.get(client, 0) + size
        self.buffered += size
        while self.buffered > self.limits.max_buffered:
            oldest = next(iter(self._sending))
            if oldest is client:
                return False
            self._cut(oldest)
        return True

    def release(self, client: CancelScope) -> None:
        """Forget the body of a connection."""
        self.buffered -= self._sending.pop(client, 0)

    def _cut(self, client: CancelScope) -> None:
        self.traffic.displaced += 1
        self.gone(client)
        client.cancel()
