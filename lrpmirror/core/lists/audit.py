"""Audits: whether a list of everything, on a living stream, differs from what the events have led to.

Some differences are no fault: a write whose event is still on its way, a process that is to be read again anyway, what
diffs do not carry. So what differs is only a suspicion at first. It is counted as drift when its event has not come
within a grace time either, on a stream that lived on through it: then an event was lost, or misjudged.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.core.lists.difference import ListDifference, Record, difference_of
from lrpmirror.core.lists.repairs import Repairs
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
"""How many findings a report names."""

EXAMINED: Final = 2_000
"""How many differences are looked at one by one, which takes some milliseconds.

Where a list has more, and of those nothing explains some, the others are counted as `unexamined`.
"""

_Key = tuple[str, RowKey]


class Drift(Struct, frozen=True):
    """What an audit found that nothing explains."""

    kinds: Mapping[str, int]
    findings: tuple[ListDifference, ...]
    row: int
    """How many audits in a row have found drift, this one included."""

    @property
    def first(self) -> bool:
        """Whether the stream is suspect only now: it is worth a second look soon."""
        return self.row == 1

    @property
    def repeated(self) -> bool:
        """Whether the stream is to be replaced: it happened again; then ever more rarely, as that did not help."""
        return self.row > 1 and self.row & (self.row - 1) == 0

    def __str__(self) -> str:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.kinds.items()))
        more = len(self.findings) - NAMED
        named = "; ".join(map(str, self.findings[:NAMED])) + (f"; and {more} more" if more > 0 else "")
        return f"a list differed from what the events had led to, in {kinds}: {named}"


class Audit:
    """The findings of the latest audits, until they are explained or judged. Bounded: see EXAMINED."""

    def __init__(self, *, grace: float) -> None:
        self._grace = grace
        self._differences: dict[_Key, tuple[ListDifference, float]] = {}
        """What was found, with the time at which it is to be judged."""
        self._dues: list[tuple[float, int]] = []
        """When each audit that found anything is to be judged, and how much of it was not looked at."""
        self._drifted = 0
        self._dropped = 0

    def __bool__(self) -> bool:
        return bool(self._differences)

    def reset(self) -> None:
        """Forget everything: the stream is another one."""
        self._differences.clear()
        self._dues.clear()
        self._drifted = 0

    def begin(
        self, snapshot: PendingSnapshot, rows: RowDeltas, desired: DesiredDeltas, repairs: Repairs, now: float
    ) -> None:
        """Take what a list of everything changed, before the doubts that it settles are forgotten.

        O(what it changed), up to EXAMINED.
        """
        explained = self._explained_by(snapshot, repairs)
        found = [
            *(one for row in rows[:EXAMINED] if (one := _unexplained("row", row, explained))),
            *(one for lrp in desired[:EXAMINED] if (one := _unexplained("desired", lrp, explained))),
        ]
        if found:
            due = now + self._grace
            self._differences.update((key, (one, due)) for key, one in found)
            self._dues.append((due, max(0, len(rows) - EXAMINED) + max(0, len(desired) - EXAMINED)))
        elif not self._dues:
            self._drifted = 0

    def see(self, events: Iterable[Event]) -> None:
        """Let events explain what was found. O(events)."""
        for event in events:
            for what, record, gone in _records_of(event):
                key = what, _key_of(record)
                found, _ = self._differences.get(key, (None, 0.0))
                if found is None or found.epoch != record.epoch:
                    continue
                if gone or not record.epoch or record.tag_index >= found.tag_index:
                    del self._differences[key]

    def wait(self, now: float) -> float | None:
        """Return in how many seconds something is to be judged; None where nothing is."""
        return max(0.0, self._dues[0][0] - now) if self._dues else None

    def end(self, now: float) -> Drift | None:
        """Judge what is due and not explained by now; None where there is nothing. O(findings)."""
        due = [unexamined for at, unexamined in self._dues if at <= now]
        if not due:
            return None
        del self._dues[: len(due)]
        judged = {key: one for key, (one, at) in self._differences.items() if at <= now}
        for key in judged:
            del self._differences[key]
        if not judged:
            self._drifted = 0
            return None
        self._drifted += 1
        kinds = Counter(one.kind for one in judged.values())
        if sum(due):
            kinds["unexamined"] = sum(due)
        return Drift(kinds, tuple(judged.values()), self._drifted)

    def _explained_by(self, snapshot: PendingSnapshot, repairs: Repairs) -> Callable[[str, str], bool]:
        """Return what tells of the rows or desired LRP of which process it was known that they may differ."""
        dropped, self._dropped = repairs.dropped != self._dropped, repairs.dropped

        def explained(what: str, guid: str) -> bool:
            reasons = {
                *repairs.reasons_of(guid),
                *(doubt for doubt in RepairReason if (guid, doubt) in snapshot.repairs),
            }
            about = reasons & {RepairReason.DESIRED} if what == "desired" else reasons - {RepairReason.DESIRED}
            return dropped or bool(about)

        return explained


def _unexplained(
    what: str, delta: Delta[Any, Any], explained: Callable[[str, str], bool]
) -> tuple[_Key, ListDifference] | None:
    """Return what a difference is, unless it is explained already."""
    before, after = delta.before, delta.after
    one: Any = after if after is not None else before
    if explained(what, one.process_guid) or (
        before is not None and after is not None and _is_same_but_uncarried(before, after)
    ):
        return None
    if before is None or after is None:
        how = "missing" if before is None else "extra"
    else:
        how = "contents" if (before.epoch, before.tag_index) == (after.epoch, after.tag_index) else "behind"
    # Of what the mirror has, the list not, it has seen that version: only a later one, or a removal, explains it.
    version = one.tag_index + 1 if after is None else one.tag_index
    return (what, _key_of(one)), difference_of(f"{what} {how}", one, version)


def _key_of(record: Record) -> RowKey:
    return row_key(record) if isinstance(record, ActualLRP) else record.process_guid


def _is_same_but_uncarried(before: Record, after: Record) -> bool:
    """Return whether two versions of a row differ in nothing but what diffs do not carry."""
    if not isinstance(before, ActualLRP) or not isinstance(after, ActualLRP):
        return False
    return replace(before, internal_routes=after.internal_routes, metric_tags=after.metric_tags) == after


def _records_of(event: Event) -> Iterator[tuple[str, Record, bool]]:
    """Return the records that an event tells of, and whether it says that they are gone, or were left."""
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
