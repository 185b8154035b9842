"""Each law is seen to be broken by a mutant that is made for it."""

import pytest
from simulation import generated, tried
from simulation.mutants import MUTANTS, mutated
from simulation.plan import Machine

ENOUGH = 200
"""In how many seeds each has to be caught; most are in the first few."""


OF_VIEWS = {"dropped-views-go-on": 12, "late-views-miss-events": 0}
"""In the whole mirror it is other code that drops views and makes them late. With the seed to begin with."""

CASES = [
    *((name, mutant.machines[0], mutant.first) for name, mutant in MUTANTS.items()),
    *((name, "shell", first) for name, first in OF_VIEWS.items()),
]


@pytest.mark.parametrize(("name", "machine", "first"), CASES)
def test_a_mutant_breaks_the_law_that_is_there_for_it(name: str, machine: Machine, first: int) -> None:
    mutant = MUTANTS[name]
    assert machine in mutant.machines
    with mutated(name):
        result = next(one for seed in range(first, first + ENOUGH) if not (one := tried(generated(seed, machine))).held)

    assert result.law in mutant.laws, f"seed {result.plan.seed}: {result.how}"
    assert tried(result.plan).held, "the bug is gone with the block"
