"""Each law is seen to be broken by a mutant that is made for it."""

import pytest
from simulation import generated, tried
from simulation.mutants import MUTANTS, mutated

ENOUGH = 200
"""In how many seeds each has to be caught; most are in the first few."""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_breaks_the_law_that_is_there_for_it(name: str) -> None:
    mutant = MUTANTS[name]
    machine = mutant.machines[0]
    with mutated(name):
        result = next(
            one
            for seed in range(mutant.first, mutant.first + ENOUGH)
            if not (one := tried(generated(seed, machine))).held
        )

    assert result.law in mutant.laws, f"seed {result.plan.seed}: {result.how}"
    assert tried(result.plan).held, "the bug is gone with the block"
