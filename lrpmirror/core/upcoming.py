"""The state that a list is going to lead to, process by process, before it is committed."""

from collections.abc import Iterator, Sequence
from typing import Final

from lrpmirror.core.derived.dirty import Dirty, dirty_desired, dirty_rows, terms_of
from lrpmirror.core.derived.view import Process
from lrpmirror.core.knowledge import Knowledge, guids_in_parts
from lrpmirror.core.lists.slices import slices
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.model import DesiredLRP

__all__ = ["Upcoming"]

PART: Final = 20
"""How many processes, or rows, one step derives of one view: a millisecond's work."""


class Upcoming:
    """The state as it will be once a settled list is committed."""

    def __init__(self, now: Knowledge, snapshot: PendingSnapshot) -> None:
        self._now = now
        self._snapshot = snapshot
        domains = now.store.domains
        self.domains: Final = domains if snapshot.domains is None else snapshot.domains
        self.domains_change: Final = self.domains != domains

    def process(self, guid: str) -> Process:
        """Return a process as it will be. O(rows of the process that differ)."""
        rows, desired = self._snapshot.process(guid), self._snapshot.desired(guid)
        routed = desired or self._retained(guid)
        domain = routed.domain if routed is not None else rows[0].domain if rows else ""
        return Process(guid, desired, routed, rows, domain in self.domains)

    def guids(self) -> Iterator[Sequence[str]]:
        """Return the processes that the first list brings, in parts: see `Knowledge.guids_in_parts`."""
        return iter(()) if self._snapshot.aside is None else guids_in_parts(self._snapshot.aside, PART)

    def dirty(self) -> Iterator[dict[str, Dirty]]:
        """Return what will be different from what there is, in parts, as far as it is known now. O(PART) each."""
        rows, desired = self._snapshot.compared.differences(PART)
        for part in rows:
            yield dirty_rows(part)
        for lrps in desired:
            yield dirty_desired(lrps)
        for guids in slices(self.released(), PART):
            yield terms_of(guids)

    def released(self) -> list[str]:
        """Return the processes whose retained desired LRP will be released. O(retained) where domains differ."""
        return self._now.retained.released_by(self.domains) if self._snapshot.judges_retained else []

    def everything(self) -> Iterator[dict[str, Dirty]]:
        """Return all processes that there are, in parts, as dirty in all but their rows; new ones are dirty anyway."""
        return map(terms_of, self._now.guids_in_parts(PART))

    def completed(self) -> Iterator[dict[str, Dirty]]:
        """Return the processes whose desired LRPs will get the secrets that a state file left out, in parts.

        O(PART) each.
        """
        for guids in slices(self._snapshot.completed, PART):
            yield terms_of(guids)

    def _retained(self, guid: str) -> DesiredLRP | None:
        """Return the desired LRP that will be retained for a process without one, as `Retained.apply_list` does."""
        known = self._now.retained.get(guid)
        if not self._snapshot.judges_retained:
            return known
        lrp = self._now.store.desired(guid) or known
        return None if lrp is None or lrp.domain in self.domains else lrp
