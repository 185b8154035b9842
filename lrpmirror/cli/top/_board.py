"""What `lrpmirror top` keeps beside a mirror: cells and processes in order, the latest changes, rates."""

import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct
from sortedcontainers import SortedList

from lrpmirror.cli.shared.progress import Waiting
from lrpmirror.cli.shared.story import Story
from lrpmirror.cli.shared.view import Kind, NewsItem, kind_of, name_of
from lrpmirror.cli.top._text import FULL, ProcessDetail
from lrpmirror.core.rows.changes import Change
from lrpmirror.errors import LRPMirrorError
from lrpmirror.model import ActualLRP
from lrpmirror.serve.event_rates import MINUTES, Second
from lrpmirror.serve.page_model import SEVERITY, detail_of, natural
from lrpmirror.thread import MirrorThread, ThreadView
from lrpmirror.views import CellLoad, Cells, Processes, ProcessHealth

V = TypeVar("V")

_SLICE: Final = 500  # how many changes are taken before a reader gets a turn

Rank = tuple[Any, ...]


@dataclass(eq=False)
class Ranking(Generic[V]):
    """The keys of a view by rank, those that have a text in them; and what all of its values add up to.

    `rank` gives what a key is sorted by in an order, `text_of` the text that a filter searches, `parts` what a value
    adds to `totals`. One thread takes the changes, another one reads. A change costs O(log keys).
    """

    _rank: Callable[[str, V, str], Rank]
    _text_of: Callable[[str, V], str]
    _parts: Callable[[V], Mapping[Any, int]]
    _order: str
    _text: str = ""
    _lock: Lock = field(default_factory=Lock)
    _values: dict[str, V] = field(default_factory=dict)
    _ranks: dict[str, Rank] = field(default_factory=dict)
    _sorted: SortedList = field(default_factory=SortedList)
    _totals: Counter[Hashable] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._sorted)

    @property
    def totals(self) -> Counter[Hashable]:
        """What all values add up to, also of those that are not listed. O(kinds of parts)."""
        with self._lock:
            return Counter(self._totals)

    @property
    def all(self) -> int:
        """How many keys there are, listed or not. O(1)."""
        return len(self._values)

    def get(self, key: str) -> V | None:
        """Return the value of a key, listed or not; None where there is none. O(1)."""
        return self._values.get(key)

    def first(self, count: int) -> list[tuple[str, V]]:
        """Return the first keys and their values. O(count)."""
        with self._lock:
            return [(key, self._values[key]) for _, key in self._sorted.islice(stop=count)]

    def follow(self, batches: Iterable[list[Change[str, V]]]) -> None:
        """Take batches of changes until there are no more."""
        for batch in batches:
            for first in range(0, len(batch), _SLICE):
                with self._lock:
                    for change in batch[first : first + _SLICE]:
                        self._take(change.key, change.after)

    def arrange(self, order: str, text: str) -> None:
        """List by another order, or what has another text in it. O(keys log keys), where either differs."""
        if (order, text) == (self._order, self._text):
            return
        with self._lock:
            self._order, self._text = order, text
            self._ranks = {
                key: self._rank(key, value, order) for key, value in self._values.items() if self._fits(key, value)
            }
            self._sorted = SortedList((rank, key) for key, rank in self._ranks.items())

    def _take(self, key: str, value: V | None) -> None:
        before = self._values.pop(key, None)
        if before is not None:
            self._totals.subtract(self._parts(before))
        rank = self._ranks.pop(key, None)
        if rank is not None:
            self._sorted.remove((rank, key))
        if value is not None:
            self._values[key] = value
            self._totals.update(self._parts(value))
            if self._fits(key, value):
                self._ranks[key] = rank = self._rank(key, value, self._order)
                self._sorted.add((rank, key))

    def _fits(self, key: str, value: V) -> bool:
        return not self._text or self._text.lower() in self._text_of(key, value).lower()


ORDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "cells": ("trouble", "name", "memory", "instances"),
    "processes": ("trouble", "name", "instances", "latest crash"),
    "changes": ("latest",),
    "cell": ("trouble", "name", "age"),
}
"""What each table can be sorted by."""

