"""Trying the whole: the mirror as it is shipped, with its client, against a served Diego, over a network in memory."""

from functools import partial
from random import Random
from typing import Any, Final

import trio
import trio.testing

from lrpmirror.client import BBSClient, Timeouts
from lrpmirror.core.status import Phase
from lrpmirror.mirror import open_mirror
from lrpmirror.mirror._mirror import Mirror
from lrpmirror.server.app import BBSApp
from lrpmirror.server.hosting import serve_app
from lrpmirror.sim import Diego
from lrpmirror.trials import laws
from lrpmirror.trials.answers import Answers
from lrpmirror.trials.chronicle import Chronicle
from lrpmirror.trials.conductor import Conductor
from lrpmirror.trials.life import Life, tuning_of, views
from lrpmirror.trials.network import HOST, PORT, Network
from lrpmirror.trials.plan import Fault, Plan
from lrpmirror.trials.troubles import Timeline, Troubles
from lrpmirror.trials.watch import Digest, Fold, Watch

__all__ = ["Shell"]

TIMEOUTS: Final = Timeouts(connect=2.0, write=2.0, read=4.0)

KEEP_ALIVE: Final = 61.0
"""How long the client's sockets may take to find that a peer is gone, in seconds; see `client._pipe`."""

BOUND: Final = 60.0
"""How long after the last fault the mirror may take: an interval, a list that hangs, the delays, and the lists anew."""

MOMENT: Final = 0.3
"""How long a server that is not hurried takes over a list, at most and twice, in seconds."""

PATIENCE: Final = 200.0
"""How long the slowest subscriber may take to be told everything, once nothing happens any more."""


