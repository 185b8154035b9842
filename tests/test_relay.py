"""A relay, from a BBS by a publisher and a real Redis to a mirror: what comes through, and how fresh it is."""

from collections.abc import Iterator

import pytest
import trio
from msgspec.structs import replace
from relay_support import (
    QUICK,
    Server,
    eventually,
    needs_redis,
    on_loopback,
    publishing,
    reading,
    redis_server,
    serve_diego,
    settled,
    small_diego,
)

from lrpmirror import MirrorThread, Phase
from lrpmirror.core.rows.changes import row_key
from lrpmirror.errors import (
    ConfigurationError,
    NoPublisher,
    RelayUnreadable,
    RequestRefused,
    UnknownPath,
    UpstreamStale,
)
from lrpmirror.relay import RelayClient
from lrpmirror.wire import decode

pytestmark = needs_redis


@pytest.fixture
def redis() -> Iterator[Server]:
    with redis_server() as server:
        yield server


@on_loopback()
async def test_a_mirror_behind_a_relay_ends_in_the_state_of_the_bbs(redis: Server) -> None:
    diego, pilot = small_diego()
    async with serve_diego(diego) as served, publishing(served, redis.url), reading(redis.url) as mirror:
        await mirror.wait_synced(10)
        for _ in range(60):
            pilot.step()
            await trio.sleep(0.005)
        await settled(mirror, diego)
        status = mirror.status
        assert status.state_age is not None
        assert status.state_age < 2
        assert mirror.counts.streams == 1, "it was told of everything, and has not listed again"


@on_loopback()
async def test_every_list_of_a_bbs_can_be_had_from_a_relay(redis: Server) -> None:
    diego, _ = small_diego()
    async with serve_diego(diego) as served, publishing(served, redis.url) as publisher:
        await publisher.wait_for(lambda status: status.current)
        async with RelayClient(redis.url) as client:
            rows = diego.actual_lrps()
            one = next(row for row in rows if row.cell_id)
            assert {row_key(row): row for row in await client.actual_lrps()} == {row_key(row): row for row in rows}
            of_process = [row for row in rows if row.process_guid == one.process_guid]
            assert sorted(
                map(row_key, await client.actual_lrps_by_process_guids([one.process_guid, "none"]))
            ) == sorted(map(row_key, of_process))
            assert set(await client.actual_lrps(cell_id=one.cell_id)) == {
                row for row in rows if row.cell_id == one.cell_id
            }
            assert await client.actual_lrps(process_guid=one.process_guid, index=one.index)
            assert not await client.actual_lrps(domain="none")
            assert len(await client.actual_lrp_groups()) == len(diego.actual_lrp_groups())
            group = await client.actual_lrp_group_by_process_guid_and_index(one.process_guid, one.index)
            assert one in {group.instance, group.evacuating}
            lrps = {lrp.process_guid: replace(lrp, detail=None) for lrp in diego.desired_lrps()}
            assert {lrp.process_guid: lrp for lrp in await client.desired_lrps()} == lrps
            assert await client.desired_lrp(one.process_guid) == lrps[one.process_guid]
            assert len(await client.scheduling_infos()) == len(await client.routing_infos()) == len(lrps)
            assert set(await client.domains()) == set(diego.domains())
            assert {cell.cell_id for cell in await client.cells()} == {cell.cell_id for cell in diego.cells()}
            assert await client.ping()
            with pytest.raises(RequestRefused, match="--detail full"):
                await client.desired_lrps(full=True)
            with pytest.raises(UnknownPath):
                async with client.events("groups"):
                    pass


@on_loopback()
async def test_secrets_are_there_only_where_they_are_asked_for(redis: Server) -> None:
    diego, _ = small_diego()
    secret = next(iter(diego.desired_lrps())).process_guid
    async with serve_diego(diego) as served:
        async with publishing(served, redis.url) as publisher:
            await publisher.wait_for(lambda status: status.current)
            assert redis.ask("HLEN", "{lrpmirror}:desired_lrps").strip() == "0"
        async with (
            publishing(served, f"{redis.url}?prefix=full", detail="full") as publisher,
            reading(f"{redis.url}?prefix=full", detail="full") as mirror,
        ):
            await mirror.wait_synced(10)
            whole = mirror.desired_lrp(secret)
            assert whole is not None
            assert whole.detail is not None


