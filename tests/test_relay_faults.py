"""What becomes of a relay when Redis or a publisher fails: the reader ends in the state of the BBS, and says so."""

import signal
from collections.abc import Iterator

import pytest
import trio
from relay_scene import playing, publisher_process
from relay_support import Server, eventually, needs_redis, on_loopback, publishing, redis_server, serve_diego

from lrpmirror.errors import NoPublisher, RelayUnreachable

pytestmark = needs_redis


@pytest.fixture
def redis() -> Iterator[Server]:
    with redis_server() as server:
        yield server


@on_loopback(60)
async def test_a_publisher_that_is_killed_and_started_again(redis: Server) -> None:
    async with playing(redis.url, publish=False) as scene:
        with publisher_process(scene.served.url, redis.url):
            await scene.mirror.wait_synced(20)
            await trio.sleep(1)
        await scene.mirror.wait_for(lambda one: isinstance(one.status.trouble, NoPublisher), 10)
        with publisher_process(scene.served.url, redis.url):
            await scene.mirror.wait_for(lambda one: one.status.live, 20)
            await scene.settle()


@on_loopback(60)
@pytest.mark.parametrize("persistence", [(), ("--appendonly", "yes")], ids=["without", "with"])
async def test_redis_is_killed_and_comes_back_without_its_data_or_with_it(persistence: tuple[str, ...]) -> None:
    with redis_server(*persistence) as redis:
        async with playing(redis.url) as scene:
            await trio.sleep(1)
            redis.kill()
            await scene.mirror.wait_for(lambda one: isinstance(one.status.trouble, RelayUnreachable), 10)
            await trio.sleep(1)
            await trio.to_thread.run_sync(redis.start)
            await scene.mirror.wait_for(lambda one: one.status.live, 10)
            await scene.settle()
            assert scene.publisher.status.current


@on_loopback(60)
async def test_redis_forgets_everything_under_load(redis: Server) -> None:
    async with playing(redis.url) as scene:
        for _ in range(3):
            await trio.sleep(0.7)
            redis.ask("FLUSHALL")
        await scene.settle()
        assert scene.publisher.status.counters.comparisons > 1


@on_loopback(60)
@pytest.mark.parametrize("key", ["actual_lrps", "processes", "routing_infos", "changes", "status", "lease", "domains"])
async def test_redis_drops_a_key_under_load(redis: Server, key: str) -> None:
    async with playing(redis.url) as scene:
        await trio.sleep(0.5)
        redis.ask("DEL", f"{{lrpmirror}}:{key}")
        await trio.sleep(1.5)
        assert redis.ask("EXISTS", f"{{lrpmirror}}:{key}").strip() == "1"
        # Also whoever lists now has it all.
        scene.mirror.reconnect()
        await scene.settle()


@on_loopback(60)
async def test_what_somebody_else_has_altered_is_found_and_written_again(redis: Server) -> None:
    async with playing(redis.url) as scene:
        scene.resting = True
        await trio.sleep(0.5)
        key = "{lrpmirror}:actual_lrps"
        field = redis.ask("HKEYS", key).split()[0]
        redis.ask("HSET", key, field, "garbage")

        async def value() -> str:
            return redis.ask("HGET", key, field)

        assert await eventually(value, lambda text: text.strip() != "garbage", 20)
        assert scene.publisher.status.counters.altered == 1
        scene.mirror.reconnect()
        await scene.settle()


@on_loopback(60)
async def test_a_redis_that_hangs_never_slows_the_publisher_s_mirror(redis: Server) -> None:
    async with playing(redis.url) as scene:
        await trio.sleep(0.5)
        redis.pause()
        await scene.mirror.wait_for(lambda one: not one.status.live, 15)
        before = scene.publisher._mirror.status
        await trio.sleep(1)
        after = scene.publisher._mirror.status
        assert after.live
        assert after.revision > before.revision
        assert (after.state_age or 0) < 1
        redis.resume()
        await scene.mirror.wait_for(lambda one: one.status.live, 15)
        await scene.settle()


@on_loopback(90)
async def test_a_leader_that_was_paused_beyond_its_lease_writes_nothing_more(redis: Server) -> None:
    async with playing(redis.url, publish=False) as scene, trio.open_nursery() as nursery:
        with publisher_process(scene.served.url, redis.url) as first:
            await scene.mirror.wait_synced(20)
            with publisher_process(scene.served.url, redis.url) as second:
                await trio.sleep(3)
                pid = await _leader(redis)
                assert pid == first.pid
                first.send(signal.SIGSTOP)
                assert await eventually(lambda: _leader(redis), lambda now: now == second.pid, 15)
                await scene.mirror.wait_for(lambda one: one.status.live, 10)
                await trio.sleep(1)
                first.send(signal.SIGCONT)
                await trio.sleep(2)
                assert await _leader(redis) == second.pid
                assert _links_are_whole(redis)
                await scene.settle()
        nursery.cancel_scope.cancel()


@on_loopback(60)
async def test_a_publisher_that_has_not_lost_the_bbs_takes_the_place_of_one_that_has(redis: Server) -> None:
    async with (
        playing(redis.url) as scene,
        serve_diego(scene.diego) as another,
        publishing(another, redis.url) as standby,
    ):
        await standby.wait_for(lambda status: status.role == "standby")
        await scene.served.host.refuse()
        scene.served.host.cut()
        with trio.fail_after(15):
            await standby.wait_for(lambda status: status.role == "leader" and status.current)
        await scene.mirror.wait_for(lambda one: one.status.live, 10)
        await scene.settle()
        assert scene.publisher.status.role == "standby"
        # It has the BBS again, and goes on standing by.
        await scene.served.host.accept()
        await trio.sleep(1.5)
        assert scene.publisher.status.role == "standby"
        await scene.settle()


async def _leader(redis: Server) -> int:
    await trio.lowlevel.checkpoint()
    return int(redis.ask("HGET", "{lrpmirror}:status", "publisher").strip().rpartition(":")[2] or 0)


def _links_are_whole(redis: Server) -> bool:
    """Return whether every entry of the stream follows the one before it, so that no two publishers wrote in turns."""
    lines = redis.ask("XRANGE", "{lrpmirror}:changes", "-", "+").splitlines()
    links = [lines[n + 1] for n, line in enumerate(lines) if line == "link"]
    befores = [lines[n + 1] for n, line in enumerate(lines) if line == "before"]
    return len(links) > 20 and befores[1:] == links[:-1]
