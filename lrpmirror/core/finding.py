"""What a list had otherwise than the mirror, as a value."""

from typing import Final

from msgspec import Struct

from lrpmirror.model import ActualLRP, DesiredLRP

__all__ = ["KINDS", "Finding", "Record", "ahead", "finding_of"]

Record = ActualLRP | DesiredLRP

KINDS: Final = (
    *(f"{what} {how}" for what in ("row", "desired") for how in ("missing", "extra", "behind", "ahead", "contents")),
    "unexamined",
)
"""What drift can be: see Finding; the last for what was not looked at one by one."""


class Finding(Struct, frozen=True):
    """A record that a list had otherwise than the mirror. Has no values of it, which could be secrets."""

    kind: str
    """`row` or `desired`, and how it differed.

    `missing` in the mirror, `extra` in the mirror, `behind` (the list had a newer version), `ahead` (an older one), or
    other `contents` at the same version.
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


def ahead(listed: Record) -> Finding:
    """Return the finding that a list has an older version than the mirror: this one."""
    what = "row" if isinstance(listed, ActualLRP) else "desired"
    return finding_of(f"{what} ahead", listed, listed.tag_index)


def finding_of(kind: str, one: Record, version: int) -> Finding:
    """Return the finding about a record, which an event of that version or a later one would explain."""
    index = one.index if isinstance(one, ActualLRP) else None
    return Finding(kind, one.process_guid, index, one.epoch, version)
