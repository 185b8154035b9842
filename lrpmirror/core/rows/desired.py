"""How events change desired LRPs.

One record per process guid. The epoch names the record and the index is its version, as for rows; but a record that was
removed never comes back, so no event of its epoch is believed again, and another epoch for the same process means that
the old record is gone.
"""

from collections.abc import Callable
from typing import Final

from lrpmirror.core.rows.reconcile import Outcome, RepairReason, Tables
from lrpmirror.core.rows.tombstones import Tombstone, TombstoneTable
from lrpmirror.model import DesiredLRP

_APPLIED: Final = Outcome.APPLIED

FOREVER = 2**32
"""A version that no record reaches: the wire has 32 bits for it."""


class DesiredReconciler:
    """Applies events to desired LRPs. O(1) each, plus the writes."""

    def __init__(
        self, lrps: Tables, tombstones: TombstoneTable, ask_repair: Callable[[str, RepairReason], None]
    ) -> None:
        self._lrps = lrps
        # By attributes of its own: a method of an instance's attribute is looked for in its class first.
        self._stored_of = lrps.desired
        self._put = lrps.put_desired
        self._tombstones = tombstones
        self._tombstone_of = tombstones.get
        self._ask_repair = ask_repair

    def written(self, lrp: DesiredLRP) -> Outcome:
        """Apply a new record, or the `after` of a diff, which is a whole record too."""
        lrp = lrp.as_listed()
        epoch, tombstone_of, stored_of, put = lrp.epoch, self._tombstone_of, self._stored_of, self._put
        tombstone = tombstone_of(epoch) if epoch else None
        if tombstone is not None:
            if lrp.tag_index <= tombstone.index:
                return Outcome.TOMBSTONED
            # A list lacked it, and it was written since: the list lagged behind, or its removal is on its way.
            self._ask_repair(lrp.process_guid, RepairReason.DESIRED)
            return Outcome.UNDECIDED
        stored = stored_of(lrp.process_guid)
        if stored is not None:
            if lrp.tag_index == stored.tag_index and lrp == stored:
                return Outcome.SAME
            if stored.epoch == epoch:
                if lrp.tag_index < stored.tag_index and epoch:
                    return Outcome.STALE
            elif stored.epoch and epoch:
                # Another record, without a removal of the stored one: which is older cannot be seen here, since a list
                # can have had the newer one already.
                self._tombstones.add(stored.epoch, Tombstone(FOREVER, presumed=True))
                self._ask_repair(lrp.process_guid, RepairReason.DESIRED)
        elif lrp.tag_index > 0:
            # A later version of a record never seen here: it may be gone again, and a list may have lacked it.
            self._ask_repair(lrp.process_guid, RepairReason.DESIRED)
        put(lrp)
        return _APPLIED

    def removed(self, lrp: DesiredLRP) -> Outcome:
        """Apply a removal; that of another epoch than the stored one is stale."""
        stored = self._lrps.desired(lrp.process_guid)
        if lrp.epoch:
            self._tombstones.add(lrp.epoch, Tombstone(FOREVER))
        if stored is None:
            return Outcome.SAME
        if lrp.epoch and stored.epoch and lrp.epoch != stored.epoch:
            return Outcome.STALE
        self._lrps.remove_desired(lrp.process_guid)
        return _APPLIED
