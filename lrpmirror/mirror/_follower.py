"""Carrying bytes in and effects out: the stream, the lists and the repairs of one mirror, as tasks."""

from collections.abc import AsyncIterator, Callable, Sequence

import trio

from lrpmirror.core.changes import Commit
from lrpmirror.core.session import Session
from lrpmirror.core.shadow import EVERYTHING
from lrpmirror.errors import BBSError, ConnectionFailed, LRPMirrorError, WireError
from lrpmirror.events import Event
from lrpmirror.mirror._bbs import BBS, StreamName
from lrpmirror.mirror._lister import Lister

__all__ = ["Follower"]


class Follower:
    """Keeps a session current from a BBS until it is cancelled.

    The reader of the stream never waits for the lists, nor for subscribers: the server drops a reader that falls
    behind.
    """

    def __init__(
        self,
        bbs: BBS,
        session: Session,
        clock: Callable[[], float],
        publish: Callable[[Sequence[Commit]], None],
        *,
        stream: StreamName,
        full: bool,
    ) -> None:
        self._bbs = bbs
        self._session = session
        self._clock = clock
        self._publish = publish
        self._stream: StreamName = stream
        self._full = full
        # One list at a time, since a list is judged by the events since it was asked for.
        self._listing = trio.Lock()
        self._doubted = trio.Event()
        self._wanted = trio.Event()

    async def run(self) -> None:
        """Follow the stream for ever; on every loss wait, reconnect and list again."""
        while True:
            error = await self._follow()
            delay = self._session.stream_lost(error)
            self._publish(())
            await trio.sleep(delay)

    def resync(self) -> None:
        """Ask for a list of everything now, instead of at the next interval."""
        self._wanted.set()

    async def _follow(self) -> LRPMirrorError:
        """Follow one connection to its end, and return what ended it."""
        try:
            async with self._bbs.events(self._stream, full=self._full) as batches:
                self._session.stream_opened(self._clock())
                self._publish(())
                lister = Lister(self._bbs, full=self._full)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep_synced, lister)
                    nursery.start_soon(self._keep_repaired, lister)
                    error = await self._read(batches)
                    nursery.cancel_scope.cancel()
                return error
        except (BBSError, WireError) as error:
            return error

    async def _read(self, batches: AsyncIterator[list[Event]]) -> LRPMirrorError:
        session = self._session
        try:
            async for events in batches:
                self._publish(session.events(events, self._clock()))
                if session.repairs:
                    self._doubted.set()
        except (BBSError, WireError) as error:
            return error
        return ConnectionFailed("the event stream ended")

    async def _keep_synced(self, lister: Lister) -> None:
        while True:
            self._wanted = trio.Event()
            delay = await self._sync(lister)
            with trio.move_on_after(delay):
                await self._wanted.wait()

    async def _sync(self, lister: Lister) -> float:
        """List everything, and return after how long to do it again."""
        session = self._session
        async with self._listing:
            shadow = session.begin_list(self._clock(), EVERYTHING)
            try:
                await lister.everything(shadow)
            except (BBSError, WireError) as error:
                return session.list_failed(shadow, error)
            self._publish(_all(session.end_list(shadow, self._clock())))
        if session.repairs:
            self._doubted.set()
        return session.next_interval()

    async def _keep_repaired(self, lister: Lister) -> None:
        session = self._session
        while True:
            await self._doubted.wait()
            await trio.sleep(session.tuning.repair_delay)
            async with self._listing:
                scope = session.take_doubts()
                if scope is None:
                    self._doubted = trio.Event()
                    continue
                shadow = session.begin_list(self._clock(), scope)
                try:
                    await lister.some(shadow)
                except (BBSError, WireError) as error:
                    delay = session.list_failed(shadow, error)
                else:
                    self._publish(_all(session.end_list(shadow, self._clock())))
                    delay = 0.0
            await trio.sleep(delay)


def _all(commit: Commit | None) -> tuple[Commit, ...]:
    return () if commit is None else (commit,)
