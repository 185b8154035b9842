"""The views that come with the library."""

from lrpmirror.core.derived.views.cells import CellLoad, Cells
from lrpmirror.core.derived.views.collisions import AddressCollisions, Claimant
from lrpmirror.core.derived.views.processes import Crash, Health, Processes, ProcessHealth
from lrpmirror.core.derived.views.routes import (
    Endpoint,
    HTTPRoutes,
    InternalEndpoint,
    InternalRoutes,
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
    "ProcessHealth",
    "Processes",
    "TCPRoutes",
]
