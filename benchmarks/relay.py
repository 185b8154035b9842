"""A relay on a real Redis, beside the BBS itself: loading, following, latency, bytes, and what readers cost.

BBS, publisher and Redis are each in a process of their own. Without a redis-server or valkey-server it is left out, and
says so.
"""

import gc
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import trio
from msgspec.structs import replace

from benchmarks.data import desired, fingerprint, lists, records, rows
from benchmarks.harness import Figure, Report, Run, Target, agree, check, compare, figure_of
from benchmarks.latency import RATES, SECONDS, Seen, mirrored, share_of, stamped
from benchmarks.memory_bbs import PATIENCE
from benchmarks.served import ROOT, Served, serve
from benchmarks.server import Script
from benchmarks.workload import encoded
from lrpmirror import Tuning, open_mirror
from lrpmirror.relay._address import parse
from lrpmirror.relay._commands import connector
from lrpmirror.relay._format import Keys

SIZE, SMOKE = 250_000, 500
"""Rows that are there."""

FOLLOWED = 20_000
"""Rows that are there while events are followed, at most; each has one."""

READERS = (1, 10, 100)
"""How many read at once."""

FULL_SPEED = 1e6
"""A rate of events that none can follow, so that all go as fast as they can."""

TARGETS = (
    Target("load from a relay, against the load from the BBS", 1.0, "x"),
    Target("p50 at 1,000 events/s through a relay, against the direct mirror", 3.0, "x"),
)

KEYS = Keys("lrpmirror")

MAIN = "import sys; from lrpmirror.cli import main; sys.exit(main())"

_TICKS = os.sysconf("SC_CLK_TCK")


def run(size: int, rounds: int) -> Iterator[Report]:
    """Measure each."""
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if server is None:
        print("relay: LEFT OUT, since neither redis-server nor valkey-server is installed", file=sys.stderr)
        return
    with _redis(server) as redis:
        yield _loading(redis, size, min(rounds, 3))
        few = min(size, FOLLOWED)
        script = Script(bodies=lists(records(few), desired(rows(few))), paced=encoded(map(stamped, rows(few))))
        with serve(script) as served:
            yield _following(redis, served, few, min(rounds, 3))
            number = min(few, int(RATES[0] * SECONDS))
            yield _pacing(redis, served, few, number, rounds)
            yield _reading(redis, served, few, number)


def _loading(redis: "_Redis", size: int, rounds: int) -> Report:
    script = Script(bodies=lists(records(size), desired(rows(size))))
    with serve(script) as served:
        empty = redis.memory()
        # What is imported for the first relay of a program is not what one costs.
        connector(parse(redis.url))
        with redis.published(served, size):
            held = redis.memory() - empty
            ways = {
                "mirror, from the BBS": partial(_load, served.url, served, size),
                "mirror, from Redis": partial(_load, redis.url, None, size),
            }
            report = compare("load everything, a row", size, ways, rounds=rounds)
    listed = sum(map(len, script.bodies.values()))
    notes = [f"Redis holds {held / size:,.0f} bytes for each row, all in all; the BBS lists {listed / size:,.0f}"]
    return replace(report, checks=check(TARGETS, TARGETS[0].what, report.figures[1].ratio), notes=tuple(notes))


def _load(url: str, served: Served | None, size: int) -> Run:
    run = Run(size)

    async def load() -> None:
        tls = served.tls if served is not None else None
        with run:
            async with open_mirror(url, tls=tls, tuning=Tuning(resync_interval=1e6)) as mirror:
                await mirror.wait_synced(timeout=PATIENCE)
                found = mirror.actual_lrps()
        run.answer = sorted(map(fingerprint, found))

    trio.run(load)
    return run


def _followed(redis: "_Redis", served: Served, size: int, rate: float, number: int) -> tuple[Seen, Seen]:
    """Follow the same events directly and through the relay."""
    gc.collect()
    direct = trio.run(partial(mirrored, served, rate, number))
    with redis.published(served, size):
        gc.collect()
        relayed = trio.run(partial(mirrored, served, rate, number, relay=redis.url))
    agree("what came through, directly and by the relay", relayed.answer, direct.answer)
    return direct, relayed


def _following(redis: "_Redis", served: Served, size: int, rounds: int) -> Report:
    pairs = [_followed(redis, served, size, FULL_SPEED, size) for _ in range(rounds)]
    spent = [[1e6 / seen.rate for seen in side] for side in zip(*pairs, strict=True)]
    rates = [median(seen.rate for seen in side) for side in zip(*pairs, strict=True)]
    return Report(
        title="follow events to the callback, each",
        size=size,
        figures=(
            figure_of("mirror, of the BBS", spent[0], spent[0]),
            figure_of("mirror, through publisher and Redis", spent[1], spent[0]),
        ),
        digest=pairs[0][0].answer,
        notes=(f"{rates[0]:,.0f} events/s directly, {rates[1]:,.0f} through publisher and Redis",),
    )


