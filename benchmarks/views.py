"""What a view costs a commit, beside the same commits of a mirror without views.

Each event is a read of its own, so that nothing is derived for two of them at once.
"""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import trio
import trio.testing
from msgspec.structs import replace

from benchmarks.data import desired, fingerprint, lists, records, rows
from benchmarks.harness import Report, Run, Target, agree, compare_async, digest
from benchmarks.memory_bbs import MemoryBBS, committed, mirror_of
from benchmarks.workload import encoded, flips, frames
from lrpmirror import Mirror, views
from lrpmirror.views import AnyView

SIZE, SMOKE = 50_000, 400
"""Rows that are there."""

COMMITS = 2_000
"""In each round, at most."""

TARGETS: tuple[Target, ...] = ()

Kinds = tuple[Callable[[], AnyView[Any, Any, Any]], ...]

KINDS: dict[str, Kinds] = {
    "no view": (),
    "HTTPRoutes": (views.HTTPRoutes,),
    "TCPRoutes": (views.TCPRoutes,),
    "InternalRoutes": (views.InternalRoutes,),
    "Processes": (views.Processes,),
    "Cells": (views.Cells,),
    "AddressCollisions": (views.AddressCollisions,),
}


def run(size: int, rounds: int) -> Iterator[Report]:
    """Commit events to a mirror with each view, and with all of them."""
    present = rows(size)
    kinds = KINDS | {"all of them": tuple(kind for some in KINDS.values() for kind in some)}
    number = min(COMMITS, size // 2)
    events = frames(encoded(flips(present, number * rounds * len(kinds))))
    batches = iter([events[at : at + number] for at in range(0, len(events), number)])
    bbs = MemoryBBS(lists(records(size), desired(present)))
    found: list[Report] = []

    async def measured() -> None:
        async with mirror_of(bbs) as mirror:
            ways = {name: partial(_commit, mirror, bbs, batches, some) for name, some in kinds.items()}
            report = await compare_async("commit an event with a view", size, ways, rounds=rounds)
            found.append(replace(report, digest=digest(sorted(map(fingerprint, mirror.actual_lrps())))))

    trio.run(measured)
    yield from found


async def _commit(mirror: Mirror, bbs: MemoryBBS, batches: Iterator[list[bytes]], kinds: Kinds) -> Run:
    kept = [(kind, await mirror.view(kind())) for kind in kinds]
    batch = next(batches)
    with (run := Run(len(batch))):
        await committed(mirror, bbs, batch)
    for kind, view in kept:
        fresh = await mirror.view(kind())
        agree(f"{kind.__name__} kept, and made anew", dict(view), dict(fresh))
        fresh.drop()
        view.drop()
    if kept:
        # What they held is freed in slices from here on, which is no work of the next way.
        del view, fresh
        kept.clear()
        gc.collect()
        await trio.testing.wait_all_tasks_blocked()
    run.answer = len(batch)
    return run
