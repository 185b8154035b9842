"""Trying many plans, in as many processes as there are processors."""

import gc
import multiprocessing
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Final

from simulation.mutants import mutated
from simulation.plan import Plan
from simulation.run import TrialResult, tried

__all__ = ["results"]

_APPLIED: Final = ExitStack()
"""What stays for as long as the process lives."""


def results(plans: Iterable[Plan], *, jobs: int, mutant: str | None = None) -> Iterator[TrialResult]:
    """Try many plans in so many processes, and yield what came of each as it is known; `mutant` is a bug to have."""
    if jobs == 1:
        yield from map(tried, plans)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, _prepare, (mutant,)) as pool:
        yield from pool.imap_unordered(tried, plans, chunksize=8)


def _prepare(mutant: str | None) -> None:
    """Make a process ready for many trials."""
    # What is there now stays; each trial leaves little, and much of it in cycles.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    if mutant is not None:
        _APPLIED.enter_context(mutated(mutant))
