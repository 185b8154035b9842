"""A trial of the whole: the mirror as shipped, with its client, against a served Diego, over a network in memory."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import trio
import trio.testing

from lrpmirror.core.freshness.status import Phase
from lrpmirror.server.app import BBSApp
from lrpmirror.server.hosting import serve_app
from lrpmirror.server.streams import StreamKind, Subscription
from lrpmirror.sim import Diego
from simulation import laws
from simulation.active_faults import ActiveFaults, Timeline
from simulation.certificates import Certificates
from simulation.fault_runner import FaultRunner
from simulation.faulty_replies import FaultyReplies
from simulation.history import History
from simulation.network import ADDRESS, PORT, Network
from simulation.observer import Digest
from simulation.plan import Plan
from simulation.slow_steps import slow_steps
from simulation.state_file import TrialStateFile
from simulation.subject import Subject
from simulation.workload import TUNING, Workload

__all__ = ["ShellTrial"]

KEEP_ALIVE: Final = 61.0
"""How long the client's sockets may take to find that a peer is gone, in seconds; see `client._pipe`."""

SILENCE: Final = TUNING.idle_limit + 40.0
"""How long a stream may be silent for good before it is replaced: the limit, a list, and another try."""

BOUND: Final = 60.0
"""How long after the last fault the mirror may take: an interval, a list that hangs, the delays, and the lists anew."""

KEPT_EVENTS: Final = 100
"""How many events the server keeps for a reader, before it closes the stream of one that falls behind."""

MOMENT: Final = 0.3
"""How long a server that is not hurried takes over a list, at most and twice, in seconds."""

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder is made in it, by tempfile


