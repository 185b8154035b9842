"""Timing several ways of doing a thing in turn, so that all see the same machine."""

import gc
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from statistics import median
from types import TracebackType
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

__all__ = [
    "PROCESSOR_TIME",
    "Check",
    "Figure",
    "Report",
    "Run",
    "Target",
    "WrongAnswer",
    "agree",
    "check",
    "compare",
    "compare_async",
    "digest",
    "figure_of",
]


PROCESSOR_TIME: ContextVar[bool] = ContextVar("PROCESSOR_TIME", default=False)
"""Whether the time that this process was on a processor is counted, instead of the time that went by.

For a machine on which much else runs. What other processes did for this one, such as a server, is left out then.
"""


class WrongAnswer(Exception):  # noqa: N818 - what went wrong is the name
    """Two ways of doing the same, or two rounds of one, ended in different states: no time of theirs means anything."""


class Figure(Struct, frozen=True):
    """What one way took, or came to: the median over the rounds, and the median ratio to the baseline of each round."""

    name: str
    value: float
    ratio: float
    unit: str = "µs"
    busy: float | None = None
    """For how much of that time this process was on a processor: less means that it waited, or that others ran."""


class Target(Struct, frozen=True):
    """Something that is to be reached: no more than `limit`, or no less where `least`."""

    what: str
    limit: float
    unit: str
    least: bool = False


class Check(Struct, frozen=True):
    """A target and what was reached."""

    target: Target
    reached: float

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.reached >= self.target.limit if self.target.least else self.reached <= self.target.limit


class Report(Struct, frozen=True, kw_only=True):
    """What one comparison found. The first figure is the baseline's."""

    title: str
    size: int
    figures: tuple[Figure, ...]
    digest: str = ""
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()


class Run:
    """One timed run of one way; the time is that of its `with` block, per operation.

    `answer` is what the run ended in, and is made outside the blocks; None where a way has nothing to answer for.
    """

    def __init__(self, operations: int) -> None:
        self._operations = operations
        self._spent = self._began = 0
        self._worked = self._began_work = 0
        self.answer: object = None

    @property
    def microseconds(self) -> float:
        """How long one operation took."""
        return (self._worked if PROCESSOR_TIME.get() else self._spent) / self._operations / 1_000

    @property
    def busy(self) -> float:
        """For how much of the time this process was on a processor, its threads together."""
        return self._worked / self._spent

    def __enter__(self) -> Self:
        self._began_work = time.process_time_ns()
        self._began = time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._spent = time.perf_counter_ns() - self._began
        self._worked = time.process_time_ns() - self._began_work


def compare(title: str, size: int, ways: Mapping[str, Callable[[], Run]], *, rounds: int) -> Report:
    """Time each way `rounds` times, in turn; the first is the baseline.

    The garbage collector stays on, as it is in a program, and has just run. Raises WrongAnswer.
    """
    runs: list[dict[str, Run]] = []
    for _ in range(rounds):
        runs.append({})
        for name, way in ways.items():
            gc.collect()
            runs[-1][name] = _answered(way())
    return _report(title, size, runs)


async def compare_async(
    title: str, size: int, ways: Mapping[str, Callable[[], Awaitable[Run]]], *, rounds: int
) -> Report:
    """Do the same with ways that are asynchronous."""
    runs: list[dict[str, Run]] = []
    for _ in range(rounds):
        runs.append({})
        for name, way in ways.items():
            gc.collect()
            runs[-1][name] = _answered(await way())
    return _report(title, size, runs)


def _answered(run: Run) -> Run:
    # What was kept for the answer would be in the way of the garbage collector in the runs to come.
    run.answer = None if run.answer is None else digest(run.answer)
    return run


def _report(title: str, size: int, rounds: Sequence[Mapping[str, Run]]) -> Report:
    answers = {
        f"{name}, round {at}": str(run.answer)
        for at, runs in enumerate(rounds, 1)
        for name, run in runs.items()
        if run.answer is not None
    }
    if len(set(answers.values())) > 1:
        raise WrongAnswer(f"{title}: the ways ended in different states: {answers}")
    times = {name: [runs[name].microseconds for runs in rounds] for name in rounds[0]}
    baseline = next(iter(times.values()))
    figures = tuple(
        replace(figure_of(name, taken, baseline), busy=median(runs[name].busy for runs in rounds))
        for name, taken in times.items()
    )
    return Report(title=title, size=size, figures=figures, digest=next(iter(answers.values()), ""))


def figure_of(name: str, values: Sequence[float], baseline: Sequence[float], unit: str = "µs") -> Figure:
    """Return the median of some values, and that of their ratios to those of the baseline in the same round."""
    ratios = [one / other if other else float(one > 0) for one, other in zip(values, baseline, strict=True)]
    return Figure(name, median(values), median(ratios), unit)


def check(targets: Sequence[Target], what: str, reached: float) -> tuple[Check, ...]:
    """Return the check of the one of these targets that is called so."""
    return tuple(Check(target, reached) for target in targets if target.what == what)


def agree(what: str, one: object, other: object) -> None:
    """Raise WrongAnswer unless two results are equal."""
    if one != other:
        raise WrongAnswer(f"{what}: {str(one)[:300]} is not {str(other)[:300]}")


def digest(*parts: object) -> str:
    """Return a short digest of a result, to see that two runs gave the same."""
    return hashlib.sha256("\n".join(map(repr, parts)).encode()).hexdigest()[:12]
