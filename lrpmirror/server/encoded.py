"""Events and statuses of a stream, encoded once for all its readers."""

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.events import Event, SourceStatus
from lrpmirror.wire import encode, source, sse


class MirrorOnly(Struct, frozen=True, gc=False):
    """An event that a BBS would not send, for followers that are mirrors: other readers of the stream do not see it."""

    event: Event


class EncodedEvent:
    """An event for any number of readers. It is encoded when it is sent to the first of them."""

    __slots__ = ("_tail", "event", "mirror_only")

    def __init__(self, event: Event | MirrorOnly) -> None:
        self.mirror_only = isinstance(event, MirrorOnly)
        """Whether readers other than mirrors do not see it; then it has no number either."""
        self.event: Event = event.event if isinstance(event, MirrorOnly) else event
        self._tail = b""

    def frame(self, number: int, now: float) -> bytes:  # noqa: ARG002 - as that of a status
        """Return the frame for a reader of which it is the event of that number. O(its bytes)."""
        tail = self._tail
        if not tail:
            tail = self._tail = self._encode()
        return tail if self.mirror_only else b"id: %d\n%s" % (number, tail)

    def _encode(self) -> bytes:
        name, payload = encode.event_name(self.event), encode.event(self.event)
        if self.mirror_only:
            return sse.encode_aside(name, payload)
        return sse.encode_frame(0, name, payload).removeprefix(b"id: 0\n")


class EncodedStatus:
    """The age of the state behind all events before it, for any number of readers; it grows until it is sent."""

    __slots__ = ("_at", "_status")

    mirror_only = True

    def __init__(self, status: SourceStatus, at: float) -> None:
        self._status = status
        self._at = at

    def frame(self, number: int, now: float) -> bytes:  # noqa: ARG002 - it has no number
        """Return the frame with the present age. O(1)."""
        return source.comment(replace(self._status, age=self._status.age + max(0.0, now - self._at)))


Encoded = EncodedEvent | EncodedStatus
