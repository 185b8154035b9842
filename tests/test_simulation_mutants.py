"""Each law is seen to be broken by a mutant that is made for it."""

import pytest
from simulation import generated, tried
from simulation.mutants import MUTANTS, mutated
from simulation.plan import Machine

ENOUGH = 200
"""In how many seeds each has to be caught; most are in the first few."""


OF_VIEWS = ("dropped-views-go-on", "late-views-miss-events")
"""In the whole mirror it is other code that drops views and makes them late."""

CASES = [*((name, mutant.machines[0]) for name, mutant in MUTANTS.items()), *((name, "shell") for name in OF_VIEWS)]


@pytest.mark.parametrize(("name", "machine"), CASES)
def test_a_mutant_breaks_the_law_that_is_there_for_it(name: str, machine: Machine) -> None:
    mutant = MUTANTS[name]
    assert machine in mutant.machines
    with mutated(name):
        result = next(
            one
            for seed in range(mutant.first, mutant.first + ENOUGH)
            if not (one := tried(generated(seed, machine))).held
        )

    assert result.law in mutant.laws, f"seed {result.plan.seed}: {result.how}"
    assert tried(result.plan).held, "the bug is gone with the block"
