"""Finds the server of a relay: the one in its address, or the one that the Sentinels or a cluster's nodes name."""

import random
import ssl
from importlib import import_module
from typing import Any

from lrpmirror.relay._address import Address
from lrpmirror.relay._connection import ANSWER, CONNECT
from lrpmirror.relay._format import Keys


def account_of(address: Address) -> tuple[str, ...]:
    """Return user and password for AUTH; a password alone is that of the default user."""
    if address.password is None and address.username is None:
        return ()
    return (address.username or "default", address.password or "")


async def server_of(address: Address, context: ssl.SSLContext | None) -> tuple[str, int] | str:
    """Return host and port, or the path of a socket. Raises errors of coredis where none can be found."""
    if address.kind == "unix":
        return address.path
    if address.kind == "single":
        return address.hosts[0]
    # Untyped: which arguments a client takes depends on the kind of address.
    coredis, connection, retry = (import_module(f"coredis{part}") for part in ("", ".connection", ".retry"))
    nodes = [connection.TCPLocation(host, port) for host, port in address.hosts]
    options: dict[str, Any] = {"stream_timeout": ANSWER, "connect_timeout": CONNECT, "verify_version": False}
    if context is not None:
        options["ssl_context"] = context
    if address.kind == "cluster":
        username, password = account_of(address) or (None, None)
        options |= {"username": username, "password": password, "retry_policy": retry.NoRetryPolicy()}
        async with coredis.RedisCluster(startup_nodes=nodes, **options) as cluster:
            slot = import_module("coredis._utils").hash_slot(Keys(address.prefix).status.encode())
            node = cluster.connection_pool.cluster_layout.node_for_slot(slot)
            return node.host, node.port
    options |= {
        "username": address.sentinel_username or ("default" if address.sentinel_password else None),
        "password": address.sentinel_password,
    }
    async with coredis.Sentinel(nodes, sentinel_kwargs=options) as sentinels:
        primary: tuple[str, int] = await sentinels.discover_primary(address.service)
        if address.replica and (replicas := await sentinels.discover_replicas(address.service)):
            found: tuple[str, int] = random.choice(replicas)  # noqa: S311 - not a secret
            return found
        return primary
