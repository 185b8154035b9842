"""The events of a replica's group stream for a commit: how the two slots of each index changed.

The group stream is the older one, for clients that know no better. An event says nothing of a slot that it does not
fill. Every change of a slot is sent, also a change of presence, which a BBS leaves out: that is for mirrors only. Rows
that no slot shows (the replacement of a suspect instance, until it runs) are not sent, as at a BBS. `instance_events`
says what Diego's own readers make of each event; it holds here too.
"""

from collections.abc import Callable, Iterable, Sequence

from lrpmirror.core.rows.changes import Delta, RowKey, row_key
from lrpmirror.core.rows.groups import groups_of
from lrpmirror.events import ActualLRPChanged, ActualLRPCreated, ActualLRPRemoved, Event
from lrpmirror.model import ActualLRP, ActualLRPGroup, ActualLRPState
from lrpmirror.serve.instance_events import before_it_ran, is_unready
from lrpmirror.server import MirrorOnly

NOTHING = ActualLRPGroup()

HELD = (ActualLRPState.CLAIMED, ActualLRPState.RUNNING)


def group_events(
    deltas: Iterable[Delta[RowKey, ActualLRP]],
    rows_of: Callable[[str], Sequence[ActualLRP]],
    *,
    from_event: bool = False,
) -> list[Event | MirrorOnly]:
    """Return the events of the group stream about these deltas; `rows_of` gives the rows of a process after them.

    What runs comes first, so that a new endpoint is sent before the one it replaces is withdrawn. `from_event` says
    that an event of the BBS caused the commit, which so filled slots with a `created` on its own group stream. O(rows
    of the processes that the deltas touch).
    """
    stories: list[tuple[int, list[Event | MirrorOnly]]] = []
    for guid, touched in _by_process(deltas).items():
        rows = rows_of(guid)
        before = _groups(_rows_before(rows, touched))
        after = _groups(rows)
        for index in sorted({row.index for delta in touched for row in (delta.before, delta.after) if row is not None}):
            old, new = before.get(index, NOTHING), after.get(index, NOTHING)
            for slot, before_slot, after_slot in (
                (_instance, old.instance, new.instance),
                (_evacuating, old.evacuating, new.evacuating),
            ):
                stories.append(_slot_story(before_slot, after_slot, slot, from_event=from_event))
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


def _instance(row: ActualLRP) -> ActualLRPGroup:
    return ActualLRPGroup(row, None)


def _evacuating(row: ActualLRP) -> ActualLRPGroup:
    return ActualLRPGroup(None, row)


def _slot_story(
    before: ActualLRP | None, after: ActualLRP | None, slot: Callable[[ActualLRP], ActualLRPGroup], *, from_event: bool
) -> tuple[int, list[Event | MirrorOnly]]:
    """Return the order of a slot's events, and the events."""
    if before == after:
        return 2, []
    if after is None:
        return 2, [] if before is None else [ActualLRPRemoved(slot(before))]
    urgency = 0 if after.state == ActualLRPState.RUNNING else 1
    if before is None:
        return urgency, [_filled(after, slot, from_event=from_event)]
    changed = ActualLRPChanged(slot(before), slot(after))
    if before.epoch == after.epoch and before.tag_index == after.tag_index:
        # Its presence changed, or it was read after its diff: no BBS tells of that here.
        return urgency, [MirrorOnly(changed)]
    if not (before.instance_guid and before.instance_guid != after.instance_guid and after.state in HELD):
        return urgency, [changed]
    if before.epoch != after.epoch:
        return urgency, [_filled(after, slot, from_event=from_event), ActualLRPRemoved(slot(before))]
    # How the other instance left this record was missed. A removal means the record, so it comes first.
    return urgency, [ActualLRPRemoved(slot(before)), _filled(after, slot, from_event=from_event)]


def _filled(row: ActualLRP, slot: Callable[[ActualLRP], ActualLRPGroup], *, from_event: bool) -> Event:
    if from_event or not is_unready(row):
        return ActualLRPCreated(slot(row))
    return ActualLRPChanged(slot(before_it_ran(row)), slot(row))