class ShellTrial:
    """One trial of the whole."""

    bound = BOUND

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = Random(plan.seed)
        self.digest = Digest()
        self.active_faults = ActiveFaults()
        self.diego = _SmallBufferDiego(seed=plan.seed)
        self.history = History(self.diego)
        self.life = Workload(plan, self.diego)
        self.steps = 0
        self._subject: Subject | None = None

    @property
    def commits(self) -> int:
        """How many commits there were."""
        return 0 if self._subject is None else self._subject.commits

    @property
    def subject(self) -> Subject:
        """The mirror that is tried."""
        assert self._subject is not None
        return self._subject

    async def run(self) -> None:
        """Play the plan; raise LawBroken where a law does not hold, and any error of the mirror."""
        with _folder(self.plan) as folder, slow_steps(self.plan.seed):
            certificates = Certificates(folder) if folder is not None and self.plan.tls else None
            kept = TrialStateFile(folder, self.rng) if folder is not None and "restart" in self.plan.kinds else None
            self._subject = self._make_subject(kept, certificates)
            async with trio.open_nursery() as nursery:
                self.network = Network(nursery)
                self.network.install()
                answers = FaultyReplies(
                    BBSApp(self.diego, writes=self.diego), self.active_faults, self.history, self.rng, trio.current_time
                )
                answers.moment = 0.0 if self.plan.hurried else MOMENT
                server = None if certificates is None else certificates.server
                async with serve_app(answers, address=ADDRESS, port=PORT, tls=server) as host:
                    self._fault_runner = self._make_fault_runner(kept, certificates)
                    self._begin_beside(nursery)
                    nursery.start_soon(self.subject.run)
                    nursery.start_soon(self._fault_runner.run, Timeline(self.plan.faults), self.plan.seed)
                    await self._live()
                    await self._fault_runner.calm()
                    await self._converge()
                    host.traffic.raise_failures("the simulated BBS")
                    nursery.cancel_scope.cancel()

    def _make_subject(self, kept: TrialStateFile | None, certificates: Certificates | None) -> Subject:
        return Subject(self.plan, self.history, self.digest, kept=kept, certificates=certificates)

    def _make_fault_runner(self, kept: TrialStateFile | None, certificates: Certificates | None) -> FaultRunner:
        return FaultRunner(
            self.network,
            self.active_faults,
            self.diego,
            self.subject,
            self.history,
            certificates=certificates,
            kept=kept,
        )

    def _begin_beside(self, nursery: trio.Nursery) -> None:
        """Start the tasks between the server and the mirror."""

    async def _live(self) -> None:
        """Run the workload, and check the mirror each second."""
        for _ in range(self.plan.seconds):
            second = trio.current_time() + 1
            self.history.remember(trio.current_time())
            for _ in self.life.moves():
                if self.rng.random() < 0.3:
                    await trio.sleep(self.rng.uniform(0, 0.1))
            await trio.sleep_until(second)
            await self._look()

    async def _look(self) -> None:
        """Let all tasks finish what they can do now, then check everything against the laws."""
        await trio.testing.wait_all_tasks_blocked()
        self.steps += 1
        subject = self.subject
        if subject.mirror is None:
            return
        phase = subject.mirror.status.phase
        self.digest.add(trio.current_time(), phase.value, subject.mirror.revision)
        subject.look()
        self._look_at_freshness()

    def _look_at_freshness(self) -> None:
        """Check the mirror's freshness against what came over the network."""
        assert self.subject.mirror is not None
        status = self.subject.mirror.status
        # How old a restored state is, only the clock on the wall knows, as far as it is right.
        if status.synced_at is not None or not self.plan.kinds & {"wall clock", "suspend"}:
            laws.age_counts_from_the_last_byte(status, self.network.last_byte)
        laws.silence_counts_from_the_last_event(status, self.network.last_stream_byte)
        streams = self.network.streams()
        laws.live_means_that_there_is_a_stream(status.phase, streams)
        gone = [link.gone_at for link in streams if link.gone_at is not None]
        if gone and len(gone) == len(streams):
            laws.dead_streams_are_noticed(status.phase, trio.current_time() - max(gone), KEEP_ALIVE)
        stuck = [link.stuck_at for link in streams if link.stuck_at is not None]
        if stuck:
            laws.silent_streams_are_replaced(trio.current_time() - min(stuck), SILENCE + self._fault_runner.jumped)

    # The end

    async def _converge(self) -> None:
        """Wait until the mirror has the server's state; first what the stream carries, then everything."""
        self.diego.settle()
        while self.subject.mirror is None:  # noqa: ASYNC110 - it is being started again
            await trio.sleep(0.5)
        if not self.subject.gave_up_repairs:
            await self._wait_for_the_end(notified=True)
            await trio.sleep(5)
        await self._list_once()
        await self._wait_for_the_end(notified=False)
        revision = self.subject.session.knowledge.revision
        await self._list_once()
        await self._look()
        laws.nothing_is_published_where_nothing_changes(revision, self.subject.session.knowledge.revision)
        while any(link.stuck_at is not None for link in self.network.streams()):
            await trio.sleep(2)
            await self._look()
        await trio.sleep(TUNING.audit_grace + 1)
        if self.plan.is_exact and self.plan.is_prompt:
            laws.nothing_drifts_where_nothing_was_lost(self.subject.session.counts().drift_kinds)
        await self.subject.let_catch_up()

    async def _wait_for_the_end(self, *, notified: bool) -> None:
        began = trio.current_time()
        bound = self.bound + (KEEP_ALIVE if self.plan.kinds & {"peer gone", "suspend"} else 0)
        bound += SILENCE if "stream stalled" in self.plan.kinds else 0
        while True:
            await self._look()
            waited = trio.current_time() - began
            if self.subject.mirror is not None:
                server, phase = self.diego.snapshot(), self.subject.mirror.status.phase
                there = phase is Phase.LIVE and not laws.differences(self.subject.session, server, notified=notified)
                if there or waited > bound:
                    break
            await trio.sleep(1)
        laws.the_end_is_the_servers_state(self.subject.session, phase, server, waited, notified=notified)

    async def _list_once(self) -> None:
        mirror = self.subject.mirror
        assert mirror is not None
        # So that the time of the one list is not that of the other.
        await trio.sleep(1)
        before = mirror.status.synced_at
        mirror.resync()
        await mirror.wait_for(lambda one: one.status.synced_at != before, timeout=BOUND)


class _SmallBufferDiego(Diego):
    """A server that buffers fewer events for a reader than a real one, since less happens at once here."""

    def subscribe(self, kind: StreamKind, cell_id: str = "", *, limit: int | None = KEPT_EVENTS) -> Subscription:
        """Return a subscription from now on."""
        return super().subscribe(kind, cell_id, limit=limit)


@contextmanager
def _folder(plan: Plan) -> Iterator[Path | None]:
    """Make a folder for the files of a trial, where it has any."""
    if not plan.tls and "restart" not in plan.kinds:
        yield None
        return
    where = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lrpmirror-trial-", dir=where) as name:
        yield Path(name)
