"""The clients of coredis: for one server, for one that Sentinels name, for a cluster."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Final

from lrpmirror.relay._address import Address

__all__ = ["client_of"]

CONNECT: Final = 5.0
"""Seconds that a connection may take, with its handshakes."""

ANSWER: Final = 5.0
"""Seconds that a command may take; the longest wait for a change is shorter."""


@asynccontextmanager
async def client_of(address: Address, context: ssl.SSLContext | None) -> AsyncIterator[Any]:
    """Have a client of the servers that an address names. It retries nothing, and raises errors of coredis."""
    # Untyped: which arguments a client takes depends on the kind of address.
    coredis, connection, retry = (import_module(f"coredis{part}") for part in ("", ".connection", ".retry"))
    nodes = [connection.TCPLocation(host, port) for host, port in address.hosts]
    options: dict[str, Any] = {"stream_timeout": ANSWER, "connect_timeout": CONNECT}
    if context is not None:
        options["ssl_context"] = context
    account: dict[str, Any] = {
        # A password alone is that of the user whom all servers have.
        "username": address.username or ("default" if address.password else None),
        "password": address.password,
    }
    client: dict[str, Any] = {"retry_policy": retry.NoRetryPolicy(), "verify_version": False}
    if address.kind == "cluster":
        opened = coredis.RedisCluster(startup_nodes=nodes, **options, **account, **client)
    elif address.kind == "unix":
        opened = coredis.Redis(unix_socket_path=address.path, db=address.db, **options, **account, **client)
    elif address.kind == "sentinel":
        of_sentinels = {
            **options,
            "username": address.sentinel_username or ("default" if address.sentinel_password else None),
            "password": address.sentinel_password,
            "verify_version": False,
        }
        async with coredis.Sentinel(
            nodes, sentinel_kwargs=of_sentinels, **options, **account, db=address.db
        ) as sentinels:
            named = sentinels.replica_for if address.replica else sentinels.primary_for
            async with named(address.service) as found:
                yield found
        return
    else:
        host, port = address.hosts[0]
        opened = coredis.Redis(host, port, db=address.db, **options, **account, **client)
    async with opened as found:
        yield found
