"""Writing a settled list into the store."""

from lrpmirror.core.lists.repairs import Repairs
from lrpmirror.core.rows.change_set import DesiredDeltas, RowDeltas
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.rows.store import Store


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
