"""The few commands of Redis that a relay uses, over one connection for as long as a block lasts.

A connection is not repaired: any error ends it, and the caller opens another. So there are no retries and pools between
a command and its outcome. Errors become this library's here and nowhere else.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, Protocol, TypeVar

from lrpmirror.client import TLS
from lrpmirror.client._identity import Identity
from lrpmirror.errors import ConfigurationError
from lrpmirror.relay._address import Address
from lrpmirror.relay._clients import account_of, server_of
from lrpmirror.relay._connection import Connection, Encoded, connected, encoded, encoded_lines
from lrpmirror.relay._errors import errors_of
from lrpmirror.relay._scripts import Script

T = TypeVar("T")

Pairs = Sequence[tuple[bytes, bytes]]


class Commands(Protocol):
    """The commands, on one connection. All raise BBSErrors, and nothing else."""

    async def read_hash(self, key: str) -> Mapping[bytes, bytes]:
        """Return a small hash (HGETALL)."""
        ...

    async def read_fields(self, key: str, fields: Sequence[str]) -> Sequence[bytes | None]:
        """Return some values of a hash, None for what is not there (HMGET)."""
        ...

    async def scan(self, key: str, cursor: int, count: int) -> tuple[int, Mapping[bytes, bytes]]:
        """Return some of a hash and where to go on, 0 at its end (HSCAN)."""
        ...

    def scan_ahead(self, key: str, cursor: int, count: int) -> "Later[tuple[int, Mapping[bytes, bytes]]]":
        """Request the same with what is sent next, to be taken later."""
        ...

    def fields_ahead(self, key: str, fields: bytes) -> "Later[Sequence[bytes | None]]":
        """Request some values of a hash by the lines of a text, in the same way."""
        ...

    async def send(self) -> None:
        """Send what was requested, as each other command does."""
        ...

    async def last_entry(self, key: str) -> tuple[str, Pairs] | None:
        """Return the last entry of a stream and its id (XREVRANGE)."""
        ...

    async def has_entry(self, key: str, entry_id: str) -> bool:
        """Return whether a stream has an entry, or an older one has been dropped by its cap (XRANGE)."""
        ...

    async def entries_after(self, key: str, entry_id: str, count: int, wait: float) -> Sequence[tuple[str, Pairs]]:
        """Return the next entries of a stream, and wait up to so many seconds for the first (XREAD)."""
        ...

    async def time(self) -> float:
        """Return the server's time in seconds (TIME)."""
        ...

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes]) -> Any:
        """Run a script (EVALSHA, and EVAL where the server does not know it)."""
        ...


Later = Callable[[], Awaitable[T]]
"""Returns what was requested, once."""

Connect = Callable[[], AbstractAsyncContextManager[Commands]]
"""Opens a connection for as long as a block lasts."""


class _Redis:
    """The commands over a connection."""

    def __init__(self, connection: Connection, where: str) -> None:
        self._connection = connection
        self._ask = connection.ask
        self._where = where

    async def read_hash(self, key: str) -> Mapping[bytes, bytes]:
        with errors_of(self._where):
            return dict(_pairs(await self._ask(b"HGETALL", key)))

    async def read_fields(self, key: str, fields: Sequence[str]) -> Sequence[bytes | None]:
        if not fields:
            return ()
        with errors_of(self._where):
            found: Sequence[bytes | None] = await self._ask(b"HMGET", key, *fields)
        return found

    def fields_ahead(self, key: str, fields: bytes) -> Later[Sequence[bytes | None]]:
        if not fields:
            return _nothing
        return partial(self._take, self._connection.request(b"HMGET", key, rest=encoded_lines(fields)))

    async def scan(self, key: str, cursor: int, count: int) -> tuple[int, Mapping[bytes, bytes]]:
        return await self.scan_ahead(key, cursor, count)()

    def scan_ahead(self, key: str, cursor: int, count: int) -> Later[tuple[int, Mapping[bytes, bytes]]]:
        number = self._connection.request(b"HSCAN", key, cursor, b"COUNT", count)

        async def take() -> tuple[int, Mapping[bytes, bytes]]:
            following, flat = await self._take(number)
            return int(following), dict(_pairs(flat))

        return take

    async def send(self) -> None:
        with errors_of(self._where):
            await self._connection.send()

    async def _take(self, number: int) -> Any:
        with errors_of(self._where):
            return await self._connection.reply(number)

    async def last_entry(self, key: str) -> tuple[str, Pairs] | None:
        with errors_of(self._where):
            found = await self._ask(b"XREVRANGE", key, b"+", b"-", b"COUNT", 1)
        return _entry(found[0]) if found else None

    async def has_entry(self, key: str, entry_id: str) -> bool:
        with errors_of(self._where):
            if not await self._ask(b"XRANGE", key, b"-", entry_id, b"COUNT", 1):
                # All that is there is newer: the cap has passed the entry by.
                return bool(await self._ask(b"XRANGE", key, entry_id, b"+", b"COUNT", 1))
            return bool(await self._ask(b"XRANGE", key, entry_id, entry_id, b"COUNT", 1))

    async def entries_after(self, key: str, entry_id: str, count: int, wait: float) -> Sequence[tuple[str, Pairs]]:
        milliseconds = max(1, round(wait * 1000))
        with errors_of(self._where):
            found = await self._ask(b"XREAD", b"COUNT", count, b"BLOCK", milliseconds, b"STREAMS", key, entry_id)
        return [_entry(one) for _, entries in found or () for one in entries]

    async def time(self) -> float:
        with errors_of(self._where):
            seconds, microseconds = await self._ask(b"TIME")
        return int(seconds) + int(microseconds) / 1_000_000

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes]) -> Any:
        with errors_of(self._where):
            try:
                return await self._ask(*args, beginning=_call(script.name, *keys))
            except Exception as error:
                # By its name, so that this module can be imported without coredis.
                if type(error).__name__ != "NoScriptError":
                    raise
            return await self._ask(b"EVAL", script.text, len(keys), *keys, *args)


def connector(address: Address, tls: TLS | None = None) -> tuple[Connect, Identity | None]:
    """Return a function that opens connections to a relay, and the identity they use, which is read anew for each.

    Raises ConfigurationError where coredis or hiredis is not installed, or a file of `tls` cannot be used.
    """
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
        context = identity.context() if identity else None
        where = await server_of(address, context)
        async with connected(where, context, account=account_of(address), db=address.db) as connection:
            await connection.ask(b"PING")
            yield _Redis(connection, address.name)


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
