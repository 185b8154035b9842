"""What becomes of views that are dropped, made, or closed with their mirror, while they are brought to a list."""

import gc
import sys
from itertools import pairwise
from random import Random

import pytest
import trio
from views_support import MemoryBBS, desired, in_mirror, run_mocked, running, settled

from lrpmirror.core.rows.changes import RowKey
from lrpmirror.mirror import Mirror, open_mirror
from lrpmirror.views import Cells, HTTPRoutes, Processes

MANY = 800
"""Processes: more than are derived when a list is committed."""


def listing(first: int) -> MemoryBBS:
    bbs = MemoryBBS()
    have(bbs, range(first))
    return bbs


def have(bbs: MemoryBBS, numbers: range) -> None:
    for number in numbers:
        bbs.have(desired(f"p{number}", http=[f"{number}.example.com"]))
        bbs.have(running(f"p{number}"))


async def prepared(mirror: Mirror, turns: int) -> None:
    """Wait until the views are being brought to a list, and for some more turns; not until they have been."""
    while mirror._preparation is None:
        await trio.lowlevel.checkpoint()
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    assert mirror._preparation is not None, "too late"


@pytest.mark.parametrize("turns", [0, 1, 10, 30])
def test_a_view_that_is_dropped_meanwhile_stays_as_it_is_and_the_others_turn(turns: int) -> None:
    bbs = listing(first=MANY)

    async def body(mirror: Mirror) -> None:
        routes, processes = await mirror.view(HTTPRoutes()), await mirror.view(Processes())
        cells = await mirror.view(Cells())
        have(bbs, range(MANY, 2 * MANY))
        before = routes.copy()
        mirror.resync()
        await prepared(mirror, turns)
        routes.drop()
        await settled()

        assert routes.copy() == before
        assert len(processes) == 2 * MANY
        assert cells["cell-1"].running == 2 * MANY
        knowledge = mirror._session.knowledge
        for derivation in (processes.derivation, cells.derivation):
            derivation._check(map(knowledge.process, knowledge.process_guids()), knowledge.cells)

    in_mirror(bbs, body)


@pytest.mark.parametrize("turns", [0, 1, 10, 30])
def test_a_view_that_is_asked_for_meanwhile_is_of_what_the_list_led_to(turns: int) -> None:
    bbs = listing(first=MANY)

    async def body(mirror: Mirror) -> None:
        processes = await mirror.view(Processes())
        have(bbs, range(MANY, 2 * MANY))
        mirror.resync()
        await prepared(mirror, turns)
        routes = await mirror.view(HTTPRoutes())

        assert (len(routes), routes.revision) == (2 * MANY, mirror.revision)
        assert (len(processes), processes.revision) == (2 * MANY, mirror.revision)

    in_mirror(bbs, body)


@pytest.mark.parametrize("turns", [0, 1, 10, 30])
@pytest.mark.parametrize("first", [0, MANY])
def test_views_of_a_mirror_that_is_closed_meanwhile_stay_as_they_are(turns: int, first: int) -> None:
    bbs = listing(first=first)

    async def main() -> None:
        async with open_mirror(bbs, rng=Random(0)) as mirror:
            if first:
                await mirror.wait_synced()
            else:
                have(bbs, range(MANY))
            routes, processes = await mirror.view(HTTPRoutes()), await mirror.view(Processes())
            have(bbs, range(first, first + MANY))
            before, revision = (routes.copy(), processes.copy()), mirror.revision
            mirror.resync()
            await prepared(mirror, turns)

        assert (routes.copy(), processes.copy()) == before
        assert (mirror.revision, len(mirror.actual_lrps())) == (revision, first)

    run_mocked(main)


def test_what_a_large_list_replaces_is_freed_in_slices_once_it_was_told() -> None:
    number, bbs = 10_000, MemoryBBS()

    def have_version(version: int) -> None:
        for at in range(number):
            bbs.have(running(f"p{at % 500}", at, since=version, tag_index=version, placement_error=f"{version} {at}"))

    async def body(mirror: Mirror) -> None:
        told: list[RowKey] = []
        blocks: list[int] = []
        mirror.subscribe(lambda change: told.append(change.key), replay=False)
        have_version(2)
        mirror.resync()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_blocks, blocks)
            while len(told) < number:
                await trio.lowlevel.checkpoint()
            for _ in range(100):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        freed = [before - after for before, after in pairwise(blocks)]
        assert max(freed) < number, "not even one block of each row at once"

    have_version(1)
    gc.collect()
    gc.disable()
    try:
        in_mirror(bbs, body)
    finally:
        gc.enable()


async def _watch_blocks(blocks: list[int]) -> None:
    while True:
        blocks.append(sys.getallocatedblocks())
        await trio.lowlevel.checkpoint()
