"""Event rates, second by second over the last minutes."""

from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from lrpmirror.core.rows.changes import Commit
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.events import ActualLRPCrashed, Event

MINUTES: Final = 5  # how many minutes are remembered


class Second(Struct, array_like=True):
    """What happened within one second."""

    events: int = 0
    changes: int = 0
    crashes: int = 0


class EventRates:
    """Counts what a mirror sees, by the second: an observer of it (see `Mirror.observed`). O(1) an event."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = int(clock())
        self._seconds: deque[Second] = deque([Second()], maxlen=MINUTES * 60)

    def event(self, event: Event, outcome: Outcome, commit: Commit | None) -> None:  # noqa: ARG002 - an observer's
        """Count an event and what it changed."""
        now = self._now()
        now.events += 1
        now.changes += commit is not None
        now.crashes += isinstance(event, ActualLRPCrashed)

    def listed(self, commit: Commit) -> None:  # noqa: ARG002 - an observer's
        """Count a list that changed something."""
        self._now().changes += 1

    def history(self) -> tuple[Second, ...]:
        """Return the seconds that are over, the oldest first. O(seconds)."""
        self._now()
        return tuple(self._seconds)[:-1]

    def _now(self) -> Second:
        """Return the counters of this second, after as many empty ones as have passed unnoticed."""
        passed = int(self._clock()) - self._began
        self._began += passed
        for _ in range(min(passed, MINUTES * 60)):
            self._seconds.append(Second())
        return self._seconds[-1]
