"""Dispatch: from an event to the rule that applies it."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final

from lrpmirror.core.rows.desired import DesiredReconciler
from lrpmirror.core.rows.reconcile import Outcome, RepairReason, RowReconciler, Tables
from lrpmirror.core.rows.tombstones import TombstoneTable
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
from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP

__all__ = ["Reconciler", "Tombstones", "desired_guid_of", "row_guid_of", "subject_of"]


class Tombstones:
    """The tombstones of rows and of desired LRPs, both by epoch."""

    def __init__(self, *, limit: int, age: float) -> None:
        self.rows = TombstoneTable(limit=limit, age=age)
        self.desired = TombstoneTable(limit=limit, age=age)

    def __len__(self) -> int:
        return len(self.rows) + len(self.desired)

    def advance(self, now: float) -> None:
        """Record the time, and forget what is too old."""
        self.rows.advance(now)
        self.desired.advance(now)

    def copy(self) -> "Tombstones":
        """Return an independent copy. O(tombstones)."""
        copied = Tombstones(limit=0, age=0)
        copied.rows, copied.desired = self.rows.copy(), self.desired.copy()
        return copied


Rule = Callable[[Any], Outcome]


class Rules(dict[str, Rule]):
    """What applies events of a type and returns their outcome.

    There is nothing to do for crashes, which other events report too, and for types that this library does not know.
    """

    def __missing__(self, kind: str) -> Rule:
        return _noted


def _noted(_: Event) -> Outcome:
    return Outcome.NOTED


class Reconciler:
    """Applies events of either stream to tables."""

    def __init__(self, tables: Tables, tombstones: Tombstones, ask_repair: Callable[[str, RepairReason], None]) -> None:
        rows = RowReconciler(tables, tombstones.rows, ask_repair)
        desired = DesiredReconciler(tables, tombstones.desired, ask_repair)
        rules: dict[str, Rule] = {
            ActualLRPInstanceChanged.type: rows.changed,
            ActualLRPInstanceCreated.type: lambda event: rows.created(event.actual_lrp),
            ActualLRPInstanceRemoved.type: rows.removed,
            ActualLRPChanged.type: rows.group_changed,
            ActualLRPCreated.type: lambda event: rows.group_created(event.actual_lrp_group),
            ActualLRPRemoved.type: lambda event: rows.group_removed(event.actual_lrp_group),
            ActualLRPCrashed.type: _noted,
            DesiredLRPChanged.type: lambda event: desired.written(event.after),
            DesiredLRPCreated.type: lambda event: desired.written(event.desired_lrp),
            DesiredLRPRemoved.type: lambda event: desired.removed(event.desired_lrp),
        }

        self.rules: Final = Rules(rules)
        self.rows: Final = rows

    def apply(self, event: Event) -> Outcome:
        """Apply one event, and return its outcome."""
        return self.rules[event.type](event)


def subject_of(event: Event) -> ActualLRP | DesiredLRP | None:
    """Return the row or desired LRP that an event is about, as the event leaves it; None for any other event. O(1)."""
    subject = _SUBJECTS.get(event.type)
    return None if subject is None else subject(event)


def row_guid_of(event: Event) -> str | None:
    """Return the guid of the process whose rows an event is about; None for one that is not about rows."""
    subject = subject_of(event)
    return subject.process_guid if isinstance(subject, ActualLRP) else None


def desired_guid_of(event: Event) -> str | None:
    """Return the process guid of the desired LRP that an event is about; None for one that is not about any."""
    subject = subject_of(event)
    return subject.process_guid if isinstance(subject, DesiredLRP) else None


def _present(group: ActualLRPGroup) -> ActualLRP | None:
    return group.instance or group.evacuating


_SUBJECTS: Final[Mapping[str, Callable[[Any], ActualLRP | DesiredLRP | None]]] = {
    ActualLRPInstanceChanged.type: attrgetter("after"),
    ActualLRPInstanceCreated.type: attrgetter("actual_lrp"),
    ActualLRPInstanceRemoved.type: attrgetter("actual_lrp"),
    ActualLRPChanged.type: lambda event: _present(event.after),
    ActualLRPCreated.type: lambda event: _present(event.actual_lrp_group),
    ActualLRPRemoved.type: lambda event: _present(event.actual_lrp_group),
    DesiredLRPChanged.type: attrgetter("after"),
    DesiredLRPCreated.type: attrgetter("desired_lrp"),
    DesiredLRPRemoved.type: attrgetter("desired_lrp"),
}
