"""Making groups of rows, by the server's rule, and rows of groups."""

from collections.abc import Iterable

from lrpmirror.model import ActualLRP, ActualLRPGroup, ActualLRPState, Presence


def _rank(row: ActualLRP) -> int:
    """Return the priority of a row for the `instance` slot; of two CLAIMED rows the suspect one wins."""
    ordinary = row.presence is Presence.ORDINARY
    if row.state == ActualLRPState.RUNNING:
        return 5 if ordinary else 4
    if row.state == ActualLRPState.CLAIMED:
        return 2 if ordinary else 3
    return 1 if ordinary else 0


def rows_of(group: ActualLRPGroup) -> list[ActualLRP]:
    """Return the rows of a group, `instance` first."""
    return [row for row in (group.instance, group.evacuating) if row is not None]


def groups_of(rows: Iterable[ActualLRP]) -> tuple[ActualLRPGroup, ...]:
    """Return the groups of one process's rows, by index.

    EVACUATING fills `evacuating`. Of the others the first that wins is `instance`: ORDINARY RUNNING over anything;
    SUSPECT RUNNING over ORDINARY that is not; ORDINARY CLAIMED over rows neither RUNNING nor CLAIMED; SUSPECT CLAIMED
    over rows not RUNNING. This is how the BBS computes its own group list. O(rows), plus sorting the indexes.
    """
    slots: dict[int, list[ActualLRP | None]] = {}
    for row in rows:
        slot = slots.setdefault(row.index, [None, None])
        if row.presence is Presence.EVACUATING:
            slot[1] = row
        elif slot[0] is None or _rank(row) > _rank(slot[0]):
            slot[0] = row
    return tuple(ActualLRPGroup(*slots[index]) for index in sorted(slots))
