"""A BBS as a mirror uses it: its interface, the reading of lists, one subscription to the stream with its pings."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, Protocol

import trio

from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.freshness.watchdog import Watch
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.session import Session
from lrpmirror.errors import (
    BBSError,
    LRPMirrorError,
    RequestRefused,
    ServiceUnavailable,
    StreamDead,
    TimedOut,
    UnknownPath,
    WireError,
)
from lrpmirror.events import Event, SourceStatus
from lrpmirror.mirror._freeing import in_slices
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP

ListName = Literal["actual_lrps", "actual_lrp_groups", "desired_lrps", "scheduling_infos", "routing_infos"]
StreamName = Literal["instances", "groups"]


class BBS(Protocol):
    """The reads of a BBS that a mirror makes. All raise BBSError or WireError, and nothing else.

    `most` is how many records a reply may have: with more, the read ends with LimitExceeded.
    """

    def events(
        self, name: StreamName, *, full: bool = ..., said: Callable[[SourceStatus], None] | None = ...
    ) -> AbstractAsyncContextManager[AsyncIterator[list[Event]]]:
        """Subscribe; entered once the server has answered. Yields the events of each read, in order of arrival.

        `said` is called with the source's status, which says how old the state is that all events so far lead to: at
        first, then about every second, and when it changes. It is called from the iteration, after the events before
        it have been taken. A BBS never sends one: it sends its own state. A source that passes on another's state must
        send it, or its state counts as new.
        """

    def stream_list(self, name: ListName, **filters: Any) -> AbstractAsyncContextManager[AsyncIterator[list[Any]]]:
        """List all records of a kind, batch by batch."""

    async def actual_lrps_by_process_guids(
        self, process_guids: Iterable[str], *, most: int | None = ...
    ) -> tuple[ActualLRP, ...]:
        """List the rows of some processes."""

    async def desired_lrps(
        self, *, process_guids: Iterable[str] = ..., full: bool = ..., most: int | None = ...
    ) -> tuple[DesiredLRP, ...]:
        """List the desired LRPs of some processes."""

    def renewed(self) -> bool:
        """Return whether the certificates on disk have changed since the last call; then the stream is replaced."""

    async def ping(self) -> bool:
        """Ask whether the BBS is in service, on another connection than the stream's."""

    async def domains(self, *, most: int | None = ...) -> tuple[str, ...]:
        """List the domains that are fresh."""

    async def cells(self, *, most: int | None = ...) -> tuple[CellPresence, ...]:
        """List the cells that are there."""


@dataclass
class Lister:
    """Fills snapshots. There is one for each stream, since the next server may have other paths."""

    _bbs: BBS
    _clock: Callable[[], float]
    _full: bool
    _cells_timeout: float
    _has_rows: bool = True

    def __post_init__(self) -> None:
        self._has_parts = not self._full

    async def everything(self, snapshot: PendingSnapshot) -> None:
        """List everything. Raises BBSError, WireError; LimitExceeded where too many events arrive meanwhile."""
        # The domains first: only a domain that was fresh before the list proves that its desired LRPs are complete.
        most = snapshot.list_limit
        domains = await self._bbs.domains(most=most)
        snapshot.check_count("domains", len(domains))
        snapshot.domains = frozenset(domains)
        await self._rows(snapshot)
        await self._desired(snapshot)
        await self._cells(snapshot)
        await self._settle(snapshot)

    async def _cells(self, snapshot: PendingSnapshot) -> None:
        """List the cells, which another service keeps: those known stay where they do not come in a short time."""
        snapshot.answered_at = self._clock()
        with trio.move_on_after(self._cells_timeout) as waiting:
            try:
                cells = await self._bbs.cells(most=snapshot.list_limit)
                snapshot.check_count("cells", len(cells))
            except UnknownPath:
                return
            except (BBSError, WireError) as error:
                snapshot.cells_error = error
                return
            # Sorted, since the server's order changes from reply to reply.
            snapshot.answered_at = self._clock()
            snapshot.cells = tuple(sorted(cells, key=attrgetter("cell_id")))
        if waiting.cancelled_caught:
            snapshot.cells_error = TimedOut(f"no list of the cells within {self._cells_timeout:g} s: those known stay")

    async def processes(self, snapshot: PendingSnapshot) -> None:
        """List the processes of the snapshot's scope. Raises BBSError, WireError."""
        if snapshot.scope.rows:
            guids, most = sorted(snapshot.scope.rows), snapshot.list_limit
            snapshot.list_rows(await self._bbs.actual_lrps_by_process_guids(guids, most=most))
        if snapshot.scope.desired:
            await self._desired_of(snapshot, sorted(snapshot.scope.desired))
        snapshot.answered_at = self._clock()
        await self._settle(snapshot)

    async def _desired_of(self, snapshot: PendingSnapshot, guids: list[str]) -> None:
        try:
            most = snapshot.list_limit
            snapshot.list_desired(await self._bbs.desired_lrps(process_guids=guids, full=self._full, most=most))
        except RequestRefused:
            # A replica of a BBS can have only their parts.
            if not self._has_parts:
                raise
            await self._read("scheduling_infos", snapshot, snapshot.list_scheduling_parts, process_guids=guids)
            await self._read("routing_infos", snapshot, snapshot.list_metric_tags, process_guids=guids)

    async def _settle(self, snapshot: PendingSnapshot) -> None:
        snapshot.check_limit()
        await in_slices(snapshot.settle())

    async def _rows(self, snapshot: PendingSnapshot) -> None:
        if self._has_rows:
            try:
                await self._read("actual_lrps", snapshot, snapshot.list_rows)
            except UnknownPath:
                self._has_rows = False
        if not self._has_rows:
            await self._read("actual_lrp_groups", snapshot, lambda groups: snapshot.list_rows(_rows_of(groups)))

    async def _desired(self, snapshot: PendingSnapshot) -> None:
        """List the desired LRPs: by their parts, which are a small share of the whole, unless the whole is wanted."""
        if self._has_parts:
            try:
                await self._read("scheduling_infos", snapshot, snapshot.list_scheduling_parts)
                await self._read("routing_infos", snapshot, snapshot.list_metric_tags)
            except UnknownPath:
                self._has_parts = False
        if not self._has_parts:
            await self._read("desired_lrps", snapshot, snapshot.list_desired, full=self._full)

    async def _read(
        self, name: ListName, snapshot: PendingSnapshot, take: Callable[[list[Any]], None], **filters: Any
    ) -> None:
        async with self._bbs.stream_list(name, **filters) as batches:
            async for batch in batches:
                take(batch)
                snapshot.check_limit()


