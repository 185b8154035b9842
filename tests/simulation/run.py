"""Running one trial: the same plan is the same run, down to the last byte."""

import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

import trio
import trio.testing
from msgspec import Struct
from trio._core import _run as scheduler

from lrpmirror.core import preparation, upcoming
from simulation.core_trial import CoreTrial
from simulation.laws import LawBroken
from simulation.plan import Machine, Plan
from simulation.relay_trial import RelayTrial
from simulation.shell_trial import ShellTrial

__all__ = ["TrialResult", "tried"]

PATIENCE: Final = 30.0
"""Processor seconds that a trial may take; most take a tenth of one."""

A_DAY: Final = 86_400.0
"""Virtual seconds that a trial may take; a longer one hangs."""


_MACHINES: Final[Mapping[Machine, Callable[[Plan], ShellTrial | CoreTrial]]] = {
    "shell": ShellTrial,
    "core": CoreTrial,
    "relay": RelayTrial,
}


class TrialResult(Struct, frozen=True, kw_only=True):
    """The result of a trial. `law` is the broken one, empty for none; `how` says what was seen."""

    plan: Plan
    law: str = ""
    how: str = ""
    digest: str = ""
    commits: int = 0
    steps: int = 0
    faults: dict[str, int] = {}
    """How many faults of each kind there were."""

    @property
    def held(self) -> bool:
        """Whether all laws held."""
        return not self.law


def tried(plan: Plan) -> TrialResult:
    """Play a plan and return the result."""
    trial: ShellTrial | CoreTrial = _MACHINES[plan.machine](plan)
    law = how = ""
    hang = _Hang()
    try:
        with hang.noticed(), _quiet(), _finely():
            if isinstance(trial, ShellTrial):
                _simulate(partial(hang.ended_by, trial.run), plan.seed)
            else:
                trial.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
        broken = _first(error)
        law = broken.law if isinstance(broken, LawBroken) else "nothing_else_is_raised"
        how = broken.how if isinstance(broken, LawBroken) else f"{type(broken).__name__}: {broken}"
    if hang.happened:
        law, how = "nothing_hangs", f"it takes more than {PATIENCE:g} s of a processor; {how}"
    return TrialResult(
        plan=plan,
        law=law,
        how=how,
        digest=trial.digest.hex(),
        commits=trial.commits,
        steps=trial.steps,
        faults=dict(trial.active_faults.counts),
    )


def _simulate(main: Callable[[], Awaitable[None]], seed: int) -> None:
    """Run something on the mock clock, with trio's scheduler as the seed has it."""

    async def limited() -> None:
        with trio.fail_after(A_DAY):
            await main()

    # There is no public way to have trio's scheduler repeat itself; this is the one that trio made for Hypothesis.
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    scheduler._r.seed(seed)
    try:
        trio.run(limited, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]
        scheduler._r.seed()


def _first(error: BaseException) -> BaseException:
    """Return the first error of a group that matters, one of a law before others."""
    leaves = list(_leaves(error))
    return next((leaf for leaf in leaves if isinstance(leaf, LawBroken)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


class _Hang:
    """A hang without time passing on the mock clock, as of tasks that wake each other."""

    def __init__(self) -> None:
        self.happened = False
        self._cancel: Callable[[], None] | None = None

    @contextmanager
    def noticed(self) -> Iterator[None]:
        """End the block when it takes too much of a processor; only where signals can be had."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGVTALRM, self._end)
        signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE, PATIENCE)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)

    async def ended_by(self, main: Callable[[], Awaitable[None]]) -> None:
        """Run something that is cancelled where it hangs."""
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:
            self._cancel = lambda: token.run_sync_soon(scope.cancel)
            await main()

    def _end(self, *_: object) -> None:
        if self._cancel is not None and not self.happened:
            self.happened = True
            self._cancel()
        else:
            # It does not even come back to trio.
            self.happened = True
            raise TimeoutError("the trial hangs")


@contextmanager
def _finely() -> Iterator[None]:
    """Prepare views for each list in small slices, so that much comes in between."""
    before = preparation.FEW, upcoming.PART, preparation.KEYS
    preparation.FEW, upcoming.PART, preparation.KEYS = -1, 2, 3  # type: ignore[misc]
    try:
        yield
    finally:
        preparation.FEW, upcoming.PART, preparation.KEYS = before  # type: ignore[misc]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the mirror's log: failing subscribers are in the plan."""
    logger = logging.getLogger("lrpmirror")
    handler, propagates = logging.NullHandler(), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagates
        logger.removeHandler(handler)
