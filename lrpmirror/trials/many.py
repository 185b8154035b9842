"""Trying many plans, in as many processes as there are processors."""

import gc
import multiprocessing
from collections.abc import Iterable, Iterator

from lrpmirror.trials.plan import Plan
from lrpmirror.trials.plants import planted
from lrpmirror.trials.run import Outcome, tried

__all__ = ["outcomes"]


def outcomes(plans: Iterable[Plan], *, jobs: int, plant: str | None = None) -> Iterator[Outcome]:
    """Try many plans in so many processes, and yield what came of each as it is known; `plant` is a bug to have."""
    if jobs == 1:
        yield from map(tried, plans)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, _prepare, (plant,)) as pool:
        yield from pool.imap_unordered(tried, plans, chunksize=8)


def _prepare(plant: str | None) -> None:
    """Make a process ready for many trials."""
    # What is there now stays; each trial leaves little, and much of it in cycles.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    if plant is not None:
        planted(plant).__enter__()  # it stays for as long as the process lives
