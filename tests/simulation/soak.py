"""A long run over real sockets and real time: the mirror has to keep its size, and to end in the server's state.

    python -m simulation.soak --rows 20000 --minutes 60 --cut-every 5 --report soak.jsonl

The server is a process of its own (see `soak_server`), on loopback. The mirror has views and subscribers; its
connections are cut every few seconds. The report has a line of JSON each minute, and the result in the last one. The
exit status is 1 where the mirror differs from the server at the end, or a subscriber from the mirror.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.client import BBSClient
from lrpmirror.core.rows.changes import row_key
from lrpmirror.core.session import Tuning
from lrpmirror.mirror import open_mirror
from lrpmirror.mirror._mirror import Mirror
from simulation.observer import Fold
from simulation.workload import views

__all__ = ["Sample", "main", "trend"]

SAMPLE: Final = 10.0
"""Seconds between two looks at the memory."""

LINE: Final = 60.0
"""Seconds between two lines of the report."""

WARM_UP: Final = 300.0
"""After how many seconds memory counts, at most a quarter of the run: what is loaded only once is there by then."""

CATCH_UP: Final = 300.0
"""How long the mirror may take for the server's state, when nothing happens any more; a machine can be busy."""

SINGLES: Final = 200
"""How many subscribers there are of one process each."""


class Sample(Struct, frozen=True):
    """The memory at a moment: seconds since the beginning, and the resident set in KiB."""

    at: float
    rss: int


def trend(samples: list[Sample]) -> float:
    """Return how the memory grows, in KiB a minute: the slope of the line that fits best; 0 for fewer than two."""
    if len(samples) < 2:
        return 0.0
    mean_at = sum(one.at for one in samples) / len(samples)
    mean_rss = sum(one.rss for one in samples) / len(samples)
    spread = sum((one.at - mean_at) ** 2 for one in samples)
    return 60 * sum((one.at - mean_at) * (one.rss - mean_rss) for one in samples) / spread


class Soak:
    """One run."""

    def __init__(self, *, rows: int, minutes: float, cut_every: float, events_per_second: float, seed: int) -> None:
        self._seconds = minutes * 60
        self._seed = seed
        self._server = [
            *(sys.executable, "-m", "simulation.soak_server", "--rows", str(rows), "--seed", str(seed)),
            *("--cut-every", str(cut_every), "--events-per-second", str(events_per_second)),
        ]
        self._samples: list[Sample] = []
        self._folds: list[tuple[Fold, Callable[[], dict[Any, Any]]]] = []

    async def run(self, report: Callable[[dict[str, Any]], None]) -> bool:
        """Run, and report; return whether mirror and server, and subscribers and mirror, agree at the end."""
        with tempfile.TemporaryDirectory(prefix="lrpmirror-soak-") as folder:
            return await self._run(report, Path(folder) / "state")

    async def _run(self, report: Callable[[dict[str, Any]], None], state_file: Path) -> bool:
        async with trio.open_nursery() as nursery:
            serving = await nursery.start(self._start)
            replies = _lines(serving.stdout)
            url = await replies()
            tuning = Tuning(resync_interval=60, first_delay=0.2, most_delay=3)
            async with open_mirror(url, tuning=tuning, rng=Random(self._seed), state_file=state_file) as mirror:
                await self._subscribe(mirror)
                await self._watch(mirror, serving.pid, report)
                await serving.stdin.send_all(b"calm\n")
                await replies()
                agreed = await self._compare(mirror, url, report)
            await serving.stdin.aclose()
        return agreed

    async def _start(self, task_status: trio.TaskStatus[trio.Process]) -> None:
        await trio.run_process(
            self._server,
            stdin=-1,
            capture_stdout=False,
            task_status=task_status,
            stdout=-1,
        )

    async def _subscribe(self, mirror: Mirror) -> None:
        async def slow(_: Any) -> None:
            await trio.sleep(1)

        rows, lrps = Fold("rows"), Fold("desired LRPs")
        mirror.subscribe(rows)
        mirror.subscribe_desired(lrps)
        mirror.subscribe(slow)
        self._folds = [
            (rows, lambda: {row_key(row): row for row in mirror.actual_lrps()}),
            (lrps, lambda: {lrp.process_guid: lrp for lrp in mirror.desired_lrps()}),
        ]
        for view in views():
            await mirror.view(view)

    async def _watch(self, mirror: Mirror, server: int, report: Callable[[dict[str, Any]], None]) -> None:
        began = line_at = trio.current_time()
        watched = False
        while (now := trio.current_time()) - began < self._seconds:
            self._samples.append(Sample(now - began, _rss(os.getpid())))
            if not watched and mirror.status.live:
                for lrp in mirror.desired_lrps()[:SINGLES]:
                    mirror.subscribe(_ignore, process_guids=[lrp.process_guid])
                watched = True
            if now >= line_at:
                line_at = now + LINE
                report(self._line(mirror, now - began, server))
            await trio.sleep(SAMPLE)

    def _line(self, mirror: Mirror, at: float, server: int) -> dict[str, Any]:
        status, counts = mirror.status, mirror.counts
        return {
            "minute": round(at / 60, 1),
            "phase": str(status.phase),
            "revision": status.revision,
            "rows": status.actual_lrps,
            "desired": status.desired_lrps,
            "streams": counts.streams,
            "lists": dict(counts.lists),
            "events": sum(counts.events.values()),
            "drift": dict(counts.drift_kinds),
            "lists_held": counts.lists_held,
            "errors": dict(counts.errors),
            "tombstones": counts.tombstones,
            "repairs_pending": counts.repairs_pending,
            "rss_kib": self._samples[-1].rss,
            # What Python has in use, whatever the system has given it.
            "blocks": sys.getallocatedblocks(),
            "server_rss_kib": _rss(server),
        }

    async def _compare(self, mirror: Mirror, url: str, report: Callable[[dict[str, Any]], None]) -> bool:
        """Compare row for row: with what the events and repairs led to, and again after one more list."""
        async with BBSClient(url) as client:
            before = await _settled(lambda: _differing(mirror, client), mirror)
            mirror.resync()
            synced_at = mirror.status.synced_at
            await mirror.wait_for(lambda one: one.status.synced_at != synced_at, timeout=CATCH_UP)
            after = await _settled(lambda: _differing(mirror, client), mirror)
        notified = [fold.name for fold, now in self._folds if fold.known != now()]
        warm = [one for one in self._samples if one.at >= min(WARM_UP, self._seconds / 4)]
        rss = [one.rss for one in warm]
        report(
            {
                "result": "agreed" if not (after or notified) else "differs",
                "differences_before_the_last_list": len(before),
                "differences": after[:20],
                "subscribers_that_differ": notified,
                "rss_first_kib": rss[0],
                "rss_median_kib": median(rss),
                "rss_last_kib": rss[-1],
                "rss_most_kib": max(rss),
                "rss_trend_kib_per_minute": round(trend(warm), 1),
                "drift": dict(mirror.counts.drift_kinds),
                "streams": mirror.counts.streams,
                "events": sum(mirror.counts.events.values()),
                "commits": mirror.revision,
            }
        )
        return not (after or notified)


