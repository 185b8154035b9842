"""Bounds on what a peer can make grow, beside those that are kept where it grows."""

from typing import Final

from lrpmirror.core.reconcile import Verdict
from lrpmirror.core.store import Store
from lrpmirror.errors import LimitExceeded

__all__ = ["MOST_VERDICTS", "bound_verdicts", "check_rows"]

MOST_VERDICTS: Final = 1_000
"""How many kinds of events and verdicts are counted by name: a server can make up any number of types."""

_OTHER: Final = ("other", Verdict.NOTED)


def check_rows(store: Store, limit: int) -> None:
    """Raise LimitExceeded when events have created more rows or desired LRPs than there may be. O(1)."""
    for what, number in (("rows", len(store)), ("desired LRPs", store.desired_count())):
        if number > limit:
            raise LimitExceeded(
                f"the events have created more than {limit} {what}; the stream is given up and everything is listed "
                "again (see row_limit in Tuning, if there can be so many)"
            )


def bound_verdicts(verdicts: dict[tuple[str, Verdict], int]) -> None:
    """Count together what is beyond the bound. O(1), but for those beyond it."""
    if len(verdicts) > MOST_VERDICTS:
        # Those that came first stay: the types that there really are come early.
        others = sum(verdicts.pop(outcome) for outcome in list(verdicts)[MOST_VERDICTS - 1 :])
        verdicts[_OTHER] = verdicts.get(_OTHER, 0) + others
