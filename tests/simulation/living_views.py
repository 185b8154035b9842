"""The views of a mirror in a trial: now and then one is dropped, made anew, or given up while it is made."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Final

import trio
from msgspec import Struct

from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.changes import Commit
from lrpmirror.errors import MirrorClosed
from lrpmirror.mirror import MirrorView
from lrpmirror.mirror._mirror import Mirror
from lrpmirror.views import AnyView
from simulation import laws
from simulation.observer import Fold
from simulation.workload import views

__all__ = ["LivingViews"]

CHANGES: Final = 0.3
"""The chance that something is done when the views are brought to a list, and when something is published."""

GIVEN_UP: Final = 0.3
"""The chance that the making of a view is cancelled."""

STEPS: Final = 30
"""After so many checkpoints at most, about as many as a list or a view takes."""

LAST: Final = 10
"""How many dropped views are checked to stay as they are."""


class _Kept(Struct):
    """A view that is kept, and what its subscriber was told."""

    view: AnyView[Any, Any, Any]
    of_mirror: MirrorView[Any, Any]
    fold: Fold


class LivingViews:
    """The views of one life of the mirror; at least one is always kept."""

    def __init__(self, mirror: Mirror, seed: str) -> None:
        self.kept: list[_Kept] = []
        self._mirror = mirror
        self._seed = seed
        self._dropped: list[tuple[_Kept, dict[Any, Any], dict[Any, Any]]] = []
        self._listed, self._committed = trio.Event(), trio.Event()
        follower = mirror._follower
        prepare, publish = follower._prepare, follower._publish

        def prepared(snapshot: PendingSnapshot) -> Iterator[None]:
            self._listed.set()
            self._listed = trio.Event()
            return prepare(snapshot)

        def published(commits: Sequence[Commit], *, listed: bool = False) -> None:
            self._committed.set()
            self._committed = trio.Event()
            publish(commits, listed=listed)

        follower._prepare, follower._publish = prepared, published

    async def make_all(self) -> None:
        """Make all that the library has."""
        for view in views():
            await self._make(view)

    async def change(self) -> None:
        """Drop views and make others, for ever: mostly while the views are brought to a list, or events come."""
        async with trio.open_nursery() as nursery:
            # Each with random numbers of its own, since their order at one moment is not for these to depend on.
            nursery.start_soon(self._change, Random(f"lists {self._seed}"), lambda: self._listed)
            nursery.start_soon(self._change, Random(f"commits {self._seed}"), lambda: self._committed)

    def check(self) -> None:
        """Raise LawBroken where a dropped view, or what its subscriber knows, has changed since."""
        for one, values, told in self._dropped:
            laws.a_dropped_view_stays_as_it_is(one.fold.name, values, one.of_mirror.copy())
            laws.a_dropped_view_stays_as_it_is(one.fold.name, told, one.fold.known)

    async def _change(self, rng: Random, next_moment: Callable[[], trio.Event]) -> None:
        while True:
            await next_moment().wait()
            if rng.random() > CHANGES:
                continue
            await _pass_some_steps(rng)
            there = {type(one.view) for one in self.kept}
            missing = [view for view in views() if type(view) not in there]
            if len(self.kept) > 1 and (not missing or rng.random() < 1 / 2):
                self._drop(rng.choice(self.kept))
            elif missing:
                await self._make_or_give_up(rng, rng.choice(missing))

    async def _make_or_give_up(self, rng: Random, view: AnyView[Any, Any, Any]) -> None:
        async with trio.open_nursery() as nursery:
            if rng.random() < GIVEN_UP:
                nursery.start_soon(_give_up, rng, nursery.cancel_scope)
            await self._make(view)
            nursery.cancel_scope.cancel()

    async def _make(self, view: AnyView[Any, Any, Any]) -> None:
        name = f"a subscriber of {type(view).__name__}"
        try:
            made = await self._mirror.view(view)
        except MirrorClosed:
            return
        knowledge = self._mirror._session.knowledge
        processes = [knowledge.process(guid) for guid in knowledge.process_guids()]
        laws.view_is_recomputation(type(view).__name__, made.derivation, processes, knowledge.cells)
        fold = Fold(name)
        made.subscribe(fold)
        self.kept.append(_Kept(view, made, fold))

    def _drop(self, one: _Kept) -> None:
        self.kept.remove(one)
        one.of_mirror.drop()
        self._dropped.append((one, one.of_mirror.copy(), one.fold.known.copy()))
        del self._dropped[:-LAST]


async def _give_up(rng: Random, scope: trio.CancelScope) -> None:
    await _pass_some_steps(rng)
    scope.cancel()


async def _pass_some_steps(rng: Random) -> None:
    for _ in range(rng.randrange(STEPS)):
        await trio.lowlevel.checkpoint()
