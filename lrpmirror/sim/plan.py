"""The faults of a served Diego: their plan, a value that tests can pass on, print and repeat, and what injects them."""

import random
from collections import Counter
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import trio
from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.errors import ConfigurationError
from lrpmirror.server.app import BBSApp
from lrpmirror.server.asgi import ASGIApp, Message, Receive, Scope, Send
from lrpmirror.server.hosting import Host
from lrpmirror.server.lists import LISTS
from lrpmirror.server.streams import STREAMS
from lrpmirror.sim.delivery import Faults
from lrpmirror.sim.diego import Diego

RATES: Final = ("cuts", "stream_cuts", "outages", "refusals", "failovers", "silences", "restores")
CHANCES: Final = ("slow_lists", "truncated_lists", "half_open_streams")


class FaultPlan(Struct, frozen=True, kw_only=True):
    """The faults of a served Diego, their rates and the seed; `serve_diego` carries the plan out.

    `events` is what happens to events between the write and its readers: see `Faults`.

    To the server as a whole, so many times a second on average, and one after the other:

    - `cuts`: all connections are closed; `stream_cuts`: all event streams are.
    - `outages`: for a while everything is answered with 503.
    - `refusals`: for a while new connections are refused; open ones stay.
    - `failovers`: connections are closed, for a while refused, for a while answered with 503, then served.
    - `silences`: for a while nothing is written on any connection; then all go on as if nothing had been.
    - `restores`: the database is set back to what it was a while ago, and all connections are closed.

    To single requests, each with a chance between 0 and 1:

    - `slow_lists`: a list takes up to `slowness` seconds longer, before its state is read or after.
    - `truncated_lists`: a list that is not empty breaks off in the middle, and its connection is closed.
    - `half_open_streams`: after a while an event stream carries nothing any more, and stays open.

    "A while" lasts between the two `lasting`, in seconds of trio's clock. After `seconds`, unless None, everything is
    put right. The same `seed` does the same things to the server at the same times; what becomes of single requests
    follows from their order too. Raises ConfigurationError for values that are no rate, chance or range.
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
        """Return a plan in which each kind of fault is there or not, by the seed: none then hides another in all plans.

        `rate` is how often something happens to the server, times a second and for each kind that is there.
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


@dataclass(eq=False, repr=False)
class FaultyReplies:
    """An ASGI application around another, with a plan's faults in single requests, until `calm`; counts `mishaps`."""

    _app: ASGIApp
    _plan: FaultPlan
    _mishaps: Counter[str]

    def __post_init__(self) -> None:
        # Not the generator for what happens to the server, whose times are to be the same whatever is asked.
        self._rng = random.Random(self._plan.seed + 1)
        self._half_open: set[trio.CancelScope] = set()
        self._calm = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with a fault or without."""
        path = scope.get("path", "")
        if path in LISTS and not self._calm:
            await self._list(scope, receive, send)
        elif path in STREAMS and not self._calm and self._rng.random() < self._plan.half_open_streams:
            self._mishaps["half_open_streams"] += 1
            await self._half_open_stream(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def calm(self) -> None:
        """Inject no more faults. Streams that have gone silent, or were about to, are closed."""
        self._calm = True
        for scope in self._half_open:
            scope.cancel()

    async def _list(self, scope: Scope, receive: Receive, send: Send) -> None:
        early = late = 0.0
        if self._rng.random() < self._plan.slow_lists:
            self._mishaps["slow_lists"] += 1
            slowness = self._rng.uniform(0, self._plan.slowness)
            early, late = self._rng.choice([(slowness, 0.0), (0.0, slowness)])
        if self._rng.random() < self._plan.truncated_lists:
            send = _truncated(send, self._rng, self._mishaps)

        async def send_late(message: Message) -> None:
            # The state has been read by then.
            if message["type"] == "http.response.start":
                await trio.sleep(late)
            await send(message)

        await trio.sleep(early)
        await self._app(scope, receive, send_late)

    async def _half_open_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        end = trio.current_time() + self._rng.uniform(*self._plan.lasting)

        async def send_until_then(message: Message) -> None:
            if trio.current_time() >= end:
                await trio.sleep_forever()
            await send(message)

        with trio.CancelScope() as stream:
            self._half_open.add(stream)
            try:
                await self._app(scope, receive, send_until_then)
            finally:
                self._half_open.remove(stream)


class FaultInjector:
    """Carries out a plan while `run` runs; `mishaps` counts the faults, by the plan's names."""

    def __init__(
        self, plan: FaultPlan, mishaps: Counter[str], *, diego: Diego, app: BBSApp, requests: FaultyReplies, host: Host
    ) -> None:
        self.mishaps = mishaps
        self._plan = plan
        self._diego = diego
        self._app = app
        self._requests = requests
        self._host = host
        self._rng = random.Random(plan.seed)
        self._scope = trio.CancelScope()
        self._over = trio.Event()

    async def run(self) -> None:
        """Inject faults for as long as the plan says or until `calm`; then end all of them."""
        faults, available = self._diego.faults, self._app.available
        if self._plan.events is not None:
            self._diego.faults = self._plan.events
        self._scope.deadline = trio.current_time() + (inf if self._plan.seconds is None else self._plan.seconds)
        with self._scope:
            await self._go_wrong()
        if self._plan.events is not None:
            self._diego.faults = faults
        self._app.available = available
        self._requests.calm()
        self._host.resume()
        await self._host.accept()
        self._over.set()

    async def calm(self) -> None:
        """Stop injecting faults; return when all have ended."""
        self._scope.cancel()
        await self._over.wait()

    async def _go_wrong(self) -> None:
        weights = [getattr(self._plan, name) for name in RATES]
        if not any(weights):
            await trio.sleep_forever()
        while True:
            await trio.sleep(self._rng.expovariate(sum(weights)))
            (name,) = self._rng.choices(RATES, weights)
            self.mishaps[name] += 1
            await self._inject(name)

    async def _inject(self, name: str) -> None:
        match name:
            case "cuts":
                self._host.cut()
            case "stream_cuts":
                self._host.cut(streams_only=True)
            case "outages":
                self._app.available = False
                await self._a_while()
                self._app.available = True
            case "refusals":
                await self._refuse()
            case "failovers":
                self._app.available = False
                self._host.cut()
                await self._refuse()
                await self._a_while()
                self._app.available = True
            case "silences":
                self._host.pause()
                await self._a_while()
                self._host.resume()
            case "restores":
                backup = self._diego.backup()
                await self._a_while()
                self._diego.restore(backup)
                self._host.cut()

    async def _refuse(self) -> None:
        await self._host.refuse()
        await self._a_while()
        await self._host.accept()

    async def _a_while(self) -> None:
        await trio.sleep(self._rng.uniform(*self._plan.lasting))


def _truncated(send: Send, rng: random.Random, mishaps: Counter[str]) -> Send:
    """Return a `send` that leaves out the end of the body, so that the server closes the connection."""
    began = ended = False

    async def send_part(message: Message) -> None:
        nonlocal began, ended
        if ended:
            return
        body = message.get("body", b"")
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if (body or began) and (last or rng.random() < 0.5):  # noqa: PLR2004 - a coin
            ended = True
            mishaps["truncated_lists"] += 1
            message = {**message, "body": body[: rng.randrange(len(body) or 1)], "more_body": True}
        began = began or bool(body)
        await send(message)

    return send_part
