"""The desired LRPs that a list did not have, while nobody vouched that the list was complete.

A domain is fresh while its owner keeps confirming that its desired LRPs are all there. While it is not, a desired LRP
that is missing from a list may only not have been confirmed yet, and a router keeps its routes. So the last one known
is retained, until the desired LRP is back, an event says that it was removed, or a list vouches for its absence.
"""

from collections.abc import Iterable
from itertools import islice

from lrpmirror.core.rows.changes import Delta
from lrpmirror.core.rows.dispatch import desired_guid_of
from lrpmirror.events import DesiredLRPRemoved, Event
from lrpmirror.model import DesiredLRP

__all__ = ["Retained"]


class Retained:
    """Desired LRPs by process guid, at most `limit`: beyond, those retained longest are let go of."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._lrps: dict[str, DesiredLRP] = {}

    def __len__(self) -> int:
        return len(self._lrps)

    def get(self, process_guid: str) -> DesiredLRP | None:
        """Return the last desired LRP known of a process, if it is retained. O(1)."""
        return self._lrps.get(process_guid)

    def guids(self) -> list[str]:
        """Return the processes that are retained. O(retained)."""
        return list(self._lrps)

    def lrps(self) -> tuple[DesiredLRP, ...]:
        """Return what is retained. O(retained)."""
        return tuple(self._lrps.values())

    def restore(self, lrps: Iterable[DesiredLRP]) -> None:
        """Retain what an earlier life of the mirror did, up to the limit. O(lrps)."""
        self._lrps.update((lrp.process_guid, lrp) for lrp in islice(lrps, self._limit))

    def apply_event(self, event: Event, *, there: bool) -> tuple[str, ...]:
        """Take an event that has been applied, and whether its desired LRP is there now; return who is let go of. O(1).

        A late event of a version that was seen before brings nothing back, and the removal of a record that was there
        before this one says nothing of this one.
        """
        guid = desired_guid_of(event)
        retained = None if guid is None else self._lrps.get(guid)
        if guid is None or retained is None:
            return ()
        removed = isinstance(event, DesiredLRPRemoved) and _is_of(event.desired_lrp, retained)
        if not there and not removed:
            return ()
        del self._lrps[guid]
        return (guid,)

    def apply_list(self, deltas: Iterable[Delta[str, DesiredLRP]], fresh: frozenset[str]) -> tuple[str, ...]:
        """Take what a list changed and which domains were fresh; return the processes that are let go of.

        O(deltas + retained).
        """
        for delta in deltas:
            if delta.after is not None:
                self._lrps.pop(delta.key, None)
            elif delta.before is not None and delta.before.domain not in fresh:
                self._lrps[delta.key] = delta.before
        released = [guid for guid, lrp in self._lrps.items() if lrp.domain in fresh]
        for guid in released:
            del self._lrps[guid]
        while len(self._lrps) > self._limit:
            oldest = next(iter(self._lrps))
            del self._lrps[oldest]
            released.append(oldest)
        return tuple(released)


def _is_of(one: DesiredLRP, other: DesiredLRP) -> bool:
    """Return whether two versions can be of one record; those without an epoch can be of any."""
    return one.epoch == other.epoch or not one.epoch or not other.epoch
