"""Start a simulated Diego and show what a mirror sees of it; needs nothing else.

Start a simulated Diego with cells and apps that live (deploys, crashes,
evacuations, lost cells), open a mirror on it over HTTP on loopback, and show
what the mirror sees and how fresh it is. Five seconds of the simulation pass
in one. Now and then the connection is cut for a moment. With --redis the mirror
that is shown reads from a relay instead, which another one keeps current.

On a terminal a screen is redrawn twice a second (NO_COLOR=1 for no colours);
elsewhere there is a line each second, and one for each change. Ends at Ctrl-C,
or after --seconds; then it says whether mirror and simulator agree.
"""

import argparse
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from subprocess import DEVNULL
from tempfile import TemporaryDirectory
from typing import Final

import trio
from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.background import background
from lrpmirror.cli.shared.arguments import add_simulation, seconds
from lrpmirror.cli.shared.output import print_lines
from lrpmirror.cli.shared.signals import interruptible, until
from lrpmirror.cli.shared.story import Story
from lrpmirror.cli.shared.view import Display, open_display, view_of
from lrpmirror.client import BBSClient
from lrpmirror.core.rows.changes import row_key
from lrpmirror.core.session import Tuning
from lrpmirror.errors import ConfigurationError, NotSeen
from lrpmirror.mirror import Mirror, open_mirror
from lrpmirror.model import ActualLRP
from lrpmirror.relay import open_publisher
from lrpmirror.server import Host, Lag
from lrpmirror.sim import Autopilot, Diego, Rates, serve_diego

WARM_UP: Final = 30  # virtual seconds before the demo begins: most instances run by then
SYNC: Final = 30.0  # seconds that the first synchronisation may take, which on loopback takes one
RELAY_TRIES: Final = 3  # how many times a mirror behind a relay is compared again, a second later

# Few enough at five virtual seconds a second that a person can read along.
RATES: Final = Rates(
    deploys=0.04,
    scalings=0.05,
    crashes=0.1,
    placement_failures=0.03,
    routable_changes=0.04,
    route_changes=0.03,
    evacuations=0.015,
    cell_losses=0.015,
)

# Slow lists, so that a person can see the phases between the connection and the state.
LAG: Final = Lag(before_read=0.15)

