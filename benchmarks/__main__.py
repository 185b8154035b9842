"""Run the benchmarks and print one table."""

import argparse
import gc
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import msgspec

from benchmarks.harness import PROCESSOR_TIME, Check, Report

NAMES = (
    "decode",
    "stream",
    "snapshot",
    "apply",
    "query",
    "views",
    "view_growth",
    "view_stalls",
    "resync_loop",
    "fan_out",
    "resync",
    "latency",
    "memory",
    "stalls",
    "requests",
    "scale",
    "remembered",
    "relay",
    "subscribers",
)
"""The benchmarks, each a module of this package."""


def main(argv: list[str] | None = None) -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run, of: {', '.join(NAMES)} (all)")
    parser.add_argument("--size", type=int, help="how many rows or events, instead of each benchmark's own number")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is timed (5)")
    parser.add_argument("--smoke", action="store_true", help="small and quick: shows that they run, not how fast")
    parser.add_argument(
        "--processor", action="store_true", help="count processor time, for a machine on which much else runs"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    options = parser.parse_args(argv)
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    PROCESSOR_TIME.set(options.processor)
    machine = machine_line() + ("; processor time" if options.processor else "")
    print(machine)
    print(f"{'benchmark':36} {'size':>9}  {'way':32} {'median':>12} {'ratio':>8} {'busy':>5}  digest")
    reports: list[Report] = []
    for name in options.names or NAMES:
        for report in reports_of(name, options.size, 1 if options.smoke else options.rounds, smoke=options.smoke):
            show(report)
            reports.append(report)
    show_checks([check for report in reports for check in report.checks], smoke=options.smoke)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode({"machine": machine, "reports": reports})))
    return 0


def reports_of(name: str, size: int | None, rounds: int, *, smoke: bool) -> Iterator[Report]:
    """Run one benchmark."""
    module = import_module(f"benchmarks.{name}")
    reports: Iterator[Report] = module.run(size or (module.SMOKE if smoke else module.SIZE), rounds)
    return reports


def machine_line() -> str:
    """Say on what was measured."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    cpu = names[0] if names else platform.machine()
    collector = (
        f"gc {'on' if gc.isenabled() else 'off'}, thresholds {gc.get_threshold()}, {gc.get_freeze_count()} frozen"
    )
    return (
        f"{time.strftime('%Y-%m-%d')}: CPython {platform.python_version()}, {platform.system()}, "
        f"{os.cpu_count()} cores ({cpu}), load {os.getloadavg()[0]:.1f}; {collector}"
    )


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def show(report: Report) -> None:
    """Print one benchmark's figures, the baseline first."""
    for at, figure in enumerate(report.figures):
        title, size, result = (report.title, f"{report.size:,}", report.digest) if at == 0 else ("", "", "")
        value = f"{number(figure.value)} {figure.unit}"
        busy = "" if figure.busy is None else f"{figure.busy:.0%}"
        print(f"{title:36} {size:>9}  {figure.name:32} {value:>12} {figure.ratio:>8.2f} {busy:>5}  {result}".rstrip())
    for note in report.notes:
        print(f"{'':36} {'':>9}  ({note})")
    sys.stdout.flush()


def number(value: float) -> str:
    """Return three digits of a number, and all of those before its point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def show_checks(checks: list[Check], *, smoke: bool) -> None:
    """Print what was to be reached, and what was."""
    if not checks:
        return
    print(
        f"\n{'to reach' + (', which at smoke sizes says nothing' if smoke else ''):76} {'target':>24} {'reached':>10}"
    )
    for check in checks:
        target = check.target
        limit = f"{'at least' if target.least else 'at most'} {number(target.limit)} {target.unit}"
        outcome = "" if smoke else "met" if check.met else "missed"
        print(f"{target.what:76} {limit:>24} {number(check.reached):>10}  {outcome}".rstrip())


if __name__ == "__main__":
    sys.exit(main())
