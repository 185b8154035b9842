"""A relay in memory, in a time of its own: who leads, what is written when, and what a reader does not believe."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Any

import pytest
import trio
from core_support import desired
from mirror_support import GONE, Answer, FakeBBS, differences, mirroring, settled, simulated, small
from msgspec import Struct
from sim_support import A, run, wanted
from simulation.redis import MemoryRedis

from lrpmirror import Mirror, Tuning, open_mirror
from lrpmirror.errors import BBSError, ChangesMissed, NoPublisher, ServiceUnavailable, UpstreamStale
from lrpmirror.events import ActualLRPCrashed, Event, SourceStatus
from lrpmirror.relay import Publisher, RelayClient, open_publisher
from lrpmirror.relay._format import CLOSED, FILLING, HEARTBEAT, LEASE, PATIENCE, Keys, Status
from lrpmirror.sim import Diego
from lrpmirror.wire import encode

URL = "redis://memory"
KEYS = Keys("lrpmirror")
QUIET: dict[str, Any] = {"resync_interval": inf, "idle_limit": inf, "ping_interval": inf}


class Scene(Struct):
    """A BBS, a mirror of it, and who publishes it to a Redis."""

    server: Diego
    bbs: FakeBBS
    mirror: Mirror
    redis: MemoryRedis
    publisher: Publisher

    @property
    def status(self) -> Status:
        found = Status.read(self.redis.hash(KEYS.status), "memory")
        assert found is not None
        return found

    def client(self) -> RelayClient:
        return RelayClient(URL, connect=self.redis.connect)


@asynccontextmanager
async def publishing(
    server: Diego | None = None, redis: MemoryRedis | None = None, **options: Any
) -> AsyncIterator[Scene]:
    server = server or small()
    bbs, redis = FakeBBS(server), redis or MemoryRedis()
    async with (
        mirroring(bbs, **QUIET) as mirror,
        open_publisher(mirror, bbs, URL, connect=redis.connect, **{"refresh": inf, **options}) as publisher,
    ):
        await mirror.wait_synced()
        yield Scene(server, bbs, mirror, redis, publisher)


def has(guid: str, mirror: Mirror) -> bool:
    return mirror.desired_lrp(guid) is not None


async def published(scene: Scene) -> None:
    await scene.publisher.wait_for(lambda status: status.current and not status.pending)
    await settled()


@simulated
async def test_a_publisher_that_leads_goes_on_leading() -> None:
    server = small()
    async with publishing(server) as first, publishing(server, first.redis) as second:
        await published(first)
        with trio.move_on_after(20 * LEASE) as patience:
            await first.publisher.wait_for(lambda status: status.role != "leader")
        assert patience.cancelled_caught
        assert second.publisher.status.role == "standby"
        assert first.publisher.status.counters.altered == 0


@simulated
async def test_a_key_that_is_lost_is_written_again_at_once_and_all_is_well_then() -> None:
    async with publishing() as scene, open_mirror(scene.client(), tuning=Tuning(**QUIET)) as reader:
        await published(scene)
        await reader.wait_synced(timeout=10)
        for number, key in enumerate(KEYS.hashes[:4]):
            scene.redis.drop(key)
            scene.server.desire(wanted(f"q{number}"))
            await trio.sleep(3)
            assert scene.publisher.status.current
            assert scene.publisher.status.pending == 0
        assert scene.publisher.status.counters.altered <= 2 * 4
        await reader.wait_for(lambda one: one.status.live, timeout=60)
        assert not differences(reader, scene.server, notified=True)


@simulated
async def test_it_is_heard_of_each_second_also_while_it_compares_all_that_is_there() -> None:
    server = small()
    for number in range(3000):
        server.desire(wanted(f"q{number}"))
    redis = MemoryRedis()
    answer = redis.answer

    async def slow(do: Callable[[], Any]) -> Any:
        await trio.sleep(0.15)
        return await answer(do)

    async with publishing(server, redis) as scene:
        await published(scene)
        redis.answer = slow  # type: ignore[method-assign]
        compared = scene.publisher.status.counters.comparisons
        redis.drop(KEYS.hashes[-1])
        longest = 0.0
        with trio.move_on_after(200):
            while not (scene.publisher.status.counters.comparisons > compared and scene.publisher.status.current):
                await trio.sleep(0.1)
                longest = max(longest, redis.now() - scene.status.heartbeat)
        assert scene.publisher.status.current
        assert longest < PATIENCE


@simulated
async def test_a_loss_of_the_bbs_is_written_at_once_and_so_is_its_return() -> None:
    async with publishing() as scene:
        await published(scene)
        for _ in range(3):
            await trio.sleep(HEARTBEAT / 3)
            scene.bbs.refusal = GONE
            scene.bbs.cut()
            await trio.sleep(HEARTBEAT / 10)
            assert scene.status.phase == "stale"
            scene.bbs.refusal = None
            await scene.mirror.wait_for(lambda one: one.status.live)
            await trio.sleep(HEARTBEAT / 10)
            assert scene.status.phase == "live"


@simulated
async def test_what_waits_for_a_relay_that_stalls_grows_older() -> None:
    async with publishing() as scene, open_mirror(scene.client(), tuning=Tuning(**QUIET)) as reader:
        await published(scene)
        await reader.wait_synced(timeout=10)
        known = scene.mirror.status.alive_at
        assert known is not None
        scene.redis.stalled = True
        scene.server.desire(wanted("q"))
        await settled()
        scene.bbs.refusal = GONE
        scene.bbs.cut()
        built = trio.current_time()
        await trio.sleep(2.5)
        scene.redis.stalled = False
        await reader.wait_for(partial(has, "q"), timeout=10)
        notified = reader.status.current_at
        assert notified is not None
        assert trio.current_time() > built + 2
        assert notified <= built + 0.01


@simulated
@pytest.mark.parametrize("by", [0.2, 3600.0, -0.2, -3600.0])
async def test_how_old_it_is_outlives_that_the_clock_of_the_relay_is_set(by: float) -> None:
    async with publishing() as scene, open_mirror(scene.client(), tuning=Tuning(**QUIET)) as reader:
        await published(scene)
        await reader.wait_synced(timeout=10)
        scene.redis.ahead += by
        for number in range(20):
            before = scene.mirror.status.current_at
            scene.server.desire(wanted(f"q{number}"))
            await reader.wait_for(partial(has, f"q{number}"), timeout=10)
            await trio.sleep(0.25)
            notified, known = reader.status.current_at, scene.mirror.status.current_at
            assert before is not None
            assert notified is not None
            assert known is not None
            assert scene.status.age >= 0
            # A second is no reason to ask for the clock again, and it is asked for once a second at most.
            assert before - 2 * HEARTBEAT - 0.01 <= notified <= known + 0.01
        assert scene.publisher.status.counters.altered == 0


@simulated
async def test_what_is_answered_after_the_stream_was_lost_is_not_published() -> None:
    async with publishing(refresh=10) as scene:
        await published(scene)
        scene.server.upsert_domain("later")
        scene.bbs.once("domains", Answer(before=5))
        await trio.sleep(12)
        scene.bbs.refusal = GONE
        scene.bbs.cut()
        await trio.sleep(20)
        assert b"later" not in scene.redis.hash(KEYS.key("domains"))


@simulated
@pytest.mark.parametrize("answer", [Answer(error=GONE), Answer(before=inf)])
async def test_cells_that_cannot_be_had_keep_no_domain_from_being_looked_at(answer: Answer) -> None:
    async with publishing(refresh=10) as scene:
        await published(scene)
        scene.bbs.answer = lambda name: answer if name == "cells" else Answer()
        for name in ("later", "last"):
            scene.server.upsert_domain(name)
            await trio.sleep(25)
            assert name.encode() in scene.redis.hash(KEYS.key("domains"))


@simulated
async def test_who_leaves_says_so_and_lets_the_next_one_lead_at_once() -> None:
    server = small()
    async with publishing(server) as scene:
        await published(scene)
        redis = scene.redis
    found = Status.read(redis.hash(KEYS.status), "memory")
    assert found is not None
    assert found.phase == CLOSED
    assert redis.string(KEYS.lease) is None


@simulated
async def test_a_publisher_whose_mirror_lost_the_bbs_writes_nothing_over_what_is_newer() -> None:
    server = small()
    async with publishing(server) as old:
        await published(old)
        old.bbs.refusal = GONE
        old.bbs.cut()
        await settled()
        async with publishing(server, old.redis) as new:
            server.desire(wanted("q"))
            await new.publisher.wait_for(lambda status: status.role == "leader" and status.current)
            await published(new)
            assert b"q" in new.redis.hash(KEYS.key("scheduling_infos"))
        await old.publisher.wait_for(lambda status: status.role == "leader")
        await trio.sleep(3 * LEASE)
        assert b"q" in old.redis.hash(KEYS.key("scheduling_infos"))


@simulated
async def test_a_crash_is_told_once_to_who_follows() -> None:
    server = small()
    async with publishing(server) as scene:
        await published(scene)
        told: list[Event] = []

        async def follow() -> None:
            async with scene.client().events("instances") as stream:
                async for events in stream:
                    told.extend(events)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await settled()
            server.crash("p", 0, A, "out of memory")
            await trio.sleep(0.5)
            assert [type(event) for event in told if isinstance(event, ActualLRPCrashed)] == [ActualLRPCrashed]
            assert told[-1].crash_reason == "out of memory"  # type: ignore[union-attr]
            scene.redis.stalled = True
            run(server, A)
            server.crash("p", 0, A, "again")
            await trio.sleep(2)
            scene.redis.stalled = False
            await trio.sleep(5)
            nursery.cancel_scope.cancel()
        reasons = [event.crash_reason for event in told if isinstance(event, ActualLRPCrashed)]
        assert reasons == ["out of memory", "again"]


@simulated
async def test_what_has_come_is_handed_on_before_more_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    async with publishing() as scene, open_mirror(scene.client(), tuning=Tuning(**QUIET)) as reader:
        await published(scene)
        await reader.wait_synced()
        wait = scene.redis.wait

        async def asked(do: Callable[[], Any], seconds: float) -> Any:
            seen.append("asked")
            return await wait(do, seconds)

        reader.subscribe_desired(lambda _: seen.append("told"), replay=False)
        await settled()
        monkeypatch.setattr(scene.redis, "wait", asked)
        for n in range(20):
            scene.server.desire(wanted(f"q{n}"))
            await settled()
        # What a heartbeat brings is asked for, too, and told to nobody.
        assert "told asked " * 20 in " ".join([*seen, ""]), seen


# What a reader does not believe


async def refused(reading: Callable[[], Any], error: type[BBSError]) -> None:
    with pytest.raises(error):
        await reading()


async def to_its_end(stream: AsyncIterator[object]) -> None:
    with trio.fail_after(60):
        async for _ in stream:
            pass


@simulated
async def test_a_list_that_lacks_what_was_published_is_refused() -> None:
    async with publishing() as scene:
        await published(scene)
        client = scene.client()
        rows = scene.redis.hash(KEYS.key("actual_lrps"))
        field = next(iter(rows))
        kept = rows.pop(field)
        await refused(client.actual_lrps, NoPublisher)
        rows[field] = kept
        assert len(await client.actual_lrps()) == 1


@simulated
async def test_rows_are_listed_by_process_and_index_and_also_where_their_process_is_not_known() -> None:
    server = small()
    for n in range(200):
        server.desire(wanted(f"q{n}", instances=3))
    async with publishing(server) as scene:
        await published(scene)
        listed = [(row.process_guid, row.index) for row in await scene.client().actual_lrps()]
        assert len(listed) == 601
        found: dict[str, list[int]] = {}
        for guid, index in listed:
            found.setdefault(guid, []).append(index)
        assert listed == [(guid, index) for guid, indices in found.items() for index in indices]
        assert all(indices == sorted(indices) for indices in found.values())
        del scene.redis.hash(KEYS.key("processes"))[b"q7"]
        again = [(row.process_guid, row.index) for row in await scene.client().actual_lrps()]
        assert sorted(again) == sorted(listed)
        assert [guid for guid, _ in again[-3:]] == ["q7"] * 3


@simulated
async def test_parts_of_a_desired_lrp_that_do_not_belong_together_are_not_joined() -> None:
    async with publishing() as scene:
        await published(scene)
        parts = scene.redis.hash(KEYS.key("routing_infos"))
        kept = parts[b"p"]
        (lrp,) = scene.server.desired_lrps()
        parts[b"p"] = encode.routing_info(desired("another", 3, process_guid="p"))
        await refused(scene.client().desired_lrps, ServiceUnavailable)
        parts[b"p"] = kept
        (found,) = await scene.client().desired_lrps()
        assert found.metric_tags == lrp.metric_tags


@simulated
async def test_what_is_being_filled_is_not_read() -> None:
    async with publishing() as scene:
        await published(scene)
        scene.redis.hash(KEYS.status)[b"phase"] = FILLING.encode()
        await refused(scene.client().actual_lrps, UpstreamStale)
        await refused(scene.client().ping, UpstreamStale)


@simulated
async def test_a_list_of_a_server_that_lags_behind_the_stream_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with publishing() as scene:
        await published(scene)
        client = scene.client()
        async with client.events("instances") as stream:
            scene.server.desire(wanted("q"))
            await anext(stream)
            assert len(await client.scheduling_infos()) == 2
            entries = scene.redis.stream(KEYS.changes)
            # What another server would have that has not been told of the last ones.
            behind = entries[: next(at for at, (name, _) in enumerate(entries) if name == stream.position)]
            monkeypatch.setattr(scene.redis, "stream", lambda _: behind[:])
            await refused(client.actual_lrps, ServiceUnavailable)


@simulated
async def test_a_change_that_is_missing_in_the_stream_is_missed() -> None:
    async with publishing() as scene:
        await published(scene)
        async with scene.client().events("instances") as stream:
            entries = scene.redis.stream(KEYS.changes)
            scene.server.desire(wanted("q"))
            await settled()
            lost = len(entries)
            scene.server.desire(wanted("r"))
            await settled()
            assert len(entries) == lost + 1
            del entries[lost - 1]
            await refused(partial(to_its_end, stream), ChangesMissed)


@simulated
async def test_a_stream_in_which_nothing_comes_has_nobody_who_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with publishing() as scene:
        await published(scene)
        async with scene.client().events("instances") as stream:
            began = trio.current_time()
            last = scene.redis.stream(KEYS.changes)[-1:]
            monkeypatch.setattr(scene.redis, "stream", lambda _: last[:])
            await refused(partial(to_its_end, stream), NoPublisher)
            assert trio.current_time() - began <= PATIENCE + 2 * HEARTBEAT


@simulated
async def test_what_lies_there_for_a_while_grows_older(monkeypatch: pytest.MonkeyPatch) -> None:
    async with publishing() as scene:
        await published(scene)
        last = scene.redis.stream(KEYS.changes)[-1:]
        written, age = scene.redis.now(), scene.status.age
        monkeypatch.setattr(scene.redis, "stream", lambda _: last[:])
        await trio.sleep(2)
        said: list[SourceStatus] = []
        async with scene.client().events("instances", said=said.append) as stream:
            with trio.move_on_after(0.1):
                await anext(stream)
        assert said[0].age - age >= scene.redis.now() - written - HEARTBEAT - 0.2
        assert said[0].age - age >= 2 - 0.1
