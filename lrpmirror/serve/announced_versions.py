"""The versions and removals that a replica has sent to its subscribers, who would not accept older ones."""

from collections.abc import Iterable
from typing import Final

from lrpmirror.core.rows.changes import Delta, RowKey
from lrpmirror.core.rows.tombstones import Tombstone, TombstoneTable
from lrpmirror.model import ActualLRP, DesiredLRP

LIMIT: Final = 200_000
"""How many records are remembered: as many as a mirror does."""

AGE: Final = 900.0  # for how many seconds, as a mirror does
FOREVER: Final = 2**32  # an index that no version reaches: a desired LRP never comes back under its epoch


class AnnouncedVersions:
    """The versions in which records were sent as removed, by epoch. O(deltas) for each commit."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: no present subscriber has got any of it."""
        self._rows = TombstoneTable(limit=LIMIT, age=AGE)
        self._desired = TombstoneTable(limit=LIMIT, age=AGE)

    def advance(self, now: float) -> None:
        """Forget what is too old. `now` is in seconds."""
        self._rows.advance(now)
        self._desired.advance(now)

    def contradicts(self, rows: Iterable[Delta[RowKey, ActualLRP]], desired: Iterable[Delta[str, DesiredLRP]]) -> bool:
        """Record what is about to be sent; return whether it contradicts what was sent before.

        It does where a record comes back that was sent as removed, or in an older version: the server was set back.
        A row that comes back in a later version is no contradiction: its readers read it again.
        """
        back = False
        for row in rows:
            if row.before is not None and row.after is not None:
                back = back or _is_older(row.after, row.before)
            elif row.before is None and row.after is not None:
                tombstone = self._rows.get(row.key)
                back = back or (
                    bool(row.after.epoch) and tombstone is not None and row.after.tag_index <= tombstone.index
                )
                self._rows.discard(row.key)
            elif row.before is not None and row.after is None and row.before.epoch:
                self._rows.add(row.key, Tombstone(row.before.tag_index))
        for lrp in desired:
            before, after = lrp.before, lrp.after
            if before is not None and after is not None and _is_older(after, before):
                back = True
            if after is not None and after.epoch in self._desired:
                back = True
            if before is not None and before.epoch and (after is None or after.epoch != before.epoch):
                self._desired.add(before.epoch, Tombstone(FOREVER))
        return back


def _is_older(one: ActualLRP | DesiredLRP, other: ActualLRP | DesiredLRP) -> bool:
    return bool(one.epoch) and one.epoch == other.epoch and one.tag_index < other.tag_index
