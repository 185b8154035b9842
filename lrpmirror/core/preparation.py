"""Preparing views for the state that a list leads to, on copies and in slices, while the old state is served.

Each derivation gets a copy-on-write fork. The fork is brought to the upcoming state in slices, with the events that
arrive meanwhile on top. When the list is committed the forks replace the derivations, in a step whose cost does not
depend on how much has changed; the changes are found and published afterwards, by comparing the two.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from itertools import chain, islice
from math import inf
from typing import Any, Final, Generic, TypeVar

from lrpmirror.core import upcoming as parts
from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.derived.dirty import Dirty, dirtied_by, merge, terms_of
from lrpmirror.core.derived.folding import GONE, RANKS
from lrpmirror.core.derived.notified import Notified
from lrpmirror.core.derived.view import Process
from lrpmirror.core.lists.slices import slices
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.changes import Commit, Delta
from lrpmirror.core.session import Session
from lrpmirror.core.upcoming import Upcoming
from lrpmirror.errors import failure_of

__all__ = ["Difference", "Preparation", "ViewBuild"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

KEYS: Final = 250
"""How many keys one step looks up and compares."""

FEW: Final = 50
"""Up to so many differences are derived in the commit itself, in some milliseconds, without a preparation."""


class Touched(Generic[K]):
    """The keys of a view that a list touches, in the order in which they are published."""

    def __init__(self) -> None:
        self._by_rank: tuple[dict[K, None], ...] = tuple({} for _ in RANKS)
        self._rank: dict[K, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_rank))

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._by_rank)

    def add(self, key: K, rank: int, *, there: bool) -> None:
        """Add a touched key, perhaps again; `there`: it has a value now. O(1)."""
        known = self._rank.get(key)
        if known is not None:
            for keys in self._by_rank:
                keys.pop(key, None)
        rank = self._rank[key] = rank if known is None else min(rank, known)
        self._by_rank[rank if there else GONE][key] = None

    def free_in_slices(self) -> Iterator[None]:
        """Free the keys, a slice a step."""
        tables: tuple[dict[K, Any], ...] = (*self._by_rank, self._rank)
        for keys in tables:
            while keys:
                for _ in range(min(KEYS, len(keys))):
                    keys.popitem()
                yield


class Everything(Generic[K]):
    """All keys of a view that had next to none before: those that are there now, then those that are gone."""

    def __init__(self, before: Derivation[K, Any, Any], after: Notified[K, Any]) -> None:
        self._before = before
        self._after = after

    def __len__(self) -> int:
        return len(self._after) + sum(1 for _ in self._gone())

    def __iter__(self) -> Iterator[K]:
        return chain(self._after, self._gone())

    def _gone(self) -> Iterator[K]:
        return (key for key in self._before.values if key not in self._after)

    def free_in_slices(self) -> Iterator[None]:
        """Free nothing: the keys belong to the derivations."""
        return iter(())


class Difference(Generic[K, V]):
    """How the values of a view changed with a list, computed while it is iterated: what appears before what goes.

    Iterating gives a delta, or None, for each key that was touched. O(1) each.
    """

    def __init__(
        self, touched: Touched[K] | Everything[K], before: Derivation[K, Any, V], after: Notified[K, V]
    ) -> None:
        self._touched = touched
        self._before = before
        self._after = after

    def __len__(self) -> int:
        return len(self._touched)

    def __iter__(self) -> Iterator[Delta[K, V] | None]:
        before_of, after_of = self._before.published, self._after.of
        for key in self._touched:
            yield _delta(key, before_of(key), after_of(key))

    def free_in_slices(self) -> Iterator[None]:
        """Free the old values, a slice a step, once no subscriber reads them any more."""
        yield from self._touched.free_in_slices()
        yield from self._before.free_in_slices()
        yield from self._after.free_in_slices()


class Rounds:
    """Decides how many rounds to make over what has arrived meanwhile.

    A stream that never pauses always brings more. Each round handles what arrived during the one before, so it is
    shorter and less arrives during it: by little, where the machine hardly keeps up. Once no less is left than before,
    it is what one read of the stream brings, and is done in one piece.
    """

    def __init__(self) -> None:
        self._left: float = inf

    def go_on(self, left: int) -> bool:
        """Return whether to make another round, given how much is left."""
        going = parts.PART < left < self._left
        self._left = left
        return going


def _drained(dirty: dict[str, Dirty]) -> Iterator[dict[str, Dirty]]:
    """Remove and return, in parts, what is dirty now; not what becomes dirty meanwhile."""
    for guids in slices(dirty, parts.PART):
        yield {guid: dirty.pop(guid) for guid in guids}


class ViewBuild:
    """The first derivation of a view from a live mirror, in slices. Only events may be committed meanwhile."""

    def __init__(self, session: Session, derivation: Derivation[Any, Any, Any]) -> None:
        self._session = session
        self._derivation = derivation
        self._dirty: dict[str, Dirty] = {}

    def note(self, commits: Iterable[Commit]) -> None:
        """Record commits that were made meanwhile. O(what they changed)."""
        merge(self._dirty, dirtied_by(commits))

    def steps(self) -> Iterator[None]:
        """Derive everything, a slice a step; after the last step the view is up to date."""
        session, derivation = self._session, self._derivation
        for guids in session.knowledge.guids_in_parts(parts.PART):
            derivation.fill(map(session.knowledge.process, guids))
            yield
        yield from derivation.update_cells_in_slices(session.knowledge.cells)
        rounds = Rounds()
        while rounds.go_on(len(self._dirty)):
            for dirty in _drained(self._dirty):
                derivation.update(map(session.knowledge.process, dirty), dirty)
                yield
        for dirty in _drained(self._dirty):
            derivation.update(map(session.knowledge.process, dirty), dirty)


class Preparation:
    """Forks of derivations that are being brought to the state that a list leads to."""

    def __init__(
        self, session: Session, snapshot: PendingSnapshot, derivations: Iterable[Derivation[Any, Any, Any]]
    ) -> None:
        self.snapshot: Final = snapshot
        self._session = session
        self._upcoming = Upcoming(session.knowledge, snapshot)
        self._pairs = [(derivation, derivation.fork()) for derivation in derivations]
        self._touched: list[Touched[Any]] = [Touched() for _ in self._pairs]
        self._dirty: dict[str, Dirty] = {}
        self._released = frozenset(self._upcoming.released())
        if not snapshot.first:
            for pair in self._pairs:
                for derivation in pair:
                    derivation.log = {}
        snapshot.compared.watch()

    @staticmethod
    def is_worth_it(session: Session, snapshot: PendingSnapshot) -> bool:
        """Return whether a settled list changes more than can be derived within its commit."""
        upcoming = Upcoming(session.knowledge, snapshot)
        return snapshot.first or upcoming.domains_change or snapshot.difference_count() + len(upcoming.released()) > FEW

    def note(self, commits: Iterable[Commit]) -> None:
        """Record commits that were made meanwhile. O(what they changed)."""
        merge(self._dirty, dirtied_by(commits))

    def steps(self) -> Iterator[None]:
        """Bring the forks to the upcoming state, a slice a step."""
        upcoming = self._upcoming
        yield from self._fill() if self.snapshot.first else self._update_all(upcoming.dirty())
        for _, fork in self._pairs:
            for dirty in self._also_dirty(fork):
                self._update_one(fork, dirty, upcoming.process)
                yield
            if self.snapshot.cells is not None:
                yield from fork.update_cells_in_slices(self.snapshot.cells)
        rounds = Rounds()
        while True:
            yield from self.snapshot.compare_touched()
            self._take_compared()
            # Settling KEYS keys takes as long as deriving PART processes.
            keys = sum(self._unsettled()) * parts.PART // KEYS
            if not rounds.go_on(len(self._dirty) + self.snapshot.touched_count() + keys):
                return
            yield from self._update_all(_drained(self._dirty))
            for at, number in enumerate(self._unsettled()):
                for _ in range(0, number, KEYS):
                    self._settle(at, KEYS)
                    yield

    def finish(
        self, commit: Commit | None, kept: Collection[Derivation[Any, Any, Any]]
    ) -> Iterator[tuple[Derivation[Any, Any, Any], Difference[Any, Any]]]:
        """Replace those derivations that are still kept by their forks, now that the list is committed.

        Yields how each has changed; `discard` is for the others. O(what was touched since the last step).
        """
        self._take_compared()
        if commit is not None:
            # Rarely any: those released beyond the limit of what is retained.
            merge(self._dirty, terms_of(guid for guid in commit.released if guid not in self._released))
        for at, (derivation, fork) in enumerate(self._pairs):
            if derivation not in kept:
                continue
            self._update_one(fork, self._dirty, self._session.knowledge.process)
            self._settle(at, None)
            before, notified = derivation.replaced_by(fork), derivation.notified()
            touched = Everything(before, notified) if self.snapshot.first else self._touched[at]
            yield derivation, Difference(touched, before, notified)
        self._pairs = [pair for pair in self._pairs if pair[0] not in kept]

    def discard(self) -> Iterator[None]:
        """Keep those derivations as they are that were not replaced; free their forks, a slice a step.

        Where the list is not committed, or a view was dropped meanwhile.
        """
        forks = []
        for derivation, fork in self._pairs:
            derivation.log = None
            forks.append(fork)
        self._pairs = []
        return (step for fork in forks for step in fork.free_in_slices())

    def _also_dirty(self, fork: Derivation[Any, Any, Any]) -> Iterator[dict[str, Dirty]]:
        """Yield what is dirty only for views that read secrets or follow domains."""
        if fork.view.reads_secrets:
            yield from self._upcoming.completed()
        if fork.view.follows_domains and self._upcoming.domains_change:
            yield from self._upcoming.everything()

    def _take_compared(self) -> None:
        merge(self._dirty, self.snapshot.compared.take())

    def _fill(self) -> Iterator[None]:
        """Derive everything that the first list brings; there is nothing to compare it with."""
        for guids in self._upcoming.guids():
            processes = [self._upcoming.process(guid) for guid in guids]
            for _, fork in self._pairs:
                fork.fill(processes)
                yield

    def _update_all(self, parts_of: Iterable[dict[str, Dirty]]) -> Iterator[None]:
        """Derive what is dirty from the upcoming state, part by part."""
        for dirty in parts_of:
            processes = [self._upcoming.process(guid) for guid in dirty]
            for _, fork in self._pairs:
                fork.update(processes, dirty)
                yield

    def _update_one(
        self, fork: Derivation[Any, Any, Any], dirty: Mapping[str, Dirty], process: Callable[[str], Process]
    ) -> None:
        fork.update(map(process, dirty), dirty)

    def _unsettled(self) -> list[int]:
        return [len(derivation.log or ()) + len(fork.log or ()) for derivation, fork in self._pairs]

    def _settle(self, at: int, most: int | None) -> None:
        """Move keys from the logs to the touched ones; suppress changes that subscribers see as none."""
        derivation, fork = self._pairs[at]
        touched = self._touched[at]
        for log in (derivation.log or {}, fork.log or {}):
            for key in [*islice(log, most)]:
                rank = log.pop(key)
                fork.suppress_unchanged(key, derivation.published(key))
                touched.add(key, rank, there=key in fork.values)


def _delta(key: K, before: V | None, after: V | None) -> Delta[K, V] | None:
    if before is after:
        return None
    try:
        equal = before == after
    except BaseException as error:  # noqa: BLE001 - foreign values; who cannot be compared has changed
        failure_of(error)
        equal = False
    return None if equal else Delta(key, before, after)
