"""What a relay loses in the very moment in which the BBS changes it: over a Redis in memory, to meet that moment."""

import pytest
import trio
from relay_support import on_loopback, publishing, reading, serve_diego, settled, small_diego
from simulation.redis import MemoryRedis

from lrpmirror.errors import ChangesMissed
from lrpmirror.relay import RelayClient
from lrpmirror.relay._format import HASHES, Keys

KEYS = Keys("lrpmirror")
URL = "redis://memory"


@on_loopback()
@pytest.mark.parametrize("key", HASHES)
async def test_a_record_that_is_removed_as_its_hash_is_lost_is_gone_for_readers_too(key: str) -> None:
    diego, _ = small_diego()
    redis = MemoryRedis()
    async with (
        serve_diego(diego) as served,
        publishing(served, URL, connect=redis.connect) as publisher,
        reading(RelayClient(URL, connect=redis.connect)) as mirror,
    ):
        await publisher.wait_for(lambda status: status.current)
        await settled(mirror, diego)
        redis.drop(KEYS.key(key))
        row = diego.actual_lrps()[0]
        diego.remove(row.process_guid, row.index)
        await settled(mirror, diego)


@on_loopback()
async def test_a_takeover_finds_that_a_hash_was_lost_while_nobody_led() -> None:
    diego, _ = small_diego()
    redis = MemoryRedis()
    async with serve_diego(diego) as served, reading(RelayClient(URL, connect=redis.connect)) as mirror:
        async with publishing(served, URL, connect=redis.connect) as publisher:
            await publisher.wait_for(lambda status: status.current)
            await settled(mirror, diego)
        redis.drop(KEYS.key("actual_lrps"))
        row = diego.actual_lrps()[0]
        diego.remove(row.process_guid, row.index)
        async with publishing(served, URL, connect=redis.connect):
            await settled(mirror, diego)


@on_loopback()
async def test_a_publisher_that_takes_over_what_is_whole_makes_nobody_list_again() -> None:
    diego, pilot = small_diego()
    redis = MemoryRedis()
    async with serve_diego(diego) as served, reading(RelayClient(URL, connect=redis.connect)) as mirror:
        async with publishing(served, URL, connect=redis.connect):
            await mirror.wait_synced(10)
            await settled(mirror, diego)
        streams = mirror.counts.streams
        pilot.run(3)
        async with publishing(served, URL, connect=redis.connect) as publisher:
            await settled(mirror, diego)
            assert publisher.status.counters.differences
        assert mirror.counts.streams == streams


@on_loopback()
async def test_a_relay_that_was_set_back_is_brought_forward_again() -> None:
    diego, pilot = small_diego()
    redis = MemoryRedis()
    async with (
        serve_diego(diego) as served,
        publishing(served, URL, connect=redis.connect) as publisher,
        reading(RelayClient(URL, connect=redis.connect)) as mirror,
    ):
        await publisher.wait_for(lambda status: status.current)
        await settled(mirror, diego)
        redis.remember()
        for _ in range(10):
            pilot.step()
            await trio.sleep(0.02)
        await settled(mirror, diego)
        redis.set_back(0)
        await trio.sleep(0.1)
        await settled(mirror, diego)
        assert isinstance(mirror.status.last_error, ChangesMissed) or mirror.counts.streams > 1