KEPT: Final = 1_000  # how many of the latest changes are kept

_KINDS_BY_TROUBLE: Final = (
    Kind.CRASHED,
    Kind.SUSPECT,
    Kind.EVACUATING,
    Kind.UNCLAIMED,
    Kind.CLAIMED,
    Kind.OTHER,
    Kind.RUNNING,
)


class Instance(Struct, frozen=True):
    """An instance on a cell, and the name of its process."""

    name: str
    row: ActualLRP

    @property
    def key(self) -> str:
        """Its key; the process guid comes first."""
        return f"{self.row.process_guid} {self.row.index} {self.row.presence}"


class Board:
    """What is shown of a mirror, read by the screen's thread. `wall` is the clock of ages: nanoseconds since 1970."""

    def __init__(
        self, mirror: MirrorThread, url: str, waiting: Waiting, *, wall: Callable[[], int] = time.time_ns
    ) -> None:
        self.mirror = mirror
        self.url = url
        self.wall = wall
        self._waiting = waiting
        self._story = Story(mirror, time.time, kept=KEPT, completions=False)
        self.cells: Ranking[CellLoad] = Ranking(
            _rank_cell, lambda key, load: f"{key} {load.zone}{'' if load.present else ' gone'}", _cell_parts, "trouble"
        )
        self.processes: Ranking[ProcessHealth] = Ranking(
            self._rank_process,
            lambda key, value: f"{self.name(key)} {key} {value.health} {detail_of(value)}",
            lambda value: {value.health: 1, **kinds_of_process(value)},
            "trouble",
        )
        self.rates: deque[Second] = deque(maxlen=MINUTES * 60)  # of each of the last seconds, the oldest first
        self._counted: tuple[float, int, int, int] | None = None
        self._following = False

    def begin(self) -> None:
        """Keep cells and processes in order from now on, each in a thread that ends with the mirror."""
        mirror = self.mirror
        for ranking, view in ((self.cells, mirror.view(Cells())), (self.processes, mirror.view(Processes()))):
            Thread(target=_follow, args=(ranking, view), daemon=True).start()

    def tick(self) -> None:
        """Read phase and counters. Called often; O(kinds of events)."""
        self._story.watch_phase()
        # Nothing else takes the fresh news, so they would add up.
        self._story.take_news()
        if not self._following and self.mirror.status.synced_at is not None:
            # What the first lists bring is no news.
            self._following = True
            self._story.follow()
        self._count(time.monotonic())

    @property
    def reading(self) -> str:
        """The progress of the first lists; empty once they are in, and before anything has come."""
        return self._waiting.line() if self.mirror.status.synced_at is None and self._waiting.records else ""

    def changes(self, text: str) -> list[NewsItem]:
        """Return the latest changes that have a text in them, the latest first. O(changes kept)."""
        text = text.lower()
        latest = list(self._story.latest)
        return [one for one in latest if text in one.text.lower() or text in one.process_guid] if text else latest

    def on_cell(self, cell_id: str, order: str, text: str) -> list[Instance]:
        """Return what is on a cell and has a text in it, in an order. O(rows of the cell)."""
        text = text.lower()
        found = [Instance(self.name(row.process_guid, row), row) for row in self.mirror.actual_lrps(cell_id=cell_id)]
        if text:
            found = [one for one in found if text in f"{one.name} {one.row.process_guid} {one.row.state}".lower()]
        return sorted(found, key=lambda one: _rank_instance(one, order))

    def about_cell(self, cell_id: str) -> str:
        """Return a cell's line: its load and its instances."""
        load = self.cells.get(cell_id)
        present = next((cell for cell in self.mirror.cells if cell.cell_id == cell_id), None)
        parts = ["GONE: not there at the last list" if present is None else f"zone {present.zone or '-'}"]
        if load is not None and load.capacity is not None:
            parts.append(f"memory {load.memory_mb:,} of {load.capacity.memory_mb:,} MB")
            parts.append(f"disk {load.disk_mb:,} of {load.capacity.disk_mb:,} MB")
            parts.append(f"{load.instances} of {load.capacity.containers} containers")
        return ", ".join(parts)

    def process(self, guid: str) -> ProcessDetail:
        """Return the detail of one process. O(its rows and decisions)."""
        mirror = self.mirror
        return ProcessDetail(
            process_guid=guid,
            desired=mirror.desired_lrp(guid),
            health=self.processes.get(guid),
            rows=mirror.actual_lrps(guid),
            decisions=mirror.explain(guid),
            now=mirror.status.at,
            wall=self.wall(),
        )

    def name(self, guid: str, row: ActualLRP | None = None) -> str:
        """Return the display name of a process."""
        lrp = self.mirror.desired_lrp(guid)
        if lrp is None and row is None:
            row = next(iter(self.mirror.actual_lrps(guid)), None)
        return name_of(guid, lrp, row)

    def _count(self, now: float) -> None:
        """Add the seconds that have passed since the last one that was counted."""
        if self._counted is not None and now < self._counted[0] + 1:
            return
        counts = self.mirror.counts
        events = sum(counts.events.values())
        crashes = sum(count for kind, count in counts.events.items() if kind.startswith("actual_lrp_crashed"))
        changes = sum(counts.commits.values())
        if self._counted is not None:
            then, *before = self._counted
            seconds = min(int(now - then), MINUTES * 60)
            new = [(count - last) / seconds for count, last in zip((events, changes, crashes), before, strict=True)]
            self.rates.extend(Second(*map(round, new)) for _ in range(seconds))
            now = then + int(now - then)
        self._counted = now, events, changes, crashes

    def _rank_process(self, guid: str, value: ProcessHealth, order: str) -> tuple[Any, ...]:
        name = _natural(self.name(guid))
        if order == "instances":
            return -max(value.desired, value.running), name
        if order == "latest crash":
            return -(0 if value.last_crash is None else value.last_crash.since), name
        if order == "name":
            return (name,)
        # Of those with one health, those come first that are about to have a worse one.
        ailing = value.crashed + value.suspect + value.evacuating + value.missing + value.unclaimed
        return SEVERITY[value.health], -ailing, name


