"""Changes in words."""

from typing import Any, Final

from msgspec.structs import replace

from lrpmirror.core.explain.decisions import Decision
from lrpmirror.core.rows.changes import Cause
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, ModificationTag, Presence

_FOUND: Final = {Cause.SNAPSHOT: " (found by a list)", Cause.REPAIR: " (found by a second look)"}


def found(cause: Cause) -> str:
    """Return the suffix for a change that a list found, not the stream."""
    return _FOUND.get(cause, "")


def row_in_words(name: str, before: ActualLRP | None, after: ActualLRP | None) -> str:
    """Say what happened to an instance of the process of that name; not both sides are None."""
    if after is None:
        return "" if before is None else f"{name}/{before.index} is gone{_from(before)}"
    who = f"{name}/{after.index}"
    if before is None:
        return f"{who} {_appeared(after)}"
    if before.presence != after.presence:
        back = after.presence is Presence.ORDINARY
        return f"{who} is back on {after.cell_id}" if back else f"{who} is suspect: {after.cell_id} is lost"
    if after.crash_count > before.crash_count or after.state is not before.state is ActualLRPState.CRASHED:
        return f"{who} {_crashed(before, after)}"
    if before.state is not after.state:
        return f"{who} {_moved(before, after)}"
    if after.placement_error and after.placement_error != before.placement_error:
        return f"{who} cannot be placed: {after.placement_error}"
    if before.routable is not after.routable and None not in (before.routable, after.routable):
        return f"{who} takes requests again" if after.routable else f"{who} takes no requests now"
    if is_completion(before, after):
        return f"{who} has its internal routes and metric tags"
    return f"{who} was updated"


def is_completion(before: ActualLRP | None, after: ActualLRP | None) -> bool:
    """Return whether a row only got what events do not carry and a repair read brings."""
    if before is None or after is None or before == after:
        return False
    return replace(before, internal_routes=after.internal_routes, metric_tags=after.metric_tags) == after


def desired_in_words(name: str, before: DesiredLRP | None, after: DesiredLRP | None) -> str:
    """Say what happened to the desired LRP of that name; not both sides are None."""
    if after is None:
        return f"{name} is no longer desired"
    if before is None:
        return f"{name} is desired with {after.instances} instance{'' if after.instances == 1 else 's'}"
    if before.instances != after.instances:
        return f"{name} is scaled from {before.instances} to {after.instances}"
    if before.routes != after.routes:
        return f"{name} has new routes"
    return f"{name} was updated"


def _appeared(row: ActualLRP) -> str:
    if row.presence is Presence.EVACUATING:
        return f"is being evacuated from {row.cell_id}"
    if row.state is ActualLRPState.UNCLAIMED:
        return "waits for a place"
    return f"is {row.state.lower()}{' on ' if row.cell_id else ''}{row.cell_id}"


def _crashed(before: ActualLRP, after: ActualLRP) -> str:
    if before.state is ActualLRPState.CRASHED:
        return "is tried again after its crashes"
    times = f", {after.crash_count} times now" if after.crash_count > 1 else ""
    why = f": {after.crash_reason}" if after.crash_reason else ""
    end = " and stays down" if after.state is ActualLRPState.CRASHED else ""
    return f"crashed{_from(before, 'on')}{times}{end}{why}"


def _moved(before: ActualLRP, after: ActualLRP) -> str:
    if after.state is ActualLRPState.CLAIMED:
        return f"is starting on {after.cell_id}"
    if after.state is ActualLRPState.RUNNING:
        return f"runs on {after.cell_id}"
    if after.state is ActualLRPState.UNCLAIMED:
        return f"has left {before.cell_id or 'its place'} and waits for another"
    return f"is {after.state.lower()} now"


def _from(row: ActualLRP, preposition: str = "from") -> str:
    return f" {preposition} {row.cell_id}" if row.cell_id else ""


def decision_object(decision: Decision, now: float) -> dict[str, Any]:
    """Return a decision as JSON-ready values; `now` is by the mirror's clock."""
    return {
        "seconds_ago": round(now - decision.at, 3),
        "type": decision.type,
        "index": decision.index,
        "verdict": str(decision.outcome),
        "tag": tag_text(decision.tag),
        "stored": tag_text(decision.stored),
        "why": decision.why,
    }


def decision_row(decision: Decision, now: float) -> tuple[str, str, str, str, str]:
    """Return a decision as cells of a table: how long ago, what, of which index, its outcome, and why."""
    index = "" if decision.index is None else str(decision.index)
    return f"{now - decision.at:.1f} s ago", decision.type, index, str(decision.outcome), decision.why


def tag_text(tag: ModificationTag | None) -> str | None:
    """Return a tag as text."""
    return None if tag is None else f"{tag.epoch}:{tag.index}"
