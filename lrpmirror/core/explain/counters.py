"""What a mirror has counted, for monitoring."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Final

from msgspec import Struct

from lrpmirror.core.derived.subscriptions import Lag
from lrpmirror.core.rows.changes import Cause
from lrpmirror.core.rows.reconcile import Outcome

MOST_OUTCOMES: Final = 1_000
"""How many kinds of events and outcomes are counted by name: a server can make up any number of types."""

_OTHER: Final = "other"


class Counts(Struct, frozen=True, kw_only=True):
    """What a mirror has counted since it was opened, and how much it holds beside the rows, at one moment."""

    streams: int
    """How often the event stream was opened: the first time and after every loss."""
    replacements: int
    """How often the stream was replaced in use, without a gap."""
    events: Mapping[str, int]
    """Events by type and outcome, as `TYPE VERDICT`; those before the first synchronisation are not among them."""
    lists: Mapping[str, int]
    """Lists that were committed, by cause.

    `first`, `reconnect`, `audit` (on a living stream), `second` (after one that was not believed), `repair`, `probe`.
    """
    drift: int
    """How many rows and desired LRPs the audits have found different from what the events had led to, unexplained."""
    drift_kinds: Mapping[str, int]
    """The same by kind: `row` or `desired`, and `missing`, `extra`, `behind` or `contents` (see ListDifference).

    `unexamined` are those of a list that differed in thousands.
    """
    lists_held: int
    """How many lists were not believed, because they would have removed too much."""
    rollbacks: int
    """How many lists took the state back, after the server's database was restored to an older one."""
    rolled_back: int
    """How many records those lists had in older versions, or had although they had been removed."""
    commits: Mapping[str, int]
    """Commits by cause."""
    errors: Mapping[str, int]
    """What ended a stream, a list or a ping, or befell the state file, by the name of its class."""
    repairs_pending: int
    """How many processes are to be read again."""
    repairs_dropped: int
    """How many processes were left to the next list: too many waited, or the server refused to list them."""
    tombstones: int
    """How many removed records are remembered."""
    unreadable: int = 0
    """How many events could not be read: see UnreadableEvent."""
    subscribers: tuple[Lag, ...] = ()
    """How far behind each subscriber of rows, desired LRPs and views is."""


class Counters:
    """The counters of a session, which it increments."""

    def __init__(self) -> None:
        self.streams = 0
        self.replacements = 0
        self.drift: Counter[str] = Counter()
        self.lists: Counter[str] = Counter()
        self.event_commits = 0
        self.list_commits: Counter[Cause] = Counter()
        # No Counters, which take twice as long to add to.
        self.outcomes: defaultdict[str, defaultdict[Outcome, int]] = defaultdict(partial(defaultdict, int))
        """Events by type and outcome."""

    @property
    def commits(self) -> dict[str, int]:
        """Commits by cause. O(causes)."""
        causes = {cause.value: number for cause, number in self.list_commits.items()}
        return {Cause.EVENT.value: self.event_commits, **causes} if self.event_commits else causes

    @property
    def events(self) -> dict[str, int]:
        """How many events of each type had which outcome, as `TYPE VERDICT`. O(kinds of events)."""
        return {
            f"{kind} {outcome}": number
            for kind, numbers in self.outcomes.items()
            for outcome, number in numbers.items()
        }

    def bound(self) -> None:
        """Merge the outcomes beyond the bound into one. O(1); O(bound) where a server makes up types."""
        outcomes = self.outcomes
        if len(outcomes) * len(Outcome) <= MOST_OUTCOMES:
            return
        # The first ones stay: real types come early.
        named = [(kind, outcome) for kind, numbers in outcomes.items() for outcome in numbers]
        if len(named) > MOST_OUTCOMES:
            others = sum([outcomes[kind].pop(outcome) for kind, outcome in named[MOST_OUTCOMES - 1 :]])
            for kind in [kind for kind, numbers in outcomes.items() if not numbers]:
                del outcomes[kind]
            outcomes[_OTHER][Outcome.NOTED] += others
