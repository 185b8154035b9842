"""The other side of a soak: a simulated Diego that is served, with a workload and faults until it is calmed.

It prints its URL, and after the line `calm` on its input, once everything has been put right and nothing is written any
more, the line `calm`. It ends with its input.
"""

import argparse
import sys

import trio

from lrpmirror.sim import Autopilot, Diego, FaultPlan, Faults, serve_diego

__all__ = ["main", "plan_of"]

AT_ONCE = 16
"""How many moves the workload makes before readers get their turn."""

INSTANCES_OF_AN_APP = 4


def plan_of(seed: int, cut_every: float) -> FaultPlan:
    """Return what goes wrong in a soak: a cut of one kind or another every so many seconds, and events in disorder."""
    share = 1 / cut_every
    return FaultPlan(
        seed=seed,
        events=Faults(seed=seed, delay=0.2, duplicate=0.02, stale_removed=0.1),
        stream_cuts=0.6 * share,
        cuts=0.25 * share,
        failovers=0.05 * share,
        outages=0.05 * share,
        silences=0.05 * share,
        slow_lists=0.1,
        truncated_lists=0.05,
    )


async def _serve(rows: int, seed: int, cut_every: float, events_per_second: float) -> None:
    diego = Diego(seed=seed)
    apps = max(1, rows // INSTANCES_OF_AN_APP)
    pilot = Autopilot(
        diego,
        seed=seed,
        apps=apps,
        cells=max(2, rows // 200),
        instances=rows,
        events_per_second=events_per_second,
    )
    pilot.run(10)
    async with serve_diego(diego, plan=plan_of(seed, cut_every)) as served:
        async with trio.open_nursery() as nursery:
            print(served.url, flush=True)
            nursery.start_soon(_live, pilot)
            await _line()
            nursery.cancel_scope.cancel()
        await served.calm()
        diego.settle()
        print("calm", flush=True)
        await _line()
        print(dict(served.mishaps), dict(pilot.counts), file=sys.stderr)


async def _live(pilot: Autopilot) -> None:
    while True:
        next_step = trio.current_time() + 1
        for number, _ in enumerate(pilot.moves()):
            if number % AT_ONCE == AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        await trio.sleep_until(next_step)


async def _line() -> None:
    await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)


def main() -> None:
    """Serve what the command line says."""
    parser = argparse.ArgumentParser(description="Serve a Diego that misbehaves, for a soak.")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cut-every", type=float, required=True)
    parser.add_argument("--events-per-second", type=float, required=True)
    args = parser.parse_args()
    trio.run(_serve, args.rows, args.seed, args.cut_every, args.events_per_second)


if __name__ == "__main__":
    main()
