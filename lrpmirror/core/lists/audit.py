"""Audits: comparing a list of everything, on a live stream, with the state that the events have led to.

Some differences are no fault: a write whose event is still on its way, a process that is to be read again anyway,
fields that diffs do not carry. So a difference is kept as a suspicion at first. It counts as drift when no event has
explained it within a grace time, on a stream that stayed open: then an event was lost, or misjudged.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.core.lists.difference import ListDifference, Record, difference_of
from lrpmirror.core.lists.repairs import Repairs
from lrpmirror.core.lists.slices import SLICE
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.change_set import DesiredDeltas, RowDeltas
from lrpmirror.core.rows.changes import Delta, RowKey, row_key
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.events import (
    ActualLRPChanged,
    ActualLRPCreated,
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    ActualLRPRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.model import ActualLRP, ActualLRPGroup

__all__ = ["Audit", "Drift"]

NAMED: Final = 20
"""How many differences a report names."""

EXAMINED: Final = 2_000
"""How many differences are examined one by one, which takes some milliseconds.

Where a list has more, and some of the examined ones stay unexplained, the others count as `unexamined`.
"""

_OF_DESIRED: Final = (RepairReason.DESIRED,)

_OF_ROWS: Final = tuple(reason for reason in RepairReason if reason not in _OF_DESIRED)

_Key = tuple[str, RowKey]


class Drift(Struct, frozen=True):
    """The differences of an audit that no event explained."""

    kinds: Mapping[str, int]
    differences: tuple[ListDifference, ...]
    row: int
    """How many audits in a row have found drift, this one included."""

    @property
    def first(self) -> bool:
        """Whether the audit before had no drift: then a second list soon shows whether it persists."""
        return self.row == 1

    @property
    def repeated(self) -> bool:
        """Whether to replace the stream: at the 2nd, 4th, 8th… audit in a row with drift, as replacing did not help."""
        return self.row > 1 and self.row & (self.row - 1) == 0

    def __str__(self) -> str:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.kinds.items()))
        more = len(self.differences) - NAMED
        named = "; ".join(map(str, self.differences[:NAMED])) + (f"; and {more} more" if more > 0 else "")
        return f"a list differed from what the events had led to, in {kinds}: {named}"


class _Begun(Struct):
    """What a list changed, as far as it is to be examined, and what explains it."""

    deltas: Iterator[tuple[str, Delta[Any, Any]]]
    """Those that are still to be examined, with what they are of."""
    explained: Callable[[str, str], bool]
    due: float
    unexamined: int
    differences: list[tuple[_Key, ListDifference]] = []
    """What has been found so far."""
    events: list[Event] = []
    """What has arrived since."""


class Audit:
    """The differences of the latest audits, until they are explained or judged. Bounded: see EXAMINED."""

    def __init__(self, *, grace: float) -> None:
        self._grace = grace
        self._differences: dict[_Key, tuple[ListDifference, float]] = {}
        """Each difference, with the time at which it is to be judged."""
        self._dues: list[tuple[float, int]] = []
        """When each audit with differences is to be judged, and how many of them were not examined."""
        self._begun: deque[_Begun] = deque()
        """Audits that have not been examined to their end, the oldest first."""
        self._drifted = 0
        self._dropped = 0

    def __bool__(self) -> bool:
        return bool(self._differences or self._begun)

    def reset(self) -> None:
        """Forget everything, since another stream begins."""
        self._begun.clear()
        self._differences.clear()
        self._dues.clear()
        self._drifted = 0

    def begin(
        self, snapshot: PendingSnapshot, rows: RowDeltas, desired: DesiredDeltas, repairs: Repairs, now: float
    ) -> None:
        """Take what a list of everything changed, before the repairs that it settles are dropped.

        It is examined afterwards: see `examine`. O(EXAMINED).
        """
        if not rows and not desired:
            # Nothing to judge; what is still to be judged decides whether the row of drifts ends.
            self._drifted = self._drifted if self else 0
            return
        unexamined = max(0, len(rows) - EXAMINED) + max(0, len(desired) - EXAMINED)
        explained = self._explained_by(snapshot, repairs)
        deltas: Iterator[tuple[str, Delta[Any, Any]]] = chain(
            zip(repeat("row"), rows[:EXAMINED]), zip(repeat("desired"), desired[:EXAMINED])
        )
        self._begun.append(_Begun(deltas, explained, now + self._grace, unexamined))

    def examine(self) -> Iterator[None]:
        """Find which differences nothing explains, a slice a step. Several may take the steps by turns."""
        while self._begun:
            begun = self._begun[0]
            deltas = [*islice(begun.deltas, SLICE)]
            for what, delta in deltas:
                difference = _unexplained(what, delta, begun.explained)
                if difference is not None:
                    begun.differences.append(difference)
            if not deltas:
                self._begun.popleft()
                self._examined(begun)
            yield

    def _examined(self, begun: _Begun) -> None:
        if begun.differences:
            self._differences.update((key, (difference, begun.due)) for key, difference in begun.differences)
            self._dues.append((begun.due, begun.unexamined))
            self._explain(begun.events)
        elif not self._dues:
            self._drifted = 0

    def see(self, events: Sequence[Event]) -> None:
        """Remove the differences that events explain. O(events)."""
        for begun in self._begun:
            begun.events += events
        self._explain(events)

    def _explain(self, events: Iterable[Event]) -> None:
        for event in events:
            for what, record, gone in _records_of(event):
                key = what, _key_of(record)
                found, _ = self._differences.get(key, (None, 0.0))
                if found is None or found.epoch != record.epoch:
                    continue
                if gone or not record.epoch or record.tag_index >= found.tag_index:
                    del self._differences[key]

    def wait(self, now: float) -> float | None:
        """Return in how many seconds the next audit is to be judged; None: there is none."""
        due = self._dues[0][0] if self._dues else self._begun[0].due if self._begun else None
        return None if due is None else max(0.0, due - now)

    def end(self, now: float) -> Drift | None:
        """Return the drift of the audits that are due; None where all was explained. O(differences)."""
        deque(self.examine(), maxlen=0)
        due = [unexamined for at, unexamined in self._dues if at <= now]
        if not due:
            return None
        del self._dues[: len(due)]
        judged = {key: difference for key, (difference, at) in self._differences.items() if at <= now}
        for key in judged:
            del self._differences[key]
        if not judged:
            self._drifted = 0
            return None
        self._drifted += 1
        kinds = Counter(difference.kind for difference in judged.values())
        if sum(due):
            kinds["unexamined"] = sum(due)
        return Drift(kinds, tuple(judged.values()), self._drifted)

    def _explained_by(self, snapshot: PendingSnapshot, repairs: Repairs) -> Callable[[str, str], bool]:
        """Return a predicate: whether a repair was pending for the rows, or the desired LRP, of a process."""
        dropped, self._dropped = repairs.dropped != self._dropped, repairs.dropped
        requested, reasons_of = snapshot.repairs, repairs.reasons().get

        def explained(what: str, guid: str) -> bool:
            pending = reasons_of(guid, ())
            if not (pending or requested or dropped):
                # So it is for nearly all: up to EXAMINED are asked for in one piece.
                return False
            reasons = _OF_DESIRED if what == "desired" else _OF_ROWS
            return dropped or any(reason in pending or (guid, reason) in requested for reason in reasons)

        return explained


def _unexplained(
    what: str, delta: Delta[Any, Any], explained: Callable[[str, str], bool]
) -> tuple[_Key, ListDifference] | None:
    """Return the difference that a delta is, with its key; None where it is explained already."""
    before, after = delta.before, delta.after
    record: Any = after if after is not None else before
    if explained(what, record.process_guid) or (
        before is not None and after is not None and _is_same_but_uncarried(before, after)
    ):
        return None
    if before is None or after is None:
        how = "missing" if before is None else "extra"
    else:
        how = "contents" if (before.epoch, before.tag_index) == (after.epoch, after.tag_index) else "behind"
    # Where the list lacks a record, the mirror has seen this version: only a later one, or a removal, explains it.
    version = record.tag_index + 1 if after is None else record.tag_index
    return (what, _key_of(record)), difference_of(f"{what} {how}", record, version)


def _key_of(record: Record) -> RowKey:
    return row_key(record) if isinstance(record, ActualLRP) else record.process_guid


def _is_same_but_uncarried(before: Record, after: Record) -> bool:
    """Return whether two versions of a row differ only in fields that diffs do not carry."""
    if not isinstance(before, ActualLRP) or not isinstance(after, ActualLRP):
        return False
    if before.tag_index != after.tag_index:
        # The other fields would have to be decoded first.
        return False
    return replace(before, internal_routes=after.internal_routes, metric_tags=after.metric_tags) == after


def _records_of(event: Event) -> Iterator[tuple[str, Record, bool]]:
    """Yield the records that an event reports: the kind, the record, and whether it is gone or was left."""
    match event:
        case ActualLRPInstanceChanged(before=before, after=after):
            yield "row", after, False
            if before.epoch != after.epoch:
                yield "row", before, True
        case ActualLRPInstanceCreated(actual_lrp=row):
            yield "row", row, False
        case ActualLRPInstanceRemoved(actual_lrp=row):
            yield "row", row, True
        case ActualLRPChanged(before=left, after=group):
            yield from _slots(left, gone=True)
            yield from _slots(group, gone=False)
        case ActualLRPCreated(actual_lrp_group=group):
            yield from _slots(group, gone=False)
        case ActualLRPRemoved(actual_lrp_group=group):
            yield from _slots(group, gone=True)
        case DesiredLRPChanged(after=lrp) | DesiredLRPCreated(desired_lrp=lrp):
            yield "desired", lrp, False
        case DesiredLRPRemoved(desired_lrp=lrp):
            yield "desired", lrp, True
        case _:
            pass


def _slots(group: ActualLRPGroup, *, gone: bool) -> Iterator[tuple[str, Record, bool]]:
    return (("row", row, gone) for row in (group.instance, group.evacuating) if row is not None)
