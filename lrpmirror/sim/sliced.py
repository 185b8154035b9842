"""A simulated Diego as a source whose long lists are found in slices, so that a server of it is never held up."""

from collections.abc import Iterable, Sequence

from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP
from lrpmirror.server.requests import desired_filter, row_filter
from lrpmirror.server.slices import grouped, passing
from lrpmirror.server.subscription import StreamKind, Subscription
from lrpmirror.sim.diego import Diego
from lrpmirror.sim.groups import groups_of_rows


class Sliced:
    """A `lrpmirror.server.Source`: asks the simulation for all, in one quick copy, and filters while it is walked."""

    def __init__(self, diego: Diego) -> None:
        self._diego = diego
        self.domains = diego.domains
        self.cells = diego.cells
        self.actual_lrps_by_process_guids = diego.actual_lrps_by_process_guids

    def actual_lrps(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> Iterable[ActualLRP | None]:
        """Return the rows that pass all filters."""
        rows = self._diego.actual_lrps(process_guid=process_guid)
        return passing(rows, row_filter(domain, cell_id, index)) if domain or cell_id or index is not None else rows

    def actual_lrp_groups(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> Iterable[ActualLRPGroup | None]:
        """Return the groups of the rows that pass the filters."""
        return grouped(self.actual_lrps(domain, cell_id, process_guid, index), groups_of_rows)

    def desired_lrps(
        self, domain: str = "", process_guids: Sequence[str] = (), app_guids: Sequence[str] = ()
    ) -> Iterable[DesiredLRP | None]:
        """Return the desired LRPs that pass all filters."""
        return passing(self._diego.desired_lrps(), desired_filter(domain, process_guids, app_guids))

    def subscribe(self, kind: StreamKind, cell_id: str = "") -> Subscription:
        """Return a subscription to what happens from now on."""
        return self._diego.subscribe(kind, cell_id)
