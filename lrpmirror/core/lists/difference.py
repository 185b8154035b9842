"""A difference between a list and the mirror, as a value."""

from typing import Final

from msgspec import Struct

from lrpmirror.model import ActualLRP, DesiredLRP

Record = ActualLRP | DesiredLRP

KINDS: Final = (
    *(f"{what} {how}" for what in ("row", "desired") for how in ("missing", "extra", "behind", "contents")),
    "unexamined",
)
"""The kinds of drift: see ListDifference; the last is for differences that were not examined one by one."""


class ListDifference(Struct, frozen=True, gc=False):
    """A record in which a list differed from the mirror. It holds no fields of the record, which could be secrets."""

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
    """An event of this version or a later one explains the difference."""

    def __str__(self) -> str:
        where = self.process_guid if self.index is None else f"{self.process_guid}/{self.index}"
        return f"{self.kind} {where} ({self.epoch or 'no epoch'}:{self.tag_index})"


def difference_of(kind: str, record: Record, version: int) -> ListDifference:
    """Return the difference in a record, which an event of that version or a later one would explain."""
    index = record.index if isinstance(record, ActualLRP) else None
    return ListDifference(kind, record.process_guid, index, record.epoch, version)
