"""`lrpmirror demo`: a simulated Diego with a workload, and a mirror of it on the screen."""

import argparse
from contextlib import nullcontext
from random import Random
from typing import Final

import trio
from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.background import background
from lrpmirror.cli.shared.agreement import settled_disagreements
from lrpmirror.cli.shared.arguments import count, seconds
from lrpmirror.cli.shared.demo_relay import relayed
from lrpmirror.cli.shared.display import Display, open_display
from lrpmirror.cli.shared.output import print_lines
from lrpmirror.cli.shared.signals import interruptible, until
from lrpmirror.cli.shared.story import Story
from lrpmirror.cli.shared.view import view_of
from lrpmirror.core.session import Tuning
from lrpmirror.mirror import Mirror, open_mirror
from lrpmirror.server import Lag
from lrpmirror.sim import Autopilot, Diego, Rates, ServedDiego, serve_diego

HELP: Final = "start a simulated Diego and show what a mirror sees of it; needs nothing else"

DESCRIPTION: Final = """\
Start a simulated Diego with cells and apps that live (deploys, crashes,
evacuations, lost cells), open a mirror on it over HTTP on loopback, and show
what the mirror sees and how fresh it is. Five seconds of the simulation pass
in one. Now and then the connection is cut for a moment. With --redis the mirror
that is shown reads from a relay instead, which another one keeps current.

On a terminal a screen is redrawn twice a second (NO_COLOR=1 for no colours);
elsewhere there is a line each second, and one for each change. Ends at Ctrl-C,
or after --seconds; then it says whether mirror and simulator agree.
"""

WARM_UP: Final = 30
"""Virtual seconds before the demo begins: most instances run by then."""

SYNC: Final = 30.0
"""Seconds that the first synchronisation may take, which on loopback takes one."""

RELAY_TRIES: Final = 3
"""How many times a mirror behind a relay is compared again, a second later."""

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
    steps: int | None = None
    """How many virtual seconds it takes; None: until interrupted."""
    pace: float = 5.0
    """Virtual seconds in a second."""
    first_cut: int = 25
    """The step at which the connection is cut for the first time."""
    cut_every: int = 75
    """How many steps there are from one cut to the next."""
    cut_for: int = 8
    """How many steps there is no connection then."""
    redis: bool = False
    """Whether the mirror reads from a relay, which another one publishes to."""


class Outcome(Struct, frozen=True):
    """How a demo ended."""

    text: str
    agreed: bool


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    default = Settings()
    parser.add_argument("--seconds", type=seconds, metavar="N", help="end after N seconds instead of at Ctrl-C")
    parser.add_argument(
        "--seed",
        type=int,
        default=default.seed,
        metavar="N",
        help="one seed, one simulation (%(default)s)",
    )
    parser.add_argument("--cells", type=count, default=default.cells, metavar="N", help="number of cells (%(default)s)")
    parser.add_argument("--apps", type=count, default=default.apps, metavar="N", help="number of apps (%(default)s)")
    parser.add_argument(
        "--redis",
        action="store_true",
        help="start a Redis or Valkey and a publisher to it, and let the mirror read from there",
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo, and print its outcome."""
    settings = Settings(seed=args.seed, cells=args.cells, apps=args.apps, redis=args.redis)
    if args.seconds is not None:
        settings = replace(settings, steps=max(1, round(args.seconds * settings.pace)))
    outcome = trio.run(_shown, settings)
    print_lines([outcome.text.encode()])
    return 0 if outcome.agreed else 1


async def _shown(settings: Settings) -> Outcome:
    async with interruptible() as asked, open_display() as display:
        return await play(settings, display, asked)


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
        run = _DemoRun(settings, pilot, served, story)
        async with until(asked):
            await mirror.wait_synced(SYNC)
            story.follow()
            await run.run()
        await served.host.accept()
        wrong = await settled_disagreements(mirror, diego)
        for _ in range(RELAY_TRIES if settings.redis else 0):
            # What the publisher has still to read of a row that started, it cannot have published.
            if not wrong:
                break
            await trio.sleep(1)
            wrong = await settled_disagreements(mirror, diego)
        await display.show_news(story.take_news())
    return _outcome(diego, run, wrong)


class _DemoRun:
    """Runs the simulation step by step, and cuts the connection at the steps set for it."""

    def __init__(self, settings: Settings, pilot: Autopilot, served: ServedDiego, story: Story) -> None:
        self._settings = settings
        self._pilot = pilot
        self._host = served.host
        self._story = story
        self.steps = 0
        self.cuts = 0

    async def run(self) -> None:
        """Take all steps, or go on until cancelled."""
        settings = self._settings
        due = trio.current_time()
        while settings.steps is None or self.steps < settings.steps:
            due += 1 / settings.pace
            await trio.sleep_until(due)
            await self._cut_or_mend((self.steps - settings.first_cut) % settings.cut_every)
            self._pilot.step()
            self.steps += 1

    async def _cut_or_mend(self, phase: int) -> None:
        if self.steps < self._settings.first_cut:
            return
        if phase == 0:
            self._story.add("--- the demo cuts the connection")
            self.cuts += 1
            await self._host.refuse()
            self._host.cut()
        elif phase == self._settings.cut_for:
            self._story.add("--- the demo lets connections through again")
            await self._host.accept()


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
