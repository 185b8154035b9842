"""The desired LRPs that a list did not have, while nobody vouched that the list was complete.

A domain is fresh while its owner keeps confirming that its desired LRPs are all there. While it is not, a desired LRP
that is missing from a list may only not have been confirmed yet, and a router keeps its routes. So the last one known
is retained, until the desired LRP is back, an event says that it was removed, or a list vouches for its absence.
"""

from collections.abc import Iterable

from lrpmirror.core.changes import Delta
from lrpmirror.model import DesiredLRP

__all__ = ["Retained"]


class Retained:
    """Desired LRPs by process guid. Not more than were ever desired at once."""

    def __init__(self) -> None:
        self._lrps: dict[str, DesiredLRP] = {}

    def __len__(self) -> int:
        return len(self._lrps)

    def get(self, process_guid: str) -> DesiredLRP | None:
        """Return the last desired LRP known of a process, if it is retained. O(1)."""
        return self._lrps.get(process_guid)

    def guids(self) -> list[str]:
        """Return the processes that are retained. O(retained)."""
        return list(self._lrps)

    def release(self, process_guid: str) -> bool:
        """Let go of a process; tell whether it was retained. O(1)."""
        return self._lrps.pop(process_guid, None) is not None

    def listed(self, deltas: Iterable[Delta[str, DesiredLRP]], fresh: frozenset[str]) -> tuple[str, ...]:
        """Take what a list changed and which domains were fresh; return the processes that are let go of.

        O(deltas + retained).
        """
        for delta in deltas:
            if delta.after is not None:
                self._lrps.pop(delta.key, None)
            elif delta.before is not None and delta.before.domain not in fresh:
                self._lrps[delta.key] = delta.before
        released = tuple(guid for guid, lrp in self._lrps.items() if lrp.domain in fresh)
        for guid in released:
            del self._lrps[guid]
        return released
