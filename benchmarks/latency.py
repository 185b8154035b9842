"""From the server's write to the callback, at a steady pace, beside an idle subscriber and a slow one.

The server, in another process, writes the monotonic time into each event. Each event is about another row, so that none
is passed over. What the baseline does is the least: it has the event decoded and looks at the clock.
"""

import gc
import time
from collections.abc import Iterator
from statistics import median, quantiles

import trio
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.data import desired, lists, records, rows
from benchmarks.harness import Check, Figure, Report, Target, agree, check, digest, figure_of
from benchmarks.memory_bbs import PATIENCE
from benchmarks.served import Served, serve
from benchmarks.server import STAMP, Script
from benchmarks.workload import encoded
from lrpmirror import BBSClient, Change, Tuning, open_mirror
from lrpmirror.core.rows.changes import RowKey
from lrpmirror.events import ActualLRPInstanceChanged
from lrpmirror.model import ActualLRP

SIZE, SMOKE = 40_000, 200
"""Rows that are there."""

RATES = (1_000, 20_000)
SECONDS = 2.0
"""For how long events are sent, if there are as many rows."""

SLOW = 0.25
"""How long the slow subscriber takes over each change, in seconds."""

TARGETS = (Target("p99 from socket to callback at 1,000 events/s", 2.0, "ms"),)


class Seen(Struct):
    """How long each event took, in milliseconds, and how many of them there were a second."""

    took: list[float]
    rate: float
    answer: str
    """A digest of what came through."""


def run(size: int, rounds: int) -> Iterator[Report]:
    """Follow a paced stream, at each pace."""
    present = rows(size)
    script = Script(bodies=lists(records(size), desired(present)), paced=encoded(map(stamped, present)))
    with serve(script) as served:
        for rate in RATES:
            number = min(size, int(rate * SECONDS))
            ways: dict[str, list[Seen]] = {"decoded only": [], "mirror, to the callback": []}
            for _ in range(rounds):
                for seen, way in zip(ways.values(), (_decoded, mirrored), strict=True):
                    # The mirror of the round before is garbage, and would be collected in the midst of this one.
                    gc.collect()
                    seen.append(trio.run(way, served, rate, number))
            yield _report(size, rate, ways)


def stamped(row: ActualLRP) -> ActualLRPInstanceChanged:
    """Return an event whose after side has a place for the time, in a field that nothing else looks at."""
    after = replace(row, placement_error=STAMP, tag_index=row.tag_index + 1)
    return ActualLRPInstanceChanged(replace(row, metric_tags={}), replace(after, metric_tags={}))


def _report(size: int, rate: int, ways: dict[str, list[Seen]]) -> Report:
    figures: list[Figure] = []
    baselines = [[share_of(seen, share) for seen in next(iter(ways.values()))] for share in (50, 99)]
    for name, rounds in ways.items():
        for share, baseline in zip((50, 99), baselines, strict=True):
            values = [share_of(seen, share) for seen in rounds]
            figures.append(figure_of(f"{name}, p{share}", values, baseline, "ms"))
    checks: tuple[Check, ...] = ()
    if rate == RATES[0]:
        checks = check(TARGETS, TARGETS[0].what, figures[-1].value)
    reached = {name: median(seen.rate for seen in rounds) for name, rounds in ways.items()}
    # What else the machine does can only add to it, and shows here.
    notes = [
        f"{name}: p99 of the rounds {', '.join(f'{share_of(seen, 99):.2f}' for seen in rounds)} ms"
        for name, rounds in ways.items()
    ]
    notes += [f"{name}: only {most:,.0f} events/s came through" for name, most in reached.items() if most < 0.9 * rate]
    answers = {seen.answer for rounds in ways.values() for seen in rounds}
    agree("what came through, in all ways and rounds", len(answers), 1)
    return Report(
        title=f"latency at {rate:,} events/s",
        size=size,
        figures=tuple(figures),
        digest=answers.pop(),
        checks=checks,
        notes=tuple(notes),
    )


def share_of(seen: Seen, share: int) -> float:
    """Return the percentile of how long the events took, in milliseconds."""
    return quantiles(seen.took, n=100)[share - 1]


async def _decoded(served: Served, rate: int, number: int) -> Seen:
    took: list[float] = []
    came: list[tuple[str, int]] = []
    async with BBSClient(served.url, tls=served.tls) as client, client.events("instances") as stream:
        served.go(rate=rate, number=number)
        began = time.perf_counter()
        async for events in stream:
            now = time.monotonic_ns()
            after = [event.after for event in events if isinstance(event, ActualLRPInstanceChanged)]
            took += [(now - int(row.placement_error)) / 1e6 for row in after]
            came += [(row.epoch, row.tag_index) for row in after]
            if len(took) == number:
                break
        spent = time.perf_counter() - began
    return Seen(took, number / spent, digest(sorted(came)))


async def mirrored(served: Served, rate: float, number: int, *, relay: str = "") -> Seen:
    """Follow a paced stream with a mirror of the server, or of a relay, to the callback."""
    took: list[float] = []
    done = trio.Event()

    def on_change(change: Change[RowKey, ActualLRP]) -> None:
        now = time.monotonic_ns()
        if change.after is not None:
            took.append((now - int(change.after.placement_error)) / 1e6)
        if len(took) == number:
            done.set()

    async def slow(_: Change[RowKey, ActualLRP]) -> None:
        await trio.sleep(SLOW)

    where, tls = (relay, None) if relay else (served.url, served.tls)
    async with open_mirror(where, tls=tls, tuning=Tuning(resync_interval=1e6)) as mirror:
        await mirror.wait_synced(timeout=PATIENCE)
        mirror.subscribe(on_change, replay=False)
        mirror.subscribe(slow, replay=False)
        mirror.subscribe(on_change, process_guids=["no process is called so"], replay=False)
        served.go(rate=rate, number=number)
        began = time.perf_counter()
        with trio.fail_after(PATIENCE):
            await done.wait()
        spent = time.perf_counter() - began
        came = [(row.epoch, row.tag_index) for row in mirror.actual_lrps() if row.placement_error]
    return Seen(took, number / spent, digest(sorted(came)))
