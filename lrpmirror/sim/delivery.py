"""How events travel, from the goroutine of a write to the readers: in order, or with the faults of a real server."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from lrpmirror.errors import ConfigurationError
from lrpmirror.events import ActualLRPInstanceRemoved, ActualLRPRemoved, Event, UnreadableEvent

_REMOVED: Final = (ActualLRPInstanceRemoved, ActualLRPRemoved)

MAX_UNDER_WAY: Final = 16  # goroutines that wait at most; beyond that delivery goes on: no event waits for ever


class Faults(Struct, frozen=True, kw_only=True):
    """What may go wrong between a write and its readers; each a chance between 0 and 1.

    `delay`: that the goroutines still under way wait for a later operation, and then interleave with its own. Even at
    0 the goroutines of one operation race. `lose` and `duplicate`: that an event never arrives, or arrives once more,
    later. `stale_removed`: that the `removed` of a row which its cell removed shows it as it was one write earlier.
    `empty_removed`: that a `removed` of a row is followed by one that is empty, as of a row that was gone already.
    """

    seed: int = 0
    delay: float = 0.3
    lose: float = 0.0
    duplicate: float = 0.0
    stale_removed: float = 0.0
    empty_removed: float = 0.0

    def __post_init__(self) -> None:
        for name in ("delay", "lose", "duplicate", "stale_removed", "empty_removed"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"Faults({name}={getattr(self, name)}): give a chance between 0 and 1")


class EventDelivery:
    """Carries the events of one stream to `deliver`, which is called once for each event, in the order of arrival."""

    def __init__(self, deliver: Callable[[Event], None], faults: Faults | None) -> None:
        self._deliver = deliver
        self._under_way: list[deque[Event]] = []
        self._faults: Faults | None = None
        self.change(faults)

    def change(self, faults: Faults | None) -> None:
        """Apply other faults from now on; events under way are delivered first, with the faults before."""
        self.settle()
        self._faults = faults
        self._random = random.Random(0 if faults is None else faults.seed)

    @property
    def under_way(self) -> int:
        """How many events have been caused and not delivered yet."""
        return sum(len(events) for events in self._under_way)

    def send(self, goroutines: Sequence[Sequence[Event]]) -> None:
        """Take what an operation causes: one sequence for each goroutine that sends."""
        if self._faults is None:
            for events in goroutines:
                for event in events:
                    self._deliver(event)
            return
        self._under_way += [deque(events) for events in goroutines if events]
        while self._under_way:
            if len(self._under_way) <= MAX_UNDER_WAY and self._random.random() < self._faults.delay:
                return
            self._step(self._faults)

    def settle(self) -> None:
        """Deliver all events under way, with the faults."""
        while self._under_way and self._faults is not None:
            self._step(self._faults)

    def forget(self) -> int:
        """Lose all events under way; return how many there were."""
        lost = self.under_way
        self._under_way.clear()
        return lost

    def _step(self, faults: Faults) -> None:
        place = self._random.randrange(len(self._under_way))
        events = self._under_way[place]
        event = events.popleft()
        if not events:
            self._under_way[place] = self._under_way[-1]
            self._under_way.pop()
        if self._random.random() < faults.lose:
            return
        self._deliver(event)
        if self._random.random() < faults.duplicate:
            self._under_way.append(deque([event]))
        if isinstance(event, _REMOVED) and faults.empty_removed and self._random.random() < faults.empty_removed:
            self._deliver(UnreadableEvent(event.type))
