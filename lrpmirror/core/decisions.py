"""Why a process looks as it does: what became of the latest events about it, and of the lists that touched it.

The memory is a ring for each process, bounded per process and in the number of processes, of which those heard of
longest ago are forgotten first. Noting a decision costs about a microsecond; the words are only found when asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

from msgspec import Struct

from lrpmirror.core.changes import Delta, row_key
from lrpmirror.core.dispatch import Graveyard
from lrpmirror.core.finding import Finding
from lrpmirror.core.ledger import DesiredDeltas, RowDeltas
from lrpmirror.core.reconcile import Doubt, Verdict
from lrpmirror.core.repairs import Repairs
from lrpmirror.core.shadow import EVERYTHING, Scope
from lrpmirror.core.store import Store
from lrpmirror.events import (
    ActualLRPChanged,
    ActualLRPCrashed,
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
from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP, ModificationTag

__all__ = ["LIST", "REPAIR", "Decision", "Decisions", "Outcome", "Sighting", "sight"]

LIST: Final = "list"
"""The type of a decision that a list of everything made."""

REPAIR: Final = "repair"
"""The type of a decision that a read of single processes made."""

MOST_LISTED: Final = 2_000
"""A list of everything that differs in more is not broken down: after a long gap there is nothing to explain in it."""


class Outcome(StrEnum):
    """What a list decided."""

    REPAIRED = "repaired"
    """The server had it otherwise, and what it listed was taken."""
    CONFIRMED = "confirmed"
    """A process that was in doubt was read again, and nothing about it differed."""
    DRIFTED = "drifted"
    """What a list had otherwise was told by no event afterwards either: one was lost, or misjudged."""


class Decision(Struct, frozen=True, gc=False):
    """What became of one event, or what one list found, and why.

    `at` is in seconds of the mirror's clock. `type` is the event's, or LIST or REPAIR. `tag` is the version that was
    told of, `stored` the one that was at hand before; None where there was none. `doubts` are those there are about the
    process after an event that raised one: because of them it is read again.
    """

    at: float
    type: str
    verdict: Verdict | Outcome
    index: int | None = None
    tag: ModificationTag | None = None
    stored: ModificationTag | None = None
    buried: int | None = None
    doubts: tuple[Doubt, ...] = ()

    @property
    def why(self) -> str:
        """The reason, in a few words: the version told of, compared with the one at hand."""
        reason = self._reason()
        return f"{reason}; to be read again: {', '.join(self.doubts)}" if self.doubts else reason

    def _reason(self) -> str:
        tag, stored = _words(self.tag), _words(self.stored)
        match self.verdict:
            case Outcome.CONFIRMED:
                return "it was read again, and is as it was"
            case Outcome.DRIFTED:
                return f"a list had it otherwise, and no event told of {tag} or a later version after it"
            case Outcome.REPAIRED:
                return self._why_repaired(tag, stored)
            case Verdict.APPLIED:
                return self._why_applied(tag, stored)
            case Verdict.STALE:
                return f"{tag} is older than {stored}, or of a record before it"
            case Verdict.SAME:
                return f"{tag} is known: {stored} is at hand"
            case Verdict.BURIED:
                return f"{tag} is of a record that is gone{_last(self.buried)}"
            case Verdict.LEFT:
                return f"the instance of {tag} left; the record lives on, unclaimed, as {stored}"
            case Verdict.DOUBTED:
                return f"{tag} cannot be decided: {stored} is at hand{_last(self.buried)}"
            case _:
                return "it tells of no change of state"

    def _why_applied(self, tag: str, stored: str) -> str:
        if self.type.endswith("_removed"):
            return f"{tag} is gone; {stored} was at hand"
        if self.stored is None or self.tag is None:
            return f"{tag} is of a record that was not there"
        if self.stored.epoch != self.tag.epoch:
            return f"{tag} takes the place of {stored}"
        if self.stored.index == self.tag.index:
            return f"{tag} is the version at hand, with something that makes no version"
        return f"{tag} is newer than {stored}"

    def _why_repaired(self, tag: str, stored: str) -> str:
        how = "a list" if self.type == LIST else "a read of the process"
        if self.tag is not None and self.tag == self.stored:
            return f"{how} had {tag} with other contents, which events do not carry, or which were missed"
        return f"{how} had {tag}; {stored} was at hand"


_Version = tuple[str, int]
"""A modification tag's epoch and index; tuples are made in less time."""

Sighting = tuple[str, int | None, _Version | None, _Version | None, int | None]
"""What an event is about, and what was at hand when it came.

Process guid, index, the version told of, the version at hand, and the last version of a record that is gone.
"""

_Entry = tuple[float, tuple[str, Verdict | Outcome], Sighting, tuple[Doubt, ...]]
"""When it was, what came of which type of event, what it was about, and the doubts that it raised."""


