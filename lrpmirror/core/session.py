"""The session: the state machine of a mirror, and what each input does to its state and phase.

Inputs come from a shell that does the I/O: the stream was opened or lost, events arrived, a list settled. Each is one
call, which takes the time from the caller (in seconds, of any clock that does not go back) and returns the commits that
it made.

The order that makes a mirror converge is: subscribe, wait until the server has answered, begin a list, apply what was
listed and then every event since the subscription. The same on every reconnection. On the living stream a list is begun
at an interval, as an audit.
"""

from collections.abc import Iterable, Iterator, Sequence
from random import Random

from lrpmirror.core.applying import Applier
from lrpmirror.core.explain.counters import Counters, Counts
from lrpmirror.core.explain.observer import Observer
from lrpmirror.core.freshness.backoff import Backoff
from lrpmirror.core.freshness.state import Freshness, later
from lrpmirror.core.freshness.status import Phase, Status
from lrpmirror.core.freshness.tuning import Tuning, checked
from lrpmirror.core.knowledge import ExportedState, Knowledge
from lrpmirror.core.lists.audit import Audit, Drift
from lrpmirror.core.lists.commit import write
from lrpmirror.core.lists.deletion_guard import size_of
from lrpmirror.core.lists.guards import Guards
from lrpmirror.core.lists.probes import Probes
from lrpmirror.core.lists.repairs import Repairs
from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.lists.tables import NoTables
from lrpmirror.core.lists.unreadable import Unreadable
from lrpmirror.core.rows.change_set import DesiredDeltas, RowDeltas
from lrpmirror.core.rows.changes import Cause, Commit
from lrpmirror.core.rows.dispatch import Reconciler
from lrpmirror.core.rows.store import Store
from lrpmirror.errors import ConnectionFailed, LimitExceeded, ListNotBelieved, LRPMirrorError, ServiceUnavailable
from lrpmirror.events import Event

__all__ = ["Session", "Tuning"]

_LIST_CAUSES = {
    Phase.SYNCING: "first",
    Phase.RESYNCING: "reconnect",
    Phase.STALE: "second",
    Phase.LIVE: "audit",
}
"""Why a list of everything was read, by the phase in which it was."""

_BLAMELESS = (ConnectionFailed, ServiceUnavailable)
"""How a read of some processes fails without any of them being the cause."""


