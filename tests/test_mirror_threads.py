"""What another thread sees that reads at any moment: between any two lines that the mirror's thread runs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import trio
from mirror_support import GONE, FakeBBS, mirroring, settled, simulated, small
from sim_support import A, wanted
from thread_support import Versions

import lrpmirror
from lrpmirror import Mirror, Phase
from lrpmirror.sim import InstanceKey

PACKAGE = str(Path(lrpmirror.__file__).parent / "core"), str(Path(lrpmirror.__file__).parent / "mirror")
QUIET: dict[str, Any] = {"resync_interval": 1e9, "idle_limit": 1e9, "ping_interval": 1e9}


@contextmanager
def looked_at(look: Callable[[], object]) -> Iterator[list[int]]:
    """Look before each line of the mirror's that is run in the block; give the number of looks."""
    looks = [0]
    before = sys.gettrace()

    def trace(frame: FrameType, _event: str, _argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        sys.settrace(None)
        try:
            looks[0] += 1
            look()
        finally:
            sys.settrace(trace)
        return trace

    sys.settrace(trace)
    try:
        yield looks
    finally:
        sys.settrace(before)


def process(guid: str) -> Any:
    return wanted(guid, instances=2)


@simulated
async def test_a_reader_that_sees_live_sees_the_list_that_made_it_so() -> None:
    server = small()
    bbs = FakeBBS(server)
    bbs.gate = trio.Event()
    async with mirroring(bbs, **QUIET) as mirror:
        view = await mirror.view(Versions())
        for life in range(3):
            guid = f"p{life}"
            server.desire(process(guid))
            server.claim(guid, 0, InstanceKey(f"i{life}", "cell-a"))

            def look(guid: str = guid) -> None:
                if mirror.status.phase is not Phase.LIVE:
                    return
                assert len(mirror.actual_lrps(guid)) == 2
                assert mirror.desired_lrp(guid) is not None
                assert mirror.revision

            with looked_at(look) as looks:
                bbs.gate.set()
                await mirror.wait_for(lambda one: one.status.live)
            assert looks[0] > 100
            await settled()
            assert view[guid] == 1
            if life < 2:
                bbs.refusal, bbs.gate = GONE, trio.Event()
                bbs.cut()
                await mirror.wait_for(lambda one: not one.status.live)
                bbs.refusal = None


def newest(mirror: Mirror) -> int:
    return max(row.tag_index for row in mirror.actual_lrps("p"))


@simulated
async def test_a_reader_that_sees_a_revision_sees_its_commit_and_so_do_the_views() -> None:
    """By events, by a read of one process, and by a list of everything."""
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, **QUIET, repair_delay=0) as mirror:
        await mirror.wait_synced()
        view = await mirror.view(Versions())
        brought = {mirror.revision: newest(mirror)}
        notified: list[int] = []
        mirror.subscribe(lambda change: notified.append(change.revision), replay=False)

        def look() -> None:
            revision = mirror.revision
            known = brought.get(revision)
            if known is not None:
                assert newest(mirror) >= known
            known = brought.get(view.revision)
            if known is not None:
                assert view["p"] >= known

        async def after(act: Callable[[], object]) -> None:
            # The same twice: to learn what the revision brings, and no one knows it before it is there.
            act()
            revision, version = mirror.revision + 1, newest(mirror) + 1
            brought[revision] = version
            with looked_at(look) as looks:
                await settled()
            assert looks[0] > 50
            assert mirror.revision >= revision
            assert newest(mirror) >= version
            assert notified[-1] == mirror.revision

        await after(lambda: server.crash("p", 0, A))
        await after(lambda: server.claim("p", 0, InstanceKey("another", "cell-b")))
        bbs.loses = lambda _event: True

        def lost() -> None:
            server.crash("p", 0, InstanceKey("another", "cell-b"))
            mirror.resync()

        await after(lost)
