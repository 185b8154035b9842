"""Serve a simulated Diego, for anyone's tests in any language, until Ctrl-C.

It is a BBS whose cells and apps live (deploys, crashes, evacuations, lost
cells), with its reads, its writes and both event streams. Prints its URL on
stdout once it answers, which is of use with port 0: any free port.

--pace is how many seconds of the simulation pass in one; with 0 nothing happens
but what is written to it. With one seed, the simulation is the same each time.

--rate NAME=N says how often something happens in a second of the simulation,
--fault NAME=N what goes wrong. Both may be given several times.

With the three --server-* files every client has to show a certificate, as at a
BBS. Without them it listens on loopback only, unless --insecure-listen says
otherwise.
"""

import argparse
from collections.abc import Callable, Collection
from math import isfinite
from typing import Final

import trio

from lrpmirror.background import background
from lrpmirror.cli.shared.arguments import add_limits, add_server_tls, add_simulation, count, limits_of, server_of
from lrpmirror.cli.shared.output import LineWriter, say_of
from lrpmirror.cli.shared.signals import look_at_files_again, until_interrupted
from lrpmirror.sim import Autopilot, Diego, FaultPlan, Faults, Rates, serve_diego
from lrpmirror.sim.plan import CHANCES
from lrpmirror.sim.plan import RATES as MISHAPS

RATES: Final = Rates.__struct_fields__
EVENT_FAULTS: Final = ("delay", "lose", "duplicate", "stale_removed")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("--listen", default="127.0.0.1:8889", metavar="ADDRESS", help="HOST:PORT to answer at (%(default)s)")
    add_simulation(parser, cells=5, apps=20)
    add("--instances", type=count, metavar="N", help="about how many instances (one to four an app)")
    add("--pace", type=_amount, default=1.0, metavar="X", help="simulated seconds in a second (1)")
    add("--warm-up", type=_amount, default=30.0, metavar="N", help="simulated seconds that pass before it answers (30)")
    add(
        "--events-per-second",
        type=_amount,
        default=0.0,
        metavar="N",
        help="add changes of routable until each simulated second has N events (0)",
    )
    text = f"so many times in a simulated second: {', '.join(RATES)}"
    add("--rate", type=_named(RATES), action="append", default=[], metavar="NAME=N", help=text)
    faults = (*MISHAPS, *CHANCES, *EVENT_FAULTS)
    text = (
        f"so many times in a second: {', '.join(MISHAPS)}; with a chance from 0 to 1, to a request: "
        f"{', '.join(CHANCES)}, or to an event on its way from a write to its readers: {', '.join(EVENT_FAULTS)}"
    )
    add("--fault", type=_named(faults), action="append", default=[], metavar="NAME=N", help=text)
    add_server_tls(parser, "mutual TLS")
    add_limits(parser)


async def run(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    listen, tls = server_of(args)
    plan, limits = _faults(args), limits_of(args)
    diego = Diego(seed=args.seed)
    pilot = Autopilot(
        diego,
        seed=args.seed,
        apps=args.apps,
        cells=args.cells,
        instances=args.instances,
        events_per_second=args.events_per_second,
        rates=Rates(**dict(args.rate)),
    )
    pilot.run(round(args.warm_up))
    async with (
        until_interrupted(),
        serve_diego(
            diego,
            tls=tls,
            autopilot=pilot if args.pace else None,
            pace=args.pace or 1.0,
            plan=plan,
            address=listen.host,
            port=listen.port,
            limits=limits,
        ) as served,
        background() as nursery,
    ):
        nursery.start_soon(look_at_files_again, "sim", tls)
        cells, lrps, rows = len(diego.cells()), len(diego.desired_lrps()), len(diego.actual_lrps())
        say_of("sim", f"a simulated Diego: {cells} cells, {lrps} desired LRPs, {rows} instances; Ctrl-C ends it")
        await LineWriter().announce(served.url)
        await trio.sleep_forever()


def _faults(args: argparse.Namespace) -> FaultPlan:
    faults = dict(args.fault)
    to_events = {name: faults.pop(name) for name in EVENT_FAULTS if name in faults}
    # Without a fault of theirs, events come as they do from a BBS: in order, but for what races.
    events = Faults(**{"seed": args.seed, "delay": 0.0, **to_events}) if to_events else None
    return FaultPlan(seed=args.seed, events=events, **faults)


def _named(names: Collection[str]) -> Callable[[str], tuple[str, float]]:
    def read(text: str) -> tuple[str, float]:
        name, _, number = text.partition("=")
        if name not in names:
            raise argparse.ArgumentTypeError(f"{text!r}: there is no such name; these are: {', '.join(names)}")
        return name, _number(text, number)

    return read


def _amount(text: str) -> float:
    return _number(text, text)


def _number(text: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not (isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} needs a number that is not negative")
    return value
