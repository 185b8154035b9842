"""Writing a settled list into the store and the tombstones."""

from lrpmirror.core.lists.repairs import Repairs
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.change_set import DesiredDeltas, RowDeltas
from lrpmirror.core.rows.dispatch import Tombstones
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.rows.store import Store
from lrpmirror.core.rows.tombstones import Tombstone


def write(store: Store, rows: RowDeltas, desired: DesiredDeltas, repairs: Repairs) -> None:
    """Write what a list changed into the mirror's store. O(what it changed)."""
    for delta in rows:
        if delta.after is not None:
            if store.put(delta.key, delta.before, delta.after):
                repairs.add(delta.after.process_guid, RepairReason.RIVALS)
        elif delta.before is not None:  # pragma: no branch - one side is always there
            store.remove(delta.key, delta.before)
    for lrp in desired:
        if lrp.after is None:
            store.remove_desired(lrp.key)
        else:
            store.put_desired(lrp.after)


def add_tombstones(tombstones: Tombstones, snapshot: PendingSnapshot, desired: DesiredDeltas) -> None:
    """Add tombstones of what the list lacked, and remove those of the rows that it had.

    O(tombstones + what it changed).
    """
    for key in tombstones.rows.keys():  # noqa: SIM118 - tombstones are no dict
        if snapshot.listed(key):
            tombstones.rows.discard(key)
    for key, row in snapshot.removed.items():
        tombstones.rows.add(key, Tombstone(row.tag_index, row.instance_guid, presumed=True))
    for lrp in desired:
        if lrp.before is not None and lrp.before.epoch and (lrp.after is None or lrp.after.epoch != lrp.before.epoch):
            tombstones.desired.add(lrp.before.epoch, Tombstone(lrp.before.tag_index, presumed=True))
        if lrp.after is not None:
            tombstones.desired.discard(lrp.after.epoch)
