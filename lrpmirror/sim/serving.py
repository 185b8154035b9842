"""The simulated Diego over HTTP on loopback."""

import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from lrpmirror.server.app import BBSApp, Lag
from lrpmirror.server.hosting import Host, ServerTLS, serve_app
from lrpmirror.server.limits import Limits
from lrpmirror.sim.autopilot import CONVERGENCE, Autopilot
from lrpmirror.sim.diego import Diego
from lrpmirror.sim.fault_injector import FaultInjector
from lrpmirror.sim.faulty_replies import FaultyReplies
from lrpmirror.sim.plan import FaultPlan
from lrpmirror.sim.rawtexts import RawTexts
from lrpmirror.sim.sliced import Sliced

AT_ONCE: Final = 16
"""How many writes the autopilot makes before readers get their turn: few enough that none falls behind."""


class Clock:
    """A server without clients: time passes, and it converges."""

    def __init__(self, diego: Diego) -> None:
        self._diego = diego
        self._second = 0

    def moves(self) -> Iterator[None]:
        """Let one virtual second pass."""
        self._diego.advance(1)
        self._second += 1
        if self._second % CONVERGENCE == 0:
            self._diego.converge()
        yield


class ServedDiego:
    """A simulated Diego that answers at a URL.

    `diego` is what is served: write to it from the tasks of the same trio run, or over HTTP from anywhere. `app` has
    the switches of the protocol (503, paths to hide, slow lists), `host` those of the network (cut, refuse, fall
    silent). `mishaps` counts what a fault plan has done so far, by the plan's names.
    """

    def __init__(self, diego: Diego, app: BBSApp, host: Host, fault_injector: FaultInjector) -> None:
        self.diego = diego
        self.app = app
        self.host = host
        self._fault_injector = fault_injector

    @property
    def url(self) -> str:
        """Where it answers; stays the same while it is served."""
        return self.host.url

    @property
    def mishaps(self) -> Counter[str]:
        """How many times each kind of fault has happened."""
        return self._fault_injector.mishaps

    async def calm(self) -> None:
        """End the fault plan now, and return when all faults have ended."""
        await self._fault_injector.calm()


@asynccontextmanager
async def serve_diego(
    diego: Diego,
    *,
    tls: ssl.SSLContext | ServerTLS | None = None,
    autopilot: Autopilot | None = None,
    pace: float = 1.0,
    ticking: bool = False,
    plan: FaultPlan | None = None,
    address: str = "127.0.0.1",
    port: int = 0,
    available: bool = True,
    hidden: Iterable[str] = (),
    lag: Lag | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[ServedDiego]:
    """Serve the simulation while the context is open: every read and every write of the protocol, and both streams.

    With an `autopilot` the workload goes on meanwhile: one step, which is one virtual second, every 1 / `pace` seconds.
    Without one the simulation's time stands still and nothing happens but what is written to it; `ticking` lets time
    pass at that pace, with a convergence every 30 virtual seconds, as in a server that is left to itself.

    Where the simulation has U+FFFD for a cut character, the bytes that are sent are not UTF-8.

    With a `plan` things go wrong meanwhile. `tls` is a server's context, as `lrpmirror.server.mutual_tls` makes it, or
    files that are taken up again when they are replaced. `limits` bound the clients. `available`,
    `hidden` and `lag` are those of `BBSApp`; 0 as `port` takes a free one.

    What the block raises leaves it as it was raised. A request that fails by a mistake of the simulation is answered
    with 500, and raised at the end of the block, in an ExceptionGroup, since it may be what a test has not noticed.
    Raises ConfigurationError if the port cannot be had.
    """
    app = BBSApp(Sliced(diego), writes=diego, available=available, hidden=hidden, lag=lag)
    mishaps: Counter[str] = Counter()
    requests = FaultyReplies(RawTexts(app), plan or FaultPlan(), mishaps)
    async with serve_app(requests, address=address, port=port, tls=tls, limits=limits) as host:
        fault_injector = FaultInjector(plan or FaultPlan(), mishaps, diego=diego, app=app, requests=requests, host=host)
        host.start_soon(fault_injector.run)
        if autopilot is not None:
            host.start_soon(_live, autopilot.moves, 1.0 / pace)
        elif ticking:
            host.start_soon(_live, Clock(diego).moves, 1.0 / pace)
        yield ServedDiego(diego, app, host, fault_injector)
    host.traffic.raise_failures("the simulated Diego")


async def _live(moves: Callable[[], Iterator[None]], interval: float) -> None:
    next_step = trio.current_time()
    while True:
        next_step += interval
        await trio.sleep_until(next_step)
        for number, _ in enumerate(moves()):
            if number % AT_ONCE == AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
