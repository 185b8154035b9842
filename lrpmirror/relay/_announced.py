"""What the readers of a stream of events were told to be gone, so that no event contradicts another."""

from collections.abc import Iterable
from typing import Any, Final, TypeVar

from lrpmirror.core.rows.changes import Delta
from lrpmirror.core.rows.tombstones import Tombstone, TombstoneTable
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.relay._pending import Step

LIMIT: Final = 200_000  # how many records are remembered that were sent as removed: as many as a mirror does
AGE: Final = 900.0  # for how many seconds, as a mirror does
FOREVER: Final = 2**32  # an index that no version reaches: a desired LRP never comes back under its epoch

V = TypeVar("V", ActualLRP, DesiredLRP)
Change = Delta[Any, V] | Step[V]  # of a record, from what was sent last to what is sent


class AnnouncedVersions:
    """The versions in which records were sent as removed, by epoch. O(changes) for each commit."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: no present subscriber has got any of it."""
        self._gone = TombstoneTable(limit=LIMIT, age=AGE)

    def advance(self, now: float) -> None:
        """Forget what is too old. `now` is in seconds."""
        self._gone.advance(now)

    def contradicts(self, rows: Iterable[Change[ActualLRP]], desired: Iterable[Change[DesiredLRP]]) -> bool:
        """Record what is about to be sent; return whether a record comes back as it was removed, or is older.

        A mirror accepts neither from an event, and has to list anew.
        """
        back = False
        for row in rows:
            back |= self._is_back(row)
            if row.before is not None and row.after is None and row.before.epoch:
                self._gone.add(row.before.epoch, Tombstone(row.before.tag_index))
        for lrp in desired:
            back |= self._is_back(lrp)
            before, after = lrp.before, lrp.after
            if before is not None and before.epoch and (after is None or after.epoch != before.epoch):
                self._gone.add(before.epoch, Tombstone(FOREVER))
        return back

    def _is_back(self, record: Change[ActualLRP] | Change[DesiredLRP]) -> bool:
        before, after = record.before, record.after
        if after is None or not after.epoch:
            return False
        if before is not None and before.epoch == after.epoch:
            return after.tag_index < before.tag_index
        tombstone = self._gone.get(after.epoch)
        self._gone.discard(after.epoch)
        return tombstone is not None and after.tag_index <= tombstone.index
