"""The changes of a mirror that are not in the relay yet: a set of keys, each with the relay's value and the new one.

However slow Redis is, it grows with the number of changed records, not with the number of their changes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Generic, TypeVar

from msgspec import Struct

from lrpmirror.core.rows.changes import Commit
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.events import ActualLRPCrashed, Event
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.relay._format import field_of

V = TypeVar("V")

MANY: Final = 1_500  # how many records one transaction changes at most, since a script passes on under 8,000 arguments
CRASHES: Final = 400  # how many crash events wait to be sent at most, the newest ones: a crash is an event, not state
AT_ONCE: Final = 100  # how many records are encoded before others have their turn


class Step(Struct, Generic[V], frozen=True, gc=False):
    """The relay's value of one key, and its new value; None: no record."""

    before: V | None
    after: V | None


@dataclass
class Batch:
    """Changed records: rows by their field, desired LRPs by process guid."""

    rows: dict[str, Step[ActualLRP]] = field(default_factory=dict)
    desired: dict[str, Step[DesiredLRP]] = field(default_factory=dict)
    processes: dict[str, None] = field(default_factory=dict)  # the processes whose set of rows has changed
    crashes: tuple[ActualLRPCrashed, ...] = ()  # the crash events sent beside the changes

    def __len__(self) -> int:
        return len(self.rows) + len(self.desired) + len(self.processes)


class Pending(Batch):
    """An observer of the mirror, which records changes and never waits. O(changes of a commit)."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake
        self.everything = True  # whether the changed keys are not all known: relay and mirror have to be compared

    # As an observer

    def event(self, event: Event, outcome: Outcome, commit: Commit | None) -> None:  # noqa: ARG002 - an observer's
        """Record what an event changed, or a crash, which changes nothing by itself."""
        if commit is not None:
            self.listed(commit)
        elif isinstance(event, ActualLRPCrashed) and not self.everything:
            self.crashes = (*self.crashes, event)[-CRASHES:]
            self._wake()

    def listed(self, commit: Commit) -> None:
        """Record what a commit changed, such as that of a list."""
        if len(commit.actual_lrps) + len(commit.desired_lrps) > MANY:
            self.lose_count()
        elif not self.everything:
            for row in commit.actual_lrps:
                self.add_row(field_of(row.key), Step(row.before, row.after))
            for lrp in commit.desired_lrps:
                self.add_desired(lrp.key, Step(lrp.before, lrp.after))
        self._wake()

    def lose_count(self) -> None:
        """Stop recording changes until everything is compared."""
        self._take_all()
        self.everything = True

    def count_anew(self) -> None:
        """Record changes from now on: everything is about to be compared."""
        self.lose_count()
        self.everything = False

    # Adding and taking

    def add_row(self, name: str, step: Step[ActualLRP]) -> None:
        """Record a row, by the name of its field; the relay's value is the one before the first of its steps."""
        known = self.rows.get(name)
        self.rows[name] = step if known is None else Step(known.before, step.after)
        one = step.after or step.before
        if one is not None and (step.before is None or step.after is None):
            self.processes[one.process_guid] = None

    def add_desired(self, guid: str, step: Step[DesiredLRP]) -> None:
        """Record a desired LRP."""
        known = self.desired.get(guid)
        self.desired[guid] = step if known is None else Step(known.before, step.after)

    def take(self) -> Batch:
        """Take as much as one transaction can write."""
        if len(self) <= MANY:
            return self._take_all()
        desired = dict(_popped(self.desired, MANY))
        rows = dict(_popped(self.rows, MANY - len(desired)))
        return Batch(rows, desired, dict(_popped(self.processes, MANY - len(desired) - len(rows))))

    def _take_all(self) -> Batch:
        taken = Batch(self.rows, self.desired, self.processes, self.crashes)
        self.rows, self.desired, self.processes, self.crashes = {}, {}, {}, ()
        return taken

    def give_back(self, batch: Batch) -> None:
        """Put back a batch that was not written; later changes of its keys follow it."""
        if self.everything:
            return
        later = self._take_all()
        self.rows, self.desired, self.processes = batch.rows, batch.desired, batch.processes | later.processes
        self.crashes = (*batch.crashes, *later.crashes)[-CRASHES:]
        for name, row in later.rows.items():
            self.add_row(name, row)
        for guid, lrp in later.desired.items():
            self.add_desired(guid, lrp)


def _popped(of: dict[str, V], number: int) -> Iterator[tuple[str, V]]:
    for key in list(islice(of, max(0, number))):
        yield key, of.pop(key)
