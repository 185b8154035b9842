"""Views: derived state that a mirror keeps up to date. Pass one to `Mirror.view`.

    routes = await mirror.view(lrpmirror.views.HTTPRoutes())
    routes["app.example.com"]

Each class documents its rules. A view of your own is a subclass of `View` with two methods:

    class ByZone(View[str, int, int]):
        def derive(self, process):
            return Counter(row.availability_zone for row in process.rows if row.state == "RUNNING")

        def combine(self, key, contributions):
            return sum(contributions.values())

It derives a process again whenever anything of it changes. `InstanceView` is the form whose cost is in proportion to
the change; the views here have that form.
"""

from lrpmirror.core.derived.view import AnyView, InstanceView, Process, Share, Step, View
from lrpmirror.core.derived.views.cells import CellLoad, Cells
from lrpmirror.core.derived.views.collisions import AddressCollisions, Claimant
from lrpmirror.core.derived.views.processes import Crash, Health, Processes, ProcessHealth
from lrpmirror.core.derived.views.routes import Endpoint, HTTPRoutes, InternalEndpoint, InternalRoutes, TCPRoutes

__all__ = [
    "AddressCollisions",
    "AnyView",
    "CellLoad",
    "Cells",
    "Claimant",
    "Crash",
    "Endpoint",
    "HTTPRoutes",
    "Health",
    "InstanceView",
    "InternalEndpoint",
    "InternalRoutes",
    "Process",
    "ProcessHealth",
    "Processes",
    "Share",
    "Step",
    "TCPRoutes",
    "View",
]