def _pacing(redis: "_Redis", served: Served, size: int, number: int, rounds: int) -> Report:
    pairs = [_followed(redis, served, size, RATES[0], number) for _ in range(rounds)]
    figures: list[Figure] = []
    for share in (50, 99):
        direct, relayed = ([share_of(seen, share) for seen in side] for side in zip(*pairs, strict=True))
        figures += (
            figure_of(f"mirror of the BBS, p{share}", direct, direct, "ms"),
            figure_of(f"mirror of the relay, p{share}", relayed, direct, "ms"),
        )
    return Report(
        title=f"latency at {RATES[0]:,} events/s",
        size=size,
        figures=tuple(figures),
        digest=pairs[0][0].answer,
        checks=check(TARGETS, TARGETS[1].what, figures[1].ratio),
    )


def _reading(redis: "_Redis", served: Served, size: int, number: int) -> Report:
    """Count what processor time Redis and the publisher need for each event, with so many who read the changes."""
    spent: dict[int, tuple[float, float]] = {}
    for readers in READERS:
        with redis.published(served, size) as publisher:
            spent[readers] = trio.run(_read, redis, served, publisher, readers, number)
    base = [spent[READERS[0]][0]]
    figures = [figure_of(f"Redis, {readers} readers", [spent[readers][0]], base) for readers in READERS]
    figures += [figure_of(f"publisher, {readers} readers", [spent[readers][1]], base) for readers in READERS]
    return Report(
        title=f"processor time at {RATES[0]:,} events/s, an event",
        size=size,
        figures=tuple(figures),
        digest=str(number),
        notes=("the readers take entries as they come, and do nothing with them",),
    )


async def _read(redis: "_Redis", served: Served, publisher: int, readers: int, number: int) -> tuple[float, float]:
    connect, _ = connector(parse(redis.url))

    async def read() -> None:
        async with connect() as commands:
            last = await commands.last_entry(KEYS.changes)
            position = last[0] if last is not None else "0-0"
            while True:
                found = await commands.entries_after(KEYS.changes, position, 64, 1.0)
                if found:
                    position = found[-1][0]

    async with trio.open_nursery() as nursery:
        for _ in range(readers):
            nursery.start_soon(read)
        await trio.sleep(0.5)
        before = _processor_time(redis.pid), _processor_time(publisher)
        served.go(rate=RATES[0], number=number)
        await trio.sleep(number / RATES[0] + 0.5)
        after = _processor_time(redis.pid), _processor_time(publisher)
        nursery.cancel_scope.cancel()
    # A tick is a hundredth of a second, so that nothing at all can have been seen of little.
    one, other = (max(1 / _TICKS, now - then) * 1e6 / number for then, now in zip(before, after, strict=True))
    return one, other


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


# Processes


class _Redis:
    """A server that runs."""

    def __init__(self, path: Path, pid: int) -> None:
        self._path = path
        self.pid = pid
        self.url = f"unix://{path}"

    def ask(self, *command: str) -> str:
        """Ask it something."""
        cli = shutil.which("redis-cli") or shutil.which("valkey-cli") or "redis-cli"
        asked = [cli, "-s", str(self._path), *command]
        # The server's own client, with our words.
        return subprocess.run(asked, capture_output=True, text=True, check=False, errors="replace").stdout  # noqa: S603

    def memory(self) -> int:
        """Return how many bytes it uses."""
        lines = dict(line.partition(":")[::2] for line in self.ask("INFO", "memory").splitlines())
        return int(lines["used_memory"])

    @contextmanager
    def published(self, served: Served, number: int) -> Iterator[int]:
        """Have a publisher in a process of its own, which has written so many rows; the value is its process."""
        self.ask("FLUSHALL")
        environ = {**os.environ, "CA_CERT_FILE": str(served.tls.ca), "CLIENT_CERT_FILE": str(served.tls.cert)}
        command = [sys.executable, "-c", MAIN, "publish", "--bbs-url", served.url, "--to", self.url]
        with subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - ours
            try:
                given_up_at = time.monotonic() + PATIENCE
                while self._state() != ("live", number):
                    if time.monotonic() > given_up_at or process.poll() is not None:
                        raise TimeoutError("the publisher has not written everything")
                    time.sleep(0.05)
                yield process.pid
            finally:
                process.kill()

    def _state(self) -> tuple[str, int]:
        phase, _, rest = self.ask("HMGET", KEYS.status, "phase", "counts").partition("\n")
        return phase, int((rest.split() or ["0"])[0])


@contextmanager
def _redis(server: str) -> Iterator[_Redis]:
    with TemporaryDirectory(prefix="benchmark-") as name:
        path = Path(name) / "redis.sock"
        command = [server, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", name]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603 - the server that was found
            try:
                while not path.exists():
                    time.sleep(0.02)
                yield _Redis(path, process.pid)
            finally:
                process.kill()
