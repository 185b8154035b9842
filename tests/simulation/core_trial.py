"""A trial of the core alone: a session that is driven directly, with no task, byte or socket. Many times faster.

What the shell does with awaits is done here turn by turn, in a random order: events arrive between any two
steps of a list, a list is answered at any moment, the stream ends in between.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.core.derived.dirty import dirtied_by
from lrpmirror.core.lists.scope import EVERYTHING
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.preparation import Preparation
from lrpmirror.core.rows.changes import Commit
from lrpmirror.core.session import Session
from lrpmirror.errors import BBSError, ConnectionFailed, MalformedFrame, RequestRefused, TruncatedReply, WireError
from lrpmirror.events import Event, UnknownEvent, UnreadableEvent
from lrpmirror.model import EMPTY, ActualLRP, DesiredLRP
from lrpmirror.server import Subscription
from lrpmirror.sim import Diego
from lrpmirror.wire import decode, encode
from simulation import laws
from simulation.active_faults import ActiveFaults, Moment, Timeline
from simulation.changing_views import ChangingViews
from simulation.history import History
from simulation.observer import Digest, LawObserver
from simulation.plan import Fault, Plan
from simulation.workload import TUNING, Workload, tuning_of

__all__ = ["CoreTrial"]

BYTES_OF_AN_EVENT: Final = 1_000
"""Approximate bytes of an event on the wire: cuts are planned in bytes."""

BOUND: Final = 90.0
"""Seconds after the last fault until the core must have the server's state."""


class _Listing:
    """A list under way: its steps, one a turn."""

    def __init__(self, snapshot: PendingSnapshot, steps: Iterator[float]) -> None:
        self.snapshot = snapshot
        self.steps = steps
        self.due = 0.0
        self.preparation: Preparation | None = None


class _Stream(Struct):
    """An open stream: its subscription, and after how many more events it breaks."""

    notified: Subscription
    opened_at: float
    left: int | None = None


