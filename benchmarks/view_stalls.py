"""The longest time for which no other task gets a turn, with the six views and a subscriber of each, beside none.

While the first list comes in, lists of which nothing, a tenth and all differs, while their changes are delivered, views
are made late, a subscriber comes late, and the mirror is closed. The BBS is in the same process, without sockets: what
is measured is the mirror's own.
"""

import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import trio

from benchmarks.data import desired, fingerprint, lists, records, rows
from benchmarks.harness import Report, Target, agree, check, digest, figure_of
from benchmarks.memory_bbs import PATIENCE, MemoryBBS, client_of, resynced
from benchmarks.stalls import Stall, watched
from benchmarks.views import KINDS, Kinds
from lrpmirror import Mirror, MirrorView, Tuning, open_mirror

SIZE, SMOKE = 250_000, 1_000
"""Rows in the list."""

ROUNDS = 2
"""At most."""

TARGETS = (Target("longest stall with six views, processor time", 15.0, "ms"),)

WAYS: Mapping[str, Kinds] = {
    "no view": (),
    "six views": tuple(kind for kinds in KINDS.values() for kind in kinds),
}


def run(size: int, rounds: int) -> Iterator[Report]:
    """Do it all without views, and with them."""
    present = rows(size)
    wanted = desired(present)
    bodies = [
        lists(records(size), wanted),
        lists(records(size, version=lambda at: int(at % 10 == 0)), wanted),
        lists(records(size, version=lambda _: 2), wanted),
    ]
    found: dict[str, dict[str, list[Stall]]] = {}
    for _ in range(min(rounds, ROUNDS)):
        for way, kinds in WAYS.items():
            gc.collect()
            of_each, answer = trio.run(_measured, bodies, kinds)
            for step, stall in of_each.items():
                found.setdefault(step, {}).setdefault(way, []).append(stall)
    worst = 0.0
    for step, stalls in found.items():
        of_none = [stall.processor for stall in stalls["no view"]]
        figures = tuple(
            figure_of(f"{way}: longest, {kind}", [getattr(stall, kind) for stall in some], of_none, "ms")
            for way, some in stalls.items()
            for kind in ("processor", "wall")
        )
        worst = max(worst, *(stall.processor for stall in stalls["six views"]))
        checks = check(TARGETS, TARGETS[0].what, worst) if step == "closing" else ()
        yield Report(title=step, size=size, figures=figures, digest=answer, checks=checks)


async def _measured(bodies: list[dict[str, bytes]], kinds: Kinds) -> tuple[dict[str, Stall], str]:
    first, tenth, everything = bodies
    bbs = MemoryBBS(first)
    stalls: dict[str, Stall] = {}

    async def during(step: str, do: Callable[[], Awaitable[object]]) -> None:
        stalls[step] = stall = Stall()
        async with watched(stall):
            await do()

    tuning = Tuning(resync_interval=1e6, repair_delay=1e6, audit_grace=1e6)
    closing = Stall()
    async with client_of(bbs) as client, watched(closing), open_mirror(client, tuning=tuning) as mirror:
        kept = [await mirror.view(kind()) for kind in kinds]
        known = [_notified(view) for view in kept]
        mirror.subscribe(lambda _: None)
        await during("first list", lambda: mirror.wait_synced(PATIENCE))
        await during("what the first list brings, told", lambda: _all_delivered(mirror))
        await during("a list of which nothing differs", lambda: resynced(mirror))
        for share, some in (("a tenth", tenth), ("everything", everything)):
            bbs.bodies = dict(some)
            await during(f"a list of which {share} differs", lambda: resynced(mirror))
            await during(f"{share} of it, told", lambda: _all_delivered(mirror))
        await during("views made late", lambda: _late(mirror, kinds))
        for view in kept:
            view.subscribe(lambda _: None)
        await during("a late subscriber's replay", lambda: _all_delivered(mirror))
        for view, notified in zip(kept, known, strict=True):
            agree("a view, and what its subscriber was told", len(notified), len(view))
        answer = digest(sorted(map(fingerprint, mirror.actual_lrps())))
        await trio.lowlevel.checkpoint()
        closing.processor = closing.wall = 0.0
    stalls["closing"] = closing
    return stalls, answer


def _notified(view: MirrorView[Any, Any]) -> dict[Any, Any]:
    known: dict[Any, Any] = {}

    def tell(change: Any) -> None:
        if change.after is None:
            del known[change.key]
        else:
            known[change.key] = change.after

    view.subscribe(tell)
    return known


async def _all_delivered(mirror: Mirror) -> None:
    while any(lag.pending for lag in mirror.counts.subscribers):  # noqa: ASYNC110 - as a user would
        await trio.sleep(0.01)


async def _late(mirror: Mirror, kinds: Kinds) -> None:
    for kind in kinds:
        (await mirror.view(kind())).drop()
