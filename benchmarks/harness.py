"""Timing several ways of doing a thing in turn, so that all see the same machine."""

import gc
import hashlib
import time
from collections.abc import Callable, Mapping
from statistics import median

from msgspec import Struct

__all__ = ["Figure", "Report", "compare", "digest"]


class Figure(Struct, frozen=True):
    """An operation's median time one way, in nanoseconds, and the median ratio to the baseline of the same round."""

    name: str
    nanoseconds: float
    ratio: float


class Report(Struct, frozen=True):
    """What one benchmark found. The first figure is the baseline's."""

    title: str
    size: int
    figures: tuple[Figure, ...]
    digest: str = ""


def compare(
    title: str, size: int, ways: Mapping[str, Callable[[], object]], *, operations: int, rounds: int, result: str = ""
) -> Report:
    """Time each way `rounds` times, in turn; the first is the baseline. A way does `operations` operations a call."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            gc.collect()
            began = time.perf_counter_ns()
            way()
            times[name].append((time.perf_counter_ns() - began) / operations)
    baseline = next(iter(times.values()))
    figures = tuple(
        Figure(name, median(taken), median(one / other for one, other in zip(taken, baseline, strict=True)))
        for name, taken in times.items()
    )
    return Report(title, size, figures, result)


def digest(*parts: object) -> str:
    """Return a short digest of a result, to see that two runs gave the same."""
    return hashlib.sha256("\n".join(map(repr, parts)).encode()).hexdigest()[:12]
