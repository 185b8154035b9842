"""Domains and cells, which a replica looks at by itself: only what vouches for the state that it has."""

from typing import Any

import pytest
import trio
from mirror_support import GONE, Answer, FakeBBS, mirroring, settled, simulated, small

from lrpmirror import Phase
from lrpmirror.errors import ServiceUnavailable
from lrpmirror.serve.replica import open_replica

QUIET: dict[str, Any] = {"resync_interval": 1e9, "idle_limit": 1e9, "ping_interval": 1e9}


@simulated
async def test_what_is_answered_after_the_stream_was_lost_is_not_taken() -> None:
    """A domain that was fresh then vouches for desired LRPs that the replica may not have."""
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror, open_replica(mirror, bbs, refresh=10) as replica:
        await mirror.wait_synced()
        server.upsert_domain("later")
        server.add_cell("cell-later")
        bbs.once("domains", Answer(before=5))
        before = replica.domains(), replica.cells()
        await trio.sleep(12)
        bbs.refusal = GONE
        bbs.cut()
        await trio.sleep(20)
        assert mirror.status.phase is Phase.STALE
        assert (replica.domains(), replica.cells()) == before


@simulated
async def test_nobody_is_asked_while_the_mirror_is_not_live() -> None:
    bbs = FakeBBS(small())
    async with mirroring(bbs, **QUIET) as mirror, open_replica(mirror, bbs, refresh=10):
        await mirror.wait_synced()
        bbs.refusal = GONE
        bbs.cut()
        await settled()
        asked = len(bbs.asked)
        await trio.sleep(100)
        assert len(bbs.asked) == asked


@simulated
@pytest.mark.parametrize("answer", [Answer(error=ServiceUnavailable("503")), Answer(before=1e9)], ids=["503", "never"])
@pytest.mark.parametrize("failing", ["domains", "cells"])
async def test_a_look_that_fails_leaves_what_is_known_and_the_next_one_has_it(failing: str, answer: Answer) -> None:
    if failing == "domains" and answer.error is None:
        return
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror, open_replica(mirror, bbs, refresh=10) as replica:
        await mirror.wait_synced()
        server.upsert_domain("later")
        server.add_cell("cell-later")
        bbs.once(failing, answer)
        await trio.sleep(15)
        assert ("later" in replica.domains()) == (failing != "domains")
        assert ("cell-later" in {cell.cell_id for cell in replica.cells()}) == (failing != "cells")
        await trio.sleep(10)
        assert "later" in replica.domains()
        assert "cell-later" in {cell.cell_id for cell in replica.cells()}


@simulated
async def test_what_a_list_found_later_takes_the_place_of_what_was_looked_at() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET) as mirror, open_replica(mirror, bbs, refresh=10) as replica:
        await mirror.wait_synced()
        server.upsert_domain("later")
        server.add_cell("cell-later")
        await trio.sleep(12)
        server.upsert_domain("last")
        server.add_cell("cell-last")
        mirror.resync()
        await settled()
        assert "last" in replica.domains()
        assert "cell-last" in {cell.cell_id for cell in replica.cells()}
