"""What subscribers of single keys cost a commit: one that touches none of them, and one that touches one of them."""

from collections.abc import Iterator
from functools import partial

import trio
import trio.testing
from msgspec.structs import replace

from benchmarks.data import desired, fingerprint, lists, records, rows
from benchmarks.harness import Report, Run, Target, agree, check, compare_async, digest
from benchmarks.memory_bbs import MemoryBBS, committed, mirror_of
from benchmarks.workload import encoded, flips, frames
from lrpmirror import Change, Mirror
from lrpmirror.core.rows.changes import RowKey
from lrpmirror.model import ActualLRP

SIZE, SMOKE = 20_000, 8_000
"""Rows that are there: a thousand processes to subscribe to, and others."""

COMMITS, FEW = 2_000, 200
"""In each round, and where the size is the smoke's."""

COUNTS = (0, 1, 10, 1_000)

TARGETS = (Target("1,000 subscribers whom a commit does not touch, against none", 1.05, "x"),)
"""Beyond a twentieth it would be measurable."""


def run(size: int, rounds: int) -> Iterator[Report]:
    """Commit events to a mirror with subscribers."""
    found: list[Report] = []
    bbs = MemoryBBS(lists(records(size), desired(rows(size))))
    number = COMMITS if size >= SIZE else FEW
    guids = list(dict.fromkeys(row.process_guid for row in rows(size)))
    touched = {"none": guids[max(COUNTS) :], "one": guids[:1]}

    async def measured() -> None:
        async with mirror_of(bbs) as mirror:
            for whom, processes in touched.items():
                ways = {
                    f"{count:,} subscribers": partial(_commit, mirror, bbs, guids[:count], processes, number)
                    for count in COUNTS
                }
                report = await compare_async(f"commit that touches {whom}", size, ways, rounds=rounds)
                found.append(replace(report, digest=digest(sorted(map(fingerprint, mirror.actual_lrps())))))

    trio.run(measured)
    untouched, others = found
    yield replace(untouched, checks=check(TARGETS, TARGETS[0].what, untouched.figures[-1].ratio))
    yield others


async def _commit(mirror: Mirror, bbs: MemoryBBS, guids: list[str], touched: list[str], number: int) -> Run:
    last: dict[str, ActualLRP | None] = {}

    def on_change(change: Change[RowKey, ActualLRP]) -> None:
        last[str(change.key)] = change.after

    subscriptions = [mirror.subscribe(on_change, process_guids=[guid], replay=False) for guid in guids]
    # A task that was just begun has its first turn before it is timed.
    await trio.testing.wait_all_tasks_blocked()
    batch = frames(encoded(flips([row for guid in touched for row in mirror.actual_lrps(guid)], number)))
    with (run := Run(number)):
        await committed(mirror, bbs, batch)
        while any(one.lag.pending for one in subscriptions[:1]):
            await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()
    for subscription in subscriptions:
        subscription.cancel()
    known = {row.epoch: row for guid in set(touched) & set(guids) for row in mirror.actual_lrps(guid)}
    agree("the last values of subscribers, and the present ones", last, {key: known.get(key) for key in last})
    agree("whether a subscriber was notified at all", bool(last), bool(known))
    run.answer = number
    return run
