"""Applying the events of the stream to the state: from each event to its outcome, its decision and its commit."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from lrpmirror.core.explain.counters import Counters
from lrpmirror.core.explain.decisions import Entry
from lrpmirror.core.explain.observer import Observer
from lrpmirror.core.knowledge import Knowledge
from lrpmirror.core.lists.guards import Guards
from lrpmirror.core.lists.repairs import Repairs
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.lists.unreadable import Unreadable
from lrpmirror.core.rows.change_set import ChangeSet, RowDeltas
from lrpmirror.core.rows.changes import Cause, Commit, EventCommits
from lrpmirror.core.rows.dispatch import Reconciler
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.core.rows.store import Store
from lrpmirror.events import ActualLRPInstanceChanged, ActualLRPInstanceRemoved, Event, UnreadableEvent
from lrpmirror.model import ActualLRP, ActualLRPState

__all__ = ["Applier"]

_RUNNING: Final = ActualLRPState.RUNNING
_EVENT: Final = Cause.EVENT
_APPLIED: Final = Outcome.APPLIED
_STALE: Final = Outcome.STALE
_TOMBSTONED: Final = Outcome.TOMBSTONED
_CHANGED: Final = ActualLRPInstanceChanged.type
_BOTH: Final = 2


class Applier:
    """Applies events to the store of what is known."""

    def __init__(
        self, knowledge: Knowledge, counters: Counters, repairs: Repairs, guards: Guards, unreadable: Unreadable
    ) -> None:
        self._knowledge = knowledge
        self._counters = counters
        self._repairs = repairs
        self._guards = guards
        self._unreadable = unreadable
        self.use_store(knowledge.store)

    def use_store(self, store: Store) -> None:
        """Apply to this store from now on, with the tombstones that are known now."""
        self._knowledge.store = store
        self._change_set = ChangeSet(store)
        reconciler = Reconciler(self._change_set, self._knowledge.tombstones, self._repairs.add)
        self._rows = reconciler.rows
        self._rules = reconciler.rules
        self._rules[UnreadableEvent.type] = self._unreadable.take

    def apply(
        self, events: Iterable[Event], now: float, snapshot: PendingSnapshot | None, observers: Sequence[Observer]
    ) -> EventCommits:
        """Apply events in order; each that changes something makes one commit. `snapshot` is the list in progress."""
        # Looked up once for all events. `retained` cannot grow meanwhile: only a list adds to it.
        knowledge, repairs, rules, outcomes = self._knowledge, self._repairs, self._rules, self._counters.outcomes
        add, judged = knowledge.decisions.add, knowledge.decisions.judged
        rows, lrps, desired_of = self._change_set.rows, self._change_set.lrps, knowledge.store.desired
        retained, followed = len(knowledge.retained), snapshot is not None or bool(observers)
        self._rows.takes_rows = not followed
        commits = EventCommits(knowledge.revision)
        first, made, applied = knowledge.revision + 1, commits.written, list[str]()
        record: Any
        repairs.latest = ()
        for event in events:
            kind = event.type
            outcome = rules[kind](event)
            if outcome is _APPLIED:
                applied.append(kind)
            else:
                outcomes[kind][outcome] += 1
                if outcome is _STALE or outcome is _TOMBSTONED:
                    self._guards.reread_older(event, repairs)
            released = knowledge.release(event) if retained else ()
            written: list[Any] = rows or lrps
            if len(written) == 1 and not released and (record := written[0].after or _removed_by(event)) is not None:
                # Nearly every event writes the one row or desired LRP that it reports: for it this is `_commit`.
                commit = delta = written.pop()
                before, guid, index = delta.before, record.process_guid, None
                if written is rows:
                    index = record.index
                    if record.state is _RUNNING and delta.after is not None and desired_of(guid) is None:
                        repairs.add_undesired(guid)
                else:
                    commit = Commit(first + len(made), _EVENT, (), (delta,))
                add(
                    Entry(
                        guid,
                        now,
                        kind,
                        outcome,
                        index,
                        record.epoch,
                        record.tag_index,
                        None if before is None else before.epoch,
                        0 if before is None else before.tag_index,
                        repairs.latest,
                    )
                )
            elif written or released:
                knowledge.revision = commits.revision
                commit = self._commit(event, kind, outcome, now, released)
            else:
                commit = None
                judged(event, kind, outcome, (), now, repairs.latest, knowledge)
            if commit is not None:
                made.append(commit)
            repairs.latest = ()
            if followed:
                knowledge.revision = commits.revision
                self._pass_on(event, outcome, None if commit is None else commits[-1], snapshot, observers)
        knowledge.revision = commits.revision
        self._count(applied, commits)
        knowledge.decisions.trim()
        return commits

    def _pass_on(
        self,
        event: Event,
        outcome: Outcome,
        commit: Commit | None,
        snapshot: PendingSnapshot | None,
        observers: Sequence[Observer],
    ) -> None:
        """Hand an event on to the list in progress and to the observers."""
        if snapshot is not None:
            snapshot.event(event)
            if commit is not None:
                snapshot.written(commit.actual_lrps, commit.desired_lrps)
        for observer in observers:
            observer.event(event, outcome, commit)

    def _count(self, applied: Sequence[str], commits: Sequence[Commit]) -> None:
        """Count the events of these types as applied, and the commits."""
        for kind, number in Counter(applied).items():
            self._counters.outcomes[kind][_APPLIED] += number
        self._counters.event_commits += len(commits)

    def _commit_move(self, row: ActualLRP, outcome: Outcome, now: float) -> Commit:
        """Do as `_commit` does, for a diff that moved an instance from another record to that of this row."""
        knowledge, repairs, deltas = self._knowledge, self._repairs, tuple(self._change_set.rows)
        self._change_set.rows.clear()
        before, guid = deltas[0].before, row.process_guid
        if row.state is _RUNNING and knowledge.store.desired(guid) is None:
            repairs.add_undesired(guid)
        epoch, version = (None, 0) if before is None else (before.epoch, before.tag_index)
        tag = row.epoch, row.tag_index
        knowledge.decisions.add(Entry(guid, now, _CHANGED, outcome, row.index, *tag, epoch, version, repairs.latest))
        return Commit(knowledge.revision + 1, _EVENT, deltas)

    def _commit(
        self, event: Event, kind: str, outcome: Outcome, now: float, released: tuple[str, ...]
    ) -> Commit | None:
        """Record the outcome of an event; return the commit of what it wrote, None where that is nothing."""
        if kind == _CHANGED and not released and (moved := _moved(self._change_set.rows)) is not None:
            return self._commit_move(moved, outcome, now)
        knowledge, repairs = self._knowledge, self._repairs
        rows, desired = self._change_set.close()
        for delta in rows:
            row = delta.after
            if row is not None and row.state is _RUNNING and knowledge.store.desired(row.process_guid) is None:
                repairs.add_undesired(row.process_guid)
        knowledge.decisions.judged(event, kind, outcome, rows or desired, now, repairs.latest, knowledge)
        if not (rows or desired or released):
            # It wrote a row twice, and ended where it began.
            return None
        return Commit(knowledge.revision + 1, _EVENT, rows, desired, None, None, released)


def _moved(rows: RowDeltas) -> ActualLRP | None:
    """Return the row that a diff has written, where it has removed another record, too; else None."""
    if len(rows) != _BOTH or rows[1].after is not None or rows[0].key == rows[1].key:
        return None
    return rows[0].after


def _removed_by(event: Event) -> ActualLRP | None:
    """Return the row that an event of the instance stream reports to be gone; None for any other event."""
    return event.actual_lrp if type(event) is ActualLRPInstanceRemoved else None
