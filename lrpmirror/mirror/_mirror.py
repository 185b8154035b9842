"""The mirror as its users see it: reads, status, subscriptions."""

from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from itertools import chain
from math import inf
from os import PathLike
from random import Random
from typing import Any, Literal, Self, TypeVar

import trio
from msgspec.structs import replace

from lrpmirror.background import background
from lrpmirror.client import TLS, BBSClient, Timeouts
from lrpmirror.core.changes import Cause, Commit, Delta, RowKey, row_key, touched_by
from lrpmirror.core.decisions import Decision
from lrpmirror.core.derive import Process, View
from lrpmirror.core.groups import groups_of
from lrpmirror.core.session import Session
from lrpmirror.core.status import Phase, Status
from lrpmirror.core.store import matches
from lrpmirror.core.tally import Counts
from lrpmirror.core.tuning import Tuning
from lrpmirror.core.witness import Witness
from lrpmirror.errors import ConfigurationError, MirrorClosed, NotSeen, NotSynced
from lrpmirror.mirror._bbs import BBS, StreamName
from lrpmirror.mirror._feed import Changes, Feed
from lrpmirror.mirror._follower import Follower
from lrpmirror.mirror._keeper import keeping
from lrpmirror.mirror._subscription import Callback, ErrorPolicy, Subscription
from lrpmirror.mirror._view import MirrorView
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP, ModificationTag
from lrpmirror.statefile import StateFile

__all__ = ["Mirror", "open_mirror"]

K = TypeVar("K", bound=Hashable)
C = TypeVar("C")
V = TypeVar("V")


