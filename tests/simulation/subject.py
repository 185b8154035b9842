"""The mirror that is tried, in all its lives: with views, all kinds of subscribers, and a state file between lives."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from random import Random
from typing import Any, Final

import trio

from lrpmirror.client import BBSClient, Timeouts
from lrpmirror.core.session import Session
from lrpmirror.mirror import BBS, open_mirror
from lrpmirror.mirror._mirror import Mirror
from simulation import laws
from simulation.certificates import Certificates
from simulation.history import History
from simulation.living_views import LivingViews
from simulation.network import HOST, PORT
from simulation.observer import Digest, Fold, LawObserver
from simulation.plan import Fault, Plan
from simulation.state_file import TrialStateFile
from simulation.workload import tuning_of

__all__ = ["Subject"]

TIMEOUTS: Final = Timeouts(connect=2.0, write=2.0, read=4.0)

PATIENCE: Final = 200.0
"""Seconds in which the slowest subscriber must get everything, once nothing happens any more."""

Source = Callable[[], AbstractAsyncContextManager[BBS]]
"""What the mirror reads from, for one of its lives."""

State = Callable[[], dict[Any, Any]]
"""What a subscriber should know by now."""


class Subject:
    """One mirror after the other, each under a watch of its own. `mirror` is None between two lives."""

    def __init__(
        self,
        plan: Plan,
        history: History,
        digest: Digest,
        *,
        kept: TrialStateFile | None,
        certificates: Certificates | None,
        source: Source | None = None,
    ) -> None:
        self._plan = plan
        self._history = history
        self._digest = digest
        self._kept = kept
        self._certificates = certificates
        self._source = source or self._client
        self.mirror: Mirror | None = None
        self._watches: list[LawObserver] = []
        self._views: LivingViews | None = None
        self._folds: list[tuple[Fold, State]] = []
        self._slow: list[tuple[Fold, Any, State]] = []
        self._notified_at: tuple[int, int] | None = None
        self._life = trio.CancelScope()
        self._restart: Fault | None = None

    @property
    def session(self) -> Session:
        """The machine in the middle of the mirror."""
        assert self.mirror is not None
        return self.mirror._session

    @property
    def commits(self) -> int:
        """How many commits there were."""
        return sum(watch.commits for watch in self._watches)

    @property
    def gave_up_repairs(self) -> bool:
        """Whether there was something that reading again did not settle, and that is left to the next list."""
        return self.session.repairs.dropped > 0

    async def run(self) -> None:
        """Live; and whenever that is ended by `restart`, live again."""
        while True:
            with trio.CancelScope() as self._life:
                await self._live()
            self.mirror = None
            self._watches[-1].check()
            fault, self._restart = self._restart, None
            if fault is not None:
                if self._kept is not None:
                    self._kept.end(fault.choice)
                await trio.sleep(fault.lasting)

    def restart(self, fault: Fault) -> None:
        """End the mirror, and begin another one after a while."""
        if self.mirror is not None:
            self._restart = fault
            if self._kept is not None:
                self._kept.remember()
            self._life.cancel()

    async def _live(self) -> None:
        number = len(self._watches) + 1
        if number > 1 and self._certificates is not None:
            # A mirror does not begin with files that cannot be used; its operator has mended them.
            self._certificates.renew()
        state_file = None if self._kept is None else self._kept.open()
        async with (
            self._source() as client,
            open_mirror(
                client,
                tuning=tuning_of(self._plan),
                rng=Random(self._plan.seed + number),
                stream=self._plan.stream,
                state_file=state_file,
            ) as mirror,
        ):
            self._begin_watch(mirror)
            with mirror.observed(self._watches[-1]):
                self._subscribe(mirror)
                self._views = LivingViews(mirror, f"{self._plan.seed} {number}")
                await self._views.make_all()
                self.mirror = mirror
                await self._views.change()

    def _client(self) -> BBSClient:
        """Return a client of the server itself."""
        scheme, tls = ("http", None) if self._certificates is None else ("https", self._certificates.client)
        return BBSClient(f"{scheme}://{HOST}:{PORT}", tls=tls, timeout=TIMEOUTS)

    def _begin_watch(self, mirror: Mirror) -> None:
        session = mirror._session
        watch = LawObserver(
            session,
            self._history,
            self._digest,
            honest=self._plan.has_honest_lists and self._plan.machine != "relay",
            one_life=self._plan.has_one_life,
        )
        if session.freshness.restored_at is not None:
            laws.what_was_kept_was_known(
                [life.states for life in self._watches], session.knowledge.revision, watch.state()
            )
        self._watches.append(watch)

    # Subscribers

    def _subscribe(self, mirror: Mirror) -> None:
        session = mirror._session
        rows, lrps = Fold("a subscriber of rows"), Fold("a subscriber of desired LRPs")
        mirror.subscribe(rows)
        mirror.subscribe_desired(lrps)
        self._folds = [(rows, lambda: laws.rows_of(session)), (lrps, lambda: laws.desired_of(session))]
        self._slow = []

    def subscribe_slowly(self, seconds: float) -> None:
        """Add a slow subscriber."""
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
        """Add a subscriber that fails now and then."""
        if self.mirror is None:
            return
        notified = 0

        def failing(_: Any) -> None:
            nonlocal notified
            notified += 1
            if notified % every == 0:
                raise RuntimeError("the subscriber fails, as the plan says")

        self.mirror.subscribe(failing, errors=errors)

    # The laws

    def look(self) -> None:
        """Check the mirror and its subscribers against the laws, when no task has anything left to do."""
        assert self.mirror is not None
        assert self._views is not None
        kept = self._views.kept
        self._watches[-1].settled([(type(one.view).__name__, one.of_mirror.derivation) for one in kept])
        self._views.check()
        notified_at = len(self._watches), self.mirror.revision
        if self._notified_at != notified_at:
            self._notified_at = notified_at
            of_views: list[tuple[Fold, State]] = [(one.fold, partial(_notified, one.of_mirror)) for one in kept]
            for fold, now in (*self._folds, *of_views):
                laws.folded_changes_are_the_state(fold.name, fold.known, now())

    async def let_catch_up(self) -> None:
        """Wait until the slow subscribers have got everything, and check them against the law."""
        for fold, subscription, now in self._slow:
            with trio.move_on_after(PATIENCE):
                while subscription.lag.pending or fold.busy:  # noqa: ASYNC110 - it is what a user can see
                    await trio.sleep(0.5)
            laws.folded_changes_are_the_state(fold.name, fold.known, now())


def _notified(kept: Any) -> dict[Any, Any]:
    """Return the last values that subscribers of a view got; a value that compares equal may have been replaced."""
    derivation = kept.derivation
    return {key: derivation.published(key) for key in derivation.values}
