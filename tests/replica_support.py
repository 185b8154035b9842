"""What the tests of the replica share: replicas of a served simulation, and how they are compared."""

import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from functools import wraps
from random import Random
from typing import Any

import httpx
import trio
from msgspec import Struct
from patience import PATIENCE

from lrpmirror import ActualLRP, ActualLRPGroup, BBSClient, DesiredLRP, Mirror, Tuning, open_mirror
from lrpmirror.core.rows.changes import row_key
from lrpmirror.errors import NotSeen
from lrpmirror.redaction import without_secrets
from lrpmirror.serve.serving import ServedReplica, serve_replica
from lrpmirror.sim import Diego
from lrpmirror.wire.proto import diego_pb2, requests_pb2

__all__ = [
    "QUICK",
    "agree",
    "differences",
    "following",
    "groups_of",
    "http",
    "lists",
    "lrps_of",
    "on_loopback",
    "replicating",
    "rows_of",
    "send",
    "settled",
]

QUICK = Tuning(
    first_delay=0.01, most_delay=0.05, repair_delay=0.02, resync_interval=3600, audit_grace=0.05, rollback_wait=0.1
)
"""For a server that is next door; and nothing but the stream, and lists after a loss, to go by."""


def on_loopback(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on the real clock; it must come to its end."""

    @wraps(test)
    def run_test(*args: Any, **kwargs: Any) -> None:
        async def limited() -> None:
            with trio.fail_after(PATIENCE):
                await test(*args, **kwargs)

        trio.run(limited)

    return run_test


def replicating(url: str, **options: Any) -> AbstractAsyncContextManager[ServedReplica]:
    return serve_replica(url, **{"tuning": QUICK, "rng": Random(1), "refresh": 0.05, **options})


def following(url: str, **options: Any) -> AbstractAsyncContextManager[Mirror]:
    return open_mirror(url, **{"tuning": QUICK, "rng": Random(2), **options})


def rows_of(rows: Iterable[ActualLRP]) -> list[ActualLRP]:
    return sorted(rows, key=lambda row: (row.process_guid, row.index, row.presence, row.epoch))


def groups_of(groups: Iterable[ActualLRPGroup]) -> list[ActualLRPGroup]:
    return sorted(groups, key=lambda group: (group.resolve().process_guid, group.resolve().index))


def lrps_of(lrps: Iterable[DesiredLRP]) -> list[DesiredLRP]:
    """Return desired LRPs as a replica shows them."""
    return sorted(map(without_secrets, lrps), key=lambda lrp: lrp.process_guid)


def differences(mirror: Mirror, diego: Diego) -> list[str]:
    """Say in which rows and desired LRPs a mirror differs from the simulation, as far as a replica shows them."""
    found = _differing({row_key(row): row for row in mirror.actual_lrps()}, diego.actual_lrps(), row_key)
    mine = {lrp.process_guid: without_secrets(lrp) for lrp in mirror.desired_lrps()}
    return found + _differing(mine, lrps_of(diego.desired_lrps()), lambda lrp: lrp.process_guid)


def _differing(mine: dict[Any, Any], others: Iterable[Any], key: Callable[[Any], Any]) -> list[str]:
    theirs = {key(each): each for each in others}
    if mine == theirs:
        return []
    return [
        f"{mine.get(each)} instead of {theirs.get(each)}"
        for each in mine.keys() | theirs.keys()
        if mine.get(each) != theirs.get(each)
    ]


async def agree(mirror: Mirror, diego: Diego, seconds: float = PATIENCE) -> None:
    """Wait until the mirror equals the simulation; fail with the differences if it does not."""
    with suppress(NotSeen):
        await mirror.wait_for(lambda _: not differences(mirror, diego), seconds)
    mirror._session.knowledge.store._check()
    assert differences(mirror, diego) == []


async def settled(mirror: Mirror) -> None:
    """Wait until nothing is in doubt."""
    await mirror.wait_for(lambda mirror: mirror.counts.repairs_pending == 0, PATIENCE)


class Reply(Struct, frozen=True):
    """A reply of the protocol: its status, and what every reply to a write can hold."""

    status: int
    error: diego_pb2.Error
    keep_container: bool


def http() -> httpx.AsyncClient:
    """Return a client for plain text; a context of its own spares it the reading of the system's authorities."""
    return httpx.AsyncClient(trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


async def send(url: str, path: str) -> Reply:
    """Send an empty request."""
    async with http() as client:
        reply = await client.post(f"{url}{path}")
    if reply.status_code != 200:
        return Reply(reply.status_code, diego_pb2.Error(), keep_container=False)
    message = requests_pb2.EvacuationResponse.FromString(reply.content)
    return Reply(reply.status_code, message.error, message.keep_container)


async def lists(client: BBSClient) -> dict[str, object]:
    """Return everything that can be listed, in one order."""
    return {
        "rows": rows_of(await client.actual_lrps()),
        "scheduling": lrps_of(await client.scheduling_infos()),
        "routing": lrps_of(await client.routing_infos()),
        "domains": sorted(await client.domains()),
        "cells": sorted(await client.cells(), key=lambda cell: cell.cell_id),
    }
