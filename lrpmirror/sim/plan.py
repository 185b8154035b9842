"""The faults of a served Diego, as a value that a test can pass on, print and repeat."""

import random
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.errors import ConfigurationError
from lrpmirror.sim.delivery import Faults

RATES: Final = ("cuts", "stream_cuts", "outages", "refusals", "failovers", "silences", "restores")
CHANCES: Final = ("slow_lists", "truncated_lists", "half_open_streams")


class FaultPlan(Struct, frozen=True, kw_only=True):
    """The faults of a served Diego, their rates and the seed; `serve_diego` carries the plan out.

    `events` is what happens to events between the write and its readers: see `Faults`.

    To the server as a whole, so many times a second on average, and one after the other:

    - `cuts`: all connections are closed; `stream_cuts`: all event streams are.
    - `outages`: for a while everything is answered with 503.
    - `refusals`: for a while new connections are refused; open ones stay.
    - `failovers`: as when another server takes over: connections are closed, for a while refused, for a while answered
      with 503, then served.
    - `silences`: for a while nothing is written on any connection; then all go on as if nothing had been.
    - `restores`: the database is set back to what it was a while ago, and all connections are closed: what was written
      meanwhile, and announced, never was. See `Diego.restore`.

    To single requests, each with a chance between 0 and 1:

    - `slow_lists`: a list takes up to `slowness` seconds longer, before its state is read or after.
    - `truncated_lists`: a list that is not empty breaks off in the middle, and its connection is closed.
    - `half_open_streams`: after a while an event stream carries nothing any more, and stays open.

    "A while" lasts between the two `lasting`, in seconds. Things go wrong for `seconds`, or for as long as the Diego is
    served if None; then everything is put right. Seconds are those of trio's clock: a MockClock makes them virtual.

    The same `seed` does the same things to the server at the same times. What becomes of single requests follows from
    the seed and their order, which sockets decide.

    Raises ConfigurationError for a rate below 0, a chance outside 0 to 1, or a `lasting` that ends before it begins.
    """

    seed: int = 0
    seconds: float | None = None
    events: Faults | None = None
    cuts: float = 0.0
    stream_cuts: float = 0.0
    outages: float = 0.0
    refusals: float = 0.0
    failovers: float = 0.0
    silences: float = 0.0
    restores: float = 0.0
    lasting: tuple[float, float] = (0.1, 2.0)
    slow_lists: float = 0.0
    slowness: float = 1.0
    truncated_lists: float = 0.0
    half_open_streams: float = 0.0

    def __post_init__(self) -> None:
        for name in (*RATES, "slowness"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"FaultPlan({name}={getattr(self, name)}): give 0 or more")
        for name in CHANCES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"FaultPlan({name}={getattr(self, name)}): give a chance between 0 and 1")
        if not 0 <= self.lasting[0] <= self.lasting[1]:
            raise ConfigurationError(f"FaultPlan(lasting={self.lasting}): give the shorter time first")

    @classmethod
    def swarm(cls, seed: int, *, seconds: float | None = None, rate: float = 0.5) -> "FaultPlan":
        """Return a plan in which each kind of fault is there or not, by the seed.

        Plans of many seeds find more than one plan with everything in it, where one fault hides another. `rate` is how
        often something happens to the server, times a second and for each kind that is there.
        """
        rng = random.Random(seed)

        def perhaps(much: float) -> float:
            return much if rng.random() < 0.5 else 0.0  # noqa: PLR2004 - a coin

        events = Faults(
            seed=seed, delay=perhaps(0.3), lose=perhaps(0.01), duplicate=perhaps(0.05), stale_removed=perhaps(0.3)
        )
        chosen: dict[str, Any] = {name: perhaps(rate) for name in RATES}
        chosen |= {name: perhaps(0.2) for name in CHANCES}
        events = replace(events, empty_removed=perhaps(0.1))
        return cls(seed=seed, seconds=seconds, events=events, **chosen)
