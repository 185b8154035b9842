"""Decisions, as they are printed."""

from typing import Any

from lrpmirror.core.explain.decisions import Decision
from lrpmirror.model import ModificationTag


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
