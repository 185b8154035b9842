"""A simulated Diego, for tests and demonstrations: a BBS with its state rules, a workload, and its faults.

`Diego` is the BBS: synchronous, deterministic by its seed, in virtual time, with the writes of the protocol as methods.
`Autopilot` is a workload for it: applications come, grow, crash and move, cells leave and are lost; its size and its
rates are chosen. `serve_diego` serves it over HTTP, with every read and write of the protocol, in a trio program;
`serve_diego_in_thread` does so for programs without an event loop. `FaultPlan` says which faults happen meanwhile.

For tests of whatever talks to a BBS, in any language, a fixture of pytest::

    import json
    from collections.abc import Iterator

    import pytest

    from lrpmirror.model import DesiredLRP
    from lrpmirror.sim import Diego, DiegoThread, InstanceKey, NetInfo, serve_diego_in_thread


    @pytest.fixture
    def bbs() -> Iterator[DiegoThread]:
        diego = Diego(seed=1)
        diego.add_cell("cell-1")
        diego.upsert_domain("cf-apps")
        route = json.dumps([{"hostnames": ["app.example.com"], "port": 8080}]).encode()
        routes = {"cf-router": route}
        diego.desire(DesiredLRP(process_guid="app", domain="cf-apps", root_fs="docker:x", instances=1, routes=routes))
        with serve_diego_in_thread(diego) as served:
            yield served


    def test_something(bbs: DiegoThread) -> None:
        # Start what is tested, with `bbs.url` as its BBS; then let things happen:
        bbs.do(bbs.diego.start, "app", 0, InstanceKey("instance-1", "cell-1"), NetInfo("10.0.0.1"))
        bbs.do(bbs.served.host.cut)
        assert [row.state for row in bbs.do(bbs.diego.actual_lrps)] == ["RUNNING"]

With trio, a workload and faults, all reproducible by their seeds::

    diego = Diego(seed=7)
    pilot = Autopilot(diego, seed=7, apps=200, cells=20, instances=1000, events_per_second=100)
    async with serve_diego(diego, autopilot=pilot, pace=10, plan=FaultPlan.swarm(7, seconds=20)) as served:
        ...  # `served.url`; then `await served.calm()`, and what is tested has to get over it
"""

from lrpmirror.server.writes import InstanceKey, NetInfo
from lrpmirror.sim.autopilot import Autopilot, Rates
from lrpmirror.sim.delivery import Faults
from lrpmirror.sim.diego import Diego, Snapshot
from lrpmirror.sim.plan import FaultPlan
from lrpmirror.sim.serving import DiegoThread, ServedDiego, serve_diego, serve_diego_in_thread
from lrpmirror.sim.state import Backup, StopRequest
from lrpmirror.sim.transitions import group_of_rows, groups_of_rows

__all__ = [
    "Autopilot",
    "Backup",
    "Diego",
    "DiegoThread",
    "FaultPlan",
    "Faults",
    "InstanceKey",
    "NetInfo",
    "Rates",
    "ServedDiego",
    "Snapshot",
    "StopRequest",
    "group_of_rows",
    "groups_of_rows",
    "serve_diego",
    "serve_diego_in_thread",
]
