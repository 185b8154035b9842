"""What a replica's readers were told to be gone: for how long that counts, and for whom."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import trio
from core_support import desired, running
from mirror_support import FakeBBS, mirroring, simulated, small

from lrpmirror.core.rows.changes import Cause, Commit, Delta, row_key
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.relay._content import AGE
from lrpmirror.serve.replica import Replica, open_replica
from lrpmirror.server import Subscription

QUIET: dict[str, Any] = {"resync_interval": inf, "idle_limit": inf}


def rows(before: ActualLRP | None, after: ActualLRP | None) -> Commit:
    one = after or before
    assert one is not None
    return Commit(revision=1, cause=Cause.SNAPSHOT, actual_lrps=(Delta(row_key(one), before, after),))


def lrps(before: DesiredLRP | None, after: DesiredLRP | None) -> Commit:
    return Commit(revision=1, cause=Cause.SNAPSHOT, desired_lrps=(Delta("p", before, after),))


@asynccontextmanager
async def replica() -> AsyncIterator[Replica]:
    server = small()
    # Whose owner vouches that what is missing is gone.
    server.upsert_domain("apps")
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror, open_replica(mirror, bbs, refresh=1e9) as made:
        await mirror.wait_synced()
        yield made


ROW, LRP = running("a", 3), desired("d", 3)
GONE = [rows(ROW, None), lrps(LRP, None)]
BACK = [rows(None, ROW), lrps(None, LRP)]


@simulated
async def test_what_comes_back_that_was_told_to_be_gone_closes_the_streams() -> None:
    for gone, back in zip(GONE, BACK, strict=True):
        async with replica() as one:
            reader = one.subscribe("instances")
            one.listed(gone)
            assert not reader.closed
            one.listed(back)
            assert reader.closed
            assert one.closures == 1


@simulated
async def test_who_comes_after_that_was_told_nothing() -> None:
    for gone, back in zip(GONE, BACK, strict=True):
        async with replica() as one:
            one.subscribe("instances")
            one.listed(gone)
            one.listed(rows(running("b", 5), running("b", 4)))
            assert one.closures == 1
            # Before anything else happens.
            reader = one.subscribe("instances")
            one.listed(back)
            assert not reader.closed
            assert one.closures == 1


@simulated
async def test_what_was_told_long_ago_is_forgotten_as_it_is_by_a_mirror() -> None:
    async with replica() as one:
        readers: list[Subscription] = [one.subscribe("instances")]
        one.listed(rows(ROW, None))
        await trio.sleep(AGE - 1)
        one.listed(rows(None, running("c")))
        readers.append(one.subscribe("instances"))
        await trio.sleep(AGE + 2)
        one.listed(rows(None, running("e")))
        assert not any(reader.closed for reader in readers)
        one.listed(rows(None, ROW))
        assert one.closures == 0


@simulated
async def test_with_the_replica_the_streams_of_its_readers_end() -> None:
    async with replica() as one:
        readers = [one.subscribe("instances"), one.subscribe("groups", "cell-a")]
    assert all(reader.closed for reader in readers)
    assert not one.readers