class CoreTrial:
    """One trial of the core."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.digest = Digest()
        self.active_faults = ActiveFaults()
        self.steps = 0
        self.commits = 0
        self._rng = Random(plan.seed)
        # Of their own, so that a plan is the same life whatever becomes of the views.
        self._view_rng = Random(f"views {plan.seed}")
        self._now = 0.0
        self._timeline = Timeline(plan.faults)
        self._jumped = 0.0
        self._diego = Diego(seed=plan.seed)
        self._history = History(self._diego)
        self._life = Workload(plan, self._diego)
        self._stream: _Stream | None = None
        self._next: _Stream | None = None
        """A stream that is to replace the present one."""
        self._listing: _Listing | None = None
        self._begin(0.0)

    def run(self) -> None:
        """Play the plan; raise LawBroken where a law does not hold, and any error of the core."""
        for _ in range(self.plan.seconds):
            self._history.remember(self._now)
            for _ in self._life.moves():
                self._take_turns(self._rng.randrange(3))
            for _ in range(4):
                self._now += 0.25
                self._take_turns(2)
            self._look()
        self._calm()
        self._converge()

    def _begin(self, at: float) -> None:
        """Begin with an empty session, at a moment."""
        self._session = Session(tuning_of(self.plan), Random(self.plan.seed))
        self._watch = LawObserver(
            self._session,
            self._history,
            self.digest,
            honest=self.plan.has_honest_lists,
            one_life=self.plan.has_one_life,
        )
        self._session.observers = (self._watch,)
        self._views = ChangingViews(self._session, self._view_rng)
        self._opens_at = self._lists_at = self._repairs_at = at

    # The laws

    def _look(self) -> None:
        self.steps += 1
        self.digest.add(self._now, self._session.freshness.phase.value, self._session.knowledge.revision)
        self._watch.settled([(type(one.view).__name__, one) for one in self._views.kept])
        self._views.check()
        streams = [] if self._stream is None else [self._stream]
        laws.live_means_that_there_is_a_stream(self._session.freshness.phase, streams)

    def _converge(self) -> None:
        if not self._session.repairs.dropped:
            self._wait_for_the_end(notified=True)
            self._pass(5)
        # Now for what no event tells.
        self._lists_at = self._now
        self._wait_for_the_end(notified=False)
        # A list that was asked for amid the faults may be under way still, and what it brings has to be mended.
        self._pass(5)
        self._wait_for_the_end(notified=False)
        revision = self._session.knowledge.revision
        self._pass(5)
        self._lists_at = self._now
        self._pass(5)
        self._look()
        laws.nothing_is_published_where_nothing_changes(revision, self._session.knowledge.revision)
        self._pass(TUNING.audit_grace + 1)
        if self.plan.is_exact and self.plan.is_prompt:
            laws.nothing_drifts_where_nothing_was_lost(self._session.counts().drift_kinds)
        self.commits += self._watch.commits

    def _wait_for_the_end(self, *, notified: bool) -> None:
        began, session = self._now, self._session
        while True:
            self._pass(0.5)
            self._look()
            waited = self._now - began
            there = session.freshness.phase == "live" and not laws.differences(
                session, self._diego.snapshot(), notified=notified
            )
            if there or waited > BOUND:
                break
        laws.the_end_is_the_servers_state(
            session, session.freshness.phase, self._diego.snapshot(), waited, notified=notified
        )

    def _pass(self, seconds: float) -> None:
        for _ in range(int(2 * seconds)):
            self._now += 0.5
            self._take_turns(6)

    # The faults

    def _turn(self, fault: Fault, moment: Moment) -> None:
        match moment:
            case Moment.NEARS:
                self.active_faults.hold_events(hold=True)
            case Moment.BEGINS:
                self.active_faults.begin(fault)
                self._strike(fault)
            case Moment.ENDS:
                self.active_faults.end(fault)
        self._set_events_right()

    def _strike(self, fault: Fault) -> None:
        match fault.kind:
            case "stream cut" if self._stream is not None:
                self._stream.left = int(fault.amount) // BYTES_OF_AN_EVENT
            case "all cut":
                self._lose(ConnectionFailed("all connections were cut"))
            case "nonsense":
                self._lose(MalformedFrame("no frame"))
            case "fail-over":
                self._diego.forget_events()
                self.active_faults.hold_events(hold=False)
                self._lose(ConnectionFailed("the server is gone"))
            case "set back":
                if fault.choice == "restart":
                    self._diego.forget_events()
                    self._lose(ConnectionFailed("the server begins anew"))
                else:
                    self._diego.settle()
                self._history.set_back(self._now - fault.amount)
            case "restart":
                self._watch.check()
                self.commits += self._watch.commits
                self._views.close(None if self._listing is None else self._listing.preparation)
                self._forget_connections()
                self._begin(self._now + fault.lasting)
            case "clock jump":
                self._now += fault.amount
                self._jumped += fault.amount

    def _set_events_right(self) -> None:
        faults = self.active_faults.events(self.plan.seed)
        if faults != self._diego.faults:
            self._diego.faults = faults

    def _calm(self) -> None:
        for fault, moment in self._timeline.due(float("inf")):
            del fault, moment
        self.active_faults.calm()
        self._set_events_right()
        self._diego.settle()
        if self._stream is not None:
            self._stream.left = None

    # Turns

    def _take_turns(self, number: int) -> None:
        for _ in range(number):
            for fault, moment in self._timeline.due(self._now - self._jumped):
                self._turn(fault, moment)
            self._audit()
            self._views.turn(may_begin=self._listing is None or self._listing.preparation is None)
            if self._stream is None:
                self._open()
            elif self._rng.random() < 0.5:
                self._read(self._stream)
                if self._next is not None and self._stream is not None:
                    self._read(self._next)
            else:
                self._list()

    def _audit(self) -> None:
        """Check the findings of audits, when it is time."""
        if self._session.audit_wait(self._now) == 0:
            drift = self._session.end_audit(self._now)
            if drift is not None and drift.first:
                self._lists_at = self._now

    def _open(self) -> None:
        trouble = self.active_faults.now
        if self._now < self._opens_at or trouble("refused") or trouble("fail-over"):
            return
        self._stream = _Stream(self._diego.subscribe(self.plan.stream), self._now)
        self._session.stream_opened(self._now)
        self._lists_at = self._now

    def _read(self, stream: _Stream) -> None:
        events = stream.notified.take_some(self._rng.choice((1, 1, 2, 5, 100)))
        if stream.left is not None:
            events = events[: stream.left + 1]
            stream.left -= len(events)
            if stream.left < 0:
                self._apply(events[:-1])
                self._lose(ConnectionFailed("the stream was cut"))
                return
        self._apply(events)

    def _apply(self, events: Sequence[Event]) -> None:
        if events:
            self._publish(self._session.events([_carried(event) for event in events], self._now))

    def _lose(self, error: BBSError | WireError) -> None:
        if self._stream is not None:
            self._forget_connections()
            self._opens_at = self._now + self._session.stream_lost(error)

    def _forget_connections(self) -> None:
        self._listing = None
        for stream in (self._stream, self._next):
            if stream is not None:
                stream.notified.close()
        self._stream = self._next = None

    # Lists

    def _list(self) -> None:
        session = self._session
        if self._listing is None:
            if self._now >= self._lists_at:
                snapshot = session.begin_list(self._now, opened_at=self._listed_on().opened_at)
                self._listing = _Listing(snapshot, self._everything(snapshot))
            elif session.repairs and self._now >= self._repairs_at and (scope := session.take_repairs()) is not None:
                snapshot = session.begin_list(self._now, scope)
                self._listing = _Listing(snapshot, self._some(snapshot))
            return
        if self._now < self._listing.due:
            return
        listing = self._listing
        try:
            listing.due = self._now + next(listing.steps)
        except StopIteration:
            self._listing = None
            prepared = listing.preparation
            commit = session.end_list(listing.snapshot, self._now)
            if listing.snapshot.scope == EVERYTHING:
                self._take_over()
                self._lists_at = self._now + session.next_list(self._now)
            elif session.guards.rollback.wants_list:
                self._lists_at = self._now
            self._finish(prepared, commit)
        except (BBSError, WireError) as error:
            self._listing = None
            delay = session.list_failed(listing.snapshot, error)
            if listing.snapshot.scope == EVERYTHING:
                self._lists_at = self._now + delay
            else:
                self._repairs_at = self._now + delay

    def _listed_on(self) -> _Stream:
        """Return the stream with which the next list is read: a new one where the session demands that."""
        assert self._stream is not None
        stream = self._next or self._stream
        refused = self.active_faults.now("refused") or self.active_faults.now("fail-over")
        if not self._session.guards.rollback.wants_stream(stream.opened_at) or refused:
            return stream
        if self._next is not None:
            self._next.notified.close()
        self._next = _Stream(self._diego.subscribe(self.plan.stream), self._now)
        return self._next

    def _take_over(self) -> None:
        """Switch to the stream of the accepted list."""
        if self._next is None or self._stream is None or self._session.guards.held:
            return
        self._stream.notified.close()
        self._stream, self._next = self._next, None
        self._session.stream_replaced(self._now)

    def _everything(self, snapshot: PendingSnapshot) -> Iterator[float]:
        yield self._late("before")
        snapshot.domains = frozenset(self._server().domains())
        yield from self._records(self._server().actual_lrps(), snapshot.list_rows)
        yield self._late("before")
        lrps = [replace(lrp, detail=None, metric_tags=EMPTY) for lrp in self._server().desired_lrps()]
        yield from self._records(lrps, snapshot.list_desired)
        yield from self._records(self._parts(), snapshot.list_metric_tags)
        snapshot.cells = tuple(sorted(self._server().cells(), key=lambda cell: cell.cell_id))
        yield from _settling(snapshot)
        yield from self._prepare(snapshot)

    def _some(self, snapshot: PendingSnapshot) -> Iterator[float]:
        yield self._late("before")
        scope = snapshot.scope
        rows = self._server().actual_lrps_by_process_guids(sorted(scope.rows or ()))
        yield from self._records(rows, snapshot.list_rows)
        if scope.desired:
            found = self._server().desired_lrps(process_guids=sorted(scope.desired))
            yield from self._records([replace(lrp, detail=None) for lrp in found], snapshot.list_desired)
        yield from _settling(snapshot)
        yield from self._prepare(snapshot)

    def _parts(self) -> list[DesiredLRP]:
        return [replace(lrp, detail=None) for lrp in self._server().desired_lrps()]

    def _records(self, records: Sequence[ActualLRP] | Sequence[DesiredLRP], take: Any) -> Iterator[float]:
        """Return the records of a list, with the active faults."""
        trouble = self.active_faults.now
        if (refused := trouble("refused lists")) is not None:
            raise RequestRefused(refused.choice, "by the plan")
        if trouble("empty lists"):
            records = []
        yield self._late("after")
        cut = trouble("truncated lists") or trouble("lists cut")
        if cut is not None:
            take(records[: self._rng.randint(0, len(records))])
            raise TruncatedReply("by the plan")
        half = self._rng.randint(0, len(records))
        take(records[:half])
        yield 0.0
        take(records[half:])

    def _late(self, when: str) -> float:
        slow = self.active_faults.now("slow lists")
        return slow.amount if slow is not None and slow.choice == when else 0.0

    def _server(self) -> Diego:
        """Return the Diego that answers a list now: the server, or one that lags."""
        lag = self.active_faults.now("lagging lists")
        return self._diego if lag is None else self._history.past(self._now - lag.amount)

    def _prepare(self, snapshot: PendingSnapshot) -> Iterator[float]:
        """Prepare the views for the list aside; now and then that is left to its commit."""
        while self._views.is_making:
            yield 0.0
        if self._listing is not None and self._rng.random() < 0.8:
            self._listing.preparation = Preparation(self._session, snapshot, self._views.kept)
            for _ in self._listing.preparation.steps():
                yield 0.0

    # Subscribers

    def _finish(self, prepared: Preparation | None, commit: Commit | None) -> None:
        """Commit the prepared views."""
        if prepared is None:
            self._publish([] if commit is None else [commit])
        elif commit is None:
            for _ in prepared.discard():
                pass
        else:
            for _, difference in prepared.finish(commit, set(self._views.kept)):
                list(difference)
                for _ in difference.free_in_slices():
                    pass
            for _ in prepared.discard():
                pass

    def _publish(self, commits: Sequence[Commit]) -> None:
        if not commits:
            return
        if self._listing is not None and self._listing.preparation is not None:
            self._listing.preparation.note(commits)
        self._views.note(commits)
        session, dirty = self._session, dirtied_by(commits)
        domains_changed = any(commit.domains is not None for commit in commits)
        for view in self._views.kept:
            if domains_changed and view.view.follows_domains:
                guids = dict.fromkeys((*dirty, *session.knowledge.process_guids()))
                view.update(map(session.knowledge.process, guids))
            else:
                view.update(map(session.knowledge.process, dirty), dirty)
            if any(commit.cells is not None for commit in commits):
                view.update_cells(self._session.knowledge.cells)


def _carried(event: Event) -> Event:
    """Return an event as it comes over the wire."""
    if isinstance(event, (UnknownEvent, UnreadableEvent)):
        return event
    return decode.event_payload(event.type, encode.event(event), full=False)


def _settling(snapshot: PendingSnapshot) -> Iterator[float]:
    snapshot.check_limit()
    for _ in snapshot.settle():
        yield 0.0
