"""Views: derived state that a mirror keeps up to date. Give one to `Mirror.view`.

    routes = mirror.view(lrpmirror.views.HTTPRoutes())
    routes["app.example.com"]

Each class documents its rules. A view of your own is a subclass of `View` with two methods:

    class ByZone(View[str, int, int]):
        def derive(self, process):
            return Counter(row.availability_zone for row in process.rows if row.state == "RUNNING")

        def combine(self, key, contributions):
            return sum(contributions.values())
"""

from lrpmirror.core.derive import Process, View
from lrpmirror.core.views import (
    AddressCollisions,
    CellLoad,
    Cells,
    Claimant,
    Crash,
    Endpoint,
    Health,
    HTTPRoutes,
    InternalEndpoint,
    InternalRoutes,
    Processes,
    ProcessHealth,
    TCPRoutes,
)

__all__ = [
    "AddressCollisions",
    "CellLoad",
    "Cells",
    "Claimant",
    "Crash",
    "Endpoint",
    "HTTPRoutes",
    "Health",
    "InternalEndpoint",
    "InternalRoutes",
    "Process",
    "ProcessHealth",
    "Processes",
    "TCPRoutes",
    "View",
]
