"""Admission of connections: at the limit, the one that the server has waited for the longest is cut off."""

from collections import OrderedDict

from trio import CancelScope

from lrpmirror.server.limits import Limits
from lrpmirror.server.traffic import Traffic


class Admission:
    """The connections of a server and the bodies that they send, held to its limits. Every method is O(1).

    A connection stands here by its cancel scope. It is `waiting` while the server waits for it: for its handshake, its
    head, its body or its next request. Connections that have never sent a whole request are cut off first, then the
    others, each in order of waiting.
    """

    def __init__(self, limits: Limits, traffic: Traffic) -> None:
        self.limits = limits
        self.traffic = traffic
        self._most = limits.connections
        self._most_buffered = limits.max_buffered
        self._new: OrderedDict[CancelScope, None] = OrderedDict()
        self._returning: OrderedDict[CancelScope, None] = OrderedDict()
        self._sending: OrderedDict[CancelScope, int] = OrderedDict()
        self.buffered = 0
        """How many bytes of request bodies are held."""

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
        return connections < self._most or self._displace(self._new) or self._displace(self._returning)

    def hold(self, client: CancelScope, size: int) -> bool:
        """Count `size` more bytes of a body; return whether they fit, if need be after cutting off older senders."""
        self._sending[client] = self._sending.get(client, 0) + size
        self.buffered += size
        while self.buffered > self._most_buffered:
            oldest = next(iter(self._sending))
            if oldest is client:
                return False
            self._cut(oldest)
        return True

    def release(self, client: CancelScope) -> None:
        """Forget the body of a connection."""
        self.buffered -= self._sending.pop(client, 0)

    def _displace(self, waiting: OrderedDict[CancelScope, None]) -> bool:
        if not waiting:
            return False
        self._cut(next(iter(waiting)))
        return True

    def _cut(self, client: CancelScope) -> None:
        self.traffic.displaced += 1
        self.gone(client)
        client.cancel()
