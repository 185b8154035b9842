"""A server whose database was set back: the mirror has its state within 30 s, and is not live until then."""

import logging
from collections.abc import Callable
from math import inf

import pytest
import trio
from mirror_support import GONE, FakeBBS, Fold, differences, lively, mirroring, settled, simulate, simulated, small
from sim_support import A, B, wanted

from lrpmirror import ActualLRP, DesiredLRP, Mirror, Phase
from lrpmirror.core.rows.changes import RowKey
from lrpmirror.errors import ListNotBelieved
from lrpmirror.events import ActualLRPInstanceCreated
from lrpmirror.sim import Autopilot, Diego

BOUND = 30.0
"""How many seconds a mirror with the default tuning may take, from the first sign on."""


async def until_equal(mirror: Mirror, server: Diego) -> float:
    """Wait until the mirror is live and has the server's state; return how long that took."""
    began = trio.current_time()
    while not mirror.status.live or differences(mirror, server, notified=True):
        await trio.sleep(0.1)
        assert trio.current_time() < began + 400, differences(mirror, server)
    return trio.current_time() - began


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("seed", range(4))
def test_on_a_new_stream_the_state_is_the_servers_within_the_bound(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server, autopilot = lively(seed)
        backup = server.backup()
        autopilot.run(60)
        bbs = FakeBBS(server)
        async with mirroring(bbs, seed=seed) as mirror:
            await mirror.wait_synced()
            rows: Fold[RowKey, ActualLRP] = Fold()
            lrps: Fold[str, DesiredLRP] = Fold()
            mirror.subscribe(rows)
            mirror.subscribe_desired(lrps)
            await trio.sleep(100)
            server.restore(backup)
            bbs.cut()
            autopilot.step()
            assert await until_equal(mirror, server) < BOUND
            await settled()
            assert rows.known.keys() == {row.epoch for row in server.actual_lrps()}
            assert lrps.known.keys() == {lrp.process_guid for lrp in server.desired_lrps()}
            assert mirror.counts.rollbacks == 1
            assert mirror.counts.rolled_back > 0
            for _ in range(30):
                autopilot.step()
                await trio.sleep(1)
            assert not differences(mirror, server, notified=True), "its events are followed"
            await trio.sleep(1000)
            assert mirror.counts.rollbacks == 1
            assert mirror.counts.drift == 0

    simulate(main, seed=seed)
    assert [text.startswith("the server was set back") for text in warned(caplog)] == [True]


@pytest.mark.parametrize("seed", range(4))
def test_on_the_living_stream_the_first_event_that_shows_it_is_enough(seed: int) -> None:
    async def main() -> None:
        server, autopilot = lively(seed)
        backup = server.backup()
        autopilot.run(60)
        bbs = FakeBBS(server)
        async with mirroring(bbs, seed=seed) as mirror:
            await mirror.wait_synced()
            await trio.sleep(100)
            server.restore(backup)
            began = trio.current_time()
            while mirror.status.live:
                autopilot.step()
                await trio.sleep(0.5)
                assert trio.current_time() < began + 60
            assert await until_equal(mirror, server) < BOUND
            assert mirror.counts.streams == 1, "it was replaced without a gap"
            assert mirror.counts.replacements == 1

    simulate(main, seed=seed)


@pytest.mark.parametrize("seed", range(6))
def test_on_a_live_stream_without_further_events_the_state_is_the_servers_within_the_bound(seed: int) -> None:
    async def main() -> None:
        server, autopilot = lively(seed)
        backup = server.backup()
        bbs = FakeBBS(server)
        async with mirroring(bbs, seed=seed) as mirror:
            await mirror.wait_synced()
            for _ in range(60):
                autopilot.step()
                await trio.sleep(0.5)
            # What no event carries is read again after as long, which can be this moment.
            await mirror.wait_for(lambda one: not one.counts.repairs_pending, timeout=0.5)
            # No event tells of the cells.
            assert all(one.startswith("cell ") for one in differences(mirror, server))
            server.restore(backup)
            assert await until_equal(mirror, server) < BOUND
            assert mirror.counts.streams == 1

    simulate(main, seed=seed)


@simulated
async def test_what_was_written_last_never_was() -> None:
    server = small()
    backup = server.backup()
    bbs = FakeBBS(server)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        for name in ("new", "newer"):
            server.desire(wanted(name, instances=2))
        await settled()
        server.restore(backup)
        assert await until_equal(mirror, server) < BOUND
        assert not mirror.actual_lrps("new")


@simulated
async def test_what_was_removed_last_is_back() -> None:
    server = small()
    server.desire(wanted("kept"))
    backup = server.backup()
    bbs = FakeBBS(server)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        server.remove_desired("kept")
        await settled()
        server.restore(backup)
        assert await until_equal(mirror, server) < BOUND
        assert mirror.desired_lrp("kept") is not None


@simulated
async def test_what_is_unconfirmed_is_the_trouble_until_it_is_decided() -> None:
    server = small()
    backup = server.backup()
    bbs = FakeBBS(server)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        server.crash("p", 0, A)
        await settled()
        server.restore(backup)
        mirror.resync()
        await settled()
        status = mirror.status
        assert status.phase is Phase.STALE
        assert isinstance(status.trouble, ListNotBelieved)
        assert "p/0" in str(status.trouble)
        await trio.sleep(4.9)
        assert mirror.status.state_age == pytest.approx(4.9)
        await trio.sleep(0.2)
        assert mirror.status.live
        assert mirror.status.trouble is None
        assert not differences(mirror, server)
        assert "rolled back" in [str(one.outcome) for one in mirror.explain("p")]


@simulated
async def test_records_that_are_back_and_records_that_never_were() -> None:
    server = small()
    server.desire(wanted("kept"))
    backup = server.backup()
    bbs = FakeBBS(server)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        server.remove_desired("kept")
        server.desire(wanted("new", instances=3))
        await settled()
        server.restore(backup)
        bbs.cut()
        assert await until_equal(mirror, server) < BOUND
        assert mirror.desired_lrp("kept") is not None
        assert mirror.actual_lrps("new") == ()
        server.update_desired("kept", instances=2)
        await settled()
        assert not differences(mirror, server)


@simulated
async def test_an_older_list_removes_nothing_before_it_is_believed() -> None:
    server = small()
    backup = server.backup()
    bbs = FakeBBS(server)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        server.crash("p", 0, A)
        server.desire(wanted("new"))
        await settled()
        revision = mirror.revision
        now = server.backup()
        server.restore(backup)
        mirror.resync()
        await trio.sleep(1)
        assert (mirror.revision, mirror.status.phase) == (revision, Phase.STALE)
        server.restore(now)
        assert await until_equal(mirror, server) < BOUND
        assert mirror.revision == revision
        assert mirror.counts.rollbacks == 0


@simulated
async def test_a_server_that_cannot_be_reached_meanwhile_is_believed_when_it_can() -> None:
    server = small()
    backup = server.backup()
    bbs = FakeBBS(server)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        server.crash("p", 0, A)
        await settled()
        server.restore(backup)
        bbs.cut()
        await trio.sleep(1)
        assert mirror.status.phase is Phase.STALE
        bbs.refusal = GONE
        await trio.sleep(200)
        assert mirror.status.phase is Phase.STALE
        bbs.refusal = None
        assert await until_equal(mirror, server) < BOUND


@simulated
async def test_a_list_on_a_stream_that_is_to_take_over_needs_another_one_too() -> None:
    server = small()
    backup = server.backup()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=inf) as mirror:
        await mirror.wait_synced()
        server.crash("p", 0, A)
        await settled()
        server.restore(backup)
        mirror.reconnect()
        await settled()
        assert mirror.status.phase is Phase.STALE
        assert (len(bbs.streams), mirror.counts.replacements) == (2, 0)
        assert await until_equal(mirror, server) < BOUND
        assert len(bbs.streams) == 3
        assert (mirror.counts.streams, mirror.counts.replacements) == (1, 1)


