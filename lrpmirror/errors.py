"""The errors of lrpmirror, one tree under `LRPMirrorError`.

An error of another library never leaves this one: it is the `__cause__` of one of these.
"""

from typing import TypeVar

__all__ = [
    "BBSError",
    "ChangesMissed",
    "ConfigurationError",
    "ConnectionFailed",
    "LRPMirrorError",
    "LimitExceeded",
    "ListNotBelieved",
    "MalformedChunk",
    "MalformedFrame",
    "MalformedRecord",
    "MirrorClosed",
    "MirrorError",
    "MirrorForked",
    "NoPublisher",
    "NotFresh",
    "NotSeen",
    "NotSynced",
    "RecordingError",
    "RelayRefused",
    "RelayUnreachable",
    "RelayUnreadable",
    "RequestRefused",
    "ResourceNotFound",
    "ServiceUnavailable",
    "StateFileError",
    "StreamDead",
    "TLSFailed",
    "TimedOut",
    "TruncatedReply",
    "UnexpectedReply",
    "UnknownPath",
    "UpstreamStale",
    "WireError",
]

E = TypeVar("E", bound=BaseException)

_LONGEST_SHOWN = 500


class LRPMirrorError(Exception):
    """The root: catch this to catch everything that lrpmirror raises on its own account."""


class ConfigurationError(LRPMirrorError):
    """An option, URL or file cannot be used; the message says which one and what to do."""


class WireError(LRPMirrorError):
    """Bytes are not what the protocol says; the message names what is wrong and where."""


class MalformedFrame(WireError):
    """A frame of the event stream cannot be read."""


class MalformedChunk(WireError):
    """A chunk of a reply's body cannot be read."""


class MalformedRecord(WireError):
    """A protobuf record or event, or its JSON, cannot be decoded."""


class TruncatedReply(WireError):
    """A reply ended in the middle of a record."""


class LimitExceeded(WireError):
    """A frame, a record or a count is larger than its configured limit."""


class BBSError(LRPMirrorError):
    """A request to the BBS did not give its answer."""


class ConnectionFailed(BBSError):
    """No connection to the BBS could be made, or it broke."""


class TLSFailed(ConnectionFailed):
    """The TLS handshake was refused, by this side or the other."""


class StreamDead(ConnectionFailed):
    """The event stream was silent, and pings on a connection beside it failed; the last failure is the cause."""


class RelayUnreachable(ConnectionFailed):
    """No connection to the Redis or Valkey of a relay could be made, or it broke."""


class ChangesMissed(ConnectionFailed):
    """A relay's stream of changes does not go on where it was left, so the state has to be listed again."""


class TimedOut(BBSError):
    """The BBS did not answer within the time allowed."""


class ServiceUnavailable(BBSError):
    """The BBS answered 503: it is migrating or does not hold the lock. Retry; it never means "empty"."""


class NoPublisher(ServiceUnavailable):
    """No publisher keeps the relay current, or none ever has; the message names the last one."""


class RelayRefused(BBSError):
    """The server of a relay refuses: the user or password is wrong, or a permission is missing."""


class RelayUnreadable(BBSError):
    """The data in a relay has another version of the format, or none."""


class UnknownPath(BBSError):
    """The server answered 404: it does not know this request."""


class UnexpectedReply(BBSError):
    """The reply has another status or content type than the protocol's."""


class RequestRefused(BBSError):
    """The BBS refused the request in the reply's error field.

    `type` is the name of the BBS's error type (such as "InvalidRequest", or the number of a newer one), `message` its
    text; printed, it is of limited length and on one line.
    """

    def __init__(self, type: str, message: str) -> None:  # noqa: A002 - the protocol's own name for it
        super().__init__(f"{type}: {_shown(message)}" if message else type)
        self.type = type
        self.message = message


def _shown(message: str) -> str:
    """Return a server's text for use in a message: printable, and of limited length."""
    cut = message if len(message) <= _LONGEST_SHOWN else message[:_LONGEST_SHOWN] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in cut)


class ResourceNotFound(RequestRefused):
    """The BBS has no such record."""


class ListNotBelieved(BBSError):
    """A list would remove too much of the state, or is older than it, and is not believed before a second one agrees.

    The message has the numbers. The mirror keeps what it has, says STALE, and reads a second list after a wait: see
    `Tuning.brake_share` and `Tuning.rollback_wait`.
    """


class UpstreamStale(BBSError):
    """The followed server is a replica that has lost the BBS, so its state is not known to be current.

    `trouble` is the reason that the replica reports: the name of an error.
    """

    def __init__(self, trouble: str) -> None:
        super().__init__(f"who is followed has lost the BBS itself, and says: {trouble}")
        self.trouble = trouble


class RecordingError(LRPMirrorError):
    """A folder of recorded traffic cannot be read or written."""


class StateFileError(LRPMirrorError):
    """A state file is damaged, foreign or of a later version, or could not be written; the message says what to do.

    It is never raised out of a mirror, which goes on without the file: it is in the log and the status.
    """


class MirrorError(LRPMirrorError):
    """Something was asked of a mirror that it cannot do now."""


class NotSynced(MirrorError):
    """The mirror has no state yet, or did not get it within the time allowed."""


class NotFresh(MirrorError):
    """The mirror's state is older than was allowed.

    `phase` is what the mirror is doing, `age` the seconds since its state was last known to be the server's (None: it
    has none), and `__cause__` what is wrong, where anything is known to be.
    """

    def __init__(self, message: str, *, phase: str, age: float | None) -> None:
        super().__init__(message)
        self.phase = phase
        self.age = age


class NotSeen(MirrorError):
    """What was waited for did not come within the time allowed; the message says what the mirror has instead."""


class MirrorClosed(MirrorError):
    """The mirror has been closed."""


class MirrorForked(MirrorError):
    """This process was forked from the one that opened the mirror, and nothing keeps its copy current.

    Its status is CLOSED with this error; waits, views and subscriptions raise it. Open a mirror after the fork.
    """


def without_frames(error: E) -> E:
    """Remove the traceback of an error that is to be stored, and of its causes and contexts; return the error.

    A traceback keeps the local variables of all functions that the error passed through (megabytes, of a stream). Where
    these refer to the error, they would live until the next garbage collection.
    """
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        exception = left.pop()
        if exception is None or id(exception) in seen:
            continue
        seen.add(id(exception))
        exception.__traceback__ = None
        left += (exception.__cause__, exception.__context__)
        if isinstance(exception, BaseExceptionGroup):
            left += exception.exceptions
    return error


def failure_of(error: BaseException) -> Exception:
    """Return what foreign code has raised as an Exception: itself, or a MirrorError where it is not one.

    KeyboardInterrupt and SystemExit, which end the program, are raised again.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise error
    failure = MirrorError(f"it raised {error!r}")
    failure.__cause__ = error
    return failure
