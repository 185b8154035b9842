"""The follower: tasks that read the streams, lists and repairs of one mirror into its session."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import inf
from typing import Protocol

import trio

from lrpmirror.background import let_others_go_first
from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.changes import Commit
from lrpmirror.core.session import Session
from lrpmirror.errors import BBSError, ConnectionFailed, LRPMirrorError, TimedOut, WireError
from lrpmirror.events import Event, SourceStatus
from lrpmirror.mirror._bbs import BBS, StreamName
from lrpmirror.mirror._freeing import in_slices
from lrpmirror.mirror._link import Link, ping
from lrpmirror.mirror._lister import Lister

logger = logging.getLogger("lrpmirror")


class Publish(Protocol):
    """Publishes commits, or a new phase."""

    def __call__(self, commits: Sequence[Commit], *, listed: bool = False) -> None:
        """Publish commits; `listed`: a list that `prepare` was called for has been committed, or was not believed."""


@dataclass(eq=False)
class Follower:
    """Keeps a session current from a BBS until it is cancelled.

    The reader of the stream waits for no list or subscriber: a server drops a reader that falls behind. While a stream
    is replaced, the events of both are applied, which is harmless, until a list begun after the new one was opened has
    been committed: so nothing is missed, and the state stays current throughout.
    """

    _bbs: BBS
    _session: Session
    _clock: Callable[[], float]
    _publish: Publish
    _prepare: Callable[[PendingSnapshot], Iterator[None]]
    _stream: StreamName
    _full: bool

    def __post_init__(self) -> None:
        self.views_lock = trio.Lock()
        """Held while views are prepared for a list that is then committed, or a view is built."""
        # One list at a time, since the session applies events to one list.
        self._list_lock = trio.Lock()
        self._list_scope = trio.CancelScope()  # runs the list in progress
        self._until_next_list = trio.CancelScope()  # waits until the next list is due; its deadline can be moved
        self._repairs_wanted = trio.Event()
        self._list_wanted = trio.Event()
        self._audit_open = trio.Event()
        self._replacement_wanted = trio.Event()
        self._link = self._new_link()
        self._next_link: Link | None = None
        self._delay = 0.0
        self._outer_nursery: trio.Nursery  # outlives the tasks of a stream

    async def run(self) -> None:
        """Follow the stream for ever; on every loss wait, reconnect and list again."""
        async with trio.open_nursery() as self._outer_nursery:
            while True:
                async with trio.open_nursery() as nursery:
                    self._link, self._next_link = self._new_link(), None
                    self._replacement_wanted = trio.Event()
                    nursery.start_soon(self._run_link, self._link, nursery)
                await trio.sleep(self._delay)

    def resync(self) -> None:
        """Request a list of everything now, instead of at the next interval."""
        self._list_wanted.set()

    def replace(self, reason: str) -> None:
        """Request that the stream is replaced by a new one, without a gap. Does nothing where it is not open yet."""
        if self._link.is_open:
            logger.info("the event stream is being replaced: %s", reason)
            self._replacement_wanted.set()

    # The streams

    def _new_link(self) -> Link:
        return Link(Lister(self._bbs, self._clock, self._full, self._session.tuning.cells_timeout))

    async def _run_link(self, link: Link, nursery: trio.Nursery) -> None:
        """Follow one stream to its end."""
        with link.scope:
            try:
                said = partial(self._source_reported, link)
                async with self._bbs.events(self._stream, full=self._full, said=said) as batches:
                    self._opened(link, nursery)
                    error = await self._read(link, batches)
                    # Before the connection is closed, which takes a moment in which the mirror must not be LIVE.
                    self._ended(link, error, nursery)
            except (BBSError, WireError) as error:
                self._ended(link, error, nursery)

    async def _read(self, link: Link, batches: AsyncIterator[list[Event]]) -> LRPMirrorError:
        session = self._session
        try:
            async for events in batches:
                now = self._clock()
                link.received(now)
                self._publish(session.events(events, now))
                session.check_limits()
                if session.repairs:
                    self._repairs_wanted.set()
                early = session.unreadable.wait(now, session.freshness.synced_at)
                if early < inf:
                    self._until_next_list.deadline = min(self._until_next_list.deadline, trio.current_time() + early)
                if session.observers:
                    # Who passes on what was observed does so before the next read is prepared, which takes as long.
                    await let_others_go_first()
        except (BBSError, WireError) as error:
            return error
        return ConnectionFailed("the event stream ended")

    def _source_reported(self, link: Link, status: SourceStatus) -> None:
        now = self._clock()
        link.received(now)
        link.source_status = status, now
        if link is self._link:
            phase = self._session.freshness.phase
            self._session.freshness.source_reported(status, now)
            if phase is not self._session.freshness.phase:
                self._publish(())

    def _opened(self, link: Link, nursery: trio.Nursery) -> None:
        now = self._clock()
        link.opened(self._session.tuning, now)
        if link is self._next_link:
            self._list_wanted.set()
            return
        link.settled.set()
        self._session.stream_opened(now)
        self._publish(())
        nursery.start_soon(self._keep_synced, nursery)
        nursery.start_soon(self._keep_repaired)
        nursery.start_soon(self._keep_probed)
        nursery.start_soon(self._keep_audited)
        nursery.start_soon(self._keep_watched, nursery)
        nursery.start_soon(self._keep_renewed)
        nursery.start_soon(self._keep_replaced, nursery)

    def _ended(self, link: Link, error: LRPMirrorError, nursery: trio.Nursery) -> None:
        if not link.ended(error):
            return
        if link is self._next_link:
            self._next_link = None
        elif link is self._link:
            self._delay = self._session.stream_lost(error)
            self._list_scope.cancel()
            if self._next_link is not None and self._next_link.is_open:
                # The replacement takes over before its list is committed: to the session it is a new stream.
                self._switch_to(self._next_link, self._session.stream_opened)
                self._list_wanted.set()
            else:
                nursery.cancel_scope.cancel()
            self._publish(())

    def _switch_to(self, link: Link, switched: Callable[[float], None]) -> None:
        """Follow a stream that was opened beside the one before, with what its source has reported since."""
        self._link, self._next_link = link, None
        link.settled.set()
        switched(link.heard_at)
        if link.source_status is not None:
            self._session.freshness.source_reported(*link.source_status)

    async def _keep_replaced(self, nursery: trio.Nursery) -> None:
        while True:
            await self._replacement_wanted.wait()
            self._replacement_wanted = trio.Event()
            while (error := await self._replace(nursery)) is not None:
                delay = self._session.replacement_failed(error)
                self._publish(())
                await trio.sleep(delay)

    async def _replace(self, nursery: trio.Nursery) -> LRPMirrorError | None:
        """Open another stream, and wait until it is the followed one; return its error where it ends before that."""
        link = self._next_link = self._new_link()
        nursery.start_soon(self._run_link, link, nursery)
        await link.settled.wait()
        return link.error

    async def _keep_watched(self, nursery: trio.Nursery) -> None:
        while True:
            link, watch = self._link, self._link.watch
            if watch is None:  # pragma: no cover - only an open stream is followed
                raise AssertionError("a stream is watched that is not open")
            await trio.sleep(watch.wait(self._clock()))
            if link is not self._link:
                continue
            if watch.ping_due(self._clock()):
                dead = await ping(self._bbs, self._session, watch, self._clock)
                if dead is not None:
                    self._ended(link, dead, nursery)
                    link.scope.cancel()
            if link is self._link and watch.idle(self._clock()):
                self.replace("it has been silent for so long that it may be dead")

    async def _keep_renewed(self) -> None:
        """Replace the stream when the certificates with which it was opened have been replaced."""
        while True:
            await trio.sleep(self._session.tuning.renewal_interval)
            if self._bbs.renewed():
                self.replace("the certificates have been renewed")

    # The lists

    async def _keep_synced(self, nursery: trio.Nursery) -> None:
        session = self._session
        while True:
            self._list_wanted = trio.Event()
            async with self._list_lock:
                delay = await self._sync()
            if session.repairs:
                self._repairs_wanted.set()
            if delay is None:
                self._audit_open.set()
                delay = session.next_list(self._clock())
            with trio.move_on_after(delay) as self._until_next_list:
                await self._list_wanted.wait()
            if self._until_next_list.cancelled_caught:
                await self._await_other_stream(nursery)

    async def _await_other_stream(self, nursery: trio.Nursery) -> None:
        """Where only a list on another stream can decide about a rollback, replace the stream and wait for that."""
        session, upcoming = self._session, self._next_link
        if not session.guards.rollback.wants_stream((upcoming or self._link).opened_at):
            return
        if upcoming is None:
            self.replace("a list that was read with it was older than what is known")
        elif upcoming.is_open:
            # Its own list had older versions, so another stream is needed.
            self._ended(upcoming, ConnectionFailed("its list was older than what is known"), nursery)
            upcoming.scope.cancel()
        with trio.move_on_after(session.next_interval()):
            await self._list_wanted.wait()

    async def _sync(self) -> float | None:
        """List everything; return in how many seconds to try again, or None where there is a list."""
        session, upcoming = self._session, self._next_link
        if upcoming is not None and not upcoming.is_open:
            upcoming = None
        link = upcoming or self._link
        snapshot = session.begin_list(self._clock(), EVERYTHING, opened_at=link.opened_at)
        try:
            error = await self._attempt(link.lister.everything, snapshot, session.tuning.list_timeout)
            async with self._prepared(snapshot, error, session.tuning.list_timeout) as error:
                return self._listed(snapshot, error, upcoming) if session.is_listing(snapshot) else 0.0
        finally:
            self._outer_nursery.start_soon(in_slices, chain(session.record_list(), snapshot.free_in_slices()))

    def _listed(self, snapshot: PendingSnapshot, error: LRPMirrorError | None, upcoming: Link | None) -> float | None:
        """Commit a settled list of everything, or record that it failed; return what `_sync` does."""
        session = self._session
        if error is not None:
            delay = session.list_failed(snapshot, error)
            self._publish(())
            return delay
        commit = session.end_list(snapshot, self._clock())
        rolled_back = session.guards.take_rollback()
        if rolled_back is not None:
            logger.warning("%s", rolled_back)
        if upcoming is not None and upcoming is self._next_link and not session.guards.held:
            given_up = self._link
            self._switch_to(upcoming, session.stream_replaced)
            given_up.scope.cancel()
        self._publish(_all(commit), listed=True)
        return None

    async def _keep_audited(self) -> None:
        """Judge audits after their grace time, in which events may explain the differences."""
        session = self._session
        while True:
            await self._audit_open.wait()
            while (wait := session.audit_wait(self._clock())) is not None:
                await trio.sleep(wait)
                drift = session.end_audit(self._clock())
                if drift is None:
                    continue
                logger.warning("%s", drift)
                self._publish(())
                if drift.first:
                    self._list_wanted.set()
                elif drift.repeated:
                    self.replace(f"{drift.row} lists in a row differed from what it had told")
            self._audit_open = trio.Event()

    async def _attempt(
        self, step: Callable[[PendingSnapshot], Awaitable[None]], snapshot: PendingSnapshot, timeout: float
    ) -> LRPMirrorError | None:
        """Run a step of a list until it ends, fails or takes too long; return the error. A lost stream cancels it."""
        with trio.CancelScope() as self._list_scope, trio.move_on_after(timeout):
            try:
                await step(snapshot)
            except (BBSError, WireError) as error:
                return error
            return None
        return TimedOut(f"a list was not complete within {timeout:g} s")

    async def _keep_repaired(self) -> None:
        session = self._session
        while True:
            await self._repairs_wanted.wait()
            await trio.sleep(session.tuning.repair_delay)
            async with self._list_lock:
                scope = session.take_repairs()
                if scope is None:
                    self._repairs_wanted = trio.Event()
                    continue
                delay = await self._read_some(scope)
            await trio.sleep(delay)

    async def _keep_probed(self) -> None:
        """Check at an interval whether the server still has what changed last."""
        session = self._session
        while True:
            await trio.sleep(session.tuning.probe_interval)
            scope = session.take_probe()
            if scope is not None:
                async with self._list_lock:
                    delay = await self._read_some(scope, self._probed)
                await trio.sleep(delay)

    def _probed(self, commit: Commit | None) -> None:
        if self._session.probes.is_lost(commit):
            self._list_wanted.set()
        # Its differences are judged as those of any list.
        self._audit_open.set()

    async def _read_some(self, scope: Scope, committed: Callable[[Commit | None], None] = lambda _: None) -> float:
        """Read some processes and commit them, or record the error; return how long to wait before the next."""
        session = self._session
        snapshot = session.begin_list(self._clock(), scope, opened_at=self._link.opened_at)
        error = await self._attempt(self._link.lister.processes, snapshot, session.tuning.repair_timeout)
        async with self._prepared(snapshot, error, session.tuning.repair_timeout) as error:
            # Where it is no longer the list in progress, the next list of everything settles it.
            if not session.is_listing(snapshot):
                return 0.0
            if error is not None:
                return session.list_failed(snapshot, error)
            commit = session.end_list(snapshot, self._clock())
            self._outer_nursery.start_soon(in_slices, session.record_list())
            self._publish(_all(commit), listed=True)
            if session.guards.rollback.wants_list:
                self._list_wanted.set()
            committed(commit)
            return 0.0

    @asynccontextmanager
    async def _prepared(
        self, snapshot: PendingSnapshot, error: LRPMirrorError | None, timeout: float
    ) -> AsyncIterator[LRPMirrorError | None]:
        """Prepare the views for a list, if it is complete; the block commits it, with no await before that."""
        async with self.views_lock:
            if error is None and self._session.is_listing(snapshot):
                error = await self._attempt(lambda of: in_slices(self._prepare(of)), snapshot, timeout)
            yield error


def _all(commit: Commit | None) -> tuple[Commit, ...]:
    return () if commit is None else (commit,)
