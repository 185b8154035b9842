"""The events of a replica's two streams for a commit: those that a BBS would have sent for it.

They are made from the two sides of each delta and not copied: the outcome of an event is decided once. Diego's own
readers act on each event by itself. The route emitter takes a `created` of a row that runs for an instance to send
requests to, ready or not; it withdraws what a `removed` names, and what a `changed` shows to have stopped or to be no
longer ready, under the one instance key that both sides of a `changed` share. So only what a BBS sends as `created` is
sent so. What no event of a BBS carries (internal routes and metric tags) follows as a `created` for mirrors only. The
group stream is the older one, of the two slots of each index. Every change of a slot is sent; one of presence, which a
BBS leaves out, to mirrors only. Rows that no slot shows are not sent, as at a BBS.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from lrpmirror import events
from lrpmirror.core.rows.changes import Delta, RowKey, row_key
from lrpmirror.core.rows.groups import groups_of
from lrpmirror.events import Event
from lrpmirror.model import ActualLRP, ActualLRPGroup, ActualLRPState, DesiredLRP
from lrpmirror.server import MirrorOnly

RowDelta = Delta[RowKey, ActualLRP]

NOTHING: Final = ActualLRPGroup()
HELD: Final = (ActualLRPState.CLAIMED, ActualLRPState.RUNNING)


def row_events(deltas: Sequence[RowDelta], trace_id: str = "", *, created: bool = False) -> list[Event | MirrorOnly]:
    """Return the events of the instance stream that lead from one side of the deltas to the other.

    A removal that frees a slot for another record comes first; then what runs, then the rest, so that a new endpoint is
    sent before the one it replaces is withdrawn. `created`: the BBS itself sent what is new as `created`. O(deltas ·
    log deltas).
    """
    if len(deltas) == 1:
        return _story(deltas[0], trace_id, created=created)
    moves = _moves(deltas)
    sources = {source.key for source in moves.values()}
    occupied = {_slot(delta.after) for delta in deltas if delta.after is not None}
    stories: list[tuple[int, list[Event | MirrorOnly]]] = []
    for delta in deltas:
        source = moves.get(delta.key)
        if delta.key in sources:
            continue
        if source is not None:
            stories.append((1, _move(source, delta, trace_id)))
        else:
            stories.append((_urgency(delta, occupied), _story(delta, trace_id, created=created)))
    stories.sort(key=lambda story: story[0])
    return [event for _, story in stories for event in story]


def desired_events(delta: Delta[str, DesiredLRP], trace_id: str = "") -> list[Event]:
    """Return the events, on both streams, of a delta; another epoch is a removal and a creation. O(1)."""
    before, after = delta.before, delta.after
    if before is not None and after is not None and before.epoch == after.epoch:
        return [events.DesiredLRPChanged(before, after, trace_id)]
    told: list[Event] = [] if before is None else [events.DesiredLRPRemoved(before, trace_id)]
    return told if after is None else [*told, events.DesiredLRPCreated(after, trace_id)]


def _is_unready(row: ActualLRP) -> bool:
    """Return whether requests are not to be sent to a row that runs."""
    return row.state == ActualLRPState.RUNNING and row.routable is False


def _before_it_ran(row: ActualLRP) -> ActualLRP:
    """Return a row as of the version before, when its instance had claimed it and did not run yet."""
    return ActualLRP(
        process_guid=row.process_guid,
        index=row.index,
        domain=row.domain,
        instance_guid=row.instance_guid,
        cell_id=row.cell_id,
        crash_count=row.crash_count,
        state=ActualLRPState.CLAIMED,
        since=row.since,
        epoch=row.epoch,
        tag_index=max(row.tag_index - 1, 0),
        presence=row.presence,
        routable=False,
    )


def _story(delta: RowDelta, trace_id: str, *, created: bool) -> list[Event | MirrorOnly]:
    before, after = delta.before, delta.after
    if before is None:
        return [] if after is None else _appeared(after, trace_id, created=created)
    if after is None:
        return [events.ActualLRPInstanceRemoved(before, trace_id)]
    if after.epoch and after.tag_index == before.tag_index:
        return _same_version(before, after, trace_id)
    if _is_free(after) and not _is_free(before):
        # The version just before the one that is free, whichever was sent last: so the removal is known for what it is.
        left = replace(before, tag_index=max(after.tag_index - 1, 0)) if after.epoch else before
        return [events.ActualLRPInstanceCreated(after, trace_id), events.ActualLRPInstanceRemoved(left, trace_id)]
    told = _changed(before, after, trace_id)
    if _runs(before) and after.instance_guid and before.instance_guid != after.instance_guid:
        # How it left was missed; the `changed` names only the one that is there now.
        told.append(events.ActualLRPInstanceRemoved(before, trace_id))
    return told


def _appeared(row: ActualLRP, trace_id: str, *, created: bool) -> list[Event | MirrorOnly]:
    whole = events.ActualLRPInstanceCreated(row, trace_id)
    if created or not _is_unready(row):
        return [whole]
    # A BBS had said that it began to run, not that it is there.
    return [MirrorOnly(whole), events.ActualLRPInstanceChanged(_before_it_ran(row), row, trace_id)]


def _changed(before: ActualLRP, after: ActualLRP, trace_id: str) -> list[Event | MirrorOnly]:
    told: list[Event | MirrorOnly] = [events.ActualLRPInstanceChanged(before, after, trace_id)]
    if _unsaid(before) != _unsaid(after):
        told.append(MirrorOnly(events.ActualLRPInstanceCreated(after, trace_id)))
    return told


def _same_version(before: ActualLRP, after: ActualLRP, trace_id: str) -> list[Event | MirrorOnly]:
    """Return the events of changes without a new version: of presence, and of what was read after a diff."""
    told: list[Event | MirrorOnly] = []
    if before.presence != after.presence:
        told.append(events.ActualLRPInstanceChanged(before, after, trace_id))
    if replace(before, presence=after.presence) != after:
        told.append(MirrorOnly(events.ActualLRPInstanceCreated(after, trace_id)))
    return told


def _moves(deltas: Iterable[RowDelta]) -> dict[RowKey, RowDelta]:
    """Return, by the record that an instance has moved to, the record that it has left, as an evacuation has it do."""
    left = {
        (delta.before.process_guid, delta.before.instance_guid): delta
        for delta in deltas
        if delta.before is not None
        and delta.before.epoch
        and delta.before.instance_guid
        and (delta.after is None or _is_free(delta.after))
    }
    moves: dict[RowKey, RowDelta] = {}
    for delta in deltas:
        after = delta.after
        if after is None or not after.epoch or not after.instance_guid:
            continue
        if delta.before is not None and delta.before.instance_guid == after.instance_guid:
            continue
        source = left.pop((after.process_guid, after.instance_guid), None)
        if source is not None:
            moves[delta.key] = source
    return moves


def _move(source: RowDelta, target: RowDelta, trace_id: str) -> list[Event | MirrorOnly]:
    before, after = source.before, target.after
    if before is None or after is None:
        return []
    told = _changed(before, after, trace_id)
    if source.after is not None:
        told.append(events.ActualLRPInstanceCreated(source.after, trace_id))
    return told


def _urgency(delta: RowDelta, occupied: set[tuple[str, int, int]]) -> int:
    if delta.after is None:
        return 0 if delta.before is not None and _slot(delta.before) in occupied else 3
    return 1 if _runs(delta.after) else 2


def _slot(row: ActualLRP) -> tuple[str, int, int]:
    return row.process_guid, row.index, int(row.presence)


def _runs(row: ActualLRP) -> bool:
    return row.state == ActualLRPState.RUNNING


def _is_free(row: ActualLRP) -> bool:
    return row.state == ActualLRPState.UNCLAIMED


def _unsaid(row: ActualLRP) -> tuple[object, object]:
    return row.internal_routes, row.metric_tags


def group_events(
    deltas: Iterable[RowDelta], rows_of: Callable[[str], Sequence[ActualLRP]], *, from_event: bool = False
) -> list[Event | MirrorOnly]:
    """Return the events of the group stream about these deltas; `rows_of` gives the rows of a process after them.

    What runs comes first. `from_event`: an event of the BBS caused the commit, which so filled slots with a `created`.
    O(rows of the processes that the deltas touch).
    """
    stories: list[tuple[int, list[Event | MirrorOnly]]] = []
    for guid, touched in _by_process(deltas).items():
        rows = rows_of(guid)
        before = _groups(_rows_before(rows, touched))
        after = _groups(rows)
        for index in sorted({row.index for delta in touched for row in (delta.before, delta.after) if row is not None}):
            old, new = before.get(index, NOTHING), after.get(index, NOTHING)
            for slot, before_slot, after_slot in (
                (ActualLRPGroup, old.instance, new.instance),
                (partial(ActualLRPGroup, None), old.evacuating, new.evacuating),
            ):
                stories.append(_slot_story(before_slot, after_slot, slot, from_event=from_event))
    stories.sort(key=lambda story: story[0])
    return [event for _, story in stories for event in story]


def _by_process(deltas: Iterable[RowDelta]) -> dict[str, list[RowDelta]]:
    found: dict[str, list[RowDelta]] = {}
    for delta in deltas:
        row = delta.after or delta.before
        if row is not None:
            found.setdefault(row.process_guid, []).append(delta)
    return found


def _rows_before(rows: Iterable[ActualLRP], deltas: Iterable[RowDelta]) -> list[ActualLRP]:
    touched = {delta.key: delta.before for delta in deltas}
    untouched = [row for row in rows if row_key(row) not in touched]
    return untouched + [row for row in touched.values() if row is not None]


def _groups(rows: Iterable[ActualLRP]) -> dict[int, ActualLRPGroup]:
    return {group.resolve().index: group for group in groups_of(rows)}


def _slot_story(
    before: ActualLRP | None, after: ActualLRP | None, slot: Callable[[ActualLRP], ActualLRPGroup], *, from_event: bool
) -> tuple[int, list[Event | MirrorOnly]]:
    """Return the order of a slot's events, and the events."""
    if before == after:
        return 2, []
    if after is None:
        return 2, [] if before is None else [events.ActualLRPRemoved(slot(before))]
    urgency = 0 if after.state == ActualLRPState.RUNNING else 1
    if before is None:
        return urgency, [_filled(after, slot, from_event=from_event)]
    changed = events.ActualLRPChanged(slot(before), slot(after))
    if before.epoch == after.epoch and before.tag_index == after.tag_index:
        # Its presence changed, or it was read after its diff: no BBS tells of that here.
        return urgency, [MirrorOnly(changed)]
    if not (before.instance_guid and before.instance_guid != after.instance_guid and after.state in HELD):
        return urgency, [changed]
    if before.epoch != after.epoch:
        return urgency, [_filled(after, slot, from_event=from_event), events.ActualLRPRemoved(slot(before))]
    # How the other instance left this record was missed. A removal means the record, so it comes first.
    return urgency, [events.ActualLRPRemoved(slot(before)), _filled(after, slot, from_event=from_event)]


def _filled(row: ActualLRP, slot: Callable[[ActualLRP], ActualLRPGroup], *, from_event: bool) -> Event:
    if from_event or not _is_unready(row):
        return events.ActualLRPCreated(slot(row))
    return events.ActualLRPChanged(slot(_before_it_ran(row)), slot(row))