@simulated
async def test_lists_of_a_server_that_neither_lags_nor_is_set_back_are_always_believed() -> None:
    server, autopilot = lively()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=5) as mirror:
        await mirror.wait_synced()
        for number in range(200):
            autopilot.step()
            if number % 20 == 0:
                bbs.cut()
            await trio.sleep(0.5)
        assert "ListNotBelieved" not in mirror.counts.errors


class Lagging:
    """A server whose lists of rows are older than its stream."""

    def __init__(self, server: Diego, rows: Callable[[], list[ActualLRP]]) -> None:
        self._server = server
        self._rows = rows

    def __getattr__(self, name: str) -> object:
        return getattr(self._server, name)

    def actual_lrps(self) -> list[ActualLRP]:
        return self._rows()

    def actual_lrps_by_process_guids(self, guids: object) -> list[ActualLRP]:
        return [row for row in self._rows() if row.process_guid in guids]  # type: ignore[operator]


@simulated
async def test_a_server_that_lags_for_less_than_the_wait_moves_nothing_back() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        old = server.actual_lrps()
        server.crash("p", 0, A)
        await settled()
        now = mirror.actual_lrps()
        bbs.diego = Lagging(server, lambda: old)  # type: ignore[assignment]
        mirror.resync()
        await trio.sleep(3)
        assert (mirror.actual_lrps(), mirror.status.phase) == (now, Phase.STALE)
        bbs.diego = server
        await trio.sleep(3)
        assert (mirror.actual_lrps(), mirror.status.phase) == (now, Phase.LIVE)
        assert mirror.counts.drift == 0


@simulated
async def test_a_server_whose_lists_always_lag_is_not_asked_without_end() -> None:
    server = Diego(seed=1)
    autopilot = Autopilot(server, seed=1, apps=30, cells=4)
    autopilot.run(30)
    bbs = FakeBBS(server)
    past = [server.actual_lrps()]
    bbs.diego = Lagging(server, lambda: past[-3:][0])  # type: ignore[assignment]
    async with mirroring(bbs) as mirror:
        await mirror.wait_synced()
        for _ in range(600):
            autopilot.step()
            past.append(server.actual_lrps())
            await trio.sleep(1)
        assert len(bbs.times("actual_lrps")) < 60
        assert len(bbs.tries) < 40
        bbs.diego = server
        assert await until_equal(mirror, server) < 400


@simulated
async def test_a_late_event_costs_one_read_of_its_process() -> None:
    server = small()
    bbs = FakeBBS(server)
    async with mirroring(bbs, resync_interval=inf) as mirror:
        await mirror.wait_synced()
        (old,) = server.actual_lrps()
        server.crash("p", 0, A)
        server.claim("p", 0, B)
        await settled()
        bbs.streams[-1].put(ActualLRPInstanceCreated(old))
        await trio.sleep(10)
        assert len(bbs.times("rows of processes")) == 1
        assert mirror.status.live
        assert "ListNotBelieved" not in mirror.counts.errors
        assert not differences(mirror, server)
