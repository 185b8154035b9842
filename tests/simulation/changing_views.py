"""The views of a core trial: now and then one is dropped and another made, at any moment."""

from collections import deque
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any, Final

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.preparation import Preparation, ViewBuild
from lrpmirror.core.rows.changes import Commit
from lrpmirror.core.session import Session
from simulation import laws
from simulation.workload import views

__all__ = ["ChangingViews"]

DROPPED: Final = 0.02
"""The chance that one is dropped, each turn."""

MADE: Final = 0.1
"""The chance that a missing one is made, each turn."""

LAST: Final = 10
"""How many dropped views are checked to stay as they are."""


class ChangingViews:
    """The views that are kept, those that were dropped, and the one that is being made."""

    def __init__(self, session: Session, rng: Random) -> None:
        self.kept: list[Derivation[Any, Any, Any]] = [Derivation(view) for view in views()]
        self._session = session
        self._rng = rng
        self._dropped: list[tuple[Derivation[Any, Any, Any], dict[Any, Any]]] = []
        self._made: tuple[Derivation[Any, Any, Any], ViewBuild, Iterator[None]] | None = None

    @property
    def is_making(self) -> bool:
        """Whether one is being made: no list is prepared or committed meanwhile."""
        return self._made is not None

    def turn(self, *, may_begin: bool) -> None:
        """Take one step: of what is being made, or towards other views."""
        if self._made is not None:
            derivation, _, steps = self._made
            if next(steps, self) is self:
                self._made = None
                self.kept.append(derivation)
        elif self._rng.random() < DROPPED:
            self.drop(self._rng.choice(self.kept))
        elif may_begin and self._rng.random() < MADE:
            there = {type(one.view) for one in self.kept}
            for view in [view for view in views() if type(view) not in there][:1]:
                beginning = ViewBuild(self._session, derivation := Derivation(view))
                self._made = derivation, beginning, beginning.steps()

    def drop(self, one: Derivation[Any, Any, Any]) -> None:
        """Drop one, except for the last."""
        if len(self.kept) > 1:
            self.kept.remove(one)
            self._dropped.append((one, one.values.copy()))
            del self._dropped[:-LAST]

    def close(self, preparation: Preparation | None) -> None:
        """Drop all, possibly while they are brought to a list."""
        self._dropped += [(one, one.values.copy()) for one in self.kept]
        if preparation is not None:
            deque(preparation.discard(), maxlen=0)
        self.check()

    def note(self, commits: Iterable[Commit]) -> None:
        """Pass a commit to the view that is being made."""
        if self._made is not None:
            self._made[1].note(commits)

    def check(self) -> None:
        """Raise LawBroken where one that was dropped has changed since."""
        for one, then in self._dropped:
            laws.a_dropped_view_stays_as_it_is(type(one.view).__name__, then, one.values.copy())
