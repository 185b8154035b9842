"""The longest time for which no other task of the program gets a turn, while a mirror loads, resyncs and audits.

A task that does nothing but wait for its turn looks at the clock each time, and at the processor time of its thread,
which does not count what other programs of the machine took. Meanwhile the server, in another process, sends events;
how long the stream was left unread at most is seen by the client's tap. The baseline reads the list in the plain way.
"""

import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Self

import httpx
import trio
from msgspec import Struct
from msgspec.structs import replace

from benchmarks import plain
from benchmarks.data import desired, fingerprint, lists, records, rows
from benchmarks.harness import Report, Target, agree, check, digest, figure_of
from benchmarks.memory_bbs import PATIENCE, resynced
from benchmarks.served import Served, serve
from benchmarks.server import STAMP, Script
from lrpmirror import BBSClient, Mirror, Phase, Tuning, open_mirror
from lrpmirror.events import ActualLRPCrashed
from lrpmirror.wire import encode

SIZE, SMOKE = 250_000, 1_000
"""Rows in the list."""

RATE = 1_000
"""Events a second, which change nothing, so that each list is the same as the one before."""

ROUNDS = 3
"""At most."""

DOING = ("loading", "resyncing", "auditing")

TARGETS = tuple(Target(f"longest stall while {doing}", 10.0, "ms") for doing in DOING)


class Stall(Struct):
    """The longest of a kind, in milliseconds: between two turns, by wall and by processor; with the stream unread."""

    wall: float = 0.0
    processor: float = 0.0
    uncollected: float = 0.0
    """By processor, without what the garbage collector took."""
    unread: float = 0.0


class Collecting:
    """How long the garbage collector has run in this thread, in seconds of its processor time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __call__(self, phase: str, _: object) -> None:
        """Take note, as one of `gc.callbacks`."""
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.seconds += time.thread_time() - self._began

    @contextmanager
    def counted(self) -> Iterator[Self]:
        """Count while the block lasts."""
        gc.callbacks.append(self)
        try:
            yield self
        finally:
            gc.callbacks.remove(self)


class Reads(Struct):
    """When the stream was read last, and the longest time in between."""

    last: float = 0.0
    longest: float = 0.0

    def tap(self, name: str, piece: bytes) -> None:
        """Record a read; the first piece of a connection, which is empty, and what precedes it is none."""
        if name != "events.instances":
            return
        now = time.perf_counter()
        if piece and self.last:
            self.longest = max(self.longest, now - self.last)
        self.last = now if piece else 0.0


def run(size: int, rounds: int) -> Iterator[Report]:
    """Read lists of `size` rows from a server, and watch."""
    rounds = min(rounds, ROUNDS)
    crash = ActualLRPCrashed(process_guid="p", crash_reason=STAMP)
    paced = [(crash.type, encode.event(crash))] * RATE * 60
    script = Script(bodies=lists(records(size), desired(rows(size))), paced=paced)
    stalls: dict[str, list[Stall]] = {"plain": [], **{doing: [] for doing in DOING}}
    with serve(script) as served:
        for _ in range(rounds):
            stall, expected = trio.run(_plain, served)
            stalls["plain"].append(stall)
            # What that left behind would be collected in the midst of what is measured next.
            gc.collect()
            of_each, answer = trio.run(_mirrored, served)
            agree("the rows of the mirror, and of the plain way", answer, expected)
            for doing, stall in of_each.items():
                stalls[doing].append(stall)
    for doing in DOING:
        yield _report(doing, size, answer, stalls["plain"], stalls[doing])


def _report(doing: str, size: int, answer: str, theirs: list[Stall], ours: list[Stall]) -> Report:
    walls = [stall.wall for stall in theirs]
    processors = [stall.processor for stall in theirs]
    figures = (
        figure_of("plain: longest stall", walls, walls, "ms"),
        figure_of("plain: the same, processor time", processors, processors, "ms"),
        figure_of("mirror: longest stall", [stall.wall for stall in ours], walls, "ms"),
        figure_of("mirror: the same, processor time", [stall.processor for stall in ours], processors, "ms"),
        figure_of("mirror: stream unread for", [stall.unread for stall in ours], walls, "ms"),
    )
    report = Report(title=f"stalls while {doing}", size=size, figures=figures, digest=answer)
    return replace(report, checks=check(TARGETS, f"longest stall while {doing}", figures[2].value))


@asynccontextmanager
async def watched(stall: Stall) -> AsyncIterator[None]:
    """Watch for stalls while the block lasts."""

    async def tick(task_status: trio.TaskStatus[None]) -> None:
        wall, processor, collected = time.perf_counter(), time.thread_time(), collecting.seconds
        task_status.started()
        while True:
            await trio.lowlevel.checkpoint()
            now, spent, by_now = time.perf_counter(), time.thread_time(), collecting.seconds
            stall.wall = max(stall.wall, (now - wall) * 1e3)
            stall.processor = max(stall.processor, (spent - processor) * 1e3)
            stall.uncollected = max(stall.uncollected, (spent - processor - (by_now - collected)) * 1e3)
            wall, processor, collected = now, spent, by_now

    with Collecting().counted() as collecting:
        async with trio.open_nursery() as nursery:
            await nursery.start(tick)
            yield
            # One more turn, or a stall at the very end is not seen.
            for _ in range(2):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


async def _plain(served: Served) -> tuple[Stall, str]:
    stall = Stall()
    async with httpx.AsyncClient(verify=served.context, timeout=PATIENCE) as client, watched(stall):
        reply = await client.post(served.url + "/v1/actual_lrps/list")
        table = plain.table_of(reply.content)
    return stall, digest(sorted(map(fingerprint, table.values())))


async def _mirrored(served: Served) -> tuple[dict[str, Stall], str]:
    reads = Reads()
    tuning = Tuning(resync_interval=1e6, repair_delay=1e6, first_delay=0.001, most_delay=0.001)
    async with (
        BBSClient(served.url, tls=served.tls, tap=reads.tap) as client,
        open_mirror(client, tuning=tuning) as mirror,
    ):
        loading = await _stall_of(served, mirror, reads, None)
        auditing = await _stall_of(served, mirror, reads, resynced)
        resyncing = await _stall_of(served, mirror, reads, lambda mirror: _reconnected(served, mirror))
        answer = digest(sorted(map(fingerprint, mirror.actual_lrps())))
    return {"loading": loading, "auditing": auditing, "resyncing": resyncing}, answer


async def _stall_of(
    served: Served, mirror: Mirror, reads: Reads, do: Callable[[Mirror], Awaitable[None]] | None
) -> Stall:
    stall = Stall()
    reads.longest = 0.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_sent_from, served, mirror)
        async with watched(stall):
            if do is None:
                await mirror.wait_synced(timeout=PATIENCE)
            else:
                await do(mirror)
        nursery.cancel_scope.cancel()
    stall.unread = reads.longest * 1e3
    return stall


async def _sent_from(served: Served, mirror: Mirror) -> None:
    """Let the events begin, as soon as there is a stream."""
    await mirror.wait_for(lambda mirror: mirror.status.phase in (Phase.SYNCING, Phase.RESYNCING), timeout=PATIENCE)
    # In a thread, since this waits for the server.
    await trio.to_thread.run_sync(lambda: served.go(rate=RATE, number=RATE * 60))


async def _reconnected(served: Served, mirror: Mirror) -> None:
    """Have the stream cut, and wait until everything was listed on a new one."""
    before = mirror.status.synced_at
    await trio.to_thread.run_sync(served.cut)
    await mirror.wait_for(lambda mirror: mirror.status.synced_at != before, timeout=PATIENCE)
