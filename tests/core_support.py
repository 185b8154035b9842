"""What the tests of `lrpmirror.core` share: rows and diffs as a server makes them, a bench of tables, recordings."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from msgspec.structs import replace

from lrpmirror.core.lists.removals import Removals
from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.changes import Commit, Delta, RowKey, row_key
from lrpmirror.core.rows.dispatch import Reconciler, Tombstones
from lrpmirror.core.rows.reconcile import Outcome, RepairReason
from lrpmirror.core.rows.store import Store
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import ConnectionFailed
from lrpmirror.events import ActualLRPInstanceChanged, ActualLRPInstanceCreated, ActualLRPInstanceRemoved, Event
from lrpmirror.model import EMPTY, ActualLRP, ActualLRPState, DesiredLRP, Presence
from lrpmirror.wire import decode, lists, sse

__all__ = [
    "APPLIED",
    "CLAIMED",
    "CRASHED",
    "EVACUATING",
    "LEFT",
    "LOST",
    "NOTED",
    "ORDINARY",
    "RUNNING",
    "SAME",
    "STALE",
    "SUSPECT",
    "TOMBSTONED",
    "UNCLAIMED",
    "UNDECIDED",
    "Bench",
    "Fold",
    "answer_repairs",
    "bare",
    "by_key",
    "changed",
    "claimed",
    "crashed",
    "created",
    "delivery",
    "desired",
    "drop_reason",
    "fresh",
    "law",
    "list_with_domains",
    "many",
    "recorded_desired",
    "recorded_events",
    "recorded_rows",
    "recording",
    "removals",
    "removed",
    "repair_reasons",
    "repair_scope",
    "row",
    "running",
    "settle",
    "synced",
    "take_list",
    "unclaimed",
]

RECORDINGS = Path(__file__).parents[2] / "shared" / "recordings"

UNCLAIMED, CLAIMED, RUNNING, CRASHED = (
    ActualLRPState.UNCLAIMED,
    ActualLRPState.CLAIMED,
    ActualLRPState.RUNNING,
    ActualLRPState.CRASHED,
)
ORDINARY, EVACUATING, SUSPECT = Presence.ORDINARY, Presence.EVACUATING, Presence.SUSPECT

APPLIED, SAME, STALE, TOMBSTONED, LEFT, UNDECIDED, NOTED = (
    Outcome.APPLIED,
    Outcome.SAME,
    Outcome.STALE,
    Outcome.TOMBSTONED,
    Outcome.LEFT,
    Outcome.UNDECIDED,
    Outcome.NOTED,
)

T = TypeVar("T")

LOST = ConnectionFailed("the event stream ended")


# Rows


def row(epoch: str = "a", tag_index: int = 0, **fields: Any) -> ActualLRP:
    """A row of process "p", index 0, unless said otherwise."""
    return ActualLRP(**{"process_guid": "p", "domain": "apps", "epoch": epoch, "tag_index": tag_index, **fields})


def unclaimed(epoch: str = "a", tag_index: int = 0, **fields: Any) -> ActualLRP:
    return row(epoch, tag_index, **fields)


def claimed(epoch: str = "a", tag_index: int = 1, instance: str = "i", **fields: Any) -> ActualLRP:
    return row(epoch, tag_index, state=CLAIMED, instance_guid=instance, cell_id=f"cell-of-{instance}", **fields)


def running(epoch: str = "a", tag_index: int = 2, instance: str = "i", **fields: Any) -> ActualLRP:
    whole: dict[str, Any] = {
        "state": RUNNING,
        "instance_guid": instance,
        "cell_id": f"cell-of-{instance}",
        "address": "10.0.0.1",
        "routable": True,
        "internal_routes": ("app.internal",),
        "metric_tags": {"source": instance},
    }
    return row(epoch, tag_index, **whole | fields)


def crashed(epoch: str = "a", tag_index: int = 3, **fields: Any) -> ActualLRP:
    return row(epoch, tag_index, **{"state": CRASHED, "crash_count": 3, **fields})


def bare(one: ActualLRP) -> ActualLRP:
    """The row without what the diffs of the instance stream do not carry."""
    return replace(one, internal_routes=(), metric_tags=EMPTY)


def desired(epoch: str = "d", tag_index: int = 0, **fields: Any) -> DesiredLRP:
    return DesiredLRP(**{"process_guid": "p", "domain": "apps", "epoch": epoch, "tag_index": tag_index, **fields})


# Events of the instance stream


def created(one: ActualLRP) -> ActualLRPInstanceCreated:
    return ActualLRPInstanceCreated(one)


def removed(one: ActualLRP) -> ActualLRPInstanceRemoved:
    return ActualLRPInstanceRemoved(one)


def changed(before: ActualLRP, after: ActualLRP) -> ActualLRPInstanceChanged:
    """A diff as the wire has it: one instance key for both sides, neither internal routes nor metric tags."""
    holder = after if after.instance_guid else before
    key = {"instance_guid": holder.instance_guid, "cell_id": holder.cell_id}
    return ActualLRPInstanceChanged(replace(bare(before), **key), replace(bare(after), **key))


# A reconciler with tables of its own


class Bench:
    """A store, its tombstones and the reconciler that writes them; `repairs` are the re-reads that it asked for."""

    def __init__(self, *listed: ActualLRP | DesiredLRP) -> None:
        self.store = Store()
        self.tombstones = Tombstones(limit=1_000, age=1e9)
        self.repairs: list[tuple[str, RepairReason]] = []
        self.reconciler = Reconciler(
            self.store, self.tombstones, lambda guid, reason: self.repairs.append((guid, reason))
        )
        for one in listed:
            if isinstance(one, ActualLRP):
                self.store.put(row_key(one), self.store.get(row_key(one)), one)
            else:
                self.store.put_desired(one)

    def apply(self, *events: Event) -> list[Outcome]:
        outcomes = []
        for event in events:
            outcomes.append(self.reconciler.apply(event))
            self.store._check()
        return outcomes

    @property
    def rows(self) -> list[ActualLRP]:
        return sorted(self.store.process("p"), key=lambda one: (one.index, one.presence, one.epoch))

    @property
    def reasons(self) -> set[RepairReason]:
        return {reason for _, reason in self.repairs}


# Sessions


def take_list(
    session: Session,
    rows: Iterable[ActualLRP] = (),
    lrps: Iterable[DesiredLRP] = (),
    *,
    scope: Scope = EVERYTHING,
    meanwhile: Sequence[Event] = (),
    now: float = 0,
) -> Commit | None:
    """List what is in scope, with `meanwhile` arriving between request and reply."""
    snapshot = session.begin_list(now, scope)
    session.events(meanwhile, now)
    snapshot.list_rows([one for one in rows if scope.has_row_of(one.process_guid)])
    snapshot.list_desired([lrp for lrp in lrps if scope.has_desired(lrp.process_guid)])
    settle(snapshot)
    commit = session.end_list(snapshot, now)
    session.knowledge.store._check()
    return commit


def synced(*listed: ActualLRP | DesiredLRP, tuning: Tuning | None = None) -> Session:
    """Return a live session with that state."""
    session = Session(tuning or Tuning(), Random(0))
    session.stream_opened(0)
    take_list(
        session,
        [one for one in listed if isinstance(one, ActualLRP)],
        [one for one in listed if isinstance(one, DesiredLRP)],
    )
    return session


def answer_repairs(session: Session, rows: Iterable[ActualLRP], lrps: Iterable[DesiredLRP]) -> list[Commit]:
    """Do repairs, from a server that has these records, until none is pending."""
    rows, lrps = list(rows), list(lrps)
    commits: list[Commit] = []
    for _ in range(50):
        scope = session.take_repairs()
        if scope is None:
            return commits
        commit = take_list(session, rows, lrps, scope=scope)
        if commit is not None:
            commits.append(commit)
    raise AssertionError("reading again does not settle the repairs")


def drop_reason(session: Session, reason: RepairReason) -> None:
    """Drop one reason for repairs: a repair reads the whole process, which would hide what other reasons miss."""
    pending = session.repairs._reasons
    for guid in list(pending):
        pending[guid] = tuple(one for one in pending[guid] if one != reason)
        if not pending[guid]:
            del pending[guid]


def law(examples: int) -> settings:
    """Settings for a law: the same examples each time."""
    return settings(derandomize=True, deadline=None, max_examples=examples, database=None)


class Fold:
    """The state that follows from commits alone, and the laws that every commit obeys."""

    def __init__(self) -> None:
        self.rows: dict[RowKey, ActualLRP] = {}
        self.lrps: dict[str, DesiredLRP] = {}
        self.revision = 0
        self._highest: dict[RowKey, int] = {}

    def take(self, commits: Iterable[Commit | None]) -> None:
        for commit in commits:
            if commit is None:
                continue
            assert commit.revision == self.revision + 1, "revisions grow by one"
            self.revision = commit.revision
            assert _has_changes(commit), "no commit is empty"
            for delta in commit.actual_lrps:
                assert delta.before == self.rows.get(delta.key), "each step begins where the one before ended"
                assert delta.before != delta.after, "each step leads elsewhere"
                _put(self.rows, delta.key, delta.after)
                if delta.after is not None and delta.after.epoch:
                    assert delta.after.tag_index >= self._highest.get(delta.key, 0), "a version never goes back"
                    self._highest[delta.key] = delta.after.tag_index
            for lrp in commit.desired_lrps:
                assert lrp.before == self.lrps.get(lrp.key)
                assert lrp.before != lrp.after
                _put(self.lrps, lrp.key, lrp.after)

    def agrees_with(self, session: Session) -> None:
        store = session.knowledge.store
        assert self.rows == {key: store.get(key) for keys in store.keys_by_cell() for key in keys}
        assert self.lrps == {guid: store.desired(guid) for guid in store.desired_guids()}
        assert self.revision == session.knowledge.revision


def _has_changes(commit: Commit) -> bool:
    news = (commit.actual_lrps, commit.desired_lrps, commit.released)
    return any(news) or commit.domains is not None or commit.cells is not None


def _put(table: dict[Any, T], key: Any, value: T | None) -> None:
    if value is None:
        del table[key]
    else:
        table[key] = value


# Delivery


def delivery(groups: Sequence[Sequence[T]], rng: Random, *, spread: float, doubled: float = 0.0) -> Iterator[T]:
    """Hand out events in a permitted order: each group keeps its own, groups pass each other by up to `spread`.

    A share `doubled` of the events comes a second time, some time later.
    """
    queue: list[tuple[float, int, T]] = []
    for position, group in enumerate(groups):
        at = float(position)
        for one in group:
            at = max(at, position + rng.uniform(0, spread))
            queue.append((at, len(queue), one))
            if rng.random() < doubled:
                queue.append((at + rng.uniform(0, 2 * spread + 1), len(queue), one))
    return (one for _, _, one in sorted(queue, key=lambda entry: entry[:2]))


# Recordings


def recording(name: str) -> Path:
    folder = RECORDINGS / name
    if not folder.is_dir():
        pytest.skip(f"the recordings of a real BBS are not there: {folder}")
    return folder


def _records(path: Path) -> list[bytes]:
    splitter = lists.ReplySplitter(what=path.name)
    records = splitter.feed(path.read_bytes())
    splitter.finish()
    return records


def recorded_rows(folder: Path) -> list[ActualLRP]:
    return [decode.actual_lrp(record) for record in _records(folder / "actual_lrps.pb")]


def recorded_desired(folder: Path) -> list[DesiredLRP]:
    """The desired LRPs of a folder; joined from their two parts where the whole was not recorded."""
    if not (folder / "desired_lrps.pb").exists():
        parts = [decode.scheduling_info(record) for record in _records(folder / "desired_lrp_scheduling_infos.pb")]
        routing = [decode.desired_lrp(record) for record in _records(folder / "desired_lrp_routing_infos.pb")]
        tags = {part.process_guid: part.metric_tags for part in routing}
        return [replace(part, metric_tags=tags[part.process_guid]) for part in parts]
    return [decode.desired_lrp(record) for record in _records(folder / "desired_lrps.pb")]


def recorded_events(folder: Path, stream: str = "instances") -> list[Event]:
    frames = sse.EventStreamDecoder().feed((folder / f"events.{stream}.sse").read_bytes())
    return [decode.event(frame.event, frame.data) for frame in frames]


def by_key(rows: Iterable[ActualLRP]) -> dict[RowKey, ActualLRP]:
    return {row_key(one): one for one in rows}


def repair_reasons(session: Session) -> dict[str, set[RepairReason]]:
    return {guid: set(why) for guid, why in session.repairs._reasons.items()}


def many(count: int, tag_index: int = 0) -> list[ActualLRP]:
    return [unclaimed(f"e{n}", tag_index, process_guid=f"p{n % 400}", index=n) for n in range(count)]


def removals(*deltas: Delta[str, DesiredLRP]) -> Removals:
    """What a list removes that differs so in desired LRPs."""
    found = Removals(Tombstones(limit=10, age=10))
    for delta in deltas:
        found.desired(delta.key, delta.before, delta.after)
    return found


def settle(snapshot: PendingSnapshot) -> None:
    for _ in snapshot.settle():
        pass


def repair_scope(session: Session) -> Scope:
    scope = session.take_repairs()
    assert scope is not None
    return scope


def fresh(tuning: Tuning | None = None) -> Session:
    return Session(tuning or Tuning(), Random(0))


def list_with_domains(session: Session, *domains: str, lrps: tuple[DesiredLRP, ...] = ()) -> Commit | None:
    snapshot = session.begin_list(0)
    snapshot.domains = frozenset(domains)
    snapshot.list_desired(lrps)
    settle(snapshot)
    return session.end_list(snapshot, 0)
