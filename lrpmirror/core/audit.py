"""Audits: whether a list of everything, on a living stream, differs from what the events have led to.

Some differences are no fault: a write whose event is still on its way, a process that is to be read again anyway, what
diffs do not carry. So what differs is only a suspicion at first. It is counted as drift when its event has not come
within a grace time either, on a stream that lived on through it: then an event was lost, or misjudged.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.core.changes import Delta, RowKey, row_key
from lrpmirror.core.ledger import DesiredDeltas, RowDeltas
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
from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP

__all__ = ["KINDS", "Audit", "Drift", "Finding", "ahead"]

NAMED: Final = 20
"""How many findings a report names."""

EXAMINED: Final = 2_000
"""How many differences are looked at one by one, which takes some milliseconds.

Where a list has more, and of those nothing explains some, the others are counted as `unexamined`.
"""

KINDS: Final = (
    *(f"{what} {how}" for what in ("row", "desired") for how in ("missing", "extra", "behind", "ahead", "contents")),
    "unexamined",
)
"""What drift can be: see Finding, and EXAMINED."""

_Record = ActualLRP | DesiredLRP
_Key = tuple[str, RowKey]


class Finding(Struct, frozen=True):
    """A record that a list had otherwise than the mirror. Has no values of it, which could be secrets."""

    kind: str
    """`row` or `desired`, and how it differed.

    `missing` in the mirror, `extra` in the mirror, `behind` (the list had a newer version), `ahead` (an older one), or
    other `contents` at the same version.
    """
    process_guid: str
    index: int | None
    """The row's; None for a desired LRP."""
    epoch: str
    tag_index: int
    """Which version an event has to tell of, that one or a later, to explain it."""

    def __str__(self) -> str:
        where = self.process_guid if self.index is None else f"{self.process_guid}/{self.index}"
        return f"{self.kind} {where} ({self.epoch or 'no epoch'}:{self.tag_index})"


class Drift(Struct, frozen=True):
    """What an audit found that nothing explains."""

    kinds: Mapping[str, int]
    findings: tuple[Finding, ...]
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
        self._findings: dict[_Key, Finding] = {}
        self._unexamined = 0
        self._due: float | None = None
        self._drifted = 0

    def __bool__(self) -> bool:
        return bool(self._findings)

    def reset(self) -> None:
        """Forget everything: the stream is another one."""
        self._findings.clear()
        self._unexamined, self._due, self._drifted = 0, None, 0

    def begin(
        self,
        rows: RowDeltas,
        desired: DesiredDeltas,
        lagging: Iterable[Finding],
        explained: Callable[[str, str], bool],
        now: float,
    ) -> None:
        """Take what a list changed, and of what it had older versions.

        `explained` tells of the `row`s or `desired` LRP of which process it was known that they may differ. What an
        audit before has found and is not judged yet is judged together with this one. O(what it changed), up to
        EXAMINED.
        """
        before = len(self._findings)
        for row in rows[:EXAMINED]:
            self._find("row", row, explained)
        for lrp in desired[:EXAMINED]:
            self._find("desired", lrp, explained)
        self._findings.update(((one.kind, one.epoch), one) for one in islice(lagging, EXAMINED))
        self._unexamined += max(0, len(rows) - EXAMINED) + max(0, len(desired) - EXAMINED)
        if len(self._findings) > before or self._due is not None:
            self._due = now + self._grace
        else:
            self._drifted = 0

    def see(self, events: Iterable[Event]) -> None:
        """Let events explain what was found. O(events)."""
        for event in events:
            for what, record, gone in _told_by(event):
                key = what, _key_of(record)
                found = self._findings.get(key)
                if found is None or found.epoch != record.epoch:
                    continue
                if gone or not record.epoch or record.tag_index >= found.tag_index:
                    del self._findings[key]

    def wait(self, now: float) -> float | None:
        """Return in how many seconds what was found is to be judged; None where nothing was."""
        return None if self._due is None else max(0.0, self._due - now)

    def end(self) -> Drift | None:
        """Judge what was found and is not explained by now; None where there is nothing. O(findings)."""
        findings, unexamined = tuple(self._findings.values()), self._unexamined
        self._findings.clear()
        self._unexamined, self._due = 0, None
        self._drifted = self._drifted + 1 if findings else 0
        if not findings:
            return None
        kinds = Counter(one.kind for one in findings)
        if unexamined:
            kinds["unexamined"] = unexamined
        return Drift(kinds, findings, self._drifted)

    def _find(self, what: str, delta: Delta[Any, Any], explained: Callable[[str, str], bool]) -> None:
        before, after = delta.before, delta.after
        one: Any = after if after is not None else before
        if explained(what, one.process_guid) or (
            before is not None and after is not None and _is_uncarried(before, after)
        ):
            return
        if before is None or after is None:
            how = "missing" if before is None else "extra"
        else:
            how = "contents" if (before.epoch, before.tag_index) == (after.epoch, after.tag_index) else "behind"
        # Of what the mirror has, the list not, it has seen that version: only a later one, or a removal, explains it.
        version = one.tag_index + 1 if after is None else one.tag_index
        self._findings[what, _key_of(one)] = _finding(f"{what} {how}", one, version)


def ahead(listed: _Record) -> Finding:
    """Return the finding that a list has an older version than the mirror: this one."""
    what = "row" if isinstance(listed, ActualLRP) else "desired"
    return _finding(f"{what} ahead", listed, listed.tag_index)


def _finding(kind: str, one: _Record, version: int) -> Finding:
    index = one.index if isinstance(one, ActualLRP) else None
    return Finding(kind, one.process_guid, index, one.epoch, version)


def _key_of(record: _Record) -> RowKey:
    return row_key(record) if isinstance(record, ActualLRP) else record.process_guid


def _is_uncarried(before: _Record, after: _Record) -> bool:
    """Tell whether two versions of a row differ in nothing but what diffs do not carry."""
    if not isinstance(before, ActualLRP) or not isinstance(after, ActualLRP):
        return False
    return replace(before, internal_routes=after.internal_routes, metric_tags=after.metric_tags) == after


def _told_by(event: Event) -> Iterator[tuple[str, _Record, bool]]:
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


def _slots(group: ActualLRPGroup, *, gone: bool) -> Iterator[tuple[str, _Record, bool]]:
    return (("row", row, gone) for row in (group.instance, group.evacuating) if row is not None)
