"""The reader of the stream is never held up: not by subscribers, not by a list of any size."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import trio
from mirror_support import READ, FakeBBS, differences, mirroring, settled, simulated, small
from msgspec.structs import replace
from sim_support import A, diego

import lrpmirror
from lrpmirror import ActualLRP, ActualLRPState, DesiredLRP, Mirror
from lrpmirror.sim import Diego

ROWS = 50_000
PER_PROCESS = 10

SLICE = 500
LINES = 100
"""How many lines of Python a row takes at most in one of the passes over it: some ten microseconds."""
COMMIT_LINES = 12
"""How many it takes in the commit, which cannot be divided: a fifth of a microsecond, in all."""

HOME = Path(lrpmirror.__file__).parent
WATCHED = (str(HOME / "core"), str(HOME / "mirror"))


class LinesPerTurn(trio.abc.Instrument):
    """How many lines of the mirror ran between two checkpoints of the follower's tasks.

    A measure of a stall which no slow machine changes.
    """

    def __init__(self) -> None:
        self.turns: list[int] = []
        self._lines = 0
        self._before: Any = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._lines = 0
        self._before = sys.gettrace()
        if "Follower" in task.name:
            sys.settrace(self._call)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if "Follower" in task.name:
            sys.settrace(self._before)
            self.turns.append(self._lines)

    def _call(self, frame: FrameType, _event: str, _arg: object) -> Callable[..., Any] | None:
        return self._line if frame.f_code.co_filename.startswith(WATCHED) else None

    def _line(self, _frame: FrameType, event: str, _arg: object) -> Callable[..., Any]:
        self._lines += event == "line"
        return self._line


def large() -> Diego:
    """A Diego with 50,000 instances that run, and one process, "p", to write to."""
    made = diego()
    rows = [
        ActualLRP(
            process_guid=f"large-{number // PER_PROCESS}",
            index=number % PER_PROCESS,
            domain="cf-apps",
            instance_guid=f"instance-{number}",
            cell_id=f"cell-{number % 100}",
            state=ActualLRPState.RUNNING,
            epoch=f"epoch-{number}",
            routable=True,
        )
        for number in range(ROWS)
    ]
    lrps = [
        DesiredLRP(process_guid=f"large-{number}", domain="cf-apps", instances=PER_PROCESS, epoch=f"desired-{number}")
        for number in range(ROWS // PER_PROCESS)
    ]
    made.adopt(rows, [*lrps, DesiredLRP(process_guid="p", domain="cf-apps", root_fs="preloaded:x", epoch="p")])
    return made


@simulated
async def test_a_callback_that_sleeps_delays_neither_the_reader_nor_other_callbacks() -> None:
    server = small()
    async with mirroring(FakeBBS(server), resync_interval=1e9) as mirror:
        await mirror.wait_synced()

        async def sleep(_: object) -> None:
            await trio.sleep_forever()

        notified: list[object] = []
        mirror.subscribe(sleep)
        mirror.subscribe(notified.append, replay=False)
        await settled()
        for number in range(1, 2 * READ):
            server.start("p", 0, A, routable=bool(number % 2))
            await settled()
            assert mirror.actual_lrps()[0].tag_index == server.actual_lrps()[0].tag_index
            assert len(notified) == number


@simulated
async def test_a_callback_that_can_no_longer_be_called_delays_nothing() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=1e9) as mirror, mirror.changes():
        for number in range(5000):
            server.update_desired("p", annotation=str(number), instances=number % 7)
            if number % READ == 0:
                await settled()
        await settled()
        assert not differences(mirror, server)
        assert len(bbs.streams) == 1


async def _write_while_listing(mirror: Mirror, server: Diego, bbs: FakeBBS, *, each_turn: int) -> int:
    """Write in every turn of the scheduler until the lists are in; return how many events that made."""
    synced, written = mirror.status.synced_at, 0
    while mirror.status.synced_at == synced:
        for _ in range(each_turn):
            written += 1
            server.update_desired("p", annotation=str(written))
        await trio.lowlevel.checkpoint()
        assert len(bbs.streams[-1]._subscription) <= 4 * each_turn, "the reader is not keeping up"
    return written


@simulated
async def test_the_stream_is_read_while_a_long_list_is_loaded() -> None:
    server = large()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=1e9) as mirror:
        await mirror.wait_for(lambda m: m.status.phase == "syncing")
        first = await _write_while_listing(mirror, server, bbs, each_turn=20)
        assert mirror.desired_lrp("p").annotation == str(first)  # type: ignore[union-attr]
        for row in server.actual_lrps():
            server._state.put(replace(row, tag_index=1, since=1))
        # On the mock clock the lists take no time: the next one has to be told from the first.
        await trio.sleep(1)
        mirror.resync()
        second = await _write_while_listing(mirror, server, bbs, each_turn=20)
        # More than the server keeps for a reader that does not read.
        assert min(first, second) > 2048
        assert len(bbs.streams) == 1
        await settled()
        assert not differences(mirror, server, notified=True)


@simulated
async def test_no_stretch_between_two_checkpoints_is_long_while_a_long_list_is_loaded() -> None:
    server = large()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=1e9) as mirror:
        for version in (0, 1):
            counter = LinesPerTurn()
            trio.lowlevel.add_instrument(counter)
            await mirror.wait_for(partial(_is_at, version))
            trio.lowlevel.remove_instrument(counter)
            longest, second = sorted(counter.turns, reverse=True)[:2]
            assert len(counter.turns) > ROWS / SLICE
            assert second <= LINES * SLICE
            # The commit has to be one step, since no reader may see half of it.
            assert longest <= COMMIT_LINES * ROWS
            for row in server.actual_lrps():
                server._state.put(replace(row, tag_index=1, since=1))
            mirror.resync()


def _is_at(version: int, mirror: Mirror) -> bool:
    rows = mirror.actual_lrps("large-0")
    return bool(rows) and rows[0].tag_index == version
