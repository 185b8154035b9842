"""What the tests of the mirror share: trio's mock clock, Diegos to mirror, and comparisons with them."""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import wraps
from random import Random
from typing import Any, Generic, ParamSpec, TypeVar

import trio
import trio.testing
from mirror_bbs_support import FOREVER, GONE, READ, Answer, FakeBBS, whole
from msgspec.structs import replace
from sim_support import A, diego, wanted
from sim_support import run as let_run
from trio._core import _run as scheduler

from lrpmirror import ActualLRP, Change, Mirror, Tuning, open_mirror
from lrpmirror.core.rows.changes import RowKey, row_key
from lrpmirror.sim import Autopilot, Diego

__all__ = [
    "EVERY_LIST",
    "FOREVER",
    "GONE",
    "READ",
    "Answer",
    "FakeBBS",
    "Fold",
    "RowChange",
    "differences",
    "differing",
    "lively",
    "mirroring",
    "settled",
    "simulate",
    "simulated",
    "small",
    "two",
]

P = ParamSpec("P")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

RowChange = Change[RowKey, ActualLRP]

EVERY_LIST = ("domains", "actual_lrps", "scheduling_infos", "routing_infos", "cells")
"""What one list of everything consists of, in its order, on a server that has all paths."""

A_MONTH = 30 * 86_400.0
"""In virtual seconds: whatever takes longer hangs."""


def simulated(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test on the mock clock, which jumps to the next deadline whenever all tasks wait."""

    @wraps(test)
    def run_test(*args: P.args, **kwargs: P.kwargs) -> None:
        simulate(lambda: test(*args, **kwargs))

    return run_test


def simulate(main: Callable[[], Awaitable[None]], *, seed: int = 0) -> None:
    """Run something on the mock clock. `seed` is for the order in which trio lets its tasks run."""

    async def limited() -> None:
        with trio.fail_after(A_MONTH):
            await main()

    # There is no public way to have trio's scheduler repeat itself; this is the one that trio made for Hypothesis.
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    scheduler._r.seed(seed)
    try:
        trio.run(limited, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]
        scheduler._r.seed()


async def settled() -> None:
    """Let everybody finish what can be done without time passing."""
    await trio.testing.wait_all_tasks_blocked()


def mirroring(bbs: FakeBBS, *, seed: int = 0, **options: Any) -> AbstractAsyncContextManager[Mirror]:
    """Open a mirror with repeatable jitter; `options` that are fields of Tuning become its tuning."""
    tuning = {name: options.pop(name) for name in Tuning.__struct_fields__ if name in options}
    return open_mirror(bbs, rng=Random(seed), tuning=Tuning(**tuning), **options)


def small() -> Diego:
    """A Diego with three cells and one process, "p", of one instance that runs."""
    made = diego()
    made.desire(wanted())
    let_run(made, A)
    return made


def lively(seed: int = 0, *, apps: int = 8, cells: int = 4, seconds: int = 20) -> tuple[Diego, Autopilot]:
    """A Diego with a workload that has lived on it for a while."""
    made = Diego(seed=seed)
    autopilot = Autopilot(made, seed=seed, apps=apps, cells=cells)
    autopilot.run(seconds)
    return made, autopilot


def differences(mirror: Mirror, server: Diego, *, full: bool = False, notified: bool = False) -> list[str]:
    """Say where a mirror differs from the server, in all fields that it keeps.

    With `notified` only in what the stream tells: domains and cells are in the lists alone.
    """
    mirror._session.knowledge.store._check()
    found = differing("row", {row_key(row): row for row in mirror.actual_lrps()}, server.actual_lrps(), row_key)
    lrps = [whole(each, full=True) if full else replace(each, detail=None) for each in server.desired_lrps()]
    mine = {each.process_guid: each for each in mirror.desired_lrps()}
    found += differing("desired LRP", mine, lrps, lambda each: each.process_guid)
    if notified:
        return found
    if mirror.domains != frozenset(server.domains()):
        found.append(f"domains: {set(mirror.domains)} instead of {set(server.domains())}")
    cells = {each.cell_id: each for each in mirror.cells}
    return found + differing("cell", cells, server.cells(), lambda each: each.cell_id)


def differing(what: str, mine: Mapping[Any, Any], theirs: Iterable[Any], key: Callable[[Any], Any]) -> list[str]:
    """Say where values that are known by a key differ from the server's."""
    server = {key(each): each for each in theirs}
    keys = sorted(mine.keys() | server.keys(), key=str)
    return [
        f"{what} {each}: {mine.get(each)} instead of {server.get(each)}"
        for each in keys
        if mine.get(each) != server.get(each)
    ]


class Fold(Generic[K, V]):
    """The state that a subscriber has by folding its changes, and nothing else."""

    def __init__(self) -> None:
        self.known: dict[K, V] = {}
        self.notified: list[Change[K, V]] = []

    def __call__(self, change: Change[K, V]) -> None:
        assert change.before == self.known.get(change.key), "the step does not begin where the one before ended"
        assert change.before != change.after, "a step that goes nowhere"
        if change.after is None:
            del self.known[change.key]
        else:
            self.known[change.key] = change.after
        self.notified.append(change)


def two() -> Diego:
    """Process "p" with an instance that runs, and process "q" with one that waits."""
    diego = small()
    diego.desire(wanted("q"))
    return diego
