"""Carrying bytes in and effects out: the streams, the lists and the repairs of one mirror, as tasks."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Final, Protocol

import trio

from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.changes import Commit
from lrpmirror.core.session import Session
from lrpmirror.errors import BBSError, ConnectionFailed, LRPMirrorError, TimedOut, WireError
from lrpmirror.events import Event, SourceStatus
from lrpmirror.mirror._bbs import BBS, StreamName
from lrpmirror.mirror._link import Link
from lrpmirror.mirror._lister import Lister
from lrpmirror.mirror._watchdog import Watchdog

__all__ = ["Follower"]

logger = logging.getLogger("lrpmirror")


class Publish(Protocol):
    """Tells everyone of commits, or of a new phase."""

    def __call__(self, commits: Sequence[Commit], *, listed: bool = False) -> None:
        """Tell of commits; `listed` where a list was brought to the views with `prepare`, whether it was believed."""
        ...


class Follower:
    """Keeps a session current from a BBS until it is cancelled.

    The reader of the stream never waits for the lists, nor for subscribers: the server drops a reader that falls
    behind.

    There is one stream, but for a while where it is replaced in use: then the events of both are applied, which the
    session does not mind, until a list that was begun after the new one was opened has been committed. Nothing is
    missed so, and the state stays current throughout.
    """

    def __init__(
        self,
        bbs: BBS,
        session: Session,
        clock: Callable[[], float],
        publish: Publish,
        prepare: Callable[[PendingSnapshot], Iterator[None]],
        *,
        stream: StreamName,
        full: bool,
    ) -> None:
        self._bbs = bbs
        self._session = session
        self._clock = clock
        self._publish = publish
        self._prepare = prepare
        self.deriving: Final = trio.Lock()
        """Held while a list is brought to the views, and committed; and while a view is made."""
        self._stream: StreamName = stream
        self._full = full
        self._watchdog = Watchdog(bbs, session, clock)
        # One list at a time, since a list is judged by the events since it was asked for.
        self._listing = trio.Lock()
        self._reading = trio.CancelScope()
        self._until_next_list = trio.CancelScope()
        """What lasts until the next list of everything is due."""
        self._undecided = trio.Event()
        self._wanted = trio.Event()
        self._found = trio.Event()
        self._replacing = trio.Event()
        self._link = self._new_link()
        self._next: Link | None = None
        self._delay = 0.0
        self._outliving: trio.Nursery
        """For what goes on when the stream is lost."""

    async def run(self) -> None:
        """Follow the stream for ever; on every loss wait, reconnect and list again."""
        async with trio.open_nursery() as self._outliving:
            while True:
                async with trio.open_nursery() as nursery:
                    self._link, self._next = self._new_link(), None
                    self._replacing = trio.Event()
                    nursery.start_soon(self._carry, self._link, nursery)
                await trio.sleep(self._delay)

    def resync(self) -> None:
        """Ask for a list of everything now, instead of at the next interval."""
        self._wanted.set()

    def replace(self, reason: str) -> None:
        """Have the stream replaced by a new one, without a gap. Nothing to do where it is not open yet."""
        if self._link.is_open:
            logger.info("the event stream is being replaced: %s", reason)
            self._replacing.set()

    # The streams

    def _new_link(self) -> Link:
        return Link(Lister(self._bbs, self._clock, full=self._full, cells_timeout=self._session.tuning.cells_timeout))

    async def _carry(self, link: Link, nursery: trio.Nursery) -> None:
        """Follow one stream to its end."""
        with link.scope:
            try:
                said = partial(self._source_reported, link)
                async with self._bbs.events(self._stream, full=self._full, said=said) as batches:
                    self._opened(link, nursery)
                    error = await self._read(link, batches)
                    # Before the connection is closed, which takes a moment: what is known to be over is not LIVE.
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
                    self._undecided.set()
                early = session.unreadable.wait(now, session.freshness.synced_at)
                if early < inf:
                    self._until_next_list.deadline = min(self._until_next_list.deadline, trio.current_time() + early)
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
        if link is self._next:
            self._wanted.set()
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
        if link is self._next:
            self._next = None
        elif link is self._link:
            self._delay = self._session.stream_lost(error)
            self._reading.cancel()
            if self._next is not None and self._next.is_open:
                # It was there to take over, and does so before its list is in: for the mirror it is a new stream.
                self._follow(self._next)
                self._session.stream_opened(self._link.heard_at)
                self._apply_source_status()
                self._wanted.set()
            else:
                nursery.cancel_scope.cancel()
            self._publish(())

    def _follow(self, link: Link) -> None:
        """Go on with a stream that was opened beside the one before."""
        self._link, self._next = link, None
        link.settled.set()

    def _apply_source_status(self) -> None:
        """Have it count what the source said on a stream before that was the one that is followed."""
        if self._link.source_status is not None:
            self._session.freshness.source_reported(*self._link.source_status)

    async def _keep_replaced(self, nursery: trio.Nursery) -> None:
        while True:
            await self._replacing.wait()
            self._replacing = trio.Event()
            while (error := await self._replace(nursery)) is not None:
                delay = self._session.replacement_failed(error)
                self._publish(())
                await trio.sleep(delay)

    async def _replace(self, nursery: trio.Nursery) -> LRPMirrorError | None:
        """Open another stream, and wait until it is the one that is followed; return what it ended with before."""
        link = self._next = self._new_link()
        nursery.start_soon(self._carry, link, nursery)
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
                dead = await self._watchdog.ping(watch)
                if dead is not None:
                    self._ended(link, dead, nursery)
                    link.scope.cancel()
            if link is self._link and watch.idle(self._clock()):
                self.replace("it has been silent for so long that it may be dead")

    async def _keep_renewed(self) -> None:
        """Let a stream not go on for ever as whom it was opened."""
        while True:
            await trio.sleep(self._session.tuning.renewal_interval)
            if self._bbs.renewed():
                self.replace("the certificates have been renewed")

    # The lists

    async def _keep_synced(self, nursery: trio.Nursery) -> None:
        session = self._session
        while True:
            self._wanted = trio.Event()
            async with self._listing:
                delay = await self._sync()
            if session.repairs:
                self._undecided.set()
            if delay is None:
                self._found.set()
                delay = session.next_list(self._clock())
            with trio.move_on_after(delay) as self._until_next_list:
                await self._wanted.wait()
            if self._until_next_list.cancelled_caught:
                await self._await_other_stream(nursery)

    async def _await_other_stream(self, nursery: trio.Nursery) -> None:
        """Where only a list on another stream can decide whether the server was set back, wait until there is one."""
        session, upcoming = self._session, self._next
        if not session.guards.rollback.wants_stream((upcoming or self._link).opened_at):
            return
        if upcoming is None:
            self.replace("a list that was read with it was older than what is known")
        elif upcoming.is_open:
            # Its own list was older, and so is not believed before another stream's.
            self._ended(upcoming, ConnectionFailed("its list was older than what is known"), nursery)
            upcoming.scope.cancel()
        with trio.move_on_after(session.next_interval()):
            await self._wanted.wait()

    async def _sync(self) -> float | None:
        """List everything; return after how long to try again, or None where there is a list."""
        session, upcoming = self._session, self._next
        if upcoming is not None and not upcoming.is_open:
            upcoming = None
        link = upcoming or self._link
        snapshot = session.begin_list(self._clock(), EVERYTHING, opened_at=link.opened_at)
        try:
            error = await self._fill(link.lister.everything, snapshot, session.tuning.list_timeout)
            async with self._prepared(snapshot, error, session.tuning.list_timeout) as error:
                return self._listed(snapshot, error, upcoming) if session.is_listing(snapshot) else 0.0
        finally:
            self._outliving.start_soon(_free_in_slices, snapshot)

    def _listed(self, snapshot: PendingSnapshot, error: LRPMirrorError | None, upcoming: Link | None) -> float | None:
        """Commit a list of everything that has settled, or failed; return what `_sync` does."""
        session = self._session
        if error is not None:
            delay = session.list_failed(snapshot, error)
            self._publish(())
            return delay
        commit = session.end_list(snapshot, self._clock())
        rolled_back = session.guards.take_rollback()
        if rolled_back is not None:
            logger.warning("%s", rolled_back)
        if upcoming is not None and upcoming is self._next and not session.guards.held:
            self._take_over(upcoming)
        self._publish(_all(commit), listed=True)
        return None

    def _take_over(self, link: Link) -> None:
        given_up = self._link
        self._follow(link)
        self._session.stream_replaced(link.heard_at)
        self._apply_source_status()
        given_up.scope.cancel()

    async def _keep_audited(self) -> None:
        """Judge what audits find, once the events that may explain it have had the time to come."""
        session = self._session
        while True:
            await self._found.wait()
            while (wait := session.audit_wait(self._clock())) is not None:
                await trio.sleep(wait)
                drift = session.end_audit(self._clock())
                if drift is None:
                    continue
                logger.warning("%s", drift)
                self._publish(())
                if drift.first:
                    self._wanted.set()
                elif drift.repeated:
                    self.replace(f"{drift.row} lists in a row differed from what it had told")
            self._found = trio.Event()

    async def _fill(
        self, fill: Callable[[PendingSnapshot], Awaitable[None]], snapshot: PendingSnapshot, timeout: float
    ) -> LRPMirrorError | None:
        """Read a list, until it is whole, fails or takes too long; or until it is broken off: then it is of no use."""
        with trio.CancelScope() as self._reading, trio.move_on_after(timeout):
            try:
                await fill(snapshot)
            except (BBSError, WireError) as error:
                return error
            return None
        return TimedOut(f"a list was not complete within {timeout:g} s")

    async def _keep_repaired(self) -> None:
        session = self._session
        while True:
            await self._undecided.wait()
            await trio.sleep(session.tuning.repair_delay)
            async with self._listing:
                scope = session.take_repairs()
                if scope is None:
                    self._undecided = trio.Event()
                    continue
                delay = await self._read_some(scope, self._repaired)
            await trio.sleep(delay)

    def _repaired(self, snapshot: PendingSnapshot, error: LRPMirrorError | None) -> float:
        """Commit a read of some processes, or record that it failed; return how long to wait before the next."""
        session = self._session
        if error is not None:
            return session.list_failed(snapshot, error)
        self._commit_some(snapshot)
        return 0.0

    async def _keep_probed(self) -> None:
        """Look, at an interval, whether the server still has what changed last."""
        session = self._session
        while True:
            await trio.sleep(session.tuning.probe_interval)
            scope = session.take_probe()
            if scope is not None:
                async with self._listing:
                    delay = await self._read_some(scope, self._probed)
                await trio.sleep(delay)

    def _probed(self, snapshot: PendingSnapshot, error: LRPMirrorError | None) -> float:
        session = self._session
        if error is not None:
            return session.list_failed(snapshot, error)
        if session.probes.is_lost(self._commit_some(snapshot)):
            self._wanted.set()
        # What it had otherwise is judged as that of any list is.
        self._found.set()
        return 0.0

    async def _read_some(
        self, scope: Scope, finish: Callable[[PendingSnapshot, LRPMirrorError | None], float]
    ) -> float:
        """Read some processes; return what `finish` does, which commits them or notes the error."""
        session = self._session
        snapshot = session.begin_list(self._clock(), scope, opened_at=self._link.opened_at)
        error = await self._fill(self._link.lister.some, snapshot, session.tuning.repair_timeout)
        async with self._prepared(snapshot, error, session.tuning.repair_timeout) as error:
            # Where it is no longer the one in progress, the list of everything that comes next settles it.
            return finish(snapshot, error) if session.is_listing(snapshot) else 0.0

    def _commit_some(self, snapshot: PendingSnapshot) -> Commit | None:
        session = self._session
        commit = session.end_list(snapshot, self._clock())
        self._publish(_all(commit), listed=True)
        if session.guards.rollback.wants_list:
            self._wanted.set()
        return commit

    @asynccontextmanager
    async def _prepared(
        self, snapshot: PendingSnapshot, error: LRPMirrorError | None, timeout: float
    ) -> AsyncIterator[LRPMirrorError | None]:
        """Bring the views to what a list leads to, if it is whole; the block commits it, without an await before."""
        async with self.deriving:
            if error is None and self._session.is_listing(snapshot):
                error = await self._fill(self._bring_to_views, snapshot, timeout)
            yield error

    async def _bring_to_views(self, snapshot: PendingSnapshot) -> None:
        for _ in self._prepare(snapshot):
            await trio.lowlevel.checkpoint()


async def _free_in_slices(snapshot: PendingSnapshot) -> None:
    """Let go of what was listed, bit by bit: a quarter of a million rows at once would hold up everybody."""
    for _ in snapshot.free_in_slices():
        await trio.lowlevel.checkpoint()


def _all(commit: Commit | None) -> tuple[Commit, ...]:
    return () if commit is None else (commit,)
