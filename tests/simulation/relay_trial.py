"""A trial of a relay: publishers follow the served Diego and write to a Redis in memory, and the mirror reads there."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

import trio

from lrpmirror.client import BBSClient
from lrpmirror.core.freshness.status import Phase
from lrpmirror.errors import RelayUnreachable
from lrpmirror.mirror import open_mirror
from lrpmirror.mirror._mirror import Mirror
from lrpmirror.relay import RelayClient, open_publisher
from lrpmirror.relay._commands import Commands
from lrpmirror.relay._format import Keys
from simulation import laws
from simulation.certificates import Certificates
from simulation.fault_runner import FaultRunner
from simulation.network import HOST, PORT
from simulation.plan import Fault, Plan
from simulation.redis import MemoryRedis
from simulation.shell_trial import BOUND, ShellTrial
from simulation.state_file import TrialStateFile
from simulation.subject import TIMEOUTS, Subject
from simulation.workload import tuning_of

__all__ = ["RelayTrial"]

URL: Final = "redis://memory"

NAMES: Final = ("first", "second")
"""The publishers."""

STREAM_BYTES: Final = 20_000
"""Bytes that the stream keeps: less than a real one, so that readers that were away miss entries."""


class RelayTrial(ShellTrial):
    """One trial of a relay."""

    bound = 2 * BOUND
    """A publisher converges first, then the reader."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.redis: MemoryRedis
        self._publishers = {name: _Publisher(self, n) for n, name in enumerate(NAMES)}

    async def run(self) -> None:
        """Play the plan."""
        # It is made here, since it has the clock of the run.
        self.redis = MemoryRedis()
        await super().run()

    def _make_subject(self, kept: TrialStateFile | None, certificates: Certificates | None) -> Subject:
        return Subject(
            self.plan,
            self.history,
            self.digest,
            kept=kept,
            certificates=certificates,
            source=lambda: RelayClient(URL, connect=self.redis.connect),
        )

    def _make_fault_runner(self, kept: TrialStateFile | None, certificates: Certificates | None) -> FaultRunner:
        runner = _FaultRunner(
            self.network,
            self.active_faults,
            self.diego,
            self.subject,
            self.history,
            certificates=certificates,
            kept=kept,
        )
        runner.reach(self.redis, self._publishers)
        return runner

    def _begin_beside(self, nursery: trio.Nursery) -> None:
        for publisher in self._publishers.values():
            nursery.start_soon(publisher.run)
        nursery.start_soon(self._remember)

    async def _remember(self) -> None:
        while True:
            self.redis.remember()
            await trio.sleep(0.5)

    def _look_at_freshness(self) -> None:
        assert self.subject.mirror is not None
        status = self.subject.mirror.status
        if status.phase is Phase.LIVE:
            laws.state_is_no_newer_than_the_last_byte(status, self.network.last_byte)

    async def _list_once(self) -> None:
        for publisher in self._publishers.values():
            if publisher.mirror is not None:
                publisher.mirror.resync()
        # The publishers have domains and cells of their lists, and look again at those each second.
        await trio.sleep(5)
        await super()._list_once()


class _Publisher:
    """A publisher and its successors after restarts."""

    def __init__(self, trial: RelayTrial, number: int) -> None:
        self._trial = trial
        self._seed = trial.plan.seed + 1000 * number
        self._life = trio.CancelScope()
        self._pause = 0.0
        self._dead = False
        self.mirror: Mirror | None = None

    async def run(self) -> None:
        """Publish, and begin anew after each `end`."""
        while True:
            self._dead = False
            with trio.CancelScope() as self._life:
                await self._publish()
            self.mirror = None
            await trio.sleep(self._pause)

    def end(self, fault: Fault) -> None:
        """End it for a while; if killed, without releasing the lease."""
        self._dead = fault.kind == "publisher killed"
        self._pause = fault.lasting
        self._life.cancel()

    async def _publish(self) -> None:
        plan = self._trial.plan
        options: dict[str, Any] = {"refresh": 1.0, "stream_bytes": STREAM_BYTES, "rng": Random(self._seed)}
        async with (
            BBSClient(f"http://{HOST}:{PORT}", timeout=TIMEOUTS) as client,
            open_mirror(client, tuning=tuning_of(plan), rng=Random(self._seed)) as mirror,
            open_publisher(mirror, client, URL, connect=self._connect, **options),
        ):
            self.mirror = mirror
            await trio.sleep_forever()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Commands]:
        if self._dead:
            raise RelayUnreachable("who has been killed says nothing more")
        async with self._trial.redis.connect() as commands:
            yield commands


class _FaultRunner(FaultRunner):
    """Runs the faults of the relay, too."""

    def reach(self, redis: MemoryRedis, publishers: Mapping[str, _Publisher]) -> None:
        """Set the relay that the faults apply to."""
        self._redis = redis
        keys = Keys("lrpmirror")
        self._strikes |= {
            "relay away": lambda _: redis.cut(),
            "relay cut": lambda _: redis.cut(),
            "relay flushed": lambda _: redis.flush(),
            "relay key dropped": lambda fault: redis.drop(keys.key(fault.choice)),
            "relay set back": lambda fault: redis.set_back(fault.amount),
            "publisher killed": lambda fault: publishers[fault.choice].end(fault),
            "publisher closed": lambda fault: publishers[fault.choice].end(fault),
        }

    def _set_right(self) -> None:
        super()._set_right()
        self._redis.away = self._active_faults.now("relay away") is not None
        self._redis.stalled = self._active_faults.now("relay stalled") is not None