class Session:
    """The state machine of one mirror. One owner calls its methods; its store may be read from any thread.

    Raises ConfigurationError for a tuning that cannot be used.
    """

    def __init__(self, tuning: Tuning, rng: Random) -> None:
        self.tuning = checked(tuning)
        self.knowledge = Knowledge(tuning)
        """The server's state as it is known here."""
        self.freshness = Freshness(self._phase_changes)
        """How old that state is, and what is wrong."""
        self._counters = Counters()
        self._rng = rng
        self._backoff, self._list_backoff, self._repair_backoff, self._replace_backoff = (
            Backoff(rng, first=tuning.first_delay, most=tuning.most_delay) for _ in range(4)
        )
        self._audit = Audit(grace=tuning.audit_grace)
        self.guards = Guards(tuning)
        """Which lists are not believed without a second one."""
        self._stream_opened_at = 0.0
        self._listed_at: float | None = None
        """When a list of everything was first committed on this stream; None: not yet."""
        self._snapshot: PendingSnapshot | None = None
        self.repairs = Repairs(limit=tuning.repair_limit)
        self.probes = Probes()
        self._restored = False
        self._completed: tuple[str, ...] = ()
        self.unreadable = Unreadable(most=tuning.resync_interval)
        self.observers: tuple[Observer, ...] = ()
        """Observers, which are called with every event and commit as it happens."""
        self._applier = Applier(self.knowledge, self._counters, self.repairs, self.guards, self.unreadable)

    # The stream

    def stream_opened(self, heard_at: float) -> None:
        """Record that the server answered the subscription: no event is missed from here on.

        `heard_at` is when the stream last brought anything: now; or earlier, where it was open beside another one.
        """
        self.freshness.stream_opened(heard_at)
        self._stream_opened_at, self._listed_at = heard_at, None
        self._counters.streams += 1

    def stream_lost(self, error: LRPMirrorError) -> float:
        """Record that the stream ended, or could not be opened; return how long to wait before the next try."""
        self.freshness.stream_lost(error)
        self._snapshot = None
        self._audit.reset()
        # A stream counts as good by living on after its list; not by that list, after which it may end each time.
        listed_at, self._listed_at = self._listed_at, None
        if listed_at is None:
            return self._backoff.failed()
        return self._backoff.failed(
            later(self.freshness.alive_at, listed_at) - listed_at, listed_at - self._stream_opened_at
        )

    def stream_replaced(self, heard_at: float) -> None:
        """Record that another stream, which last brought anything at `heard_at`, replaced the one that was followed.

        No event was missed. Called when a list that was begun after the new stream was opened has been committed.
        """
        self._counters.replacements += 1
        self._stream_opened_at, self._listed_at = heard_at, self.freshness.synced_at
        self._replace_backoff.succeeded()
        self.freshness.stream_replaced(heard_at)

    def replacement_failed(self, error: LRPMirrorError) -> float:
        """Record that a replacement stream ended before it could take over: the one in use stays; return the delay."""
        self.freshness.failed(error)
        return self._replace_backoff.failed()

    def close(self) -> None:
        """Record that the mirror is closed."""
        self._snapshot = None
        self.freshness.closed()

    def restore(self, exported: ExportedState, store: Store, now: float, age: float | None) -> None:
        """Begin with the exported state of an earlier mirror, which was the server's `age` seconds ago.

        `store` is that state's, indexed; an `age` of None means that it is not known. Called before anything else. The
        phase is STALE from here on. Until the first list is committed the state stays as it is: events are only kept,
        so that the first commit is the whole difference to the server. Revisions go on from the exported one.
        O(retained).
        """
        self.freshness.restored(None if age is None else now - age)
        self._restored = True
        self._applier.use_store(store)
        self.knowledge.restore(exported)

    def events(self, events: Iterable[Event], now: float) -> Sequence[Commit]:
        """Apply events in the order in which they arrived; each that changes something makes one commit."""
        freshness, knowledge = self.freshness, self.knowledge
        freshness.alive_at = freshness.heard_at = now
        knowledge.tombstones.advance(now)
        if self._audit:
            events = list(events)
            self._audit.see(events)
        if self.freshness.synced_at is None:
            self._buffer(events)
            return []
        commits = self._applier.apply(events, now, self._snapshot, self.observers)
        if commits:
            self.probes.changed(commits[-1])
        return commits

    def check_limits(self) -> None:
        """Raise LimitExceeded when events have created more records than the mirror may hold. O(1)."""
        store, limit = self.knowledge.store, self.tuning.row_limit
        for what, number in (("rows", len(store)), ("desired LRPs", store.desired_count())):
            if number > limit:
                raise LimitExceeded(
                    f"the events have created more than {limit} {what}; the stream is given up and everything is "
                    "listed again (see row_limit in Tuning, if there can be so many)"
                )
        self._counters.bound()

    # Lists

    def begin_list(self, now: float, scope: Scope = EVERYTHING, *, opened_at: float | None = None) -> PendingSnapshot:
        """Begin a list, just before it is requested; events are applied on top of it from now on.

        There is one list at a time: an earlier one that has not ended is dropped. `opened_at` says when the stream was
        opened with which it is read, where that is not the stream of `stream_opened`.
        """
        self.knowledge.tombstones.advance(now)
        opened_at = self._stream_opened_at if opened_at is None else opened_at
        self.unreadable.begin_list(scope, first=self.freshness.synced_at is None)
        self._snapshot = PendingSnapshot(
            self.knowledge.store,
            self.knowledge.tombstones,
            scope,
            older=self.guards.rollback.begin(now, opened_at, everything=scope == EVERYTHING),
            in_flight_limit=self.tuning.in_flight_limit,
            list_limit=min(self.tuning.list_limit, self.tuning.row_limit),
            unsynced=self.freshness.synced_at is None,
            restored=self._restored,
        )
        return self._snapshot

    def is_listing(self, snapshot: PendingSnapshot) -> bool:
        """Return whether a list is still the one in progress; else its stream was lost, and it is to be dropped."""
        return self._snapshot is snapshot

    def end_list(self, snapshot: PendingSnapshot, now: float) -> Commit | None:
        """Commit a settled list; return None where it changed nothing or is not believed. O(what it changes)."""
        everything, older = snapshot.scope == EVERYTHING, snapshot.older
        answered_at = now if snapshot.answered_at is None else snapshot.answered_at
        rows, desired = snapshot.finish()
        self._snapshot = None
        rejected, unconfirmed = self.guards.judge(snapshot, rows, desired, self.knowledge.store, now)
        self.knowledge.decisions.unconfirmed(older, now)
        if rejected is not None:
            # The state and the pending repairs stay. The answer still proves that the server lives.
            if everything or not self.freshness.is_suspect:
                self.freshness.suspect(rejected)
                self._audit.reset()
            self.freshness.answered(answered_at)
            return None
        probe = self.probes.is_probe(snapshot.scope)
        if self.freshness.synced_at is not None and (rows or desired or not probe):
            self.knowledge.decisions.listed(snapshot.scope, rows, desired, older, now)
        why = _LIST_CAUSES[self.freshness.phase] if everything else "probe" if probe else "repair"
        if why == "audit" or (probe and (rows or desired)):
            self._audit.begin(snapshot, rows, desired, self.repairs, now)
        self._take_repairs_of(snapshot)
        self._write_list(snapshot, rows, desired)
        self.freshness.answered(answered_at)
        self._counters.lists[why] += 1
        if everything:
            self.guards.committed(older, now)
        commit = self._commit_list(snapshot, rows, desired)
        # Last, so that a reader in another thread that sees LIVE sees the new state.
        if everything:
            self.freshness.cells_listed(snapshot.cells_error)
            self._synced(now, answered_at, unconfirmed)
        return commit

    def record_list(self) -> Iterator[None]:
        """Examine and record what lists have changed, a slice a step. To be called after each."""
        yield from self._audit.examine()
        yield from self.knowledge.decisions.record()

    def take_completed(self) -> tuple[str, ...]:
        """Return the processes whose desired LRPs the last list completed; a state file leaves secrets out. O(1)."""
        completed, self._completed = self._completed, ()
        return completed

    def list_failed(self, snapshot: PendingSnapshot, error: LRPMirrorError) -> float:
        """Record that a list failed; return how long to wait before the next try."""
        self._snapshot = None
        if snapshot.scope == EVERYTHING:
            self.freshness.failed(error)
            return self._list_backoff.failed()
        self.freshness.noted(error)
        # There is another probe at the next interval.
        if not self.probes.is_probe(snapshot.scope):
            self.repairs.failed(snapshot.scope, refused=not isinstance(error, _BLAMELESS))
        return self._repair_backoff.failed()

    def next_list(self, now: float) -> float:
        """Return in how many seconds the next list of everything is due, now that one has ended."""
        wait, early = self.guards.wait(now), self.unreadable.wait(now, self.freshness.synced_at)
        return min(early, self.next_interval()) if wait is None else wait

    def audit_wait(self, now: float) -> float | None:
        """Return in how many seconds `end_audit` is to be called; None: no audit is open."""
        return self._audit.wait(now)

    def end_audit(self, now: float) -> Drift | None:
        """Judge what the audits found; return what no event has explained, which the caller logs.

        Events may have been lost: list again where the drift is the `first`, replace the stream where `repeated`.
        """
        drift = self._audit.end(now)
        if drift is not None:
            self._counters.drift.update(drift.kinds)
            self.knowledge.decisions.drifted(drift.differences, now)
        return drift

    def take_repairs(self) -> Scope | None:
        """Return the processes to read again now, as the scope of a list; None: none is pending."""
        return self.repairs.take(
            self.tuning.repair_batch, has_rivals=self.knowledge.store.has_rivals, rows=self.knowledge.store.row_count
        )

    def take_probe(self) -> Scope | None:
        """Return a process to read although no repair is pending; None: none. To be called at an interval. O(1)."""
        scope = self.probes.take()
        return scope if self.freshness.phase is Phase.LIVE else None

    def next_interval(self) -> float:
        """Return in how many seconds the next list of everything is due, with jitter."""
        return self.tuning.resync_interval * self._rng.uniform(0.75, 1.25)

    def status(self, now: float) -> Status:
        """Return how fresh the state is. O(1)."""
        return Status(
            phase=self.freshness.phase,
            revision=self.knowledge.revision,
            at=now,
            synced_at=self.freshness.synced_at,
            alive_at=self.freshness.alive_at,
            heard_at=self.freshness.heard_at,
            current_at=self.freshness.current_at,
            trouble=self.freshness.trouble,
            last_error=self.freshness.last_error,
            actual_lrps=len(self.knowledge.store),
            desired_lrps=self.knowledge.store.desired_count(),
            restored_at=self.freshness.restored_at,
        )

    def counts(self) -> Counts:
        """Return what was counted so far, without subscribers, which are not known here. O(kinds of events)."""
        counters = self._counters
        return Counts(
            streams=counters.streams,
            replacements=counters.replacements,
            events=counters.events,
            lists=dict(counters.lists),
            lists_held=self.guards.lists_held,
            rollbacks=self.guards.rollbacks,
            rolled_back=self.guards.rolled_back,
            drift=counters.drift.total(),
            drift_kinds=dict(counters.drift),
            commits=counters.commits,
            errors=dict(self.freshness.errors),
            repairs_pending=len(self.repairs),
            repairs_dropped=self.repairs.dropped,
            tombstones=len(self.knowledge.tombstones),
            unreadable=self.unreadable.count,
        )

    # Inside

    def _phase_changes(self, before: Phase, after: Phase) -> None:
        """Remember the size of the state when LIVE is left, to which the deletion guard compares a list."""
        if after is Phase.LIVE:
            self.guards.live_size = None
        elif before is Phase.LIVE:
            self.guards.live_size = size_of(self.knowledge.store)

    def _buffer(self, events: Iterable[Event]) -> None:
        """Keep events for the first list, if one is being read, and add tombstones of what they removed.

        The tombstones outlive that list, which may fail: the next one lacks what was removed before its request.
        """
        reconciler = Reconciler(NoTables(), self.knowledge.tombstones, lambda _, __: None)
        for event in events:
            self.unreadable.take(event)
            reconciler.apply(event)
            if self._snapshot is not None:
                self._snapshot.event(event)

    def _write_list(self, snapshot: PendingSnapshot, rows: RowDeltas, desired: DesiredDeltas) -> None:
        """Write what a list changed into the state, and add tombstones of what it removed. O(what it changes)."""
        if self.freshness.synced_at is None:
            # Until now events were applied to the list only, and so were their tombstones.
            self.knowledge.tombstones = snapshot.tombstones
        if snapshot.aside is not None:
            self.knowledge.store = snapshot.aside
        else:
            write(self.knowledge.store, rows, desired, self.repairs)
            for lrp in snapshot.completed.values():
                self.knowledge.store.put_desired(lrp)
        # Anew: what a list has written is in no commit of an event.
        self._applier.use_store(self.knowledge.store)
        self._completed = tuple(snapshot.completed)
        # A mirror without any state had nothing that the list could have removed.
        if not snapshot.first:
            snapshot.write_tombstones(self.knowledge.tombstones)

    def _take_repairs_of(self, snapshot: PendingSnapshot) -> None:
        if snapshot.scope == EVERYTHING:
            # It has read everything again, with the events since its beginning on top: older repairs are settled.
            self.repairs.clear()
        for guid, reason in snapshot.repairs:
            self.repairs.add(guid, reason)
        if snapshot.scope != EVERYTHING:
            self.repairs.settled(snapshot.scope)
            self._repair_backoff.succeeded()

    def _commit_list(self, snapshot: PendingSnapshot, rows: RowDeltas, desired: DesiredDeltas) -> Commit | None:
        domains, cells = self.knowledge.take_domains_and_cells(snapshot)
        released: tuple[str, ...] = ()
        if snapshot.judges_retained:
            released = self.knowledge.retained.apply_list(snapshot.removals, self.knowledge.store.domains)
        for guid in snapshot.undesired:
            if self.knowledge.store.desired(guid) is None:
                self.repairs.add_undesired(guid)
        if not rows and not desired and domains is None and cells is None and not released:
            return None
        self.knowledge.revision += 1
        commit = Commit(
            revision=self.knowledge.revision,
            cause=Cause.SNAPSHOT if snapshot.scope == EVERYTHING else Cause.REPAIR,
            actual_lrps=rows,
            desired_lrps=desired,
            domains=domains,
            cells=cells,
            released=released,
        )
        self._counters.list_commits[commit.cause] += 1
        for observer in self.observers:
            observer.listed(commit)
        return commit

    def _synced(self, now: float, answered_at: float, unconfirmed: ListNotBelieved | None) -> None:
        """Record that a list of everything was committed, except for what of it is not confirmed yet."""
        self._listed_at = now if self._listed_at is None else self._listed_at
        self._list_backoff.succeeded()
        if unconfirmed is not None:
            self._audit.reset()
        self.freshness.synced(answered_at, unconfirmed)
