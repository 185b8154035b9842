"""A replica of a server that was set back: whoever reads from it ends in the server's state too."""

from collections.abc import Callable

import pytest
import trio
from patience import PATIENCE
from replica_support import differences, following, on_loopback, replicating
from sim_support import diego, wanted

from lrpmirror import BBSClient
from lrpmirror.errors import ConnectionFailed
from lrpmirror.sim import Autopilot, Diego, serve_diego


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - there are several mirrors to look at
        await trio.sleep(0.02)


@pytest.mark.parametrize("stream", ["instances", "groups"])
@pytest.mark.parametrize("cut", [True, False], ids=["on a new stream", "on the living stream"])
@on_loopback
async def test_mirrors_of_mirrors_end_in_the_state_of_a_server_that_was_set_back(stream: str, cut: bool) -> None:
    simulated = Diego(seed=4)
    autopilot = Autopilot(simulated, seed=4, apps=5, cells=3)
    autopilot.run(40)
    backup = simulated.backup()
    autopilot.run(40)
    async with (
        serve_diego(simulated) as served,
        replicating(served.url) as replica,
        following(replica.url, stream=stream) as mirror,
        following(replica.url, state_file=None) as other,
    ):
        for one in (replica.mirror, mirror, other):
            await one.wait_synced(PATIENCE)
        simulated.restore(backup)
        autopilot.step()
        if cut:
            served.host.cut()
        else:
            replica.mirror.resync()
        with trio.fail_after(PATIENCE):
            await until(lambda: not any(differences(one, simulated) for one in (replica.mirror, mirror, other)))
            await until(lambda: all(one.status.live for one in (replica.mirror, mirror, other)))
        assert replica.mirror.counts.rollbacks == 1
        assert (mirror.counts.rollbacks, other.counts.rollbacks) == (1, 1)
        for _ in range(20):
            autopilot.step()
        with trio.fail_after(PATIENCE):
            await until(lambda: not any(differences(one, simulated) for one in (replica.mirror, other)))


@on_loopback
async def test_a_reader_that_lists_once_its_stream_has_ended_has_the_state_as_diegos_own_readers_do() -> None:
    simulated = diego()
    simulated.desire(wanted("kept"))
    backup = simulated.backup()
    async with serve_diego(simulated) as served, replicating(served.url) as replica:
        await replica.mirror.wait_synced(PATIENCE)
        async with BBSClient(replica.url) as client:
            async with client.events("instances") as events:
                simulated.remove_desired("kept")
                simulated.desire(wanted("new", instances=2))
                await replica.mirror.wait_for(lambda mirror: mirror.desired_lrp("new") is not None, 5)
                simulated.restore(backup)
                replica.mirror.resync()
                with pytest.raises(ConnectionFailed):
                    async for _ in events:
                        pass
            rows, lrps = await client.actual_lrps(), await client.scheduling_infos()
        assert {row.epoch for row in rows} == {row.epoch for row in simulated.actual_lrps()}
        assert [lrp.process_guid for lrp in lrps] == ["kept"]
        assert replica.replica.closures == 1
