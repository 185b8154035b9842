"""Changes in words, and the news of a mirror: its changes and phases."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import trio
from msgspec.structs import replace

from lrpmirror.cli.shared.view import NewsItem, name_of
from lrpmirror.core.explain.decisions import Decision
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.rows.changes import Cause, Change, RowKey
from lrpmirror.mirror import Mirror
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, ModificationTag, Presence
from lrpmirror.thread import MirrorThread

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


_KEPT: Final = 200  # how many of the latest news are kept for a screen
_MISSED: Final = 100_000  # how many news wait at most to be taken: the latest
_GLANCE: Final = 0.02  # seconds between two reads of the mirror's phase

_PHASES: Final = {
    Phase.LIVE: "the mirror is LIVE: it has the server's state and follows it",
    Phase.RESYNCING: "the mirror is RESYNCING: connected again, it reads the lists",
    Phase.STALE: "the mirror is STALE: it is out of touch, and shows the last known state",
}


class Story:
    """The news of one mirror: its changes from `follow` on, its phases, and what `add` adds.

    `clock` gives the seconds since the beginning; `kept` is how many of the latest news are kept.
    `completions` says whether the completion of a new row by a repair read is news (see `is_completion`).
    """

    def __init__(
        self, mirror: Mirror | MirrorThread, clock: Callable[[], float], *, kept: int = _KEPT, completions: bool = True
    ) -> None:
        self._mirror = mirror
        self._phase = mirror.status.phase
        self._clock = clock
        self._completions = completions
        self._names: dict[str, str] = {}
        self._fresh: deque[NewsItem] = deque(maxlen=_MISSED)
        self.latest: deque[NewsItem] = deque(maxlen=kept)  # the latest first

    def follow(self) -> None:
        """Collect the changes from now on."""
        self._mirror.subscribe_desired(self._desired_changed, replay=False)
        self._mirror.subscribe(self._row_changed, replay=False)

    def add(self, text: str, process_guid: str = "") -> None:
        """Add a piece of news."""
        news = NewsItem(self._clock(), text, process_guid)
        self.latest.appendleft(news)
        self._fresh.append(news)

    def take_news(self) -> list[NewsItem]:
        """Return what is new since the last call, the oldest first."""
        fresh = list(self._fresh)
        self._fresh.clear()
        return fresh

    async def watch_phases(self) -> None:
        """Add the mirror's phases, for ever."""
        while True:
            await trio.sleep(_GLANCE)
            self.watch_phase()

    def watch_phase(self) -> None:
        """Add the mirror's phase, where it has changed since the last call."""
        before, self._phase = self._phase, self._mirror.status.phase
        if self._phase is not before and self._phase in _PHASES:
            self.add(_PHASES[self._phase])

    def _row_changed(self, change: Change[RowKey, ActualLRP]) -> None:
        row = change.after or change.before
        if row is None:
            return
        if self._completions or not is_completion(change.before, change.after):
            name = self._name(row.process_guid, self._mirror.desired_lrp(row.process_guid), row)
            self.add(row_in_words(name, change.before, change.after) + found(change.cause), row.process_guid)
        self._forget_if_gone(row.process_guid)

    def _desired_changed(self, change: Change[str, DesiredLRP]) -> None:
        name = self._name(change.key, change.after or change.before, None)
        self.add(desired_in_words(name, change.before, change.after) + found(change.cause), change.key)
        self._forget_if_gone(change.key)

    def _forget_if_gone(self, process_guid: str) -> None:
        """Forget the name of a process of which nothing is left."""
        mirror = self._mirror
        if mirror.desired_lrp(process_guid) is None and not mirror.actual_lrps(process_guid):
            self._names.pop(process_guid, None)

    def _name(self, process_guid: str, lrp: DesiredLRP | None, row: ActualLRP | None) -> str:
        """Return a process's name; the one it had, when it is no longer desired but has instances."""
        if lrp is not None:
            self._names[process_guid] = name_of(process_guid, lrp)
        return self._names.get(process_guid) or name_of(process_guid, None, row)
