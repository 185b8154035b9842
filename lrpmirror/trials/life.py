"""What all trials share: how much happens, the numbers of the mirror, and the views that are kept."""

from typing import Final

from msgspec.structs import replace

from lrpmirror.core.session import Tuning
from lrpmirror.sim import Rates
from lrpmirror.trials.plan import Plan
from lrpmirror.views import AddressCollisions, Cells, HTTPRoutes, InternalRoutes, Processes

__all__ = ["BUSY", "TUNING", "VIEWS", "tuning_of"]

BUSY: Final = Rates(
    deploys=0.2, scalings=0.3, crashes=0.8, placement_failures=0.3, routable_changes=0.5, evacuations=0.1, cell_losses=0.08
)

TUNING: Final = Tuning(
    resync_interval=20.0, first_delay=0.2, most_delay=3.0, repair_delay=0.2, repair_batch=3, tombstone_age=300.0
)

NEVER: Final = 1e9

VIEWS: Final = (HTTPRoutes, InternalRoutes, Processes, Cells, AddressCollisions)


def tuning_of(plan: Plan) -> Tuning:
    """Return the numbers of the mirror in a plan."""
    return TUNING if plan.audits else replace(TUNING, resync_interval=NEVER)
