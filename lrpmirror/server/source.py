"""The state that the server side of the protocol reads: of a simulation, or of a mirror."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.server.streams import StreamKind, Subscription


class Source(Protocol):
    """State that can be listed and followed.

    Every method is synchronous and answers from memory; filters that are empty let everything pass, several are met
    together. What is returned can be found while it is walked: with little work at each step, None at a step that has
    found nothing yet, and all of it from the moment of the first step. A method may raise an error of the BBSError
    tree: RequestRefused and ResourceNotFound are answered in the reply's error field, UnknownPath as a 404, any other
    as a 503.
    """

    def domains(self) -> Iterable[str]:
        """Return the fresh domains."""

    def cells(self) -> Iterable[CellPresence]:
        """Return the cells that are there."""

    def actual_lrps(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> Iterable[ActualLRP | None]:
        """Return the rows."""

    def actual_lrps_by_process_guids(self, process_guids: Sequence[str]) -> Iterable[ActualLRP | None]:
        """Return the rows of these processes."""

    def actual_lrp_groups(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> Iterable[ActualLRPGroup | None]:
        """Return the groups of the rows that pass the filters."""

    def desired_lrps(
        self, domain: str = "", process_guids: Sequence[str] = (), app_guids: Sequence[str] = ()
    ) -> Iterable[DesiredLRP | None]:
        """Return the desired LRPs; `app_guids` are prefixes of process guids."""

    def subscribe(self, kind: StreamKind, cell_id: str = "") -> Subscription:
        """Return a subscription to what happens from now on; the reader closes it."""
