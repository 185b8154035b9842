"""The changes and phases of a mirror, collected as news in words."""

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from lrpmirror.cli.shared.view import NewsItem, name_of
from lrpmirror.cli.shared.words import desired_in_words, found, is_completion, row_in_words
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.rows.changes import Change, RowKey
from lrpmirror.mirror import Mirror
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.thread import MirrorThread

_KEPT: Final = 200
"""How many of the latest news are kept for a screen."""

_MISSED: Final = 100_000
"""How many news wait at most to be taken: the latest."""

_GLANCE: Final = 0.02
"""Seconds between two reads of the mirror's phase."""

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
        self.latest: deque[NewsItem] = deque(maxlen=kept)
        """The latest first."""

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
