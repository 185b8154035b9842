"""A simulated Diego: the server's state rules in virtual time, a workload on them, and both served over HTTP."""

from lrpmirror.sim.autopilot import Autopilot, Rates
from lrpmirror.sim.delivery import Faults
from lrpmirror.sim.diego import Diego, Snapshot
from lrpmirror.sim.groups import group_of_rows, groups_of_rows
from lrpmirror.sim.serving import ServedDiego, serve_diego
from lrpmirror.sim.state import StopRequest
from lrpmirror.sim.values import InstanceKey, NetInfo

__all__ = [
    "Autopilot",
    "Diego",
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
]
