"""Counters of a server, and the log of its own failures, once for each kind."""

import logging
import traceback
from collections import Counter
from typing import Final

logger: Final = logging.getLogger("lrpmirror.server")

KINDS: Final = 30  # how many kinds of failures are distinguished

_LONGEST: Final = 200


class Traffic:
    """Counts what became of connections and requests. The numbers only grow, but for `open`."""

    def __init__(self) -> None:
        self.open = 0  # open connections
        self.accepted = 0
        self.refused = 0  # closed at once, because there were too many that were being answered
        self.displaced = 0  # cut off while the server waited for them, to make room for others
        self.timeouts: Counter[str] = Counter()  # cut off for what the client took too long for: `head`, `write`…
        self.replies: Counter[int] = Counter()  # by status
        self.failures: Counter[str] = Counter()  # requests and connections by the error of the server's that ended them
        self.first: dict[str, Exception] = {}  # the first failure of each kind: of a class, in a line of code

    def failed(self, error: Exception, what: str) -> None:
        """Count an error of the server's own, and log it with its traceback if it is the first of its kind."""
        name = type(error).__name__
        self.failures[name if len(self.failures) < KINDS or name in self.failures else "other"] += 1
        frames = traceback.extract_tb(error.__traceback__, limit=-1)
        kind = f"{name} at {frames[-1].filename}:{frames[-1].lineno}" if frames else name
        if kind in self.first or len(self.first) >= KINDS:
            return
        self.first[kind] = error
        told = "%s failed, which costs its connection; more of this kind are counted but not logged"
        logger.error(told, what[:_LONGEST], exc_info=error)
        # What the functions had in hand is not kept with it.
        traceback.clear_frames(error.__traceback__)

    def raise_failures(self, what: str) -> None:
        """Raise the failures, if there are any, in an ExceptionGroup."""
        if self.first:
            raise ExceptionGroup(f"{what} failed: {dict(self.failures)}", list(self.first.values()))
