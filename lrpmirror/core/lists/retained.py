"""Retained desired LRPs: those that a list lacked while their domain was not fresh.

A domain is fresh while its owner keeps confirming that its desired LRPs are complete. While it is not, a desired LRP
that a list lacks may just not have been written again yet, and a router keeps its routes. So the last version known is
retained, until the desired LRP is back, an event removes it, or a list lacks it while its domain is fresh.
"""

from collections.abc import Iterable
from itertools import islice

from lrpmirror.core.lists.removals import Removals
from lrpmirror.core.rows.dispatch import desired_guid_of
from lrpmirror.events import DesiredLRPRemoved, Event
from lrpmirror.model import DesiredLRP


class Retained:
    """Desired LRPs by process guid, at most `limit`: beyond, those retained longest are released."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._lrps: dict[str, DesiredLRP] = {}
        # By which they were last released; None: they came from a state file.
        self._fresh: frozenset[str] | None = None

    def __len__(self) -> int:
        return len(self._lrps)

    def get(self, process_guid: str) -> DesiredLRP | None:
        """Return the retained desired LRP of a process, if it has one. O(1)."""
        return self._lrps.get(process_guid)

    def guids(self) -> list[str]:
        """Return the processes that have a retained desired LRP. O(retained)."""
        return list(self._lrps)

    def lrps(self) -> tuple[DesiredLRP, ...]:
        """Return the retained desired LRPs. O(retained)."""
        return tuple(self._lrps.values())

    def restore(self, lrps: Iterable[DesiredLRP]) -> None:
        """Retain what a state file had retained, up to the limit. O(lrps)."""
        self._lrps.update((lrp.process_guid, lrp) for lrp in islice(lrps, self._limit))

    def apply_event(self, event: Event, *, there: bool) -> tuple[str, ...]:
        """Follow an applied event; return the process that is released by it, if any. O(1).

        `there`: the store has its desired LRP now. Only then does an event bring it back, which a late one of a known
        version does not; and the removal of an earlier record does not concern the retained one.
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

    def released_by(self, fresh: frozenset[str]) -> list[str]:
        """Return the processes that are released where these domains are fresh. O(retained) where these differ."""
        return [] if fresh == self._fresh else [guid for guid, lrp in self._lrps.items() if lrp.domain in fresh]

    def apply_list(self, removals: Removals, fresh: frozenset[str]) -> tuple[str, ...]:
        """Follow a list, by what it lacks and has of desired LRPs; return the processes that are released.

        `fresh` are its fresh domains. O(what it lacks and what is back), O(retained) where the fresh domains differ.
        """
        for guid in self._lrps.keys() & removals.found.keys():
            del self._lrps[guid]
        released = self.released_by(fresh)
        self._fresh = fresh
        for guid in released:
            del self._lrps[guid]
        self._lrps.update((guid, lrp) for guid, lrp in removals.lost.items() if lrp.domain not in fresh)
        beyond = [*islice(self._lrps, max(0, len(self._lrps) - self._limit))]
        for guid in beyond:
            del self._lrps[guid]
        return (*released, *beyond)


def _is_of(removed: DesiredLRP, retained: DesiredLRP) -> bool:
    """Return whether two versions can be of one record; one without an epoch can be of any."""
    return removed.epoch == retained.epoch or not removed.epoch or not retained.epoch
