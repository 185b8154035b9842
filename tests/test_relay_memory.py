"""The Redis in memory that the trials have, held against a real one: the same commands, the same answers."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from relay_support import needs_redis, on_loopback, redis_server
from simulation.redis import MemoryRedis

from lrpmirror.relay._address import parse
from lrpmirror.relay._commands import Commands, Connect, connector
from lrpmirror.relay._format import ACQUIRE, COMMIT, FIRST_HASH, RELEASE, Keys, Transaction
from lrpmirror.relay._pending import MANY

KEYS = Keys("x")

NONE = (0,) * (len(KEYS.hashes) - 1)
"""How many fields the hashes have that nothing is written to."""


@asynccontextmanager
async def in_memory() -> AsyncIterator[Connect]:
    yield MemoryRedis().connect


@asynccontextmanager
async def real() -> AsyncIterator[Connect]:
    with redis_server() as server:
        yield connector(parse(server.url))[0]


Server = Callable[[], AbstractAsyncContextManager[Connect]]

on_both = pytest.mark.parametrize("server", [in_memory, pytest.param(real, marks=needs_redis)])


async def commit(
    redis: Commands,
    token: str,
    before: str,
    link: str,
    *,
    counts: Sequence[int] = (),
    phase: str = "live",
    events: tuple[str, ...] | None = None,
    oldest: str = "",
    put: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
    age: int = 0,
    sent_at: float | None = None,
) -> list[Any]:
    """Write to the first of the hashes."""
    transaction = Transaction(
        token=token,
        lease="3000",
        before=before,
        link=link,
        counts=counts,
        age=age,
        as_of=int((await redis.time() if sent_at is None else sent_at) * 1000),
        patience=10_000,
        phase=phase,
        trouble="Trouble",
        revision="7",
        live=phase == "live",
        more=("format", "1", "detail", "routing"),
        follows=f"{before}!",
        oldest=oldest,
        events=-1 if events is None else len(events),
        hashes=[(FIRST_HASH, len(put), len(remove))] if put or remove else [],
    )
    args: tuple[str | bytes, ...] = (msgspec.msgpack.encode(transaction), *(events or ()), *put, *remove)
    done: list[Any] = await redis.run(COMMIT, KEYS.all, args)
    return done


async def acquire(redis: Commands, token: str, *, live: bool = True, hand_over: int = 3000, lease: int = 3000) -> int:
    args = [token, str(lease), "1" if live else "0", str(hand_over)]
    taken: int = await redis.run(ACQUIRE, (KEYS.lease, KEYS.status), args)
    return taken


@on_both
@on_loopback()
async def test_one_leads_until_it_lets_go_or_its_time_is_over(server: Server) -> None:
    async with server() as connect, connect() as redis:
        assert await acquire(redis, "a") == 1
        assert await acquire(redis, "a") == 1
        assert await acquire(redis, "b") == 0
        assert await redis.run(RELEASE, (KEYS.lease,), ("b",)) == 1
        assert await acquire(redis, "b") == 0
        await redis.run(RELEASE, (KEYS.lease,), ("a",))
        assert await acquire(redis, "b", lease=50) == 1
        await trio.sleep(0.1)
        assert await acquire(redis, "a") == 1


@on_both
@on_loopback()
async def test_with_each_write_the_lead_begins_anew(server: Server) -> None:
    async with server() as connect, connect() as redis:
        assert await acquire(redis, "a", lease=400)
        assert (await commit(redis, "a", "", "l"))[0] == b"done"
        await trio.sleep(0.6)
        assert not await acquire(redis, "b")
        assert (await commit(redis, "a", "l", "m"))[0] == b"done"


@on_both
@on_loopback()
async def test_one_that_is_live_takes_the_place_of_one_that_has_not_been_for_long(server: Server) -> None:
    async with server() as connect, connect() as redis:
        await acquire(redis, "a")
        await commit(redis, "a", "", "1", phase="stale")
        assert await acquire(redis, "b", hand_over=10_000) == 0
        await trio.sleep(0.05)
        assert await acquire(redis, "b", live=False, hand_over=10) == 0
        assert await acquire(redis, "b", hand_over=10) == 1
        assert await acquire(redis, "a", hand_over=10) == 0, "who has just taken it has his time"


@on_both
@on_loopback()
async def test_nothing_is_written_without_the_lead_the_link_and_the_counts(server: Server) -> None:
    async with server() as connect, connect() as redis:
        assert await commit(redis, "a", "", "1", put=("f", "v")) == [b"fenced", b""]
        await acquire(redis, "a")
        assert await commit(redis, "b", "", "1", put=("f", "v")) == [b"fenced", b"a"]
        assert await commit(redis, "a", "0", "1", put=("f", "v")) == [b"diverged", b""]
        assert await redis.read_hash(KEYS.hashes[0]) == {}
        assert (await commit(redis, "a", "", "1", put=("f", "v", "g", "w")))[0] == b"done"
        two = [2, *NONE]
        assert await commit(redis, "a", "1", "2", counts=(3, *NONE), put=("h", "x")) == [b"altered", two]
        assert await commit(redis, "a", "", "2", counts=two) == [b"diverged", b"1"]
        done = await commit(redis, "a", "1", "2", counts=two, put=("f", "u"), remove=("g", "none"))
        assert [done[0], *done[2:]] == [b"done", b"", [1, *NONE]]
        assert abs(int(done[1]) / 1000 - await redis.time()) < 1
        assert await redis.read_hash(KEYS.hashes[0]) == {b"f": b"u"}
        status = dict(await redis.read_hash(KEYS.status))
        assert (status[b"link"], status[b"changes"], status[b"counts"]) == (b"2", b"5", b"1 0 0 0 0 0 0")
        assert abs(int(status[b"heartbeat"]) / 1000 - await redis.time()) < 1


@on_both
@on_loopback()
async def test_what_was_on_its_way_is_so_much_older_and_what_cannot_have_been_is_refused(server: Server) -> None:
    async with server() as connect, connect() as redis:
        await acquire(redis, "a")
        now = await redis.time()
        for sent_at in (now - 11, now + 5):
            result, heartbeat = await commit(redis, "a", "", "1", put=("f", "v"), age=500, sent_at=sent_at)
            assert result == b"late"
            assert abs(int(heartbeat) / 1000 - now) < 1
        assert await redis.read_hash(KEYS.hashes[0]) == {}
        assert await commit(redis, "b", "", "1", sent_at=now - 11) == [b"fenced", b"a"]
        await commit(redis, "a", "", "1", events=(), age=500, sent_at=now - 2)
        last = await redis.last_entry(KEYS.changes)
        assert last is not None
        entry, status = dict(last[1]), dict(await redis.read_hash(KEYS.status))
        age = entry[b"age"]
        assert 2.5 <= float(age) < 3.5
        said = {b"link": b"1", b"phase": b"live", b"trouble": b"Trouble", b"age": age, b"revision": b"7"}
        assert entry == said | {b"before": b"!"}
        times = {name: status[name] for name in (b"heartbeat", b"live_at")}
        counts = {b"counts": b"0 0 0 0 0 0 0"}
        assert status == said | times | counts | {b"format": b"1", b"detail": b"routing"}


@on_both
@on_loopback()
async def test_when_a_leader_was_last_live_is_kept(server: Server) -> None:
    async with server() as connect, connect() as redis:
        await acquire(redis, "a")
        times = []
        for n, phase in enumerate(("stale", "live", "stale")):
            await commit(redis, "a", str(n) if n else "", str(n + 1), phase=phase)
            times.append((await redis.read_hash(KEYS.status))[b"live_at"])
            await trio.sleep(0.02)
        assert times[0] < times[1] == times[2]


@on_both
@on_loopback()
async def test_entries_are_read_in_order_and_waited_for(server: Server) -> None:
    async with server() as connect, connect() as redis:
        assert await redis.last_entry(KEYS.changes) is None
        assert list(await redis.entries_after(KEYS.changes, "0-0", 10, 0.01)) == []
        await acquire(redis, "a")
        ids = []
        for n in range(4):
            done = await commit(redis, "a", str(n) if n else "", str(n + 1), events=("0.x", f"payload {n}"))
            ids.append(done[2].decode())
        last = await redis.last_entry(KEYS.changes)
        assert last is not None
        assert (last[0], last[1][-1]) == (ids[3], (b"0.x", b"payload 3"))
        found = await redis.entries_after(KEYS.changes, ids[0], 2, 1)
        assert [(entry_id, dict(pairs)[b"link"]) for entry_id, pairs in found] == [(ids[1], b"2"), (ids[2], b"3")]

        async def write() -> None:
            async with connect() as another:
                await commit(another, "a", "4", "5", events=())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            (later,) = await redis.entries_after(KEYS.changes, ids[3], 10, 2)
        assert dict(later[1])[b"link"] == b"5"


@on_both
@on_loopback()
async def test_the_cap_drops_entries_before_the_floor(server: Server) -> None:
    async with server() as connect, connect() as redis:
        await acquire(redis, "a")
        ids: list[str] = []
        for n in range(3):
            oldest = ids[1] if n == 2 else ""
            done = await commit(redis, "a", str(n) if n else "", str(n + 1), events=(), oldest=oldest)
            ids.append(done[2].decode())
        assert [one for one, _ in await redis.entries_after(KEYS.changes, "0-0", 10, 0.01)] == ids[1:]
        assert await redis.has_entry(KEYS.changes, ids[1])
        assert await redis.has_entry(KEYS.changes, ids[0]), "the cap has passed it by: it was there"
        assert not await redis.has_entry(KEYS.changes, ids[1].partition("-")[0] + "-77")
        assert not await redis.has_entry(KEYS.key("none"), ids[0])


@on_both
@on_loopback()
async def test_as_much_as_a_transaction_can_have_is_written(server: Server) -> None:
    async with server() as connect, connect() as redis:
        await acquire(redis, "a")
        # Two events of each record; and domains and cells, of which there can be any number.
        events = tuple(part for n in range(2 * MANY) for part in (f"{n}.x", "payload"))
        fields = tuple(part for n in range(10_001) for part in (f"f{n}", "v"))
        done = await commit(redis, "a", "", "1", events=events, put=fields)
        assert done[3] == [10_001, *NONE]
        done = await commit(redis, "a", "1", "2", counts=done[3], put=("f1", "w", "new", "v"))
        assert done[3] == [10_002, *NONE]
        gone = ("none", *fields[::2])
        done = await commit(redis, "a", "2", "3", counts=done[3], remove=gone)
        assert done[3] == [1, *NONE]
        assert await redis.read_hash(KEYS.hashes[0]) == {b"new": b"v"}


@on_both
@pytest.mark.parametrize("ahead", [False, True])
@on_loopback()
async def test_a_scan_finds_everything_in_slices(server: Server, ahead: bool) -> None:
    async with server() as connect, connect() as redis:
        await acquire(redis, "a")
        fields = {f"field-{n}".encode(): str(n).encode() for n in range(700)}
        flat = [part.decode() for pair in fields.items() for part in pair]
        await commit(redis, "a", "", "1", put=tuple(flat))
        found: dict[bytes, bytes] = {}
        cursor, steps = None, 0
        while cursor != 0:
            if ahead:
                scan = redis.scan_ahead(KEYS.hashes[0], cursor or 0, 100)
                other = redis.fields_ahead(KEYS.hashes[0], b"field-4\nnone\nfield-5")
                # What is asked for ahead is no other command's reply.
                assert list(await redis.read_fields(KEYS.hashes[0], ["field-3"])) == [b"3"]
                assert list(await other()) == [b"4", None, b"5"]
                cursor, some = await scan()
            else:
                cursor, some = await redis.scan(KEYS.hashes[0], cursor or 0, 100)
            found.update(some)
            steps += 1
        assert found == fields
        assert steps > 1
        assert list(await redis.read_fields(KEYS.hashes[0], ["field-3", "none"])) == [b"3", None]
        assert list(await redis.fields_ahead(KEYS.hashes[0], b"")()) == []
        assert await redis.scan(KEYS.key("none"), 0, 10) == (0, {})
