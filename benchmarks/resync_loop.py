"""A mirror that follows a busy server while it lists everything again and again, without views and with six.

The server, in another process, applies events at a steady rate and throws out a reader that is too far behind, as a BBS
does. Whenever a list has been committed, the next one is asked for. In the end the mirror has to have the server's
rows, and each view and subscriber what follows from them.
"""

import gc
import http.client
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
import trio
from msgspec import Struct

from benchmarks.busy_server import KEPT, Told
from benchmarks.data import fingerprint
from benchmarks.harness import Report, Target, agree, check, digest, figure_of
from benchmarks.memory_bbs import PATIENCE, resynced
from benchmarks.served import ROOT
from benchmarks.stalls import Reads, Stall, watched
from benchmarks.view_stalls import all_delivered, notified_of
from benchmarks.views import KINDS, Kinds
from lrpmirror import BBSClient, Tuning, open_mirror

SIZE, SMOKE = 250_000, 1_000
"""Rows on the server."""

RATE = 2_000
"""Events a second."""

SECONDS = 40
"""For which they come, at most: fewer where there are few rows."""

ROUNDS = 1

TARGETS = (
    Target("thrown out by a server that keeps 1,024 events, in a loop of lists with six views", 0.0, "times"),
    Target("events that came while the stream was left unread, at most", float(KEPT), "events"),
)

WAYS: Mapping[str, Kinds] = {"no view": (), "six views": tuple(kind for kinds in KINDS.values() for kind in kinds)}


class Followed(Struct):
    """What one run came to: the server's counts, the lists that were committed, and the longest times."""

    told: Told
    lists: int
    seconds: float
    unread: float
    stall: Stall
    answer: str


def run(size: int, rounds: int) -> Iterator[Report]:
    """Follow the server without views, and with them."""
    number = min(SECONDS * RATE, 2 * size)
    found: dict[str, list[Followed]] = {}
    for _ in range(min(rounds, ROUNDS)):
        for way, kinds in WAYS.items():
            gc.collect()
            with _served(size, number) as port:
                found.setdefault(way, []).append(trio.run(_followed, port, kinds))
    first, *others = [followed.answer for some in found.values() for followed in some]
    agree("the rows at the end, in all ways", set(others), {first})
    of_none = found["no view"]
    figures = tuple(
        figure_of(f"{way}: {name}", [of(one) for one in some], [of(one) for one in of_none], unit)
        for name, unit, of in (
            ("a list took", "s", lambda one: one.seconds / one.lists),
            ("most events kept by the server", "events", lambda one: float(one.told.backlog)),
            ("stream unread for at most", "ms", lambda one: one.unread * 1e3),
            ("longest stretch, processor", "ms", lambda one: one.stall.processor),
            ("the same without the collector", "ms", lambda one: one.stall.uncollected),
        )
        for way, some in found.items()
    )
    last = found["six views"]
    reached = (max(one.told.evicted for one in last), max(one.unread for one in last) * RATE)
    checks = tuple(
        one for target, value in zip(TARGETS, reached, strict=True) for one in check(TARGETS, target.what, value)
    )
    notes = tuple(
        f"{way}: {one.lists} lists in {one.seconds:.0f} s, {one.told.applied:,} events, "
        f"thrown out {one.told.evicted} times"
        for way, some in found.items()
        for one in some
    )
    yield Report(
        title="follow while listing in a loop", size=size, figures=figures, digest=first, checks=checks, notes=notes
    )


@contextmanager
def _served(size: int, number: int) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.busy_server", str(size), str(RATE), str(number)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own module
        try:
            yield int(process.stdout.readline() if process.stdout else b"")
        finally:
            process.kill()


async def _followed(port: int, kinds: Kinds) -> Followed:
    reads, stall, lists = Reads(), Stall(), 0
    tuning = Tuning(resync_interval=1e6)
    async with (
        BBSClient(f"http://127.0.0.1:{port}", tap=reads.tap) as client,
        open_mirror(client, tuning=tuning) as mirror,
    ):
        views = [await mirror.view(kind()) for kind in kinds]
        known = [notified_of(view) for view in views]
        mirror.subscribe(lambda _: None)
        await mirror.wait_synced(PATIENCE)
        await all_delivered(mirror)
        await _ask(port, "/go")
        began = trio.current_time()
        async with watched(stall):
            reads.longest = 0.0
            while not (told := await _told(port)).over:
                await resynced(mirror)
                lists += 1
            unread, seconds = reads.longest, trio.current_time() - began
        # What no event carries is in the next list.
        await resynced(mirror)
        await all_delivered(mirror)
        server_rows = await client.actual_lrps()
        agree("the server's rows, and the mirror's", {*server_rows} == {*mirror.actual_lrps()}, True)
        agree("drift", dict(mirror.counts.drift_kinds), {})
        for view, kind, notified in zip(views, kinds, known, strict=True):
            fresh = await mirror.view(kind())
            agree(f"{kind.__name__} kept, and made anew", view.copy() == fresh.copy(), True)
            values, same = view.copy(), kind().same
            told_all = notified.keys() == values.keys() and all(same(notified[key], values[key]) for key in values)
            agree(f"{kind.__name__}, and what its subscriber was told", told_all, True)
            fresh.drop()
        answer = digest(sorted(map(fingerprint, mirror.actual_lrps())))
    return Followed(told, lists, seconds, unread, stall, answer)


async def _told(port: int) -> Told:
    return msgspec.json.decode(await _ask(port, "/told"), type=Told)


async def _ask(port: int, path: str) -> bytes:
    def ask() -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("POST", path)
        reply = connection.getresponse().read()
        connection.close()
        return reply

    # In a thread, since this waits for the server.
    return await trio.to_thread.run_sync(ask)
