"""Bounds on what a peer can make grow, where the owner of the data does not check it itself."""

from collections import defaultdict
from typing import Final

from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.core.rows.store import Store
from lrpmirror.errors import LimitExceeded

MOST_OUTCOMES: Final = 1_000
"""How many kinds of events and outcomes are counted by name: a server can make up any number of types."""

OutcomeCounts = defaultdict[str, defaultdict[Outcome, int]]
"""How many events of each type had which outcome."""

_OTHER: Final = "other"


def check_rows(store: Store, limit: int) -> None:
    """Raise LimitExceeded when events have created more rows or desired LRPs than there may be. O(1)."""
    for what, number in (("rows", len(store)), ("desired LRPs", store.desired_count())):
        if number > limit:
            raise LimitExceeded(
                f"the events have created more than {limit} {what}; the stream is given up and everything is listed "
                "again (see row_limit in Tuning, if there can be so many)"
            )


def bound_outcomes(outcomes: OutcomeCounts) -> None:
    """Merge the counts beyond the bound into one. O(1); O(bound) where a server makes up types."""
    if len(outcomes) * len(Outcome) <= MOST_OUTCOMES:
        return
    # The first ones stay: real types come early.
    named = [(kind, outcome) for kind, numbers in outcomes.items() for outcome in numbers]
    if len(named) > MOST_OUTCOMES:
        others = sum([outcomes[kind].pop(outcome) for kind, outcome in named[MOST_OUTCOMES - 1 :]])
        for kind in [kind for kind, numbers in outcomes.items() if not numbers]:
            del outcomes[kind]
        outcomes[_OTHER][Outcome.NOTED] += others
