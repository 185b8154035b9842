"""Why a process has the state that it has: the outcomes of the latest events about it, and of lists that changed it.

All processes share one bounded ring, to which an event adds one flat value; searching it and phrasing the reasons is
left to the query. Of what drops out of the ring, the last decision about each process is kept for a while.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import chain, islice
from typing import Any, Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.core.lists.difference import ListDifference
from lrpmirror.core.lists.rollback import OlderRecords
from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.lists.slices import SLICE
from lrpmirror.core.rows.change_set import DesiredDeltas, RowDeltas
from lrpmirror.core.rows.changes import Delta, row_key
from lrpmirror.core.rows.dispatch import Tombstones, subject_of
from lrpmirror.core.rows.reconcile import Outcome, RepairReason
from lrpmirror.core.rows.store import Store
from lrpmirror.events import ActualLRPCrashed, Event
from lrpmirror.model import ActualLRP, DesiredLRP, ModificationTag

__all__ = ["LIST", "REPAIR", "Decision", "Decisions", "Entry", "ListOutcome"]

LIST: Final = "list"
"""The type of a decision made by a list of everything."""

REPAIR: Final = "repair"
"""The type of a decision made by a repair, the read of some processes."""

MOST_LISTED: Final = 2_000
"""A list of everything with more differences is not recorded one by one: after a long gap they explain nothing."""


class ListOutcome(StrEnum):
    """What a list decided."""

    REPAIRED = "repaired"
    """The list differed, and what it had was written."""
    CONFIRMED = "confirmed"
    """A process was read again for a repair, and nothing about it differed."""
    OLDER = "older"
    """The list had an older version, which is not believed before another list agrees."""
    ROLLED_BACK = "rolled back"
    """Another list agreed: the server's database was set back, and what it had was written."""
    DRIFTED = "drifted"
    """The list differed, and no event explained it afterwards either: one was lost, or misjudged."""


class Decision(Struct, frozen=True, gc=False):
    """The outcome of one event, or what one list found about a record, and why.

    `at` is in seconds of the mirror's clock. `type` is the event's, or LIST or REPAIR. `tag` is the version that was
    reported, `stored` the one that the mirror had before; None where there was none. `repair_reasons` are all for which
    the process is to be read again, after an event that added one.
    """

    at: float
    type: str
    outcome: Outcome | ListOutcome
    index: int | None = None
    tag: ModificationTag | None = None
    stored: ModificationTag | None = None
    tombstone: int | None = None
    repair_reasons: tuple[RepairReason, ...] = ()

    @property
    def why(self) -> str:
        """The reason, in a few words: the reported version, compared with the stored one."""
        stored = _words(self.stored)
        reason = self._reason().format(
            tag=_words(self.tag),
            stored=stored,
            known="an event has told that it is gone" if self.stored is None else f"{stored} is at hand",
            last="" if self.tombstone is None else f" (its last known version: {self.tombstone})",
            how="a list" if self.type == LIST else "a read of the process",
        )
        return f"{reason}; to be read again: {', '.join(self.repair_reasons)}" if self.repair_reasons else reason

    def _reason(self) -> str:
        tag, stored = self.tag, self.stored
        if self.outcome is ListOutcome.REPAIRED:
            if tag is not None and tag == stored:
                return "{how} had {tag} with other contents, which events do not carry, or which were missed"
            return "{how} had {tag}; {stored} was at hand"
        if self.outcome is not Outcome.APPLIED:
            return _REASONS[self.outcome]
        if self.type.endswith("_removed"):
            return "{tag} is gone; {stored} was at hand"
        if stored is None or tag is None:
            return "{tag} is of a record that was not there"
        if stored.epoch != tag.epoch:
            return "{tag} takes the place of {stored}"
        if stored.index == tag.index:
            return "{tag} is the version at hand, with something that makes no version"
        return "{tag} is newer than {stored}"


