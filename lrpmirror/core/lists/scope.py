"""The scope of a list: everything, or some processes."""

from typing import Final

from msgspec import Struct

from lrpmirror.core.rows.dispatch import desired_guid_of, row_guid_of
from lrpmirror.events import Event


class Scope(Struct, frozen=True):
    """The processes whose rows, and those whose desired LRPs, are listed; None means all."""

    rows: frozenset[str] | None = None
    desired: frozenset[str] | None = None

    def has_row_of(self, process_guid: str) -> bool:
        """Return whether the rows of a process are listed."""
        return self.rows is None or process_guid in self.rows

    def has_desired(self, process_guid: str) -> bool:
        """Return whether the desired LRP of a process is listed."""
        return self.desired is None or process_guid in self.desired

    def admits(self, event: Event) -> bool:
        """Return whether an event is about something that is listed."""
        guid = row_guid_of(event)
        if guid is not None:
            return self.has_row_of(guid)
        guid = desired_guid_of(event)
        return guid is not None and self.has_desired(guid)


EVERYTHING: Final = Scope()
