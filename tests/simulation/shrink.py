"""Makes a plan that breaks a law smaller, as long as it breaks it: delta debugging over its faults and its length."""

from collections.abc import Callable, Iterator
from typing import Final

from msgspec.structs import replace

from simulation.plan import Fault, Plan

__all__ = ["shrunk"]

MOST_TRIES: Final = 200


def shrunk(plan: Plan, breaks: Callable[[Plan], bool], *, tries: int = MOST_TRIES) -> Plan:
    """Return a plan that still `breaks`, with as few faults and as short as so many tries find."""
    budget = _Budget(breaks, tries)
    while True:
        smaller = _simpler_life(_fewer_faults(plan, budget), budget)
        if smaller == plan or budget.spent:
            return smaller
        plan = smaller


class _Budget:
    """So many tries, each remembered."""

    def __init__(self, breaks: Callable[[Plan], bool], tries: int) -> None:
        self._breaks = breaks
        self._left = tries

    @property
    def spent(self) -> bool:
        return self._left <= 0

    def breaks(self, plan: Plan) -> bool:
        if self.spent:
            return False
        self._left -= 1
        return self._breaks(plan)


def _fewer_faults(plan: Plan, budget: _Budget) -> Plan:
    """Leave out ever smaller pieces of the faults (Zeller's ddmin, by complements)."""
    pieces = 1
    while plan.faults and not budget.spent:
        for rest in _without_one_piece(plan.faults, pieces):
            if budget.breaks(smaller := replace(plan, faults=rest)):
                plan, pieces = smaller, max(pieces - 1, 1)
                break
        else:
            if pieces >= len(plan.faults):
                break
            pieces = min(2 * pieces, len(plan.faults))
    return plan


def _without_one_piece(faults: tuple[Fault, ...], pieces: int) -> Iterator[tuple[Fault, ...]]:
    size = -(-len(faults) // pieces)
    for start in range(0, len(faults), size):
        yield faults[:start] + faults[start + size :]


def _simpler_life(plan: Plan, budget: _Budget) -> Plan:
    ways: tuple[Callable[[Plan], Plan], ...] = (
        lambda plan: replace(plan, seconds=plan.seconds // 2),
        lambda plan: replace(plan, seconds=plan.seconds - 1),
        lambda plan: replace(plan, apps=plan.apps // 2),
        lambda plan: replace(plan, apps=plan.apps - 1),
        lambda plan: replace(plan, cells=plan.cells - 1),
        lambda plan: replace(plan, tls=False),
        lambda plan: replace(plan, busy=False),
        lambda plan: replace(plan, stream="instances"),
        lambda plan: replace(plan, hurried=True),
    )
    for simpler in ways:
        while (smaller := simpler(plan)) != plan and _can_be(smaller) and budget.breaks(smaller):
            plan = smaller
    return plan


def _can_be(plan: Plan) -> bool:
    return plan.seconds >= 1 and plan.apps >= 1 and plan.cells >= 2
