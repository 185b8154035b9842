"""What a replica tells on the instance stream about a commit: the events that a BBS would have sent for it.

Whoever reads the events has to end in the state that the replica is in, whether it follows by the rules of a mirror or
is one of Diego's own clients. So the events are made from the two sides of each delta and not copied: what became of an
event here (it was late, it named a record that was gone) is decided once, and told as what it came to.
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from lrpmirror.core.changes import Delta, RowKey
from lrpmirror.events import (
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP

__all__ = ["desired_events", "row_events"]

RowDelta = Delta[RowKey, ActualLRP]


def row_events(deltas: Sequence[RowDelta], trace_id: str = "") -> list[Event]:
    """Return the events of the instance stream that lead from one side of the deltas to the other.

    A version is told as `changed`, an unclaim as `created` and `removed` of the version before it, a move of an
    instance from one record to another as one `changed`. What a diff does not carry follows as a `created` of the whole
    row at the same version. A removal that frees a slot for another record comes first, as it did at the server; then
    what runs, then the rest, so that an endpoint is told of no later than the one it replaces is withdrawn.
    O(deltas · log deltas).
    """
    if len(deltas) == 1:
        return _story(deltas[0], trace_id)
    moves = _moves(deltas)
    sources = {source.key for source in moves.values()}
    taken = {_slot(delta.after) for delta in deltas if delta.after is not None}
    stories: list[tuple[int, list[Event]]] = []
    for delta in deltas:
        source = moves.get(delta.key)
        if delta.key in sources:
            continue
        if source is not None:
            stories.append((1, _move(source, delta, trace_id)))
        else:
            stories.append((_urgency(delta, taken), _story(delta, trace_id)))
    stories.sort(key=lambda story: story[0])
    return [event for _, story in stories for event in story]


def desired_events(delta: Delta[str, DesiredLRP], trace_id: str = "") -> list[Event]:
    """Return the events of both streams that lead from one side of a delta to the other.

    A record in the place of another, of a different epoch, is told as a removal and a creation. O(1).
    """
    before, after = delta.before, delta.after
    if before is None:
        return [] if after is None else [DesiredLRPCreated(after, trace_id)]
    if after is None:
        return [DesiredLRPRemoved(before, trace_id)]
    if before.epoch != after.epoch:
        return [DesiredLRPRemoved(before, trace_id), DesiredLRPCreated(after, trace_id)]
    return [DesiredLRPChanged(before, after, trace_id)]


def _story(delta: RowDelta, trace_id: str) -> list[Event]:
    before, after = delta.before, delta.after
    if before is None:
        return [] if after is None else [ActualLRPInstanceCreated(after, trace_id)]
    if after is None:
        return [ActualLRPInstanceRemoved(before, trace_id)]
    if after.epoch and after.tag_index == before.tag_index:
        return _same_version(before, after, trace_id)
    if _is_free(after) and not _is_free(before):
        # The version just before the one that is free, whichever was told last: so the removal is known for what it is.
        left = replace(before, tag_index=max(after.tag_index - 1, 0)) if after.epoch else before
        return [ActualLRPInstanceCreated(after, trace_id), ActualLRPInstanceRemoved(left, trace_id)]
    events: list[Event] = [ActualLRPInstanceChanged(before, after, trace_id)]
    if _unsaid(before) != _unsaid(after):
        events.append(ActualLRPInstanceCreated(after, trace_id))
    return events


def _same_version(before: ActualLRP, after: ActualLRP, trace_id: str) -> list[Event]:
    """Tell what the server does not make a version for: a change of presence; and what was read after its diff."""
    events: list[Event] = []
    if before.presence != after.presence:
        events.append(ActualLRPInstanceChanged(before, after, trace_id))
    if replace(before, presence=after.presence) != after:
        events.append(ActualLRPInstanceCreated(after, trace_id))
    return events


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


def _move(source: RowDelta, target: RowDelta, trace_id: str) -> list[Event]:
    before, after = source.before, target.after
    if before is None or after is None:
        return []
    events: list[Event] = [ActualLRPInstanceChanged(before, after, trace_id)]
    if _unsaid(before) != _unsaid(after):
        events.append(ActualLRPInstanceCreated(after, trace_id))
    if source.after is not None:
        events.append(ActualLRPInstanceCreated(source.after, trace_id))
    return events


def _urgency(delta: RowDelta, taken: set[tuple[str, int, int]]) -> int:
    if delta.after is None:
        return 0 if delta.before is not None and _slot(delta.before) in taken else 3
    return 1 if delta.after.state == ActualLRPState.RUNNING else 2


def _slot(row: ActualLRP) -> tuple[str, int, int]:
    return row.process_guid, row.index, int(row.presence)


def _is_free(row: ActualLRP) -> bool:
    return row.state == ActualLRPState.UNCLAIMED


def _unsaid(row: ActualLRP) -> tuple[object, object]:
    """Return what the diffs of the instance stream do not carry."""
    return row.internal_routes, row.metric_tags
