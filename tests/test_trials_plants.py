"""Each law is seen to be broken by a bug that is planted for it."""

import pytest

from lrpmirror.trials import drawn, tried
from lrpmirror.trials.plants import PLANTS, planted

ENOUGH = 200
"""In how many seeds each has to be caught; most are in the first few."""


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_breaks_the_law_that_is_there_for_it(name: str) -> None:
    plant = PLANTS[name]
    machine = plant.machines[0]
    with planted(name):
        outcome = next(
            one for seed in range(plant.first, plant.first + ENOUGH) if not (one := tried(drawn(seed, machine))).held
        )

    assert outcome.law in plant.laws, f"seed {outcome.plan.seed}: {outcome.how}"
    assert tried(outcome.plan).held, "the bug is gone with the block"
