"""What all trials share: how much happens, the numbers of the mirror, and the views that are kept."""

from collections.abc import Iterator
from math import inf
from random import Random
from typing import Any, Final

from msgspec.structs import replace

from lrpmirror.core.session import Tuning
from lrpmirror.sim import Autopilot, Diego, Rates
from lrpmirror.views import AddressCollisions, AnyView, Cells, HTTPRoutes, InternalRoutes, Processes, TCPRoutes
from simulation.plan import Plan

__all__ = ["TUNING", "Workload", "tuning_of", "views"]

BUSY: Final = Rates(
    deploys=0.2,
    scalings=0.3,
    crashes=0.8,
    placement_failures=0.3,
    routable_changes=0.5,
    evacuations=0.1,
    cell_losses=0.08,
)

TUNING: Final = Tuning(
    resync_interval=20.0,
    first_delay=0.2,
    most_delay=3.0,
    ping_interval=8.0,
    ping_timeout=3.0,
    # More than a kernel takes to find that a peer is gone: which of the two has found it is to be seen.
    idle_limit=80.0,
    list_timeout=30.0,
    audit_grace=3.0,
    brake_rows=4,
    brake_wait=3.0,
    rollback_wait=2.0,
    repair_delay=0.2,
    repair_timeout=15.0,
    repair_batch=3,
    tombstone_age=300.0,
    state_interval=3.0,
)

CONVERGES: Final = 0.4
LOSES: Final = 0.1
FINDS: Final = 0.3
"""The chances of a second: that there is a convergence, that a cell is lost, that a lost one is found."""


def views() -> list[AnyView[Any, Any, Any]]:
    """Return the views that are kept: all that the library has."""
    return [HTTPRoutes(), InternalRoutes(), TCPRoutes(), Processes(), Cells(), AddressCollisions()]


def tuning_of(plan: Plan) -> Tuning:
    """Return the numbers of the mirror in a plan."""
    return TUNING if plan.audits else replace(TUNING, resync_interval=inf)


class Workload:
    """What happens in the deployment of a plan: an autopilot's, in a hurry.

    A convergence comes every few seconds instead of every thirty, and cells are lost for seconds, so that what takes
    minutes elsewhere happens in a life as short as a trial's.
    """

    def __init__(self, plan: Plan, diego: Diego) -> None:
        self._diego = diego
        self._rng = Random(plan.seed)
        self._busy = plan.busy
        rates = BUSY if plan.busy else None
        self._pilot = Autopilot(diego, seed=plan.seed, apps=plan.apps, cells=plan.cells, rates=rates)
        self._lost: list[str] = []

    def moves(self) -> Iterator[None]:
        """Let one second pass, stopping after each thing that happens."""
        yield from self._pilot.moves()
        if self._busy:
            self._lose_or_find()
        if self._rng.random() < CONVERGES:
            self._diego.converge()
            yield

    def _lose_or_find(self) -> None:
        draw = self._rng.random()
        cells = self._diego.cells()
        if self._lost and draw < FINDS:
            self._diego.return_cell(self._lost.pop())
        elif len(cells) > 1 and draw > 1 - LOSES:
            self._lost.append(self._rng.choice(cells).cell_id)
            self._diego.lose_cell(self._lost[-1])