async def _settled(find: Callable[[], Awaitable[list[str]]], mirror: Mirror) -> list[str]:
    """Return the differences that remain when the mirror has had its time to overcome them."""
    found: list[str] = []
    with trio.move_on_after(CATCH_UP):
        while not mirror.status.live or (found := await find()):  # noqa: ASYNC110 - it asks the server
            await trio.sleep(2)
        return []
    return found


async def _differing(mirror: Mirror, client: BBSClient) -> list[str]:
    rows = {row_key(row): row for row in await client.actual_lrps()}
    mine = {row_key(row): row for row in mirror.actual_lrps()}
    found = [f"row {key}" for key in rows.keys() | mine.keys() if rows.get(key) != mine.get(key)]
    lrps = {lrp.process_guid: lrp for lrp in await client.desired_lrps()}
    wanted = {lrp.process_guid: lrp for lrp in mirror.desired_lrps()}
    return found + [
        f"desired LRP {guid}"
        for guid in lrps.keys() | wanted.keys()
        if _bare(lrps.get(guid)) != _bare(wanted.get(guid))
    ]


def _bare(lrp: Any) -> Any:
    return None if lrp is None else replace(lrp, detail=None)


def _lines(stdout: Any) -> Callable[[], Awaitable[str]]:
    held = bytearray()

    async def line() -> str:
        while b"\n" not in held:
            piece = await stdout.receive_some()
            if not piece:
                raise RuntimeError("the server of the soak has ended")
            held.extend(piece)
        text, _, rest = bytes(held).partition(b"\n")
        held[:] = rest
        return text.decode()

    return line


def _rss(pid: int) -> int:
    """Return the resident set of a process in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _ignore(_: object) -> None:
    pass


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description="A mirror of a served Diego that misbehaves, for a long time.")
    parser.add_argument("--rows", type=int, default=20_000, help="about how many instances (%(default)s)")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (%(default)s)")
    parser.add_argument("--cut-every", type=float, default=5.0, metavar="SECONDS", help="(%(default)s)")
    parser.add_argument("--events-per-second", type=float, default=50.0, metavar="N", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="where to write a line a minute; standard output if not given")
    args = parser.parse_args()
    soak = Soak(
        rows=args.rows,
        minutes=args.minutes,
        cut_every=args.cut_every,
        events_per_second=args.events_per_second,
        seed=args.seed,
    )

    def report(line: dict[str, Any]) -> None:
        text = msgspec.json.encode(line).decode()
        if args.report is None:
            print(text, flush=True)
        else:
            with args.report.open("a") as file:
                file.write(text + "\n")

    return 0 if trio.run(soak.run, report) else 1


if __name__ == "__main__":
    raise SystemExit(main())
