"""The few commands of Redis that a relay is made of, over one connection of coredis for as long as a block lasts.

A connection is not repaired: whatever goes wrong ends it, and whoever needs another opens another. So there is nothing
of coredis's own retries and pools between a command and what came of it. Its errors become this library's here and
nowhere else.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from lrpmirror.client import TLS
from lrpmirror.client._identity import Identity
from lrpmirror.errors import ConfigurationError
from lrpmirror.relay._address import Address
from lrpmirror.relay._clients import client_of
from lrpmirror.relay._errors import errors_of
from lrpmirror.relay._scripts import Script

__all__ = ["Commands", "Connect", "connector"]

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


Connect = Callable[[], AbstractAsyncContextManager[Commands]]
"""What opens a connection, for as long as a block lasts."""


class _Redis:
    """The commands over coredis."""

    def __init__(self, client: Any, where: str) -> None:
        self._client = client
        self._where = where

    async def read_hash(self, key: str) -> Mapping[bytes, bytes]:
        with errors_of(self._where):
            found: Mapping[bytes, bytes] = await self._client.hgetall(key)
        return found

    async def read_fields(self, key: str, fields: Sequence[str]) -> Sequence[bytes | None]:
        with errors_of(self._where):
            found: Sequence[bytes | None] = await self._client.hmget(key, fields) if fields else ()
        return found

    async def scan(self, key: str, cursor: int, count: int) -> tuple[int, Mapping[bytes, bytes]]:
        with errors_of(self._where):
            place, found = await self._client.hscan(key, cursor, count=count)
        return place, found

    async def last_entry(self, key: str) -> tuple[str, Pairs] | None:
        with errors_of(self._where):
            found = await self._client.xrevrange(key, end="+", start="-", count=1)
        return _entry(found[0]) if found else None

    async def has_entry(self, key: str, entry_id: str) -> bool:
        with errors_of(self._where):
            found = await self._client.xrange(key, start="-", end=entry_id, count=1)
            if not found:
                # All that is there is newer: the cap has passed the entry by.
                return bool(await self._client.xrange(key, start=entry_id, end="+", count=1))
            return bool(await self._client.xrange(key, start=entry_id, end=entry_id, count=1))

    async def entries_after(self, key: str, entry_id: str, count: int, wait: float) -> Sequence[tuple[str, Pairs]]:
        with errors_of(self._where):
            found = await self._client.xread({key: entry_id}, count=count, block=max(1, round(wait * 1000)))
        return [_entry(one) for entries in (found or {}).values() for one in entries]

    async def time(self) -> float:
        with errors_of(self._where):
            # Not by its method `time`: that of coredis 6.9 takes the microseconds for nanoseconds, and its client of a
            # cluster has no node for it.
            async with self._client.connection_pool.acquire() as connection:
                seconds, microseconds = await connection.create_request(b"TIME")
        return int(seconds) + int(microseconds) / 1_000_000

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes]) -> Any:
        from coredis.exceptions import NoScriptError  # noqa: PLC0415 - the extra

        with errors_of(self._where):
            try:
                return await self._client.evalsha(script.name, keys, args)
            except NoScriptError:
                return await self._client.eval(script.text, keys, args)


def connector(address: Address, tls: TLS | None = None) -> tuple[Connect, Identity | None]:
    """Return what opens connections to a relay, and the identity that they use, which is read anew for each.

    Raises ConfigurationError where coredis is not installed, or a file of `tls` cannot be used.
    """
    try:
        # Now, since it takes a while, in which nothing else would run later.
        import_module("coredis")
    except ImportError as exc:
        raise ConfigurationError(
            f"{address.name}: this needs the package coredis: pip install 'lrpmirror[redis]'"
        ) from exc
    if tls is not None and not address.encrypted:
        raise ConfigurationError(
            f"TLS options are given, but {address.name} is not rediss: use that, or leave them out"
        )
    identity = Identity(tls or TLS()) if address.encrypted else None
    return partial(_connected, address, identity), identity


@asynccontextmanager
async def _connected(address: Address, identity: Identity | None) -> AsyncIterator[Commands]:
    failure: BaseException | None = None
    with errors_of(address.name):
        async with AsyncExitStack() as stack:
            try:
                with errors_of(address.name):
                    context = identity.context() if identity else None
                    client = await stack.enter_async_context(client_of(address, context))
                    # Connects: the pool does so as late as it can.
                    await client.ping()
                yield _Redis(client, address.name)
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - raised again below
                # Past the tasks of coredis, which would make a group of it.
                failure = error
    if failure is not None:
        raise failure


def _entry(found: Any) -> tuple[str, Pairs]:
    return found.identifier.decode(), tuple(found.field_values.items())