class Shell:
    """One trial of the whole."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.dice = Random(plan.seed)
        self.digest = Digest()
        self.troubles = Troubles()
        self.diego = Diego(seed=plan.seed)
        self.chronicle = Chronicle(self.diego)
        self.life = Life(plan, self.diego)
        self.app = BBSApp(self.diego, writes=self.diego)
        self.mirror: Mirror | None = None
        self.watch: Watch | None = None
        self.steps = 0
        self._watches: list[Watch] = []
        self._views: list[Any] = []
        self._folds: list[tuple[Fold, Any]] = []
        self._slow: list[tuple[Fold, Any, Any]] = []
        self._told_at = -1
        self._end_mirror = trio.CancelScope()
        self._restart: Fault | None = None

    # The parts, and their lives

    async def run(self) -> None:
        """Play the plan; raise LawBroken where a law does not hold, and whatever else is raised."""
        async with trio.open_nursery() as nursery:
            self.network = Network(nursery)
            self.network.install()
            answers = Answers(self.app, self.troubles, self.chronicle, self.dice, trio.current_time)
            answers.moment = 0.0 if self.plan.hurried else MOMENT
            async with serve_app(answers, address="10.0.0.1", port=PORT) as self.host:
                conductor = Conductor(self, self.network, self.troubles, self.diego, seed=self.plan.seed)
                nursery.start_soon(self._keep_mirror)
                nursery.start_soon(conductor.run, Timeline(self.plan.faults))
                await self._live()
                await conductor.calm()
                await self._converge()
                self._end_mirror.cancel()
                nursery.cancel_scope.cancel()

    async def _live(self) -> None:
        """Let the deployment live, and look at the mirror each second."""
        for _ in range(self.plan.seconds):
            second = trio.current_time() + 1
            self.chronicle.remember(trio.current_time())
            for _ in self.life.moves():
                if self.dice.random() < 0.3:  # noqa: PLR2004 - now and then
                    await trio.sleep(self.dice.uniform(0, 0.1))
            await trio.sleep_until(second)
            await self.step()

    async def _converge(self) -> None:
        """Wait until the mirror has what the server has."""
        self.diego.settle()
        await self._wait_for_the_end(told=True)
        await trio.sleep(5)
        # Now for what no event tells.
        await self._list_once()
        await self._wait_for_the_end(told=False)
        assert self.mirror is not None  # noqa: S101 - it is there, and no fault is left that could end it
        revision = self.mirror.revision
        await self._list_once()
        await self.step()
        laws.nothing_is_published_where_nothing_changes(revision, self.mirror.revision)
        await self._let_catch_up()

    async def _wait_for_the_end(self, *, told: bool) -> None:
        began = trio.current_time()
        bound = BOUND + (KEEP_ALIVE if self.plan.kinds & {"peer gone", "suspend"} else 0)
        while True:
            await self.step()
            waited = trio.current_time() - began
            if self.mirror is not None:
                server, phase = self.diego.snapshot(), self.mirror.status.phase
                there = phase is Phase.LIVE and not laws.differences(self.session, server, told=told)
                if there or waited > bound:
                    break
            await trio.sleep(1)
        laws.the_end_is_the_servers_state(self.session, phase, server, waited, told=told)

    async def _list_once(self) -> None:
        assert self.mirror is not None  # noqa: S101 - as above
        # So that the time of the one list is not that of the other.
        await trio.sleep(1)
        before = self.mirror.status.synced_at
        self.mirror.resync()
        await self.mirror.wait_for(lambda mirror: mirror.status.synced_at != before, timeout=BOUND)

    async def step(self) -> None:
        """Let everybody finish what can be done now, then look at everything."""
        await trio.testing.wait_all_tasks_blocked()
        self.steps += 1
        if self.mirror is None or self.watch is None:
            return
        phase = self.mirror.status.phase
        self.digest.add(trio.current_time(), phase.value, self.mirror.revision)
        self.watch.settled([(type(view).__name__, kept._derivation) for view, kept in self._views])
        if self._told_at != self.mirror.revision:
            self._told_at = self.mirror.revision
            for fold, now in self._folds:
                laws.folded_changes_are_the_state(fold.name, fold.known, now())
        streams = self.network.streams()
        laws.live_means_that_there_is_a_stream(phase, streams)
        gone = [link.gone_at for link in streams if link.gone_at is not None]
        if gone and len(gone) == len(streams):
            laws.dead_streams_are_noticed(phase, trio.current_time() - max(gone), KEEP_ALIVE)

    # The mirror

    @property
    def commits(self) -> int:
        """How many commits there were."""
        return sum(watch.commits for watch in self._watches)

    @property
    def session(self) -> Any:
        """The machine in the middle of the mirror."""
        assert self.mirror is not None  # noqa: S101 - asked for while there is one
        return self.mirror._session

    def restart(self, fault: Fault) -> None:
        """End the mirror, and begin another one after a while."""
        self._restart = fault
        self._end_mirror.cancel()

    async def _keep_mirror(self) -> None:
        number = 0
        while True:
            number += 1
            with trio.CancelScope() as self._end_mirror:
                await self._one_life(number)
            if self.watch is not None:
                self.watch.check()
            self.mirror = self.watch = None
            fault, self._restart = self._restart, None
            await trio.sleep(fault.lasting if fault is not None else 0)

    async def _one_life(self, number: int) -> None:
        seed = self.plan.seed + number
        async with (
            BBSClient(f"http://{HOST}:{PORT}", timeout=TIMEOUTS) as client,
            open_mirror(client, tuning=tuning_of(self.plan), rng=Random(seed), stream=self.plan.stream) as mirror,
        ):
            self.watch = Watch(mirror._session, self.chronicle, self.digest, honest=self.plan.has_honest_lists)
            self._watches.append(self.watch)
            with mirror.witnessed(self.watch):
                self._subscribe(mirror)
                self.mirror = mirror
                await trio.sleep_forever()

    def _subscribe(self, mirror: Mirror) -> None:
        session = mirror._session
        self._views = [(view, mirror.view(view)) for view in views()]
        rows, lrps = Fold("a subscriber of rows"), Fold("a subscriber of desired LRPs")
        mirror.subscribe(rows)
        mirror.subscribe_desired(lrps)
        self._folds = [(rows, lambda: laws.rows_of(session)), (lrps, lambda: laws.desired_of(session))]
        for view, kept in self._views:
            fold = Fold(f"a subscriber of {type(view).__name__}")
            kept.subscribe(fold)
            self._folds.append((fold, partial(_told, kept)))
        self._slow = []

    async def _let_catch_up(self) -> None:
        """Wait until those who take their time have been told everything."""
        for fold, subscription, now in self._slow:
            with trio.move_on_after(PATIENCE):
                while subscription.lag.pending or fold.busy:  # noqa: ASYNC110 - it is what a user can see
                    await trio.sleep(0.5)
            laws.folded_changes_are_the_state(fold.name, fold.known, now())

    def subscribe_slowly(self, seconds: float) -> None:
        """Have somebody told who takes his time."""
        if self.mirror is None:
            return
        session, fold = self.session, Fold("a slow subscriber of rows")

        async def slow(change: Any) -> None:
            fold.busy = True
            await trio.sleep(seconds)
            fold.busy = False
            fold(change)

        self._slow.append((fold, self.mirror.subscribe(slow), lambda: laws.rows_of(session)))

    def subscribe_badly(self, every: int, errors: Any) -> None:
        """Have somebody told who fails now and then."""
        if self.mirror is None:
            return
        told = 0

        def failing(_: Any) -> None:
            nonlocal told
            told += 1
            if told % every == 0:
                raise RuntimeError("the subscriber fails, as the plan says")

        self.mirror.subscribe(failing, errors=errors)


def _told(kept: Any) -> dict[Any, Any]:
    """Return what the subscribers of a view were told last; a value that is the same to them may have gone on."""
    derivation = kept._derivation
    return {key: derivation.published(key) for key in derivation.values}