class Decisions:
    """The latest decisions by process: at most `each` of a process, of at least the `processes` latest processes.

    Processes are kept in two halves: one that is heard of moves to the younger half, and when that is full, the older
    one is forgotten. That costs nothing for a process that is heard of again soon, where keeping them in order would.
    """

    def __init__(self, *, each: int = 16, processes: int = 4096) -> None:
        self._each = each
        self._processes = processes
        # Plain tuples in plain lists: most of what is noted is never asked for.
        self._younger: dict[str, list[_Entry]] = {}
        self._older: dict[str, list[_Entry]] = {}
        self._raised = 0

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)

    def of(self, process_guid: str) -> tuple[Decision, ...]:
        """Return what was decided about a process, the oldest first; nothing where it was forgotten. O(decisions)."""
        ring = self._younger.get(process_guid) or self._older.get(process_guid)
        return tuple(map(_decision, ring or ()))

    def judged(self, outcome: tuple[str, Verdict], seen: Sighting, at: float, repairs: Repairs) -> None:
        """Note what became of an event: its type and the verdict. O(1)."""
        doubts: tuple[Doubt, ...] = ()
        if repairs.raised != self._raised:
            self._raised = repairs.raised
            doubts = repairs.doubts_of(seen[0])
        self._note((at, outcome, seen, doubts))

    def listed(self, scope: Scope, rows: RowDeltas, desired: DesiredDeltas, at: float) -> None:
        """Note what a list changed, and what it did not though it was in doubt. O(what it changed + its scope)."""
        if scope == EVERYTHING and len(rows) + len(desired) > MOST_LISTED:
            return
        kind = LIST if scope == EVERYTHING else REPAIR
        found: set[str] = set()
        deltas: list[Delta[Any, ActualLRP] | Delta[Any, DesiredLRP]] = [*rows, *desired]
        for delta in deltas:
            one = next(side for side in (delta.after, delta.before) if side is not None)
            found.add(one.process_guid)
            index = one.index if isinstance(one, ActualLRP) else None
            seen = one.process_guid, index, _version(delta.after), _version(delta.before), None
            self._note((at, (kind, Outcome.REPAIRED), seen, ()))
        for guid in sorted(((scope.rows or frozenset()) | (scope.desired or frozenset())) - found):
            self._note((at, (kind, Outcome.CONFIRMED), (guid, None, None, None, None), ()))

    def drifted(self, findings: Sequence[Finding], at: float) -> None:
        """Note what an audit found that nothing explains. O(findings)."""
        for one in findings[:MOST_LISTED]:
            seen = one.process_guid, one.index, (one.epoch, one.tag_index), None, None
            self._note((at, (LIST, Outcome.DRIFTED), seen, ()))

    def _note(self, entry: _Entry) -> None:
        process_guid = entry[2][0]
        ring = self._younger.get(process_guid)
        if ring is None:
            ring = self._older.pop(process_guid, [])
            self._younger[process_guid] = ring
            if len(self._younger) >= self._processes:
                self._older, self._younger = self._younger, {}
        ring.append(entry)
        if len(ring) > self._each:
            del ring[0]


def sight(event: Event, store: Store, graves: Graveyard) -> Sighting | None:
    """Return which process an event is about, and what is at hand about it; None for one that is about none. O(1).

    To be called before the event is applied.
    """
    subject = _SUBJECTS.get(event.type)
    if subject is None:
        # It is no event of a record.
        return (event.process_guid, event.index, None, None, None) if isinstance(event, ActualLRPCrashed) else None
    one = subject(event)
    if isinstance(one, ActualLRP):
        epoch = one.epoch
        key = epoch or row_key(one)
        row = store.get(key)
        if row is not None:
            return one.process_guid, one.index, (epoch, one.tag_index), (row.epoch, row.tag_index), None
        grave = graves.rows.get(key)
        return one.process_guid, one.index, (epoch, one.tag_index), None, None if grave is None else grave.index
    if isinstance(one, DesiredLRP):
        return one.process_guid, None, _version(one), _version(store.desired(one.process_guid)), None
    return None


def _of_groups(group: str) -> Callable[[Any], ActualLRP | None]:
    """Return how to get the row that is in a slot of an event's group."""

    def subject(event: Any) -> ActualLRP | None:
        slots: ActualLRPGroup = getattr(event, group)
        return slots.instance or slots.evacuating

    return subject


_SUBJECTS: Final[Mapping[str, Callable[[Any], ActualLRP | DesiredLRP | None]]] = {
    ActualLRPInstanceChanged.type: attrgetter("after"),
    ActualLRPInstanceCreated.type: attrgetter("actual_lrp"),
    ActualLRPInstanceRemoved.type: attrgetter("actual_lrp"),
    ActualLRPChanged.type: _of_groups("after"),
    ActualLRPCreated.type: _of_groups("actual_lrp_group"),
    ActualLRPRemoved.type: _of_groups("actual_lrp_group"),
    DesiredLRPChanged.type: attrgetter("after"),
    DesiredLRPCreated.type: attrgetter("desired_lrp"),
    DesiredLRPRemoved.type: attrgetter("desired_lrp"),
}


def _version(one: ActualLRP | DesiredLRP | None) -> _Version | None:
    return None if one is None else (one.epoch, one.tag_index)


def _decision(entry: _Entry) -> Decision:
    at, (kind, verdict), (_, index, tag, stored, buried), doubts = entry
    return Decision(at, kind, verdict, index, _tag(tag), _tag(stored), buried, doubts)


def _tag(version: _Version | None) -> ModificationTag | None:
    return None if version is None else ModificationTag(*version)


def _words(tag: ModificationTag | None) -> str:
    return "nothing" if tag is None else f"{tag.epoch or 'a record without epoch'}:{tag.index}"


def _last(buried: int | None) -> str:
    return "" if buried is None else f" (its last known version: {buried})"
