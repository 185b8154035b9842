"""What a replica tells on the group stream about a commit: what became of the two slots of each index.

The group stream is the older one, for clients that know no better. A slot that an event does not fill is not spoken of.
Here it is told whatever changes a slot, also a change of presence, which a BBS leaves out; rows that no slot shows (the
replacement of a suspect instance, until it runs) are not told of, as at a BBS.
"""

from collections.abc import Callable, Iterable, Sequence

from lrpmirror.core.changes import Delta, RowKey, row_key
from lrpmirror.core.groups import groups_of
from lrpmirror.events import ActualLRPChanged, ActualLRPCreated, ActualLRPRemoved, Event
from lrpmirror.model import ActualLRP, ActualLRPGroup, ActualLRPState

__all__ = ["group_events"]

NOTHING = ActualLRPGroup()

HELD = (ActualLRPState.CLAIMED, ActualLRPState.RUNNING)


def group_events(
    deltas: Iterable[Delta[RowKey, ActualLRP]], rows_of: Callable[[str], Sequence[ActualLRP]]
) -> list[Event]:
    """Return the events of the group stream about these deltas; `rows_of` gives the rows of a process after them.

    What runs comes first, so that an endpoint is told of no later than the one it replaces is withdrawn. O(rows of the
    processes that the deltas touch).
    """
    stories: list[tuple[int, list[Event]]] = []
    for guid, touched in _by_process(deltas).items():
        rows = rows_of(guid)
        before = _groups(_rows_before(rows, touched))
        after = _groups(rows)
        for index in sorted(_indexes(touched)):
            old, new = before.get(index, NOTHING), after.get(index, NOTHING)
            stories.append(_slot_story(old.instance, new.instance, lambda row: ActualLRPGroup(row, None)))
            stories.append(_slot_story(old.evacuating, new.evacuating, lambda row: ActualLRPGroup(None, row)))
    stories.sort(key=lambda story: story[0])
    return [event for _, story in stories for event in story]


def _by_process(deltas: Iterable[Delta[RowKey, ActualLRP]]) -> dict[str, list[Delta[RowKey, ActualLRP]]]:
    found: dict[str, list[Delta[RowKey, ActualLRP]]] = {}
    for delta in deltas:
        row = delta.after or delta.before
        if row is not None:
            found.setdefault(row.process_guid, []).append(delta)
    return found


def _rows_before(rows: Iterable[ActualLRP], deltas: Iterable[Delta[RowKey, ActualLRP]]) -> list[ActualLRP]:
    touched = {delta.key: delta.before for delta in deltas}
    untouched = [row for row in rows if row_key(row) not in touched]
    return untouched + [row for row in touched.values() if row is not None]


def _groups(rows: Iterable[ActualLRP]) -> dict[int, ActualLRPGroup]:
    return {group.resolve().index: group for group in groups_of(rows)}


def _indexes(deltas: Iterable[Delta[RowKey, ActualLRP]]) -> set[int]:
    return {row.index for delta in deltas for row in (delta.before, delta.after) if row is not None}


def _slot_story(
    before: ActualLRP | None, after: ActualLRP | None, slot: Callable[[ActualLRP], ActualLRPGroup]
) -> tuple[int, list[Event]]:
    """Return how urgent the story of a slot is, and its events."""
    if before == after:
        return 2, []
    if after is None:
        return 2, [] if before is None else [ActualLRPRemoved(slot(before))]
    urgency = 0 if after.state == ActualLRPState.RUNNING else 1
    if before is None:
        return urgency, [ActualLRPCreated(slot(after))]
    moved_on = before.epoch != after.epoch and before.instance_guid and before.instance_guid != after.instance_guid
    if after.state in HELD and moved_on:
        return urgency, [ActualLRPCreated(slot(after)), ActualLRPRemoved(slot(before))]
    return urgency, [ActualLRPChanged(slot(before), slot(after))]
