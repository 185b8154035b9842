"""Maps errors of coredis and Redis to this library's errors; none contains a password."""

from collections.abc import Iterator
from types import TracebackType

import trio

from lrpmirror.errors import LRPMirrorError, RelayRefused, RelayUnreachable, ServiceUnavailable


class errors_of:  # noqa: N801 - a context manager
    """Raises errors of a relay in the block as BBSErrors, with the original as the cause."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, LRPMirrorError):
            raise _translated(self._where, error) from error


def _translated(where: str, error: Exception) -> LRPMirrorError:
    from coredis import exceptions as of_redis  # noqa: PLC0415 - the extra

    causes = list(_causes(error))
    for one in causes:
        if isinstance(one, of_redis.AuthenticationError):
            return RelayRefused(f"{where}: the server refuses the user or password: {_text(one)}")
        if isinstance(one, of_redis.AuthorizationError) or "can't run this command" in str(one):
            return RelayRefused(f"{where}: the user lacks a permission (see ACL in README): {_text(one)}")
        if isinstance(one, of_redis.ReadOnlyError) or "READONLY" in str(one):
            return ServiceUnavailable(f"{where}: this server is a read replica, where nothing can be written")
        if isinstance(one, of_redis.ClusterDownError):
            return ServiceUnavailable(f"{where}: the cluster is down: {_text(one)}")
        if isinstance(one, of_redis.SentinelError):
            return RelayUnreachable(f"{where}: {_text(one)}")
        if isinstance(one, of_redis.BusyLoadingError):
            return RelayUnreachable(f"{where}: the server is loading its data")
    for one in causes:
        if isinstance(one, (of_redis.ConnectionError, of_redis.RedisClusterError, OSError, trio.BrokenResourceError)):
            reason = _text(causes[-1]) or type(causes[-1]).__name__
            return RelayUnreachable(f"{where}: no connection to the server, or it broke: {reason}")
    return RelayRefused(f"{where}: the server refuses: {_text(error)}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Return an error and what caused it, through groups and chains; bounded."""
    waiting, seen = [error], 0
    while waiting and seen < 20:  # noqa: PLR2004 - no chain is so long
        one = waiting.pop(0)
        seen += 1
        yield one
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        if one.__cause__ is not None:
            waiting.append(one.__cause__)


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())
