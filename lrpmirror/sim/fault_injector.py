"""Faults of the server as a whole, injected by a plan and then ended."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from math import inf

import trio

from lrpmirror.server.app import BBSApp
from lrpmirror.server.hosting import Host
from lrpmirror.sim.diego import Diego
from lrpmirror.sim.faulty_replies import FaultyReplies
from lrpmirror.sim.plan import RATES, FaultPlan


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
        self._does: dict[str, Callable[[], Awaitable[None]]] = {
            "cuts": self._cut,
            "stream_cuts": self._cut_streams,
            "outages": self._be_out,
            "refusals": self._refuse,
            "failovers": self._fail_over,
            "silences": self._be_silent,
            "restores": self._set_back,
        }

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
            await self._does[name]()

    async def _a_while(self) -> None:
        await trio.sleep(self._rng.uniform(*self._plan.lasting))

    async def _cut(self) -> None:
        self._host.cut()

    async def _cut_streams(self) -> None:
        self._host.cut(streams_only=True)

    async def _be_out(self) -> None:
        self._app.available = False
        await self._a_while()
        self._app.available = True

    async def _refuse(self) -> None:
        await self._host.refuse()
        await self._a_while()
        await self._host.accept()

    async def _fail_over(self) -> None:
        self._app.available = False
        self._host.cut()
        await self._refuse()
        await self._a_while()
        self._app.available = True

    async def _be_silent(self) -> None:
        self._host.pause()
        await self._a_while()
        self._host.resume()

    async def _set_back(self) -> None:
        backup = self._diego.backup()
        await self._a_while()
        self._diego.restore(backup)
        self._host.cut()
