"""The faults active at the moment, and the times at which a plan's faults begin and end."""

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

from lrpmirror.sim import Faults
from simulation.plan import Fault

__all__ = ["ActiveFaults", "Moment", "Timeline"]


LATER: Final = 0.4
"""The chance that a doubled event waits for a later write."""


class ActiveFaults:
    """The active faults by kind, and how many of each kind have begun so far."""

    def __init__(self) -> None:
        self._lasting: dict[str, list[Fault]] = {}
        self.counts: Counter[str] = Counter()
        self._holding = False

    def begin(self, fault: Fault) -> None:
        """Record that a fault begins."""
        self.counts[fault.kind] += 1
        if fault.lasting:
            self._lasting.setdefault(fault.kind, []).append(fault)

    def end(self, fault: Fault) -> None:
        """Record that a fault is over."""
        self._lasting[fault.kind].remove(fault)

    def calm(self) -> None:
        """Record that everything is over."""
        self._lasting.clear()
        self._holding = False

    def hold_events(self, *, hold: bool) -> None:
        """Hold events back from now on, as before a crash of the server that loses them; or no longer."""
        self._holding = hold

    def now(self, kind: str) -> Fault | None:
        """Return the active fault of that kind; the one that began last, of several."""
        lasting = self._lasting.get(kind)
        return lasting[-1] if lasting else None

    def amount(self, kind: str) -> float:
        """Return the amount of the active fault of that kind; 0 where there is none."""
        fault = self.now(kind)
        return 0.0 if fault is None else fault.amount

    def events(self, seed: int) -> Faults | None:
        """Return the active faults of events; None where there are none."""
        if self._holding:
            return Faults(seed=seed, delay=1.0)
        faults = Faults(
            seed=seed,
            # What arrives once more arrives later, and not only in the next moment.
            delay=self.amount("events swapped") or (LATER if self.now("events doubled") else 0.0),
            lose=self.amount("events lost"),
            duplicate=self.amount("events doubled"),
            stale_removed=self.amount("stale removals"),
        )
        return faults if faults.delay or faults.lose or faults.duplicate or faults.stale_removed else None


class Moment(StrEnum):
    """A moment in the course of a fault."""

    NEARS = "nears"
    """The server is about to be replaced: the events of what it still writes will be lost."""
    BEGINS = "begins"
    ENDS = "ends"


class Timeline:
    """The beginnings and ends of a plan's faults, in the order of time."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        moments: list[tuple[float, int, int, Fault, Moment]] = []
        for number, fault in enumerate(faults):
            moments.append((fault.at, 1, number, fault, Moment.BEGINS))
            if fault.lasting:
                moments.append((fault.at + fault.lasting, 2, number, fault, Moment.ENDS))
            if fault.kind == "fail-over":
                moments.append((max(0.0, fault.at - fault.amount), 0, number, fault, Moment.NEARS))
        self._moments = sorted(moments, key=lambda moment: moment[:3])

    def due(self, now: float) -> Iterator[tuple[Fault, Moment]]:
        """Yield what is due by now: the fault, and its moment."""
        while self._moments and self._moments[0][0] <= now:
            *_, fault, moment = self._moments.pop(0)
            yield fault, moment

    @property
    def next_at(self) -> float | None:
        """When the next thing is due; None where nothing is any more."""
        return self._moments[0][0] if self._moments else None
