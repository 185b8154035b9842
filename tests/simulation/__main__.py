"""`python -m simulation`: try the mirror with the plans of many seeds, or with one plan again."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

from lrpmirror.errors import ConfigurationError
from simulation.generate import generated
from simulation.kinds import KINDS
from simulation.many import results
from simulation.mutants import MUTANTS, mutated
from simulation.plan import Machine, Plan, read_plan, write_plan
from simulation.run import TrialResult, tried
from simulation.shrink import shrunk

DESCRIPTION = f"""\
Try the mirror with random lives and random faults: the whole of it ("shell"),
with its client and a server over a network in memory and on a mock clock, or the
machine in its middle alone ("core"); or a mirror that reads from a relay, over a
Redis in memory, with publishers that follow the server ("relay"). Each seed is a
plan, in which some kinds of faults are left out. After every step the laws are looked at (see
simulation.laws), and at the end that the mirror has the server's state.

A plan that breaks a law is made smaller, printed and kept as JSON; --plan FILE
plays it again. The same plan is the same run. The exit status is 1 where a law
was broken.

The kinds of faults: {", ".join(KINDS)}.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="how many of each kind (%(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first seed (%(default)s)")
    parser.add_argument("--seed", type=int, metavar="N", help="this one only, and say what is in its plan")
    parser.add_argument("--machine", choices=("shell", "core", "relay", "all"), default="all", help="(%(default)s)")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="a plan that was kept, instead of seeds")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many processes (%(default)s)")
    parser.add_argument(
        "--keep", type=Path, default=Path(), metavar="DIR", help="where plans that break a law are kept"
    )
    parser.add_argument("--most-failures", type=int, default=5, metavar="N", help="stop after so many (%(default)s)")
    parser.add_argument(
        "--mutant", choices=MUTANTS, metavar="NAME", help=f"with a bug, to see it caught: {', '.join(MUTANTS)}"
    )
    args = parser.parse_args(arguments)
    machines: tuple[Machine, ...] = ("shell", "core", "relay") if args.machine == "all" else (args.machine,)
    try:
        plans = _plans(args, machines)
    except ConfigurationError as error:
        parser.error(str(error))
    report = _Report(args.keep, args.mutant)
    began = time.perf_counter()
    # Here too, where the plans that break a law are made smaller.
    with nullcontext() if args.mutant is None else mutated(args.mutant):
        for result in results(plans, jobs=args.jobs, mutant=args.mutant):
            report.take(result)
            if args.seed is not None or args.plan is not None:
                print("\n".join(result.plan.lines()))
                print(f"{result.commits} commits in {result.steps} steps, digest {result.digest}")
            if len(report.failures) >= args.most_failures:
                break
    report.end(time.perf_counter() - began)
    return 1 if report.failures else 0


def _plans(args: argparse.Namespace, machines: tuple[Machine, ...]) -> Iterable[Plan]:
    if args.plan is not None:
        return [read_plan(args.plan)]
    seeds = range(args.first, args.first + args.seeds) if args.seed is None else [args.seed]
    return (generated(seed, machine) for seed in seeds for machine in machines)


class _Report:
    """The report of many trials."""

    def __init__(self, keep: Path, mutant: str | None) -> None:
        self.failures: list[TrialResult] = []
        self._keep = keep
        self._mutant = mutant
        self._trials: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._commits = self._steps = 0
        self._looked = time.monotonic()

    def take(self, result: TrialResult) -> None:
        """Add the result of a trial; a broken law is printed at once, with a plan that shows it."""
        self._trials[result.plan.machine] += 1
        self._faults.update(result.faults)
        self._commits += result.commits
        self._steps += result.steps
        if not result.held:
            self.failures.append(result)
            self._tell(result)
        elif time.monotonic() - self._looked > 30:
            self._looked = time.monotonic()
            print(f"{self._trials.total()} trials so far", file=sys.stderr, flush=True)

    def end(self, seconds: float) -> None:
        """Print the summary."""
        trials = self._trials.total()
        kinds = ", ".join(f"{number} {name}" for name, number in sorted(self._trials.items()))
        print(
            f"{trials} trials ({kinds}) in {seconds:.0f} s, {trials / seconds:.1f} a second: "
            f"{self._faults.total()} faults, {self._commits} commits, {self._steps} looks; "
            f"{len(self.failures)} broke a law"
        )
        for kind, number in sorted(self._faults.items(), key=lambda each: -each[1]):
            print(f"  {number:8} {kind}: {KINDS[kind].meaning}")

    def _tell(self, result: TrialResult) -> None:
        plan, law = result.plan, result.law
        print(f"BROKEN {law.replace('_', ' ')} (seed {plan.seed}, {plan.machine})", flush=True)
        small = shrunk(plan, lambda one: tried(one).law == law)
        print(f"  {tried(small).how[:2000]}")
        path = self._keep / f"trial-{plan.machine}-{plan.seed}.json"
        write_plan(small, path)
        print("\n".join(small.lines()))
        mutant = "" if self._mutant is None else f" --mutant {self._mutant}"
        print(f"  play it again: python -m simulation --plan {path}{mutant}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
