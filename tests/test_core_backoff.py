"""How long to wait before trying again."""

from random import Random

import pytest

from lrpmirror.core.freshness.backoff import Backoff


class Most(Random):
    """Draws the upper bound, which so can be seen."""

    def uniform(self, a: float, b: float) -> float:
        assert a == 0
        return b


def test_the_bound_doubles_with_each_failure_up_to_the_most() -> None:
    backoff = Backoff(Most(), first=0.5, most=30)

    assert [backoff.failed() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_success_begins_anew() -> None:
    backoff = Backoff(Most(), first=0.5, most=30)
    backoff.failed()
    backoff.failed()

    backoff.succeeded()

    assert backoff.failed() == 0.5


def test_what_lasted_longer_than_the_delay_before_it_and_than_it_cost_was_a_success() -> None:
    backoff = Backoff(Most(), first=0.5, most=30)

    assert [backoff.failed(lasted) for lasted in (0.1, 0.5, 1, 2, 4, 4)] == [0.5, 1, 2, 4, 8, 16]
    assert backoff.failed(17, cost=17) == 30
    assert [backoff.failed(31, cost=17), backoff.failed(0.6)] == [0.5, 0.5]


@pytest.mark.parametrize("seed", range(3))
def test_a_delay_is_drawn_from_the_whole_of_what_the_bound_allows(seed: int) -> None:
    backoff = Backoff(Random(seed), first=4, most=4)

    delays = [backoff.failed() for _ in range(200)]

    assert all(0 <= delay <= 4 for delay in delays)
    assert min(delays) < 0.4
    assert max(delays) > 3.6


def test_months_of_failures_do_not_overflow() -> None:
    backoff = Backoff(Most(), first=0.5, most=30)

    assert {backoff.failed() for _ in range(5_000)} <= {0.5, 1, 2, 4, 8, 16, 30}
