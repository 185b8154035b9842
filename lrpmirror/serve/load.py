"""Load shedding of a replica that does not keep up with its readers: some are closed for the sake of the rest.

Where most are behind, or the process comes to its turns late, the replica is slow. Then new streams are refused; where
that does not help, the youngest are closed, a few at a time, until the others are read again.
"""

import logging
from collections.abc import Sequence
from typing import Final

from lrpmirror.server import LIMIT

GLANCE: Final = 0.5  # seconds between two checks
LATE: Final = 2.0  # seconds that a turn may be late
BEHIND: Final = LIMIT // 4  # how many events most readers may be behind
FAR_BEHIND: Final = LIMIT  # how many events most readers are behind when some of them are closed
SHARE: Final = 0.1  # the share of them that is closed at each check
CALM: Final = 5.0  # seconds without overload before new streams are accepted again

logger: Final = logging.getLogger("lrpmirror.serve")


class Load:
    """Judges the load by how far the readers are behind, and how late the process is."""

    def __init__(self) -> None:
        self.trouble = ""
        """Why new streams are refused; empty where they are taken."""
        self.refused = 0
        """How many streams were refused."""
        self.shed = 0
        """How many streams were closed to relieve the others."""
        self._well_since = 0.0

    def look(self, behind: Sequence[int], late: float, now: float) -> int:
        """Judge, and return how many of the youngest readers are to be closed. O(readers · log readers)."""
        most = sorted(behind)[len(behind) // 2] if behind else 0
        if most <= BEHIND and late <= LATE:
            if self.trouble and now - self._well_since >= CALM:
                self.trouble = ""
                logger.warning("the replica keeps up with its %d streams again, and takes new ones", len(behind))
            return 0
        self._well_since = now
        known = self.trouble
        self.trouble = f"most of the {len(behind)} streams are {most} events behind, and turns are {late:.1f} s late"
        if not known:
            logger.warning("the replica does not keep up, and refuses new streams: %s", self.trouble)
        if most <= FAR_BEHIND:
            return 0
        number = max(1, int(len(behind) * SHARE))
        self.shed += number
        return number
