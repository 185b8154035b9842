"""Why a process looks as it does: what became of the latest events about it, and of the lists that touched it.

The memory is a ring for each process, bounded per process and in the number of processes, of which those heard of
longest ago are forgotten first. Noting a decision costs about a microsecond; the words are only found when asked for.
"""

from collections import OrderedDict, deque
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from lrpmirror.core.changes import Delta, row_key
from lrpmirror.core.dispatch import Graveyard
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
from lrpmirror.model import ActualLRP, DesiredLRP, ModificationTag

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


class Sighting(Struct, frozen=True, gc=False):
    """An event about a process, and what was at hand when it came."""

    process_guid: str
    type: str
    index: int | None = None
    """The instance's, where it is about an instance."""
    tag: ModificationTag | None = None
    """The version that it tells of."""
    stored: ModificationTag | None = None
    """The version at hand."""
    buried: int | None = None
    """The last version known of a record that is gone."""


class Decision(Struct, frozen=True, gc=False):
    """What became of one event, or what one list found, and why.

    `at` is in seconds of the mirror's clock. `type` is the event's, or LIST or REPAIR. `tag` is the version that was
    told of, `stored` the one that was at hand before; None where there was none. `doubts` are those about the process
    just after it, because of which it is read again.
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


class Decisions:
    """The latest decisions by process: at most `each` of a process, of at most `processes` processes."""

    def __init__(self, *, each: int = 16, processes: int = 4096) -> None:
        self._each = each
        self._processes = processes
        self._rings: OrderedDict[str, deque[Decision]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rings)

    def of(self, process_guid: str) -> tuple[Decision, ...]:
        """Return what was decided about a process, the oldest first; nothing where it was forgotten. O(decisions)."""
        return tuple(self._rings.get(process_guid, ()))

    def judged(self, seen: Sighting, verdict: Verdict, at: float, repairs: Repairs) -> None:
        """Note what became of an event. O(1)."""
        doubts = repairs.doubts_of(seen.process_guid) if repairs else ()
        decision = Decision(at, seen.type, verdict, seen.index, seen.tag, seen.stored, seen.buried, doubts)
        self._note(seen.process_guid, decision)

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
            tags = _tag(delta.after), _tag(delta.before)
            self._note(one.process_guid, Decision(at, kind, Outcome.REPAIRED, _index(one), *tags))
        for guid in sorted(((scope.rows or frozenset()) | (scope.desired or frozenset())) - found):
            self._note(guid, Decision(at, kind, Outcome.CONFIRMED))

    def _note(self, process_guid: str, decision: Decision) -> None:
        ring = self._rings.get(process_guid)
        if ring is None:
            ring = self._rings[process_guid] = deque(maxlen=self._each)
            if len(self._rings) > self._processes:
                self._rings.popitem(last=False)
        else:
            self._rings.move_to_end(process_guid)
        ring.append(decision)


def sight(event: Event, store: Store, graves: Graveyard) -> Sighting | None:
    """Return which process an event is about, and what is at hand about it; None for one that is about none. O(1).

    To be called before the event is applied.
    """
    if isinstance(event, ActualLRPCrashed):
        return Sighting(event.process_guid, event.type, event.index)
    one = _subject(event)
    if one is None:
        return None
    if isinstance(one, ActualLRP):
        key = row_key(one)
        row = store.get(key)
        if row is not None:
            return Sighting(one.process_guid, event.type, one.index, one.modification_tag, row.modification_tag)
        grave = graves.rows.get(key)
        buried = None if grave is None else grave.index
        return Sighting(one.process_guid, event.type, one.index, one.modification_tag, None, buried)
    return Sighting(one.process_guid, event.type, None, one.modification_tag, _tag(store.desired(one.process_guid)))


def _subject(event: Event) -> ActualLRP | DesiredLRP | None:
    # The most frequent first: a pattern costs an isinstance check.
    match event:
        case ActualLRPInstanceChanged(after=row) | ActualLRPInstanceCreated(row) | ActualLRPInstanceRemoved(row):
            return row
        case ActualLRPChanged(after=group) | ActualLRPCreated(group) | ActualLRPRemoved(group):
            return group.instance or group.evacuating
        case DesiredLRPChanged(after=lrp) | DesiredLRPCreated(lrp) | DesiredLRPRemoved(lrp):
            return lrp
        case _:
            return None


def _tag(one: ActualLRP | DesiredLRP | None) -> ModificationTag | None:
    return None if one is None else one.modification_tag


def _index(one: ActualLRP | DesiredLRP) -> int | None:
    return one.index if isinstance(one, ActualLRP) else None


def _words(tag: ModificationTag | None) -> str:
    return "nothing" if tag is None else f"{tag.epoch or 'a record without epoch'}:{tag.index}"


def _last(buried: int | None) -> str:
    return "" if buried is None else f" (its last known version: {buried})"
