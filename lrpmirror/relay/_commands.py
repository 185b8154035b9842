"""The few commands of Redis that a relay uses, over one connection for as long as a block lasts.

A connection is not repaired: any error ends it, and the caller opens another. So there are no retries and pools between
a command and its outcome. Errors become this library's here and nowhere else.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, TypeVar

import trio
from msgspec import Struct

from lrpmirror.client import TLS
from lrpmirror.client._tls import Identity
from lrpmirror.errors import BBSError, ConfigurationError
from lrpmirror.relay._address import Address
from lrpmirror.relay._connection import (
    NONE,
    Connection,
    Encoded,
    connected,
    encoded,
    encoded_lines,
    errors_of,
    translated,
)
from lrpmirror.relay._format import Script

T = TypeVar("T")

Pairs = Sequence[tuple[bytes, bytes]]


Later = Callable[[], Awaitable[T]]  # returns what was requested, once


class ServerClock(Struct, frozen=True):
    """A reading of a server's clock, in seconds, taken between two moments of trio's.

    It is the only clock that publishers and readers share. Of the two bounds each side takes the one by which no state
    is reported younger than it is.
    """

    said: float
    asked_at: float
    heard_at: float

    def earliest(self, at: float) -> float:
        """Return the lowest time it can show at a moment of trio's clock, unless it has been set back."""
        return self.said + at - self.heard_at

    def latest(self, at: float) -> float:
        """Return the highest time it can show at a moment of trio's clock, unless it has been set forward."""
        return self.said + at - self.asked_at


class Commands:
    """The commands, on one connection. All raise BBSErrors, and nothing else."""

    def __init__(self, connection: Connection, where: str) -> None:
        self._connection = connection
        self._where = where

    async def read_hash(self, key: str) -> Mapping[bytes, bytes]:
        """Return a small hash (HGETALL)."""
        return dict(_pairs(await self._ask(b"HGETALL", key)))

    async def read_fields(self, key: str, fields: Sequence[str]) -> Sequence[bytes | None]:
        """Return some values of a hash, None for what is not there (HMGET)."""
        found: Sequence[bytes | None] = await self._ask(b"HMGET", key, *fields) if fields else ()
        return found

    def fields_ahead(self, key: str, fields: bytes) -> Later[Sequence[bytes | None]]:
        """Request some values of a hash by the lines of a text, in the same way."""
        if not fields:
            return _nothing
        return partial(self._take, self._connection.request(b"HMGET", key, rest=encoded_lines(fields)))

    async def scan(self, key: str, cursor: int, count: int) -> tuple[int, Mapping[bytes, bytes]]:
        """Return some of a hash and where to go on, 0 at its end (HSCAN)."""
        return await self.scan_ahead(key, cursor, count)()

    def scan_ahead(self, key: str, cursor: int, count: int) -> Later[tuple[int, Mapping[bytes, bytes]]]:
        """Request the same with what is sent next, to be taken later."""
        number = self._connection.request(b"HSCAN", key, cursor, b"COUNT", count)

        async def take() -> tuple[int, Mapping[bytes, bytes]]:
            following, flat = await self._take(number)
            return int(following), dict(_pairs(flat))

        return take

    async def send(self) -> None:
        """Send what was requested, as each other command does."""
        with errors_of(self._where):
            await self._connection.send()

    async def last_entry(self, key: str) -> tuple[str, Pairs] | None:
        """Return the last entry of a stream and its id (XREVRANGE)."""
        found = await self._ask(b"XREVRANGE", key, b"+", b"-", b"COUNT", 1)
        return _entry(found[0]) if found else None

    async def has_entry(self, key: str, entry_id: str) -> bool:
        """Return whether a stream has an entry, or an older one has been dropped by its cap (XRANGE)."""
        if not await self._ask(b"XRANGE", key, b"-", entry_id, b"COUNT", 1):
            # All that is there is newer: the cap has passed the entry by.
            return bool(await self._ask(b"XRANGE", key, entry_id, b"+", b"COUNT", 1))
        return bool(await self._ask(b"XRANGE", key, entry_id, entry_id, b"COUNT", 1))

    async def entries_after(self, key: str, entry_id: str, count: int, wait: float) -> Sequence[tuple[str, Pairs]]:
        """Return the next entries of a stream, and wait up to so many seconds for the first (XREAD)."""
        milliseconds = max(1, round(wait * 1000))
        found = await self._ask(b"XREAD", b"COUNT", count, b"BLOCK", milliseconds, b"STREAMS", key, entry_id)
        return [_entry(one) for _, entries in found or () for one in entries]

    async def time(self) -> float:
        """Return the server's time in seconds (TIME)."""
        seconds, microseconds = await self._ask(b"TIME")
        return int(seconds) + int(microseconds) / 1_000_000

    async def clock(self) -> ServerClock:
        """Read the server's clock."""
        asked_at = trio.current_time()
        said = await self.time()
        return ServerClock(said, asked_at, trio.current_time())

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes]) -> Any:
        """Run a script (EVALSHA, and EVAL where the server does not know it)."""
        try:
            return await self._ask(*args, beginning=_call(script.name, *keys))
        except BBSError as error:
            # By its name, so that this module can be imported without coredis.
            if type(error.__cause__).__name__ != "NoScriptError":
                raise
        return await self._ask(b"EVAL", script.text, len(keys), *keys, *args)

    async def _ask(self, *command: bytes | str | int, beginning: Encoded = NONE) -> Any:
        try:
            return await self._connection.ask(*command, beginning=beginning)
        except Exception as error:
            raise translated(self._where, error) from error

    async def _take(self, number: int) -> Any:
        try:
            return await self._connection.reply(number)
        except Exception as error:
            raise translated(self._where, error) from error


Connect = Callable[[], AbstractAsyncContextManager[Commands]]  # opens a connection for as long as a block lasts


def connector(address: Address, tls: TLS | None = None) -> tuple[Connect, Identity | None]:
    """Return what opens connections, and their identity. Raises ConfigurationError for packages and files."""
    try:
        # Now, since it takes a while, in which nothing else would run later.
        import_module("coredis")
        import_module("hiredis")
    except ImportError as exc:
        raise ConfigurationError(
            f"{address.name}: this needs the packages coredis and hiredis: pip install 'lrpmirror[redis]'"
        ) from exc
    if tls is not None and not address.encrypted:
        raise ConfigurationError(
            f"TLS options are given, but {address.name} is not rediss: use that, or leave them out"
        )
    identity = Identity(tls or TLS()) if address.encrypted else None
    return partial(_connected, address, identity), identity


@asynccontextmanager
async def _connected(address: Address, identity: Identity | None) -> AsyncIterator[Commands]:
    with errors_of(address.name):
        async with connected(address, identity.context() if identity else None) as connection:
            yield Commands(connection, address.name)


@lru_cache(maxsize=8)
def _call(name: str, *keys: str) -> Encoded:
    # Once, since half of the parts of a script's command are the same each time.
    return encoded((b"EVALSHA", name, len(keys), *keys))


async def _nothing() -> Sequence[bytes | None]:
    return ()


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _entry(found: Any) -> tuple[str, Pairs]:
    entry_id, flat = found
    return entry_id.decode(), tuple(_pairs(flat))
