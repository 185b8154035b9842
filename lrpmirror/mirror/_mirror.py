"""The public mirror: reads, status, subscriptions, views."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from operator import attrgetter
from typing import Any, Self

import trio
from msgspec.structs import replace

from lrpmirror.core.derived.dirty import dirtied_by, terms_of
from lrpmirror.core.derived.view import AnyView, C, K, V
from lrpmirror.core.explain.counters import Counts
from lrpmirror.core.explain.observer import Observer
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.lists.deltas import freeing
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.preparation import Preparation, ViewBuild
from lrpmirror.core.rows.changes import Cause, Commit, Delta, EventCommits, RowKey, row_key
from lrpmirror.core.session import Session
from lrpmirror.errors import MirrorClosed, MirrorForked, NotSeen, NotSynced
from lrpmirror.forks import notify_when_forked
from lrpmirror.mirror._bbs import BBS, StreamName
from lrpmirror.mirror._feed import Callback, Changes, ErrorPolicy, Feed, Subscription
from lrpmirror.mirror._follower import Follower
from lrpmirror.mirror._freeing import free_after, in_slices
from lrpmirror.mirror._reads import Reads
from lrpmirror.mirror._view import MirrorView
from lrpmirror.model import ActualLRP, DesiredLRP, ModificationTag


class Mirror(Reads):
    """An in-memory mirror of a BBS, made by `open_mirror`.

    Reads are synchronous, do no I/O and return frozen values, also in other threads: between two awaits they all see
    one state. Before the first synchronisation they find nothing, after a lost connection the last known state.
    """

    def __init__(
        self,
        bbs: BBS,
        session: Session,
        nursery: trio.Nursery,
        clock: Callable[[], float],
        *,
        stream: StreamName,
        full: bool,
    ) -> None:
        super().__init__(session, clock)
        self._nursery = nursery
        self._follower = Follower(bbs, session, clock, self._publish, self._prepare, stream, full)
        self._rows: Feed[RowKey, ActualLRP] = Feed(
            _process_of, self._present_rows, nursery, clock, session.knowledge.revision
        )
        self._desired: Feed[str, DesiredLRP] = Feed(
            attrgetter("key"), self._present_desired, nursery, clock, session.knowledge.revision
        )
        self._views: list[MirrorView[Any, Any]] = []
        self._build: ViewBuild | None = None
        self._preparation: Preparation | None = None
        self._waiting: dict[trio.Event, Callable[[], bool]] = {}
        self._failures: dict[trio.Event, BaseException] = {}
        notify_when_forked(self)
        knowledge = session.knowledge
        free_after(self, lambda: knowledge.store.free_in_slices())  # noqa: PLW0108 - a list replaces the store

    # Freshness

    async def wait_synced(self, timeout: float | None = None) -> None:
        """Wait until the mirror has had the full state once. Returns at once where it has, even if it is stale by now.

        Raises NotSynced when that takes more than `timeout` seconds, with the last error as its cause; MirrorClosed
        when the mirror is closed first.
        """
        freshness = self._session.freshness
        if await self._holds(lambda: freshness.synced_at is not None, timeout, "it was synchronised"):
            return
        error = freshness.last_error
        why = f"the last error: {error}" if error is not None else "no error so far, the lists are still being read"
        raise NotSynced(f"not synchronised within {timeout} s; {why}") from error

    @property
    def phase(self) -> Phase:
        """The phase alone: what waits for another tries it with each commit, and a `status` is made anew. O(1)."""
        return self._session.freshness.phase

    @property
    def counts(self) -> Counts:
        """The counters since the mirror was opened, for monitoring. O(kinds of events + views + subscribers)."""
        lags = self._rows.lags() + self._desired.lags() + [lag for view in self._views for lag in view.lags]
        return replace(self._session.counts(), subscribers=tuple(lags))

    def resync(self) -> None:
        """Request a list of everything now, instead of at the next interval. Returns at once."""
        self._follower.resync()

    def reconnect(self) -> None:
        """Replace the event stream by a new one, without a gap: the phase stays as it is. Returns at once.

        The new stream is opened, and a list committed on it, before the old one is closed. If that fails the old one
        stays, `status.trouble` says why, and it is tried again. Does nothing while there is no stream: then one is
        being opened anyway.
        """
        self._follower.replace("it was asked for")

    # Changes

    def subscribe(
        self,
        callback: Callback[RowKey, ActualLRP],
        *,
        process_guids: Iterable[str] | None = None,
        where: Callable[[ActualLRP], bool] | None = None,
        replay: bool = True,
        errors: ErrorPolicy = "raise",
    ) -> Subscription[RowKey, ActualLRP]:
        """Call back on changes of rows, keyed by their identity, from now on.

        `process_guids` and `where` restrict it: to this subscriber a row that does not satisfy `where` does not exist.
        With `replay` it first gets the rows that are there, with the cause REPLAY. The callback may be synchronous or
        asynchronous; it is called in a task of its own and never twice at once. A slow one gets fewer, larger changes.
        `errors` says what its failure does: `raise` ends the mirror's block with it, `log` logs it, `cancel` logs it
        and ends the subscription. Raises MirrorClosed when the mirror is closed.
        """
        return self._rows.subscribe(callback, process_guids, where, replay=replay, errors=errors)

    def changes(
        self,
        *,
        process_guids: Iterable[str] | None = None,
        where: Callable[[ActualLRP], bool] | None = None,
        replay: bool = True,
    ) -> Changes[RowKey, ActualLRP]:
        """Iterate over changes of rows: `async with mirror.changes() as changes: async for batch in changes: …`.

        A batch is a list of what changed since the batch before, one change for each key. The rest as in `subscribe`.
        """
        return self._rows.changes(process_guids, where, replay=replay)

    def subscribe_desired(
        self,
        callback: Callback[str, DesiredLRP],
        *,
        process_guids: Iterable[str] | None = None,
        where: Callable[[DesiredLRP], bool] | None = None,
        replay: bool = True,
        errors: ErrorPolicy = "raise",
    ) -> Subscription[str, DesiredLRP]:
        """Call back on changes of desired LRPs, keyed by process guid; the rest as in `subscribe`."""
        return self._desired.subscribe(callback, process_guids, where, replay=replay, errors=errors)

    def changes_desired(
        self,
        *,
        process_guids: Iterable[str] | None = None,
        where: Callable[[DesiredLRP], bool] | None = None,
        replay: bool = True,
    ) -> Changes[str, DesiredLRP]:
        """Iterate over changes of desired LRPs, keyed by process guid; the rest as in `changes`."""
        return self._desired.changes(process_guids, where, replay=replay)

    async def view(self, view: AnyView[K, C, V]) -> MirrorView[K, V]:
        """Make a view of this mirror: a read-only mapping that always has the revision of the rows.

        It is derived in O(all rows), in slices while other tasks run, and returned when it is complete, at the revision
        that the mirror has then. From then on it costs what each commit changes. See `lrpmirror.views` for those that
        come with the library. Raises MirrorClosed when the mirror is closed.
        """
        self._check_open()
        kept: MirrorView[K, V] = MirrorView(
            view, self._nursery, self._clock, self.check_fresh, forget=lambda: self._forget(kept)
        )
        # No list is committed meanwhile.
        async with self._follower.views_lock:
            self._check_open()
            self._build = build = ViewBuild(self._session, kept.derivation)
            try:
                for _ in build.steps():
                    await trio.lowlevel.checkpoint()
                    self._check_open()
                kept.begin(self.revision)
                self._views.append(kept)
            finally:
                self._build = None
        return kept

    def _check_open(self) -> None:
        if self._is_closed:
            raise MirrorClosed("the mirror is closed: a view of it would not be kept up to date")

    @contextmanager
    def observed(self, observer: Observer) -> Iterator[None]:
        """Call an observer with every event and commit as it happens, while the block lasts.

        For what a subscription, which coalesces, cannot do, such as a replica's event streams. The event stream waits
        for the observer.
        """
        session = self._session
        session.observers = (*session.observers, observer)
        try:
            yield
        finally:
            session.observers = tuple(other for other in session.observers if other is not observer)

    async def wait_for(
        self, predicate: Callable[[Self], bool], timeout: float | None = None, *, what: str = ""
    ) -> None:
        """Wait until `predicate(mirror)` holds; it is tried now and after each commit and change of phase.

        Raises NotSeen when that takes more than `timeout` seconds: its message says `what` was waited for and the
        mirror's status. Raises MirrorClosed when the mirror is closed first.
        """
        what = what or "what was waited for"
        if await self._holds(lambda: predicate(self), timeout, f"it had {what}"):
            return
        status = self.status
        raise NotSeen(
            f"{what} did not come within {timeout} s; the mirror is {status.phase} at revision {status.revision} with "
            f"{status.actual_lrps} actual and {status.desired_lrps} desired LRPs"
        ) from status.last_error

    async def _holds(self, condition: Callable[[], bool], timeout: float | None, aim: str) -> bool:
        """Wait until a condition holds, which is tried where the mirror changes; return whether it did in time."""
        holds = False
        with trio.move_on_after(inf if timeout is None else timeout):
            while not (holds := condition()):
                if self._is_closed:
                    raise MirrorClosed(f"the mirror was closed before {aim}")
                wait = trio.Event()
                self._waiting[wait] = condition
                try:
                    await wait.wait()
                finally:
                    del self._waiting[wait]
                    error = self._failures.pop(wait, None)
                if error is not None:
                    raise error
            # With a timeout of 0 this is cancelled although the condition holds.
            await trio.lowlevel.checkpoint()
        return holds

    def _wake(self) -> None:
        """Wake those whose condition holds, or fails."""
        for wait, condition in self._waiting.items():
            if wait.is_set():
                continue
            try:
                if not (self._is_closed or condition()):
                    continue
            except BaseException as error:  # noqa: BLE001 - it ends the task that waits, not the mirror that has changed
                self._failures[wait] = error
            wait.set()

    async def wait_for_tag(self, process_guid: str, tag: ModificationTag, timeout: float | None = None) -> None:
        """Wait until the mirror has seen a write: the record of that epoch, of that process, at that index or later.

        So a program reads its own write: the tag is in the BBS's answer or in a read after it. A record that has been
        removed since counts as seen. Raises NotSeen as `wait_for` does, saying what the mirror has of the process
        instead.
        """
        present = f"a record of {process_guid} with tag {tag.epoch}:{tag.index}"
        try:
            await self.wait_for(lambda _: self.has_seen(process_guid, tag), timeout, what=present)
        except NotSeen as error:
            has = self._session.knowledge.tags(process_guid)
            tags = ", ".join(f"{known.epoch}:{known.index}" for known in has) or "none at all"
            raise NotSeen(f"{error}; of that process it has: {tags}") from error.__cause__

    @property
    def _is_closed(self) -> bool:
        return self.phase is Phase.CLOSED

    def forked(self, error: MirrorForked) -> None:
        """Record that this is the copy of a forked child. Called by `lrpmirror.forks`."""
        self._session.freshness.abandoned(error)

    def _present_rows(
        self, process_guids: frozenset[Hashable] | None
    ) -> tuple[int, Iterable[Delta[RowKey, ActualLRP]]]:
        store = self._session.knowledge.store
        if process_guids is None:
            rows: Sequence[ActualLRP] = store.select(cell_id=None, state=None, domain=None)
        else:
            rows = [row for guid in sorted(map(str, process_guids)) for row in store.process(guid)]
        return len(rows), (Delta(row_key(row), None, row) for row in rows)

    def _present_desired(
        self, process_guids: frozenset[Hashable] | None
    ) -> tuple[int, Iterable[Delta[str, DesiredLRP]]]:
        store = self._session.knowledge.store
        if process_guids is None:
            lrps: Sequence[DesiredLRP] = store.select_desired(app_guid=None, domain=None)
        else:
            lrps = [lrp for guid in sorted(map(str, process_guids)) if (lrp := store.desired(guid)) is not None]
        return len(lrps), (Delta(lrp.process_guid, None, lrp) for lrp in lrps)

    def _forget(self, view: MirrorView[Any, Any]) -> None:
        # By identity: two views of the same are equal, being mappings.
        self._views = [kept for kept in self._views if kept is not view]

    def _publish(self, commits: Sequence[Commit], *, listed: bool = False) -> None:
        """Publish commits, or a new phase; `listed` as in `Publish`. Waits for no subscriber."""
        if listed or self._rows.is_read or self._desired.is_read:
            for commit in commits:
                rows, desired = commit.actual_lrps, commit.desired_lrps
                self._rows.publish(rows, commit.revision, commit.cause, freeing(rows) if listed else None)
                self._desired.publish(desired, commit.revision, commit.cause, freeing(desired) if listed else None)
        else:
            # Commits of events are made when they are read.
            self._rows.revision = self._desired.revision = self.revision
        completed = self._session.take_completed()
        prepared, self._preparation = (self._preparation, None) if listed else (None, self._preparation)
        if commits or completed:
            if self._build is not None:
                self._build.note(commits)
            if self._preparation is not None:
                self._preparation.note(commits)
            if prepared is not None:
                self._finish(prepared, commits[0] if commits else None)
            elif self._views:
                self._update_views(commits, completed)
        elif prepared is not None:
            self._nursery.start_soon(in_slices, prepared.discard())
        self._wake()

    def _prepare(self, snapshot: PendingSnapshot) -> Iterator[None]:
        """Prepare the views for a list, a slice a step. `_publish` is called when it is committed."""
        if self._preparation is not None:
            # The list before was never committed.
            self._nursery.start_soon(in_slices, self._preparation.discard())
            self._preparation = None
        if not self._views or not Preparation.is_worth_it(self._session, snapshot):
            return iter(())
        self._preparation = Preparation(self._session, snapshot, [view.derivation for view in self._views])
        return self._preparation.steps()

    def _finish(self, prepared: Preparation, commit: Commit | None) -> None:
        """Switch all views at once to what was prepared."""
        revision, cause = (self.revision, Cause.SNAPSHOT) if commit is None else (commit.revision, commit.cause)
        differences = dict(prepared.finish(commit, {view.derivation for view in self._views}))
        for view in self._views:
            view.turn(differences.get(view.derivation), revision, cause)
        # A view that was dropped meanwhile stays as it is.
        self._nursery.start_soon(in_slices, prepared.discard())

    def _update_views(self, commits: Sequence[Commit], completed: Sequence[str]) -> None:
        """Derive again what the commits touched or completed, once for all of them, since nothing reads in between."""
        session = self._session
        dirty = dirtied_by(commits)
        # No event changes domains or cells.
        listed: Sequence[Commit] = () if isinstance(commits, EventCommits) else commits
        domains_changed = any(commit.domains is not None for commit in listed)
        cells = session.knowledge.cells if any(commit.cells is not None for commit in listed) else None
        revision = self.revision
        cause = listed[-1].cause if listed else Cause.EVENT if commits else Cause.SNAPSHOT
        whole = terms_of(guid for guid in completed if guid not in dirty) if completed else {}
        processes = [*map(session.knowledge.process, dirty)]
        for view in self._views:
            everything = domains_changed and view.follows_domains
            # `dirty` has the processes that are gone, too.
            others = terms_of(session.knowledge.process_guids()) if everything else whole if view.reads_secrets else {}
            if others:
                of_view = {**others, **{guid: replace(part, terms=True) for guid, part in dirty.items()}}
                view.update(map(session.knowledge.process, of_view), of_view, cells, revision, cause)
            else:
                view.update(processes, dirty, cells, revision, cause)

    def _close(self) -> None:
        self._session.close()
        self._rows.close()
        self._desired.close()
        for view in self._views:
            view.drop()
        self._wake()


def _process_of(delta: Delta[RowKey, ActualLRP]) -> str | None:
    row = delta.after or delta.before
    return None if row is None else row.process_guid