class Mirror:
    """An in-memory mirror of a BBS, made by `open_mirror`.

    Reads are synchronous, do no I/O and return frozen values: between two awaits they all see one state. They may be
    called from any thread. Until the first synchronisation they find nothing, and `status` says so; after a lost
    connection they find the last known state, and `status` says that too.
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
        self._session = session
        self._nursery = nursery
        self._clock = clock
        self._follower = Follower(bbs, session, clock, self._publish, stream=stream, full=full)
        self._rows: Feed[RowKey, ActualLRP] = Feed(_process_of, self._present_rows, nursery, clock, session.revision)
        self._desired: Feed[str, DesiredLRP] = Feed(_key_of, self._present_desired, nursery, clock, session.revision)
        self._views: list[MirrorView[Any, Any]] = []
        self._waiting = trio.lowlevel.ParkingLot()

    # Freshness

    @property
    def status(self) -> Status:
        """How fresh the state is: phase, age, last error. O(1)."""
        return self._session.status(self._clock())

    @property
    def revision(self) -> int:
        """The number of the last commit; 0 before the first. O(1)."""
        return self._session.revision

    def check_fresh(self, max_age: float) -> None:
        """Raise NotFresh unless the state was known to be the server's at most `max_age` seconds ago. O(1).

        While LIVE that was at the last proof of life (see `Status`), which there is every `Tuning.ping_interval` at
        least. Else it was before what went wrong, which is the cause of the error; so a state that has been stale for
        less than `max_age` passes. Before the first synchronisation nothing does.

        The queries do the same where they are given `max_age`.
        """
        self.status.check_fresh(max_age)

    async def wait_synced(self, timeout: float | None = None) -> None:
        """Wait until the mirror has had the whole state once. Returns at once where it has, even if it is stale by now.

        Raises NotSynced when that takes more than `timeout` seconds, with the last error as its cause; MirrorClosed
        when the mirror is closed first.
        """
        with trio.move_on_after(inf if timeout is None else timeout):
            while self._session.synced_at is None:
                if self._session.phase is Phase.CLOSED:
                    raise MirrorClosed("the mirror was closed before it was synchronised")
                await self._waiting.park()
            await trio.lowlevel.checkpoint()
        # The checkpoint of a timeout of 0 is too late, the state is not.
        if self._session.synced_at is not None:
            return
        error = self._session.last_error
        why = f"the last error: {error}" if error is not None else "no error so far, the lists are still being read"
        raise NotSynced(f"not synchronised within {timeout} s; {why}") from error

    @property
    def counts(self) -> Counts:
        """What was counted since the mirror was opened, for monitoring. O(kinds of events + views + subscribers)."""
        lags = self._rows.lags() + self._desired.lags() + [lag for view in self._views for lag in view.lags]
        return replace(self._session.counts(), subscribers=tuple(lags))

    def resync(self) -> None:
        """Ask for a list of everything now, instead of at the next interval. Returns at once."""
        self._follower.resync()

    def reconnect(self) -> None:
        """Replace the event stream by a new one, without a gap: the phase stays as it is. Returns at once.

        The new one is subscribed, and a list committed on it, before the old one is given up. If that fails the old one
        stays, `status.trouble` says why, and it is tried again. Does nothing while there is no stream: then one is
        being opened anyway.
        """
        self._follower.replace("it was asked for")

    # Actual LRPs

    def actual_lrps(
        self,
        process_guid: str | None = None,
        *,
        cell_id: str | None = None,
        state: str | None = None,
        domain: str | None = None,
        max_age: float | None = None,
    ) -> tuple[ActualLRP, ...]:
        """Return the rows that match every filter given; all of them where none is.

        Of one process: by index, then presence, in O(1), and with further filters in O(rows of the process). Else
        O(rows under the most selective filter), in no promised order. `cell_id=""` finds the rows that are on no cell.
        With `max_age` it raises NotFresh as `check_fresh` does.
        """
        if max_age is not None:
            self.check_fresh(max_age)
        store = self._session.store
        if process_guid is None:
            return store.select(cell_id=cell_id, state=state, domain=domain)
        rows = store.process(process_guid)
        if cell_id is None and state is None and domain is None:
            return rows
        return tuple(row for row in rows if matches(row, cell_id, state, domain))

    def actual_lrp_groups(self, process_guid: str, *, max_age: float | None = None) -> tuple[ActualLRPGroup, ...]:
        """Return the groups of a process by index, by the server's rule. O(rows of the process).

        With `max_age` it raises NotFresh as `check_fresh` does.
        """
        if max_age is not None:
            self.check_fresh(max_age)
        return groups_of(self._session.store.process(process_guid))

    def instance(self, instance_guid: str, *, max_age: float | None = None) -> ActualLRP | None:
        """Return the row of an instance, or None. O(1).

        While an instance moves from one row to another, both can have it for a moment: then the one written last. With
        `max_age` it raises NotFresh as `check_fresh` does.
        """
        if max_age is not None:
            self.check_fresh(max_age)
        return self._session.store.instance(instance_guid)

    # Desired LRPs, domains, cells

    def desired_lrp(self, process_guid: str, *, max_age: float | None = None) -> DesiredLRP | None:
        """Return what should run of a process, or None. O(1).

        With `max_age` it raises NotFresh as `check_fresh` does.
        """
        if max_age is not None:
            self.check_fresh(max_age)
        return self._session.store.desired(process_guid)

    def desired_lrps(
        self, *, app_guid: str | None = None, domain: str | None = None, max_age: float | None = None
    ) -> tuple[DesiredLRP, ...]:
        """Return the desired LRPs that match every filter given; all of them where none is.

        `app_guid` is a prefix of process guids: those of an app begin with its guid. With it they come by process guid,
        in O(log desired LRPs + found); else in no promised order. With `max_age` it raises NotFresh as `check_fresh`
        does.
        """
        if max_age is not None:
            self.check_fresh(max_age)
        return self._session.store.select_desired(app_guid=app_guid, domain=domain)

    def has_seen(self, process_guid: str, tag: ModificationTag) -> bool:
        """Tell whether that version of a record of a process, or a later one, has been here; also if it is gone.

        O(rows of the process). See `wait_for_tag`.
        """
        return self._session.has_seen(process_guid, tag)

    @property
    def domains(self) -> frozenset[str]:
        """The domains that were fresh at the last list: whose owner vouches that their desired LRPs are complete.

        O(1).
        """
        return self._session.store.domains

    @property
    def cells(self) -> tuple[CellPresence, ...]:
        """The cells that were there at the last list that could be had, by id.

        The BBS sends no events about them. O(1).
        """
        return self._session.cells

    def explain(self, process_guid: str) -> tuple[Decision, ...]:
        """Return what became of the latest events about a process and why, the oldest first; for people who wonder.

        A few for each of the processes that were heard of lately; since the first synchronisation. O(decisions).
        """
        return self._session.explain(process_guid)

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

        `process_guids` and `where` restrict it: to this subscriber a row that does not satisfy `where` is not there.
        With `replay` it is first told of the rows that are there, with the cause REPLAY. The callback may be
        synchronous or asynchronous; it is called in a task of its own and never twice at once. A slow one is told of
        fewer, larger steps. `errors` says what its failure does: `raise` ends the mirror's block with it, `log` logs
        it, `cancel` logs it and ends the subscription. Raises MirrorClosed when the mirror is closed.
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

        A batch is a list of changes, one a key: what has changed since the batch before. The rest as in `subscribe`.
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

    def view(self, view: View[K, C, V]) -> MirrorView[K, V]:
        """Keep a view of this mirror: a read-only mapping, always that of the rows at the same revision.

        The view is derived here and now, in O(all processes), and from then on process by process, with each commit.
        See `lrpmirror.views` for those that come with the library. Raises MirrorClosed when the mirror is closed.
        """
        if self._session.phase is Phase.CLOSED:
            raise MirrorClosed("the mirror is closed: a view of it would not be kept up to date")
        kept: MirrorView[K, V] = MirrorView(
            view, self._nursery, self._clock, self.check_fresh, forget=lambda: self._forget(kept)
        )
        kept.update(self._all_processes(), self._session.cells, self.revision, Cause.REPLAY)
        self._views.append(kept)
        return kept

    @contextmanager
    def witnessed(self, witness: Witness) -> Iterator[None]:
        """Let somebody see every event and commit as it happens, while the block lasts.

        For what a subscription cannot give, which coalesces: a replica's event streams. The stream waits for a witness.
        """
        session = self._session
        session.witnesses = (*session.witnesses, witness)
        try:
            yield
        finally:
            session.witnesses = tuple(one for one in session.witnesses if one is not witness)

    async def wait_for(
        self, predicate: Callable[[Self], bool], timeout: float | None = None, *, what: str = ""
    ) -> None:
        """Wait until `predicate(mirror)` holds; it is tried now and after each commit and change of phase.

        Raises NotSeen when that takes more than `timeout` seconds: its message says `what` was waited for and how the
        mirror is. Raises MirrorClosed when the mirror is closed first.
        """
        holds = False
        with trio.move_on_after(inf if timeout is None else timeout):
            while not (holds := predicate(self)):
                if self._session.phase is Phase.CLOSED:
                    raise MirrorClosed(f"the mirror was closed before it had {what or 'what was waited for'}")
                await self._waiting.park()
            await trio.lowlevel.checkpoint()
        # The checkpoint of a timeout of 0 is too late, the answer is not.
        if holds:
            return
        status = self.status
        raise NotSeen(
            f"{what or 'what was waited for'} did not come within {timeout} s; the mirror is {status.phase} at "
            f"revision {status.revision} with {status.actual_lrps} actual and {status.desired_lrps} desired LRPs"
        ) from status.last_error

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
            has = self._session.tags(process_guid)
            tags = ", ".join(f"{one.epoch}:{one.index}" for one in has) or "none at all"
            raise NotSeen(f"{error}; of that process it has: {tags}") from error.__cause__

    # Inside

    def _present_rows(self, process_guids: frozenset[Hashable] | None) -> Iterable[Delta[RowKey, ActualLRP]]:
        store = self._session.store
        if process_guids is None:
            rows: Iterable[ActualLRP] = store.select(cell_id=None, state=None, domain=None)
        else:
            rows = (row for guid in sorted(map(str, process_guids)) for row in store.process(guid))
        return (Delta(row_key(row), None, row) for row in rows)

    def _present_desired(self, process_guids: frozenset[Hashable] | None) -> Iterable[Delta[str, DesiredLRP]]:
        store = self._session.store
        guids = store.desired_guids() if process_guids is None else sorted(map(str, process_guids))
        return (Delta(guid, None, store.desired(guid)) for guid in guids)

    def _forget(self, view: MirrorView[Any, Any]) -> None:
        # By identity: two views of the same are equal, being mappings.
        self._views = [kept for kept in self._views if kept is not view]

    def _all_processes(self) -> Iterator[Process]:
        return map(self._session.process, self._session.process_guids())

    def _publish(self, commits: Sequence[Commit]) -> None:
        """Tell everyone of commits, or of a new phase. Waits for nobody."""
        for commit in commits:
            self._rows.publish(commit.actual_lrps, commit.revision, commit.cause)
            self._desired.publish(commit.desired_lrps, commit.revision, commit.cause)
        completed = self._session.take_completed()
        if (commits or completed) and self._views:
            self._update_views(commits, completed)
        self._waiting.unpark_all()

    def _update_views(self, commits: Sequence[Commit], completed: Sequence[str]) -> None:
        """Derive again what the commits touched, once for all of them: no reader can look in between.

        And the processes whose desired LRPs were completed, which no commit tells of.
        """
        touched = touched_by(commits)
        processes = [self._session.process(guid) for guid in touched]
        domains_changed = any(commit.domains is not None for commit in commits)
        revision, cause = (commits[-1].revision, commits[-1].cause) if commits else (self.revision, Cause.SNAPSHOT)
        whole = [self._session.process(guid) for guid in completed if guid not in touched]
        cells = self._session.cells if any(commit.cells is not None for commit in commits) else None
        for view in self._views:
            everything = domains_changed and view.follows_domains
            # A process that is gone is among those touched only.
            others = self._all_processes() if everything else whole if view.reads_secrets else ()
            view.update(chain(processes, others), cells, revision, cause)

    async def _run(self) -> None:
        await self._follower.run()

    def _close(self) -> None:
        self._session.close()
        self._rows.close()
        self._desired.close()
        for view in self._views:
            view.drop()
        self._waiting.unpark_all()


def _process_of(delta: Delta[RowKey, ActualLRP]) -> str | None:
    row = delta.after or delta.before
    return None if row is None else row.process_guid


def _key_of(delta: Delta[str, DesiredLRP]) -> str:
    return delta.key


@asynccontextmanager
async def open_mirror(
    bbs: str | BBS,
    *,
    tls: TLS | None = None,
    stream: StreamName = "instances",
    detail: Literal["routing", "full"] = "routing",
    timeout: Timeouts | float | None = None,
    state_file: str | PathLike[str] | StateFile | None = None,
    tuning: Tuning | None = None,
    rng: Random | None = None,
) -> AsyncIterator[Mirror]:
    """Open a mirror of a BBS, which lives as long as the block. It connects in the background: see `wait_synced`.

    `bbs` is the URL, such as `https://bbs.service.cf.internal:8889`, with `tls` for its certificates; or a client.
    `stream` is what to follow: "instances", or "groups" for servers that have nothing better. `detail="full"` keeps
    whole desired LRPs, which means environments and credentials in memory. `tuning` has intervals, delays and limits;
    `rng` makes their jitter repeatable.

    `state_file` is where the state is kept from one life of the mirror to the next. It is read before the block begins:
    what it has is there at once, STALE, and its `age` counts from when it was the server's, by the clock on the wall
    (none, where that was set back since). `status.restored_at` says so until the first list is in, whose commit is the
    true difference; revisions go on. What may hold secrets is not in the file: `detail`, and the routes of other
    routers than `cf-router`, `tcp-router` and `internal-router`, whose value is `null`. The first list brings them,
    without a change of which subscribers would be told. The file is written every `Tuning.state_interval` seconds where
    anything has changed, and when the block ends, which waits for it up to `Tuning.state_patience` seconds. A file that
    is damaged, of a later version or of another BBS is renamed, which is logged and in `status.last_error`, and the
    mirror begins without; a failure to write it is logged once and in `status.last_error` too.

    Raises ConfigurationError for options or files that cannot be used. A BBS that cannot be reached is no error here
    but a status: the mirror goes on trying. What a subscriber raises (by its error policy) ends the block, in an
    ExceptionGroup.
    """
    if stream not in ("instances", "groups"):
        raise ConfigurationError(f"stream={stream!r} is neither 'instances' nor 'groups'")
    if detail not in ("routing", "full"):
        raise ConfigurationError(f"detail={detail!r} is neither 'routing' nor 'full'")
    session = Session(tuning or Tuning(), rng or Random())  # noqa: S311 - jitter, not a secret
    clock = trio.lowlevel.current_clock().current_time
    async with AsyncExitStack() as stack:
        if isinstance(bbs, str):
            client: BBS = await stack.enter_async_context(BBSClient(bbs, tls=tls, timeout=timeout or Timeouts()))
        elif tls is not None or timeout is not None:
            raise ConfigurationError("tls and timeout belong to the client that was given: set them there")
        else:
            client = bbs
        keeper = None
        if state_file is not None:
            file = state_file if isinstance(state_file, StateFile) else StateFile(state_file)
            keeper = await stack.enter_async_context(keeping(file, session, clock, bbs=getattr(client, "url", "")))
        # Closed only after the tasks: what was on its way to one when it was cancelled is still taken note of.
        with ExitStack() as at_last:
            async with background() as nursery:
                mirror = Mirror(client, session, nursery, clock, stream=stream, full=detail == "full")
                at_last.callback(mirror._close)  # noqa: SLF001 - its own module
                if keeper is not None:
                    at_last.callback(keeper.take_last)
                    nursery.start_soon(keeper.run, lambda: mirror._publish(()))  # noqa: SLF001
                nursery.start_soon(mirror._run)  # noqa: SLF001
                yield mirror
