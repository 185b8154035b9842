"""The group of one index, computed from its rows as a BBS does for its older readers."""

from collections.abc import Iterable

from lrpmirror.model import ActualLRP, ActualLRPGroup, ActualLRPState, Presence

_ALIVE = (ActualLRPState.RUNNING, ActualLRPState.CLAIMED)


def group_of_rows(rows: Iterable[ActualLRP]) -> ActualLRPGroup:
    """Return the group of the rows of one (process, index), at most one of each presence.

    The EVACUATING row has a slot of its own. For the other slot an ORDINARY row competes with a SUSPECT one: ORDINARY
    wins when it is RUNNING, or when the SUSPECT one neither runs nor is claimed. No rows give a group without slots.
    """
    found = {row.presence: row for row in rows}
    ordinary, suspect = found.get(Presence.ORDINARY), found.get(Presence.SUSPECT)
    instance = ordinary
    if suspect is not None and (
        ordinary is None or (ordinary.state is not ActualLRPState.RUNNING and suspect.state in _ALIVE)
    ):
        instance = suspect
    return ActualLRPGroup(instance, found.get(Presence.EVACUATING))


def groups_of_rows(rows: Iterable[ActualLRP]) -> list[ActualLRPGroup]:
    """Return the groups of any rows, one for each (process, index), in the order of their first row. Linear."""
    slots: dict[tuple[str, int], list[ActualLRP]] = {}
    for row in rows:
        slots.setdefault((row.process_guid, row.index), []).append(row)
    return [group_of_rows(slot) for slot in slots.values()]
