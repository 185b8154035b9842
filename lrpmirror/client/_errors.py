"""The one seam where errors of httpx, h11, OpenSSL and the operating system become errors of this library."""

import socket
import ssl
from collections.abc import Callable, Iterator

import httpx
from msgspec import Struct

from lrpmirror.client._pipe import HandshakeCutError
from lrpmirror.client._tls import Identity
from lrpmirror.errors import (
    BBSError,
    ConnectionFailed,
    RequestRefused,
    ServiceUnavailable,
    TimedOut,
    TLSFailed,
    UnexpectedReply,
    UnknownPath,
    WireError,
)

# The extension of a response whose body ends where the connection does, so that a cut looks like its end.
OPEN_ENDED = "lrpmirror.open_ended"
_ROUTER_ERROR = "X-Cf-Routererror"
_LONGEST_QUOTE = 200
_PHASES = {
    httpx.ConnectTimeout: "connecting",
    httpx.WriteTimeout: "sending the request",
    httpx.PoolTimeout: "waiting for a free connection",
}


class RequestInfo(Struct, frozen=True):
    """A request as error messages name it (`POST /v1/ping at https://bbs:8889`), and the identity that sent it.

    `lost` is called where the server turns out to be out of reach.
    """

    method: str
    path: str
    url: str
    identity: Identity | None
    lost: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.method} {self.path} at {self.url}"


class MappedErrors:
    """Maps a foreign error of its block to an error of this library that names the request; for any number of blocks.

    `doing` completes "… while", `lost` is what a broken connection is called. Errors about the bytes of a reply, and
    the BBS's own refusals, are raised as they are, with the place added.
    """

    def __init__(self, info: RequestInfo, doing: str, lost: str = "the connection broke") -> None:
        self._info = info
        self._doing = doing
        self._lost = lost

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        info, doing = self._info, self._doing
        if error is None:
            return
        if isinstance(error, httpx.TimeoutException):
            info.lost()
            raise TimedOut(f"{info}: timed out while {_PHASES.get(type(error), doing)}") from error
        if isinstance(error, (httpx.TransportError, OSError)):
            info.lost()
            raise _connection_error(error, info, f"{self._lost} while {doing}") from error
        if isinstance(error, (ConnectionFailed, TimedOut, ServiceUnavailable)):
            info.lost()
        elif isinstance(error, (WireError, RequestRefused)) and not str(error).startswith(str(info)):
            # Only the text grows: the type, and the fields of a refusal, stay what callers match on.
            error.args = (f"{info}: {error}",)


def check_reply(info: RequestInfo, response: httpx.Response, content_type: str, *, endless: bool) -> None:
    """Raise unless the head of a reply is what the protocol promises: 200, the content type, and where its body ends.

    The body of an `endless` reply, a stream, has no end. Raises ServiceUnavailable (503), UnknownPath (404 of the BBS
    itself, not of a router in between) and UnexpectedReply.
    """
    status = response.status_code
    router = response.headers.get(_ROUTER_ERROR)
    sender = f"; sent by a router in between, not by the BBS ({_ROUTER_ERROR}: {quoted(router)})" if router else ""
    if status == httpx.codes.SERVICE_UNAVAILABLE:
        raise ServiceUnavailable(f"{info}: 503, the BBS is not in service{sender}; retry later")
    if status == httpx.codes.NOT_FOUND and not router:
        raise UnknownPath(f"{info}: 404, the server does not know this path; an older BBS, or no BBS at this URL")
    if status != httpx.codes.OK:
        raise UnexpectedReply(f"{info}: status {status} instead of 200{sender}")
    given = response.headers.get("Content-Type", "")
    if given.partition(";")[0].strip().lower() != content_type:
        raise UnexpectedReply(
            f"{info}: content type {quoted(given)} instead of {content_type}{sender}; is this the URL of a BBS?"
        )
    if response.extensions.get(OPEN_ENDED) and not endless:
        raise UnexpectedReply(
            f"{info}: a reply that does not say where it ends (neither Content-Length nor chunks), so that one which "
            f"was cut off would pass for whole{sender}; a BBS says so: is there a proxy of HTTP/1.0 in between?"
        )
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise UnexpectedReply(f"{info}: an encoded body, which was not asked for{sender}")


def quoted(text: str) -> str:
    """Return a server's text for use in a message: printable, and of limited length."""
    return shortened(repr(text))


def shortened(text: str) -> str:
    """Return a text that may quote the server at limited length."""
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"


def _connection_error(exc: BaseException, info: RequestInfo, lost: str) -> BBSError:
    """Distinguish what helps the reader of the message: name resolution, TLS of either side, refusal, breakage."""
    if isinstance(exc, HandshakeCutError):
        known = info.identity.own_problem() if info.identity else ""
        return ConnectionFailed(
            f"{info}: the BBS closed the connection during the TLS handshake{known and f'; {known}'}"
        )
    roots = tuple(_causes(exc))
    for root in roots:
        if isinstance(root, ssl.SSLCertVerificationError):
            problem = info.identity.authority_problem() if info.identity else ""
            return TLSFailed(
                f"{info}: the server's certificate is not accepted: {root.verify_message or root.reason}; "
                f"{problem or 'check `ca`, and the host name in the URL'}"
            )
        if isinstance(root, ssl.SSLError) and not isinstance(root, ssl.SSLEOFError):
            return TLSFailed(f"{info}: {_tls_reason(root, info)}")
    for root in roots:
        if isinstance(root, socket.gaierror):
            return ConnectionFailed(f"{info}: the host name cannot be resolved: {root.strerror}")
    if isinstance(exc, httpx.ConnectError):
        errors = [root for root in roots if isinstance(root, OSError) and root.strerror]
        reason = errors[-1].strerror if errors else str(exc) or type(exc).__name__
        return ConnectionFailed(f"{info}: no connection: {reason}")
    return ConnectionFailed(f"{info}: {lost}: {str(exc) or type(exc).__name__}")


def _tls_reason(error: ssl.SSLError, info: RequestInfo) -> str:
    reason = error.reason or str(error)
    if "ALERT" in reason:
        problem = info.identity.own_problem() if info.identity else ""
        advice = problem or "check `cert` and `key`: it may want another certificate"
        return f"the server refused the TLS handshake ({reason}); {advice}"
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}:
        return f"the server does not speak TLS ({reason}); is it an http URL?"
    return f"TLS failed ({reason})"


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    """Walk an error and what it came from, outermost first, through groups too."""
    while exc is not None:
        yield exc
        if isinstance(exc, BaseExceptionGroup):
            for inner in exc.exceptions:
                yield from _causes(inner)
        # Some are raised "from None", which takes the cause away; the context still has it.
        exc = exc.__cause__ or exc.__context__
