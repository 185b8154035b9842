"""The simulated Diego over HTTP on loopback."""

import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP
from lrpmirror.server.app import BBSApp, Lag
from lrpmirror.server.hosting import Host, ServerTLS, serve_app
from lrpmirror.server.limits import Limits
from lrpmirror.server.requests import desired_filter, row_filter
from lrpmirror.server.slices import grouped, passing
from lrpmirror.server.streams import StreamKind, Subscription
from lrpmirror.sim.autopilot import CONVERGENCE, Autopilot
from lrpmirror.sim.diego import Diego
from lrpmirror.sim.plan import FaultInjector, FaultPlan, FaultyReplies
from lrpmirror.sim.rawtexts import RawTexts
from lrpmirror.sim.transitions import groups_of_rows

AT_ONCE: Final = 16  # writes of the autopilot before readers get their turn: few enough that none falls behind


class Sliced:
    """A `lrpmirror.server.Source`: asks the simulation for all, in one quick copy, and filters while it is walked."""

    def __init__(self, diego: Diego) -> None:
        self._diego = diego
        self.domains = diego.domains
        self.cells = diego.cells
        self.actual_lrps_by_process_guids = diego.actual_lrps_by_process_guids

    def actual_lrps(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> Iterable[ActualLRP | None]:
        """Return the rows that pass all filters."""
        rows = self._diego.actual_lrps(process_guid=process_guid)
        return passing(rows, row_filter(domain, cell_id, index)) if domain or cell_id or index is not None else rows

    def actual_lrp_groups(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> Iterable[ActualLRPGroup | None]:
        """Return the groups of the rows that pass the filters."""
        return grouped(self.actual_lrps(domain, cell_id, process_guid, index), groups_of_rows)

    def desired_lrps(
        self, domain: str = "", process_guids: Sequence[str] = (), app_guids: Sequence[str] = ()
    ) -> Iterable[DesiredLRP | None]:
        """Return the desired LRPs that pass all filters."""
        return passing(self._diego.desired_lrps(), desired_filter(domain, process_guids, app_guids))

    def subscribe(self, kind: StreamKind, cell_id: str = "") -> Subscription:
        """Return a subscription to what happens from now on."""
        return self._diego.subscribe(kind, cell_id)


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
    the switches of the protocol, `host` those of the network.
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
    Without one the time stands still; `ticking` lets it pass at that pace, with a convergence every 30 virtual seconds.
    Where the simulation has U+FFFD for a cut character, the bytes that are sent are not UTF-8. With a `plan` things go
    wrong meanwhile. `tls` is a server's context, as `lrpmirror.server.mutual_tls` makes it, or files that are taken up
    again when they are replaced. `limits` bound the clients. `available`, `hidden` and `lag` are those of `BBSApp`; 0
    as `port` takes a free one. A request that fails by a mistake of the simulation is answered with 500, and raised at
    the end of the block, in an ExceptionGroup. Raises ConfigurationError if the port cannot be had.
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