@on_loopback()
async def test_records_are_those_that_a_bbs_would_list(redis: Server) -> None:
    diego, _ = small_diego()
    row = diego.actual_lrps()[0]
    async with serve_diego(diego) as served, publishing(served, redis.url) as publisher:
        await publisher.wait_for(lambda status: status.current)
        async with RelayClient(redis.url) as client, client._connect() as commands:
            (value,) = await commands.read_fields("{lrpmirror}:actual_lrps", [str(row_key(row))])
    assert value is not None
    assert decode.actual_lrp(value) == row


@on_loopback()
async def test_a_reader_knows_that_the_publisher_has_lost_the_bbs_and_does_not_list_again(redis: Server) -> None:
    diego, pilot = small_diego()
    async with serve_diego(diego) as served, publishing(served, redis.url), reading(redis.url) as mirror:
        await mirror.wait_synced(10)
        await served.host.refuse()
        served.host.cut()
        await mirror.wait_for(lambda one: one.status.phase is Phase.STALE, 5)
        assert isinstance(mirror.status.trouble, UpstreamStale)
        pilot.run(5)
        await trio.sleep(1.5)
        assert mirror.status.phase is Phase.STALE
        assert (mirror.status.state_age or 0) > 1
        await served.host.accept()
        await settled(mirror, diego)
        assert mirror.counts.streams == 1


@on_loopback()
async def test_a_reader_that_comes_while_the_bbs_is_away_has_the_state_and_says_that_it_is_old(redis: Server) -> None:
    diego, _ = small_diego()
    async with serve_diego(diego) as served, publishing(served, redis.url) as publisher:
        await publisher.wait_for(lambda status: status.current)
        await served.host.refuse()
        served.host.cut()
        await trio.sleep(1.5)
        async with reading(redis.url) as mirror:
            await mirror.wait_synced(10)
            assert mirror.status.phase is Phase.STALE
            assert isinstance(mirror.status.trouble, UpstreamStale)
            assert len(mirror.actual_lrps()) == len(diego.actual_lrps())


@on_loopback()
async def test_a_reader_knows_that_nobody_publishes_or_ever_has(redis: Server) -> None:
    diego, _ = small_diego()
    async with reading(redis.url) as early:
        await early.wait_for(lambda one: one.status.trouble is not None, 5)
        assert isinstance(early.status.trouble, NoPublisher)
        async with serve_diego(diego) as served, publishing(served, redis.url):
            await settled(early, diego)
        await early.wait_for(lambda one: not one.status.live, 5)
        await early.wait_for(lambda one: isinstance(one.status.trouble, NoPublisher), 8)


@on_loopback()
async def test_another_version_of_the_format_is_refused_by_both_sides(redis: Server) -> None:
    diego, _ = small_diego()
    redis.ask("HSET", "{lrpmirror}:status", "format", "2")
    async with serve_diego(diego) as served, publishing(served, redis.url) as publisher, reading(redis.url) as mirror:
        await publisher.wait_for(lambda status: isinstance(status.trouble, RelayUnreadable))
        await mirror.wait_for(lambda one: isinstance(one.status.trouble, RelayUnreadable), 5)
    assert redis.ask("HGETALL", "{lrpmirror}:status").split() == ["format", "2"]


@on_loopback()
async def test_domains_and_cells_come_through(redis: Server) -> None:
    diego, _ = small_diego()
    async with serve_diego(diego) as served, publishing(served, redis.url), reading(redis.url) as mirror:
        await mirror.wait_synced(10)
        diego.upsert_domain("another")
        diego.add_cell("cell-of-late")

        async with RelayClient(redis.url) as client:
            assert await eventually(client.domains, lambda domains: "another" in domains)
            assert "cell-of-late" in {cell.cell_id for cell in await client.cells()}
        mirror.resync()
        await mirror.wait_for(lambda one: "another" in one.domains, 5)


def test_a_mirror_in_a_thread_reads_from_a_relay(redis: Server) -> None:
    diego, _ = small_diego()

    def follow() -> int:
        with MirrorThread(redis.url, tuning=QUICK) as mirror:
            mirror.wait_synced(10)
            return len(mirror.actual_lrps())

    async def main() -> None:
        async with serve_diego(diego) as served, publishing(served, redis.url) as publisher:
            await publisher.wait_for(lambda status: status.current)
            assert await trio.to_thread.run_sync(follow) == len(diego.actual_lrps())

    trio.run(main)


@on_loopback()
async def test_what_a_relay_does_not_have_cannot_be_chosen(redis: Server) -> None:
    for options in ({"stream": "groups"}, {"timeout": 3.0}):
        with pytest.raises(ConfigurationError):
            async with reading(redis.url, **options):
                pass