def kinds_of_cell(load: CellLoad) -> dict[Kind, int]:
    """Count the instances on a cell by kind; those that leave it and those of a lost cell are taken to run."""
    special = load.evacuating + load.suspect
    running = max(0, load.running - special)
    kinds = {Kind.RUNNING: running, Kind.CLAIMED: load.instances - special - running}
    return +Counter[Kind]({**kinds, Kind.EVACUATING: load.evacuating, Kind.SUSPECT: load.suspect})


def kinds_of_process(health: ProcessHealth) -> dict[Kind, int]:
    """Count the rows of a process by kind."""
    return +Counter[Kind]({kind: getattr(health, kind.value) for kind in Kind if kind is not Kind.OTHER})


def _follow(ranking: Ranking[Any], view: ThreadView[str, Any]) -> None:
    try:
        with view.changes() as changes:
            ranking.follow(changes)
    except LRPMirrorError:
        # The mirror is over; what ended it is raised where it is closed.
        return


def _natural(name: str) -> tuple[Any, ...]:
    """Sort app-2@ffff before app-10@0000."""
    app, _, version = name.partition("@")
    return natural(app), version


def _cell_parts(load: CellLoad) -> Mapping[Hashable, int]:
    full = load.memory_share is not None and load.memory_share > FULL
    return {"there" if load.present else "gone": 1, "full": int(full)}


def _rank_cell(cell_id: str, load: CellLoad, order: str) -> tuple[Any, ...]:
    name = natural(cell_id)
    share = -1.0 if load.memory_share is None else load.memory_share
    if order == "memory":
        return -share, name
    if order == "instances":
        return -load.instances, name
    if order == "name":
        return (name,)
    # What reserves more than there is is trouble; how full it is else is not.
    return load.present, -load.suspect, -load.evacuating, -max(share, 1.0), name


def _rank_instance(one: Instance, order: str) -> tuple[Any, ...]:
    row = one.row
    named = (_natural(one.name), row.index, row.presence)
    if order == "name":
        return named
    if order == "age":
        return -row.since, *named
    return _KINDS_BY_TROUBLE.index(kind_of(row)), -row.crash_count, *named
