"""The longest time for which no other task gets a turn, with the six views and a subscriber of each, beside none.

While the first list comes in, lists of which nothing, a tenth and all differs, while their changes are delivered, the
domain turns stale and fresh again, views are made late, a subscriber comes late, the mirror is closed and its memory
freed. The BBS is in the same process, without sockets: what is measured is the mirror's own. Each stretch is also shown
without what the garbage collector took of it, which a program can move or turn off.
"""

import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import trio

from benchmarks.data import desired, fingerprint, lists, records, rows
from benchmarks.harness import Check, Report, Target, agree, digest, figure_of
from benchmarks.memory_bbs import PATIENCE, MemoryBBS, client_of, resynced
from benchmarks.stalls import Stall, watched
from benchmarks.views import KINDS, Kinds
from lrpmirror import Mirror, MirrorView, Tuning, open_mirror
from lrpmirror.background import let_others_go_first
from lrpmirror.core.rows.parts import PartedDict
from lrpmirror.views import Process, View
from lrpmirror.wire import encode

SIZE, SMOKE = 250_000, 1_000
"""Rows in the list."""

ROUNDS = 2
"""At most."""

TARGETS = (
    Target("longest stall with six views, processor time", 15.0, "ms"),
    Target("the same without the garbage collector's share", 15.0, "ms"),
)

KINDS_OF_TIME = {"processor": "processor", "without the collector": "uncollected", "wall": "wall"}

DOMAINS = "/v1/domains/list"

WAYS: Mapping[str, Kinds] = {
    "no view": (),
    "six views": tuple(kind for kinds in KINDS.values() for kind in kinds),
}


class Vouched(View[str, int, int]):
    """How many rows a process has, where its domain is fresh: a view that a turning domain has derived anew."""

    follows_domains = True

    def derive(self, process: Process) -> Mapping[str, int]:
        """Count a process's rows."""
        return {process.guid: len(process.rows)} if process.domain_fresh else {}

    def combine(self, key: str, contributions: Mapping[str, int]) -> int:  # noqa: ARG002 - a process is its only source
        """Return the number."""
        return sum(contributions.values())


def run(size: int, rounds: int) -> Iterator[Report]:
    """Do it all without views, and with them."""
    present = rows(size)
    wanted = desired(present)
    bodies = [
        lists(records(size), wanted),
        lists(records(size, version=lambda at: int(at % 10 == 0)), wanted),
        everything := lists(records(size, version=lambda _: 2), wanted),
        # Of the same rows, a tenth of the processes lacks its desired LRP.
        everything | {path: body for path, body in lists((), wanted[len(wanted) // 10 :]).items() if "_infos" in path},
    ]
    found: dict[str, dict[str, list[Stall]]] = {}
    for _ in range(min(rounds, ROUNDS)):
        for way, kinds in WAYS.items():
            gc.collect()
            # As README advises every program, so that a full run of the collector goes through what the mirror adds.
            gc.freeze()
            of_each, answer = trio.run(_measured, bodies, kinds)
            gc.unfreeze()
            for step, stall in of_each.items():
                found.setdefault(step, {}).setdefault(way, []).append(stall)
    worst = [0.0, 0.0]
    for step, stalls in found.items():
        of_none = [stall.processor for stall in stalls["no view"]]
        figures = tuple(
            figure_of(f"{way}: longest, {name}", [getattr(stall, kind) for stall in some], of_none, "ms")
            for way, some in stalls.items()
            for name, kind in KINDS_OF_TIME.items()
        )
        for stall in stalls["six views"]:
            worst = [max(worst[0], stall.processor), max(worst[1], stall.uncollected)]
        reached = zip(TARGETS, worst, strict=True) if step == [*found][-1] else ()
        checks = tuple(Check(target, value) for target, value in reached)
        yield Report(title=step, size=size, figures=figures, digest=answer, checks=checks)


async def _measured(bodies: list[dict[str, bytes]], kinds: Kinds) -> tuple[dict[str, Stall], str]:
    stalls: dict[str, Stall] = {}
    closed: list[object] = []
    answer = await _lived(bodies, kinds, stalls, closed)
    gc.collect()
    async with watched(stalls.setdefault("freeing what was closed", Stall())):
        closed.clear()
        await trio.lowlevel.checkpoint()
        # What is left of it in cycles.
        gc.collect()
    return stalls, answer


async def _lived(bodies: list[dict[str, bytes]], kinds: Kinds, stalls: dict[str, Stall], closed: list[object]) -> str:
    """Do it all with one mirror; what is left of it when it is closed is in `closed`."""
    first, tenth, everything, incomplete = bodies
    bbs = MemoryBBS(first)

    async def during(step: str, do: Callable[[], Awaitable[object]]) -> None:
        async with watched(stalls.setdefault(step, Stall())):
            await do()

    tuning = Tuning(resync_interval=1e6, repair_delay=1e6, audit_grace=1e6)
    closing = Stall()
    async with client_of(bbs) as client, watched(closing), open_mirror(client, tuning=tuning) as mirror:
        kept = [await mirror.view(kind()) for kind in kinds]
        known = [notified_of(view) for view in kept]
        mirror.subscribe(lambda _: None)
        await during("first list", lambda: mirror.wait_synced(PATIENCE))
        await during("what the first list brings, told", lambda: all_delivered(mirror))
        await during("a list of which nothing differs", lambda: resynced(mirror))
        for share, some in (("a tenth", tenth), ("everything", everything)):
            bbs.bodies = dict(some)
            await during(f"a list of which {share} differs", lambda: resynced(mirror))
            await during(f"{share} of it, told", lambda: all_delivered(mirror))
        if kinds:
            kept.append(await mirror.view(Vouched()))
            known.append(notified_of(kept[-1]))
            await all_delivered(mirror)
        for turn, domains in (("stale", []), ("fresh again", ["cf-apps"])):
            bbs.bodies = {**incomplete, DOMAINS: encode.reply(map(encode.domain, domains))}
            await during(f"a domain that turns {turn}", lambda: resynced(mirror))
            await during(f"what is {turn}, told", lambda: all_delivered(mirror))
        await during("views made late", lambda: _late(mirror, kinds))
        for view in kept:
            view.subscribe(lambda _: None)
        await during("a late subscriber's replay", lambda: all_delivered(mirror))
        for view, notified in zip(kept, known, strict=True):
            agree("a view, and what its subscriber was told", notified.copy() == view.copy(), True)
        answer = digest(sorted(map(fingerprint, mirror.actual_lrps())))
        # So that whoever watches has seen the end of that.
        await let_others_go_first()
        closing.processor = closing.uncollected = closing.wall = 0.0
    stalls["closing"] = closing
    closed += [mirror, kept]
    return answer


def notified_of(view: MirrorView[Any, Any]) -> PartedDict[Any, Any]:
    """Return what a subscriber of a view is told, kept up to date; not in one dict, whose growth would be measured."""
    known: PartedDict[Any, Any] = PartedDict()

    def tell(change: Any) -> None:
        if change.after is None:
            agree("what goes, and what was there", known.pop(change.key) is None, False)
        else:
            known[change.key] = change.after

    view.subscribe(tell)
    return known


async def all_delivered(mirror: Mirror) -> None:
    """Wait until no subscriber is behind."""
    while any(lag.pending for lag in mirror.counts.subscribers):  # noqa: ASYNC110 - as a user would
        await trio.sleep(0.01)


async def _late(mirror: Mirror, kinds: Kinds) -> None:
    for kind in kinds:
        (await mirror.view(kind())).drop()
