"""What a list of everything costs that differs in nothing, in a hundredth and in all, beside decoding it alone.

One subscriber to all rows is there, to count what is published.
"""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from typing import Literal

import trio
from msgspec.structs import replace

from benchmarks.data import desired, lists, records, rows
from benchmarks.harness import Report, Run, Target, agree, check, compare_async
from benchmarks.memory_bbs import MemoryBBS, client_of, mirror_of, resynced
from lrpmirror import Mirror
from lrpmirror.wire import encode

SIZE, SMOKE = 100_000, 400
"""Rows in the list."""

LISTED = "/v1/actual_lrps/list"
READ: tuple[Literal["actual_lrps"], Literal["scheduling_infos"], Literal["routing_infos"]] = (
    "actual_lrps",
    "scheduling_infos",
    "routing_infos",
)

TARGETS = (
    Target("a resync without differences, against decoding its lists", 1.3, "x"),
    Target("a resync without differences, changes published", 0.0, "changes"),
)


def run(size: int, rounds: int) -> Iterator[Report]:
    """Synchronise a mirror again and again with lists in which so many rows were written since the one before."""
    bbs = MemoryBBS(lists(records(size), desired(rows(size))))
    found: list[Report] = []
    published: list[int] = []

    async def measured() -> None:
        async with mirror_of(bbs) as mirror, mirror.changes(replay=False) as changes:
            written = count(1)

            async def resync(part: int) -> Run:
                """Synchronise with a list in which every row in `part` is another; none where it is 0."""
                if part:
                    # Their versions grow from list to list, since no list can take one back.
                    newest = next(written)
                    bbs.bodies[LISTED] = encode.reply(
                        records(size, lambda at: newest if at % part == 0 else newest - newest % 2)
                    )
                differ = len(range(0, size, part)) if part else 0
                run = await _resync(mirror, size)
                agree(f"the changes published, where {differ} rows differ", changes.lag.pending, differ)
                if not part:
                    published.append(changes.lag.pending)
                # Many are published in slices.
                while changes.lag.pending:
                    await anext(changes)
                return run

            ways: dict[str, Callable[[], Awaitable[Run]]] = {
                "decoding alone": partial(_decoded, bbs, size),
                "0 % differ": partial(resync, 0),
                "1 % differ": partial(resync, 100),
                "100 % differ": partial(resync, 1),
            }
            found.append(await compare_async("resync, a listed row", size, ways, rounds=rounds))

    trio.run(measured)
    ratio = found[0].figures[1].ratio
    checks = check(TARGETS, TARGETS[0].what, ratio) + check(TARGETS, TARGETS[1].what, max(published))
    yield replace(found[0], checks=checks)


async def _decoded(bbs: MemoryBBS, size: int) -> Run:
    with (run := Run(size)):
        async with client_of(bbs) as client:
            for name in READ:
                async with client.stream_list(name) as batches:
                    async for _ in batches:
                        pass
    return run


async def _resync(mirror: Mirror, size: int) -> Run:
    with (run := Run(size)):
        await resynced(mirror)
    run.answer = (mirror.status.actual_lrps, mirror.status.desired_lrps)
    return run
