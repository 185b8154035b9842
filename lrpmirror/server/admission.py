"""Who may be connected, and who has to make room for others: whom the server has waited for the longest."""

from collections import OrderedDict
from typing import Protocol

from lrpmirror.server.limits import Limits
from lrpmirror.server.traffic import Traffic

__all__ = ["Admission", "Guest"]


class Guest(Protocol):
    """A connection, as far as it is about its place."""

    def leave(self) -> None:
        """End at once, whatever it is doing."""
        ...


class Admission:
    """The connections of a server and the bodies that they send, held to its limits. Every method is O(1).

    A connection is `waiting` while the server waits for it: for its handshake, its head, its body or its next request.
    Those have to go first that have never sent a whole request, then the others, each by how long it has been.
    """

    def __init__(self, limits: Limits, traffic: Traffic) -> None:
        self.limits = limits
        self.traffic = traffic
        self._most = limits.connections
        self._most_buffered = limits.max_buffered
        self._strangers: OrderedDict[Guest, None] = OrderedDict()
        self._known: OrderedDict[Guest, None] = OrderedDict()
        self._sending: OrderedDict[Guest, int] = OrderedDict()
        self._buffered = 0

    @property
    def buffered(self) -> int:
        """How many bytes of bodies are being held."""
        return self._buffered

    def waiting(self, guest: Guest, *, known: bool) -> None:
        """Note that the server waits for a connection from now on; of strangers the first time counts."""
        if known:
            self._known[guest] = None
        else:
            self._strangers.setdefault(guest, None)

    def answering(self, guest: Guest) -> None:
        """Note that a connection has sent its request: it is not cut off for others until it is waited for again."""
        self._strangers.pop(guest, None)
        self._known.pop(guest, None)

    def gone(self, guest: Guest) -> None:
        """Forget a connection."""
        self.answering(guest)
        self.release(guest)

    def make_room(self, connections: int) -> bool:
        """Return whether there is room for one more beside so many, if need be at the cost of one that is waiting."""
        return connections < self._most or self._displace(self._strangers) or self._displace(self._known)

    def hold(self, guest: Guest, size: int) -> bool:
        """Count so many bytes more of a body; return whether there is room, if need be at the cost of older ones."""
        self._sending[guest] = self._sending.get(guest, 0) + size
        self._buffered += size
        while self._buffered > self._most_buffered:
            oldest = next(iter(self._sending))
            if oldest is guest:
                return False
            self._cut(oldest)
        return True

    def release(self, guest: Guest) -> None:
        """Forget the body of a connection."""
        self._buffered -= self._sending.pop(guest, 0)

    def _displace(self, waiting: OrderedDict[Guest, None]) -> bool:
        if not waiting:
            return False
        self._cut(next(iter(waiting)))
        return True

    def _cut(self, guest: Guest) -> None:
        self.traffic.displaced += 1
        self.gone(guest)
        guest.leave()
