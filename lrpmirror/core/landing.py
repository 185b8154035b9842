"""What a list that has settled does to the store, and to the graves."""

from lrpmirror.core.dispatch import Graveyard
from lrpmirror.core.ledger import DesiredDeltas, RowDeltas
from lrpmirror.core.reconcile import Doubt
from lrpmirror.core.repairs import Repairs
from lrpmirror.core.shadow import Shadow
from lrpmirror.core.store import Store
from lrpmirror.core.tombstones import Tombstone

__all__ = ["bury", "write"]


def write(store: Store, rows: RowDeltas, desired: DesiredDeltas, repairs: Repairs) -> None:
    """Write what a list changed into the mirror's own indexes. O(what it changed)."""
    for delta in rows:
        if delta.after is not None:
            if store.put(delta.key, delta.before, delta.after):
                repairs.add(delta.after.process_guid, Doubt.RIVALS)
        elif delta.before is not None:  # pragma: no branch - one side is always there
            store.remove(delta.key, delta.before)
    for lrp in desired:
        if lrp.after is None:
            store.remove_desired(lrp.key)
        else:
            store.put_desired(lrp.after)


def bury(graves: Graveyard, shadow: Shadow, desired: DesiredDeltas) -> None:
    """Bury what the list did not have, and take from their graves the rows that it had. O(graves + what it changed)."""
    for key in graves.rows.keys():  # noqa: SIM118 - tombstones are no dict
        if shadow.listed(key):
            graves.rows.discard(key)
    for key, row in shadow.removed.items():
        graves.rows.bury(key, Tombstone(row.tag_index, row.instance_guid, presumed=True))
    for lrp in desired:
        if lrp.before is not None and lrp.before.epoch and (lrp.after is None or lrp.after.epoch != lrp.before.epoch):
            graves.desired.bury(lrp.before.epoch, Tombstone(lrp.before.tag_index, presumed=True))
        if lrp.after is not None:
            graves.desired.discard(lrp.after.epoch)