TUNING: Final = Tuning(first_delay=0.25, most_delay=1.0, resync_interval=30.0)


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of a demo. With one seed and number of steps, the simulation is the same each time."""

    seed: int = 1
    cells: int = 4
    apps: int = 8
    steps: int | None = None  # how many virtual seconds it takes; None: until interrupted
    pace: float = 5.0  # virtual seconds in a second
    first_cut: int = 25  # the step at which the connection is cut for the first time
    cut_every: int = 75  # how many steps there are from one cut to the next
    cut_for: int = 8  # how many steps there is no connection then
    redis: bool = False  # whether the mirror reads from a relay, which another one publishes to


class Outcome(Struct, frozen=True):
    """How a demo ended."""

    text: str
    agreed: bool


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    default = Settings()
    parser.add_argument("--seconds", type=seconds, metavar="N", help="end after N seconds instead of at Ctrl-C")
    add_simulation(parser, cells=default.cells, apps=default.apps)
    parser.add_argument(
        "--redis",
        action="store_true",
        help="start a Redis or Valkey and a publisher to it, and let the mirror read from there",
    )


async def run(args: argparse.Namespace) -> int:
    """Run the demo, and print its outcome."""
    settings = Settings(seed=args.seed, cells=args.cells, apps=args.apps, redis=args.redis)
    if args.seconds is not None:
        settings = replace(settings, steps=max(1, round(args.seconds * settings.pace)))
    async with interruptible() as asked, open_display() as display:
        outcome = await play(settings, display, asked)
    print_lines([outcome.text.encode()])
    return 0 if outcome.agreed else 1


async def play(settings: Settings, display: Display, asked: trio.Event) -> Outcome:
    """Run a demo to its end, or until it is interrupted."""
    diego = Diego(seed=settings.seed)
    pilot = Autopilot(diego, seed=settings.seed, apps=settings.apps, cells=settings.cells, rates=RATES)
    pilot.run(WARM_UP)
    began = trio.current_time()
    async with (
        serve_diego(diego, lag=LAG) as served,
        relayed(served.url, TUNING, settings.seed) if settings.redis else nullcontext(served.url) as where,
        open_mirror(where, tuning=TUNING, rng=Random(settings.seed)) as mirror,  # noqa: S311 - jitter
        background() as nursery,
    ):
        story = Story(mirror, lambda: trio.current_time() - began)
        nursery.start_soon(story.watch_phases)
        nursery.start_soon(_show, mirror, story, display, f"lrpmirror demo, seed {settings.seed}", began)
        run = _DemoRun(settings, pilot, served.host, story)
        async with until(asked):
            await mirror.wait_synced(SYNC)
            story.follow()
            await run.run()
        await served.host.accept()
        wrong = await settled_disagreements(mirror, diego)
        tries = RELAY_TRIES if settings.redis else 0
        while wrong and tries:
            # What the publisher has still to read of a row that started, it cannot have published.
            tries -= 1
            await trio.sleep(1)
            wrong = await settled_disagreements(mirror, diego)
        await display.show_news(story.take_news())
    return _outcome(diego, run, wrong)


@dataclass
class _DemoRun:
    """Runs the simulation step by step, and cuts the connection at the steps set for it."""

    settings: Settings
    pilot: Autopilot
    host: Host
    story: Story
    steps: int = 0
    cuts: int = 0

    async def run(self) -> None:
        """Take all steps, or go on until cancelled."""
        due = trio.current_time()
        while self.settings.steps is None or self.steps < self.settings.steps:
            due += 1 / self.settings.pace
            await trio.sleep_until(due)
            if self.steps >= self.settings.first_cut:
                await self._cut_or_mend((self.steps - self.settings.first_cut) % self.settings.cut_every)
            self.pilot.step()
            self.steps += 1

    async def _cut_or_mend(self, phase: int) -> None:
        if phase == 0:
            self.story.add("--- the demo cuts the connection")
            self.cuts += 1
            await self.host.refuse()
            self.host.cut()
        elif phase == self.settings.cut_for:
            self.story.add("--- the demo lets connections through again")
            await self.host.accept()


async def _show(mirror: Mirror, story: Story, display: Display, title: str, began: float) -> None:
    while True:
        await display.show_news(story.take_news())
        elapsed = trio.current_time() - began
        await display.show(view_of(mirror, title=title, elapsed=elapsed, news=story.latest))
        await trio.sleep(display.interval)


def _outcome(diego: Diego, run: _DemoRun, wrong: list[str]) -> Outcome:
    if wrong:
        return Outcome(f"mirror and simulator DISAGREE on {len(wrong)}: {', '.join(wrong[:3])}", agreed=False)
    cuts = "1 cut connection" if run.cuts == 1 else f"{run.cuts} cut connections"
    text = (
        f"mirror and simulator agree: {len(diego.actual_lrps())} instances, {len(diego.desired_lrps())} desired LRPs, "
        f"{len(diego.cells())} cells, after {run.steps} virtual seconds and {cuts}"
    )
    return Outcome(text, agreed=True)


_PATIENCE: Final = 5.0  # seconds that the mirror has to catch up, and to list once more


def disagreements(mirror: Mirror, diego: Diego, *, listed: bool) -> list[str]:
    """Name the rows and desired LRPs in which the two differ; with `listed`, domains and cells too.

    Unless it has just `listed`, a mirror may lack internal routes and metric tags, which the stream does not carry, and
    can know nothing of domains and cells, about which there are no events. O(rows + desired LRPs).
    """
    rows = {str(row_key(row)): row for row in diego.actual_lrps()}
    seen = {str(row_key(row)): row for row in mirror.actual_lrps()}
    if not listed:
        seen = {key: _filled(row, rows.get(key)) for key, row in seen.items()}
    sides: list[tuple[str, Mapping[str, object], Mapping[str, object]]] = [
        ("row", rows, seen),
        (
            "desired LRP",
            {lrp.process_guid: replace(lrp, detail=None) for lrp in diego.desired_lrps()},
            {lrp.process_guid: lrp for lrp in mirror.desired_lrps()},
        ),
    ]
    if listed:
        sides.append(("domain", dict.fromkeys(diego.domains(), True), dict.fromkeys(mirror.domains, True)))
        cells, seen_cells = ({cell.cell_id: cell for cell in side} for side in (diego.cells(), mirror.cells))
        sides.append(("cell", cells, seen_cells))
    return [
        f"{kind} {key}"
        for kind, expected, got in sides
        for key in sorted(expected.keys() | got.keys())
        if expected.get(key) != got.get(key)
    ]


async def settled_disagreements(mirror: Mirror, diego: Diego) -> list[str]:
    """Compare once the mirror has caught up with a paused simulator: by the stream, then by a new list."""
    with suppress(NotSeen):
        await mirror.wait_for(lambda one: one.status.live and not disagreements(one, diego, listed=False), _PATIENCE)
    followed = disagreements(mirror, diego, listed=False)
    if followed or not mirror.status.live:
        return followed or [f"the mirror is {mirror.status.phase.name}: {mirror.status.last_error}"]
    before = mirror.status.synced_at
    mirror.resync()
    with suppress(NotSeen):
        await mirror.wait_for(lambda one: one.status.synced_at != before, _PATIENCE)
    return disagreements(mirror, diego, listed=True)


def _filled(row: ActualLRP, expected: ActualLRP | None) -> ActualLRP:
    if expected is None:
        return row
    return replace(
        row,
        internal_routes=row.internal_routes or expected.internal_routes,
        metric_tags=row.metric_tags or expected.metric_tags,
    )


SERVERS: Final = ("valkey-server", "redis-server")

START: Final = 10.0  # seconds that the server may take to start
REFRESH: Final = 0.2  # seconds between two reads of domains and cells: the demo compares them at its end


@asynccontextmanager
async def relayed(bbs_url: str, tuning: Tuning, seed: int) -> AsyncIterator[str]:
    """Publish the BBS at a URL to a server of its own; yields the relay's URL. Raises ConfigurationError."""
    with TemporaryDirectory(prefix="lrpmirror-") as folder:
        path = trio.Path(folder) / "redis.sock"
        async with (
            _server(path),
            BBSClient(bbs_url) as client,
            open_mirror(client, tuning=tuning, rng=Random(seed)) as mirror,  # noqa: S311 - jitter
            open_publisher(mirror, client, f"unix://{path}", refresh=REFRESH),
        ):
            yield f"unix://{path}"


@asynccontextmanager
async def _server(path: trio.Path) -> AsyncIterator[None]:
    server = next((found for name in SERVERS if (found := shutil.which(name))), None)
    if server is None:
        raise ConfigurationError(f"--redis needs one of {' and '.join(SERVERS)}: install it, or leave the option out")
    command = [server, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(path.parent)]
    async with background() as nursery:
        start = partial(trio.run_process, command, stdout=DEVNULL, check=False, start_new_session=True)
        process: trio.Process = await nursery.start(start)
        with trio.move_on_after(START):
            while process.returncode is None and not await path.exists():  # noqa: ASYNC110 - a file wakes nobody
                await trio.sleep(0.02)
        if process.returncode is not None or not await path.exists():
            raise ConfigurationError(f"--redis: {server} did not begin; does it run by itself?")
        yield
