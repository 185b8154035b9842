"""Bounds on what a peer can make grow, beside those that are kept where it grows."""

from typing import Final

from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.core.rows.store import Store
from lrpmirror.errors import LimitExceeded

__all__ = ["MOST_OUTCOMES", "bound_outcomes", "check_rows"]

MOST_OUTCOMES: Final = 1_000
"""How many kinds of events and outcomes are counted by name: a server can make up any number of types."""

_OTHER: Final = ("other", Outcome.NOTED)


def check_rows(store: Store, limit: int) -> None:
    """Raise LimitExceeded when events have created more rows or desired LRPs than there may be. O(1)."""
    for what, number in (("rows", len(store)), ("desired LRPs", store.desired_count())):
        if number > limit:
            raise LimitExceeded(
                f"the events have created more than {limit} {what}; the stream is given up and everything is listed "
                "again (see row_limit in Tuning, if there can be so many)"
            )


def bound_outcomes(outcomes: dict[tuple[str, Outcome], int]) -> None:
    """Count together what is beyond the bound. O(1), but for those beyond it."""
    if len(outcomes) > MOST_OUTCOMES:
        # Those that came first stay: the types that there really are come early.
        others = sum(outcomes.pop(outcome) for outcome in list(outcomes)[MOST_OUTCOMES - 1 :])
        outcomes[_OTHER] = outcomes.get(_OTHER, 0) + others