def _rows_of(groups: list[ActualLRPGroup]) -> Iterator[ActualLRP]:
    return (row for group in groups for row in (group.instance, group.evacuating) if row is not None)


class Link:
    """A subscription, from the attempt to open it to its end; the follower runs it."""

    def __init__(self, lister: Lister) -> None:
        self.lister = lister  # reads the lists while it is followed, and learns what its server is too old for
        self.watch: Watch | None = None  # decides whether it is alive; None before it is open
        self.opened_at = 0.0  # when the server answered
        self.heard_at = 0.0  # when it was opened, or last brought something
        self.source_status: tuple[SourceStatus, float] | None = None  # the latest that was reported, and when
        self.error: LRPMirrorError | None = None  # the error that ended it
        self.scope = trio.CancelScope()  # runs it: cancelling closes the connection
        self.settled = trio.Event()  # set when it is the followed one, or has ended before that

    @property
    def is_open(self) -> bool:
        """Whether the server has answered, and it has not ended since."""
        return self.watch is not None and self.error is None

    def opened(self, tuning: Tuning, now: float) -> None:
        """Record that the server has answered."""
        self.watch = Watch(tuning, now)
        self.opened_at = self.heard_at = now

    def received(self, now: float) -> None:
        """Record that the stream brought something. O(1)."""
        self.heard_at = now
        if self.watch is not None:
            self.watch.received(now)

    def ended(self, error: LRPMirrorError) -> bool:
        """Record that it ended; return whether it had not ended before."""
        if self.error is not None:
            return False
        self.error = error
        self.settled.set()
        return True


async def ping(bbs: BBS, session: Session, watch: Watch, clock: Callable[[], float]) -> StreamDead | None:
    """Ping the server on another connection; return the error to end the stream with, if it failed once too often."""
    error = await _ask(bbs, session.tuning.ping_timeout)
    if error is None:
        watch.answered()
        session.freshness.pinged(clock())
        return None
    session.freshness.ping_failed(error)
    return watch.failed(error, clock())


async def _ask(bbs: BBS, timeout: float) -> LRPMirrorError | None:
    try:
        with trio.fail_after(timeout):
            available = await bbs.ping()
    except trio.TooSlowError:
        return TimedOut(f"no answer to a ping within {timeout:g} s")
    except UnknownPath:
        # A server that is too old for pings, or a proxy that blocks them: it has answered.
        return None
    except (BBSError, WireError) as error:
        return error
    return None if available else ServiceUnavailable("the answer to a ping: the BBS is not available")
