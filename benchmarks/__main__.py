"""Run the benchmarks and print one table."""

import argparse
import platform
import sys
from types import ModuleType

from benchmarks import apply, decode, query, snapshot
from benchmarks.harness import Report

MODULES: dict[str, ModuleType] = {"decode": decode, "apply": apply, "query": query, "snapshot": snapshot}


def main(argv: list[str] | None = None) -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run, of: {', '.join(MODULES)} (all)")
    parser.add_argument("--size", type=int, help="how many rows or events, instead of each benchmark's own number")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is timed (5)")
    parser.add_argument("--smoke", action="store_true", help="small and quick: shows that they run, not how fast")
    options = parser.parse_args(argv)
    unknown = set(options.names) - MODULES.keys()
    if unknown:
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}")
    print(f"CPython {platform.python_version()} on {platform.machine()}, {platform.system()}")
    print(f"{'benchmark':28} {'size':>9}  {'way':34} {'ns each':>11} {'ratio':>7}  digest")
    for name in options.names or MODULES:
        module = MODULES[name]
        size = options.size or (module.SMOKE if options.smoke else module.SIZE)
        show(module.run(size, 1 if options.smoke else options.rounds))
    return 0


def show(report: Report) -> None:
    """Print one benchmark's figures, the baseline first."""
    for at, figure in enumerate(report.figures):
        title, size, result = (report.title, f"{report.size:,}", "") if at == 0 else ("", "", report.digest)
        print(f"{title:28} {size:>9}  {figure.name:34} {figure.nanoseconds:>11,.0f} {figure.ratio:>7.2f}  {result}")


if __name__ == "__main__":
    sys.exit(main())
