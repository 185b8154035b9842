"""What a list had otherwise than the mirror, as a value."""

from typing import Final

from msgspec import Struct

from lrpmirror.model import ActualLRP, DesiredLRP

__all__ = ["KINDS", "ListDifference", "Record", "difference_of"]

Record = ActualLRP | DesiredLRP

KINDS: Final = (
    *(f"{what} {how}" for what in ("row", "desired") for how in ("missing", "extra", "behind", "contents")),
    "unexamined",
)
"""What drift can be: see ListDifference; the last for what was not looked at one by one."""


class ListDifference(Struct, frozen=True):
    """A record that a list had otherwise than the mirror. Has no values of it, which could be secrets."""

    kind: str
    """`row` or `desired`, and how it differed.

    `missing` in the mirror, `extra` in the mirror, `behind` (the list had a newer version), or other `contents` at the
    same version. What a list has in an older version is no drift: see `lrpmirror.core.lists.rollback`.
    """
    process_guid: str
    index: int | None
    """The row's; None for a desired LRP."""
    epoch: str
    tag_index: int
    """Which version an event has to tell of, that one or a later, to explain it."""

    def __str__(self) -> str:
        where = self.process_guid if self.index is None else f"{self.process_guid}/{self.index}"
        return f"{self.kind} {where} ({self.epoch or 'no epoch'}:{self.tag_index})"


def difference_of(kind: str, one: Record, version: int) -> ListDifference:
    """Return the finding about a record, which an event of that version or a later one would explain."""
    index = one.index if isinstance(one, ActualLRP) else None
    return ListDifference(kind, one.process_guid, index, one.epoch, version)