_REASONS: Final[Mapping[Outcome | ListOutcome, str]] = {
    Outcome.STALE: "{tag} is older than {stored}, or of a record before it",
    Outcome.SAME: "{tag} is known: {stored} is at hand",
    Outcome.TOMBSTONED: "{tag} is of a record that is gone{last}",
    Outcome.LEFT: "the instance of {tag} left; the record lives on, unclaimed, as {stored}",
    Outcome.UNDECIDED: "{tag} cannot be decided: {stored} is at hand{last}",
    Outcome.NOTED: "it tells of no change of state",
    ListOutcome.CONFIRMED: "it was read again, and is as it was",
    ListOutcome.DRIFTED: "a list had it otherwise, and no event told of {tag} or a later version after it",
    ListOutcome.OLDER: "a list had {tag}, and {known}: not believed unless another one, on another stream, agrees",
    ListOutcome.ROLLED_BACK: "the server was set back: a second list had {tag} too; {stored} was at hand",
}


class Entry(Struct, frozen=True, gc=False):
    """A decision as it is kept: one flat value, which the garbage collector need not look at."""

    process_guid: str
    at: float
    type: str
    outcome: Outcome | ListOutcome
    index: int | None
    epoch: str | None
    tag_index: int
    stored_epoch: str | None
    stored_index: int
    repair_reasons: tuple[RepairReason, ...] = ()
    tombstone: int | None = None


Record = ActualLRP | DesiredLRP


class Known(Protocol):
    """What a session knows."""

    store: Store
    tombstones: Tombstones


class Decisions:
    """The `kept` latest decisions, and for the latest processes the last decision before those.

    The latter are in two generations of at most `processes` each: when the younger one is full, the older one is
    dropped. That is cheaper than keeping them in order of use.
    """

    def __init__(self, *, kept: int = 20_000, processes: int = 4096) -> None:
        self._kept = kept
        self._processes = processes
        self._ring: deque[Entry] = deque()
        self.add: Final[Callable[[Entry], None]] = self._ring.append
        """Records a decision, until `trim` is called."""
        self._unrecorded: deque[Iterator[Entry]] = deque()
        self._younger: dict[str, Entry] = {}
        self._older: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._ring) + len(self._younger.keys() | self._older.keys())

    def of(self, process_guid: str) -> tuple[Decision, ...]:
        """Return the decisions about a process, the oldest first; none where they have dropped out. O(kept).

        Those of a list that changed much can be missing until `record` has taken its steps.
        """
        last = self._younger.get(process_guid) or self._older.get(process_guid)
        found = [entry for entry in self._ring.copy() if entry.process_guid == process_guid]
        # What a list changed can be recorded after the next events.
        found.sort(key=lambda entry: entry.at)
        return tuple(map(_decision, found if last is None else (last, *found)))

    def judged(  # noqa: PLR0917 - once an event, and keywords cost
        self,
        event: Event,
        kind: str,
        outcome: Outcome,
        written: Sequence[Delta[Any, Any]],
        at: float,
        repair_reasons: tuple[RepairReason, ...],
        known: Known,
    ) -> None:
        """Record the outcome of an event of type `kind`, which wrote these rows or desired LRPs. O(1).

        `known` is the state after it; `repair_reasons` are as in Decision.
        """
        record = subject_of(event)
        if record is not None:
            stored, tombstone = _known_before(record, written, known)
            self.add(_entry(at, kind, outcome, record, stored, tombstone, repair_reasons))
        elif isinstance(event, ActualLRPCrashed):
            self.add(Entry(event.process_guid, at, kind, outcome, event.index, None, 0, None, 0))

    def listed(self, scope: Scope, rows: RowDeltas, desired: DesiredDeltas, older: OlderRecords, at: float) -> None:
        """Record what a list changed, and which repairs changed nothing. O(SLICE); `record` does the rest."""
        if scope == EVERYTHING and len(rows) + len(desired) > MOST_LISTED:
            return
        self._unrecorded.append(_listed(scope, rows, desired, older, at))
        next(self.record(), None)

    def record(self) -> Iterator[None]:
        """Record what lists have changed, a slice a step. Several may take the steps by turns."""
        while self._unrecorded:
            entries = [*islice(self._unrecorded[0], SLICE)]
            self._ring.extend(entries)
            self.trim()
            if len(entries) < SLICE:
                self._unrecorded.popleft()
            yield

    def unconfirmed(self, older: OlderRecords, at: float) -> None:
        """Record which records a list has in older versions for the first time. O(such records)."""
        for older_record in older.new():
            listed = older_record.listed
            self.add(_entry(at, LIST, ListOutcome.OLDER, listed, older_record.known))
        self.trim()

    def drifted(self, differences: Sequence[ListDifference], at: float) -> None:
        """Record what an audit found and no event explained. O(differences)."""
        for diff in differences[:MOST_LISTED]:
            reported = diff.epoch, diff.tag_index
            self.add(Entry(diff.process_guid, at, LIST, ListOutcome.DRIFTED, diff.index, *reported, None, 0))
        self.trim()

    def trim(self) -> None:
        """Forget what the ring has no room for, but for the last decision about each process. O(what is forgotten)."""
        ring = self._ring
        for _ in range(len(ring) - self._kept):
            entry = ring.popleft()
            self._younger[entry.process_guid] = entry
            if len(self._younger) >= self._processes:
                self._older, self._younger = self._younger, {}


