"""The content of a mirror's display, as frozen values; shown on a terminal's other screen, or as lines."""

import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial
from typing import Final, TextIO

import trio
from msgspec import Struct

from lrpmirror.cli.shared.arguments import require
from lrpmirror.cli.shared.output import printable
from lrpmirror.core.freshness.status import Status
from lrpmirror.mirror import Mirror
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, Presence

_GUID: Final = 36  # the length of an app's guid, which the process guid of a Cloud Foundry app begins with


class Kind(Enum):
    """What an instance counts as: its presence where that is out of the ordinary, else its state."""

    RUNNING = "running"
    CLAIMED = "claimed"
    UNCLAIMED = "unclaimed"
    CRASHED = "crashed"
    EVACUATING = "evacuating"
    SUSPECT = "suspect"
    OTHER = "other"


class CellView(Struct, frozen=True):
    """A cell and what is on it; `present` says whether it was in the last list, and the empty id is "on no cell"."""

    cell_id: str
    zone: str
    present: bool
    kinds: Mapping[Kind, int]


class ProcessView(Struct, frozen=True):
    """A process: its desired instances (None: it is not desired), its instances by kind, and a note on problems."""

    name: str
    wanted: int | None
    kinds: Mapping[Kind, int]
    note: str = ""

    @property
    def trouble(self) -> int:
        """A rank of its problems: 0 when as many run as are wanted, and nothing else is wrong."""
        missing = max(0, (self.wanted or 0) - self.kinds.get(Kind.RUNNING, 0))
        ailing = sum(self.kinds.get(kind, 0) for kind in (Kind.CRASHED, Kind.SUSPECT))
        return 4 * ailing + 2 * missing + (self.kinds.get(Kind.EVACUATING, 0) or self.wanted is None)


class NewsItem(Struct, frozen=True):
    """Something that happened, in words, and when, in seconds since the beginning."""

    at: float
    text: str
    process_guid: str = ""  # the process that it is about, if it is about one


class View(Struct, frozen=True, kw_only=True):
    """Everything that is shown at one moment, so many seconds after the beginning."""

    title: str
    elapsed: float
    status: Status
    kinds: Mapping[Kind, int]
    domains: tuple[str, ...] = ()
    cells: tuple[CellView, ...] = ()
    processes: tuple[ProcessView, ...] = ()  # those in most trouble first
    news: tuple[NewsItem, ...] = ()  # the latest first


def kind_of(row: ActualLRP) -> Kind:
    """Return what a row counts as."""
    if row.presence is Presence.EVACUATING:
        return Kind.EVACUATING
    if row.presence is Presence.SUSPECT:
        return Kind.SUSPECT
    known = ActualLRPState.__members__.get(row.state.name)
    return Kind.OTHER if known is None else Kind[row.state.name]


def name_of(process_guid: str, lrp: DesiredLRP | None = None, row: ActualLRP | None = None) -> str:
    """Return the display name of a process: its app's name, if a metric tag has it, with the version's first digits."""
    app, version = process_guid[:_GUID], process_guid[_GUID + 1 :]
    tag = None if lrp is None else lrp.metric_tags.get("app_name")
    name = "" if tag is None else tag.static
    name = name or ("" if row is None else row.metric_tags.get("app_name", "")) or app[:8]
    return f"{name}@{version[:4]}" if version else name


def view_of(mirror: Mirror, *, title: str, elapsed: float, news: Iterable[NewsItem]) -> View:
    """Take a view of a mirror as it is now. O(rows + desired LRPs)."""
    rows = mirror.actual_lrps()
    return View(
        title=title,
        elapsed=elapsed,
        status=mirror.status,
        kinds=Counter(map(kind_of, rows)),
        domains=tuple(sorted(mirror.domains)),
        cells=_cells(mirror, rows),
        processes=_processes(mirror, rows),
        news=tuple(news),
    )


def _cells(mirror: Mirror, rows: Iterable[ActualLRP]) -> tuple[CellView, ...]:
    zones = {cell.cell_id: cell.zone for cell in mirror.cells}
    kinds: dict[str, Counter[Kind]] = {cell_id: Counter() for cell_id in zones}
    for row in rows:
        kinds.setdefault(row.cell_id, Counter())[kind_of(row)] += 1
    # What is on no cell comes last.
    ordered = sorted(kinds, key=lambda cell_id: (not cell_id, cell_id))
    return tuple(
        CellView(cell_id, zones.get(cell_id, ""), not cell_id or cell_id in zones, kinds[cell_id])
        for cell_id in ordered
    )


def _processes(mirror: Mirror, rows: Iterable[ActualLRP]) -> tuple[ProcessView, ...]:
    kinds: dict[str, Counter[Kind]] = {lrp.process_guid: Counter() for lrp in mirror.desired_lrps()}
    notes: dict[str, str] = {}
    one_of: dict[str, ActualLRP] = {}
    for row in rows:
        kinds.setdefault(row.process_guid, Counter())[kind_of(row)] += 1
        one_of[row.process_guid] = row
        note = row.placement_error or (row.crash_reason if row.state is not ActualLRPState.RUNNING else "")
        if note:
            notes[row.process_guid] = f"{row.index}: {note}"
    views = []
    for guid, counted in kinds.items():
        lrp = mirror.desired_lrp(guid)
        wanted = None if lrp is None else lrp.instances
        views.append(ProcessView(name_of(guid, lrp, one_of.get(guid)), wanted, counted, notes.get(guid, "")))
    return tuple(sorted(views, key=lambda view: (-view.trouble, view.name)))


def status_line(view: View) -> str:
    """Return the view as one line."""
    status = view.status
    age = "" if status.age is None else f", last heard {status.age:.1f} s ago"
    present = sum(cell.present for cell in view.cells if cell.cell_id)
    return printable(
        f"{view.elapsed:6.1f} s  {status.phase.name:<10} revision {status.revision}{age}; {amounts(view)}; "
        f"{status.desired_lrps} desired, {present} cells"
    )


def amounts(view: View) -> str:
    """Count the instances by kind."""
    counted = ", ".join(f"{view.kinds[kind]} {kind.value}" for kind in Kind if view.kinds.get(kind))
    return f"{sum(view.kinds.values())} instances{': ' if counted else ''}{counted}"


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


class Display:
    """Shows a view as a line, and each piece of news as one. Blocks no other task, however slow the reader is."""

    interval: float = 1.0  # how many seconds there are to be between two views

    def __init__(self, out: TextIO) -> None:
        self._out = out

    async def show(self, view: View) -> None:
        """Show a view in place of the one before."""
        await self._write(f"{status_line(view)}\n")

    async def show_news(self, news: Sequence[NewsItem]) -> None:
        """Show what has happened since the last call."""
        await self._write("".join(f"{one.at:6.1f} s    {printable(one.text)}\n" for one in news))

    async def _write(self, text: str) -> None:
        if text:
            await trio.to_thread.run_sync(partial(print, text, end="", file=self._out, flush=True))


@asynccontextmanager
async def open_display() -> AsyncIterator[Display]:
    """Yield the display that suits stdout; a terminal is restored at the end. Raises ConfigurationError."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield Display(sys.stdout)
        return
    require("rich")
    # Only a terminal needs rich.
    from lrpmirror.cli.shared.screen import open_screen  # noqa: PLC0415

    async with open_screen(sys.stdout) as screen:
        yield screen