def _known_before(record: Record, written: Sequence[Delta[Any, Any]], known: Known) -> tuple[Record | None, int | None]:
    """Return what was stored of a record that an event reports, and its tombstone's index; or None for either. O(1)."""
    key: Any
    get: Callable[[Any], Record | None]
    if isinstance(record, DesiredLRP):
        key, get = record.process_guid, known.store.desired
    else:
        key, get = row_key(record), known.store.get
    for delta in written:
        if delta.key == key:
            stored = delta.before
            break
    else:
        # A key that the event has not written still has its old value.
        stored = get(key)
    tombstone = known.tombstones.rows.get(key) if stored is None and isinstance(record, ActualLRP) else None
    return stored, None if tombstone is None else tombstone.index


def _entry(  # noqa: PLR0917 - once an event, and keywords cost
    at: float,
    kind: str,
    outcome: Outcome | ListOutcome,
    reported: Record,
    stored: Record | None,
    tombstone: int | None = None,
    repair_reasons: tuple[RepairReason, ...] = (),
) -> Entry:
    return Entry(
        reported.process_guid,
        at,
        kind,
        outcome,
        reported.index if isinstance(reported, ActualLRP) else None,
        reported.epoch,
        reported.tag_index,
        None if stored is None else stored.epoch,
        0 if stored is None else stored.tag_index,
        repair_reasons,
        tombstone,
    )


def _listed(scope: Scope, rows: RowDeltas, desired: DesiredDeltas, older: OlderRecords, at: float) -> Iterator[Entry]:
    """Return the decisions of a list, each made when it is read."""
    kind = LIST if scope == EVERYTHING else REPAIR
    found: set[str] = set()
    deltas: Iterable[Delta[Any, ActualLRP] | Delta[Any, DesiredLRP]] = chain(rows, desired)
    for delta in deltas:
        record = next(side for side in (delta.after, delta.before) if side is not None)
        found.add(record.process_guid)
        key = delta.key if isinstance(record, ActualLRP) else (record.process_guid,)
        outcome = ListOutcome.ROLLED_BACK if older.takes_back(key) else ListOutcome.REPAIRED
        entry = _entry(at, kind, outcome, record, delta.before)
        yield entry if delta.after is not None else replace(entry, epoch=None)
    for guid in sorted(((scope.rows or frozenset()) | (scope.desired or frozenset())) - found):
        yield Entry(guid, at, kind, ListOutcome.CONFIRMED, None, None, 0, None, 0)


def _decision(entry: Entry) -> Decision:
    return Decision(
        entry.at,
        entry.type,
        entry.outcome,
        entry.index,
        _tag(entry.epoch, entry.tag_index),
        _tag(entry.stored_epoch, entry.stored_index),
        entry.tombstone,
        entry.repair_reasons,
    )


def _tag(epoch: str | None, index: int) -> ModificationTag | None:
    return None if epoch is None else ModificationTag(epoch, index)


def _words(tag: ModificationTag | None) -> str:
    return "nothing" if tag is None else f"{tag.epoch or 'a record without epoch'}:{tag.index}"
