"""Where `lrpmirror top` takes its snapshots from: a mirror, and what is kept beside it."""

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import trio
from msgspec.structs import replace

from lrpmirror.cli._story import Story
from lrpmirror.cli._top_process import ProcessDetail, duration, process_lines
from lrpmirror.cli._top_ranking import Ranking
from lrpmirror.cli._top_snapshot import (
    FULL,
    CellLine,
    InstanceLine,
    Line,
    NewsLine,
    ProcessLine,
    Snapshot,
    Window,
    columns_of,
    rooms,
)
from lrpmirror.cli._top_state import Page, PageKind, State, settled
from lrpmirror.cli._view import Kind, News, kind_of, name_of
from lrpmirror.cli._waiting import Waiting
from lrpmirror.mirror import Mirror
from lrpmirror.model import ActualLRP, CellPresence
from lrpmirror.serve.picture import SEVERITY, detail_of, natural
from lrpmirror.serve.pulse import Pulse
from lrpmirror.views import CellLoad, Cells, Processes, ProcessHealth

__all__ = ["Sources", "kinds_of_cell", "kinds_of_process"]

KEPT: Final = 1_000
"""How many of the latest changes are kept."""

_KINDS_BY_TROUBLE: Final = (
    Kind.CRASHED,
    Kind.SUSPECT,
    Kind.EVACUATING,
    Kind.UNCLAIMED,
    Kind.CLAIMED,
    Kind.OTHER,
    Kind.RUNNING,
)

_MARGIN: Final = 2
"""How many columns before each line of a list are for the cursor."""

_THERE: Final = "there"
_GONE: Final = "gone"
_FULL: Final = "full"
"""What cells are counted by."""


class Sources:
    """What is kept up to date of a mirror, and looked at for each frame: what is on the screen, and no more."""

    def __init__(self, mirror: Mirror, url: str, waiting: Waiting) -> None:
        self._mirror = mirror
        self._url = url
        self._waiting = waiting
        self._pulse = Pulse(trio.current_time)
        self._story = Story(mirror, time.time, kept=KEPT, completions=False)
        self._cells: Ranking[CellLoad] = Ranking(_rank_cell, _cell_says, _cell_parts, "trouble")
        self._processes: Ranking[ProcessHealth] = Ranking(self._rank_process, self._process_says, _parts, "trouble")

    async def follow(self) -> None:
        """Keep up to date; for ever."""
        mirror = self._mirror
        with mirror.witnessed(self._pulse):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cells.follow, mirror.view(Cells()))
                nursery.start_soon(self._processes.follow, mirror.view(Processes()))
                nursery.start_soon(self._story.watch_phases)
                await mirror.wait_synced()
                self._story.follow()

    async def take(self, state: State, width: int, height: int) -> tuple[Snapshot, State]:
        """Take a snapshot for a screen of that size; with it the state whose pages fit it."""
        # What is fresh is asked for by nobody else, and would add up.
        self._story.take_fresh()
        windows = []
        for tab, room in rooms(state, height):
            window = await self._window(state.page if tab is None else state.tabs[tab], room, width)
            windows.append(window)
            if tab is None:
                state = state.with_page(window.page)
            else:
                state = replace(state, tabs=(*state.tabs[:tab], window.page, *state.tabs[tab + 1 :]))
        status = self._mirror.status
        error = status.trouble or status.last_error
        totals, cells = self._processes.totals, self._cells.totals
        snapshot = Snapshot(
            url=self._url,
            phase=status.phase,
            age=status.age,
            silence=status.silence,
            listed=None if status.synced_at is None else status.at - status.synced_at,
            revision=status.revision,
            error="" if error is None else str(error),
            error_over=status.trouble is None,
            reading=self._waiting.line() if status.synced_at is None and self._waiting.records else "",
            kinds={kind: totals[kind] for kind in Kind if totals[kind]},
            healths={health: totals[health] for health in SEVERITY if totals[health]},
            cells=cells[_THERE],
            cells_gone=cells[_GONE],
            cells_full=cells[_FULL],
            rates=self._pulse.history(),
            windows=tuple(windows),
        )
        return snapshot, state

    async def _window(self, page: Page, room: int, width: int) -> Window:
        match page.kind:
            case PageKind.CELLS:
                await self._cells.arrange(page.ordered_by, page.text)
                return self._ranked(page, room, width, self._cells, self._cell)
            case PageKind.PROCESSES:
                await self._processes.arrange(page.ordered_by, page.text)
                return self._ranked(page, room, width, self._processes, self._process)
            case PageKind.CHANGES:
                return self._changes(page, room)
            case PageKind.CELL:
                return self._on_cell(page, room)
            case PageKind.PROCESS:
                return self._of_process(page, room, width)

    def _ranked(self, page: Page, room: int, width: int, ranking: Ranking[Any], line: Callable[[str], Line]) -> Window:
        place = None if page.key is None else ranking.place(page.key)
        columns = columns_of(page, width)
        page = settled(page, count=len(ranking), room=room * columns, place=place)
        keys = ranking.keys(page.top, page.room)
        lines = tuple(map(line, keys))
        longest = max((sum(one.kinds.values()) for one in lines if isinstance(one, CellLine | ProcessLine)), default=0)
        total = sum(ranking.totals[key] for key in (_THERE, _GONE, *SEVERITY))
        return Window(page=_held(page, keys), lines=lines, total=total, longest=longest, columns=columns)

    def _cell(self, cell_id: str) -> CellLine:
        load = self._cells[cell_id]
        return CellLine(
            cell_id=cell_id,
            zone=load.zone,
            present=load.present,
            kinds=kinds_of_cell(load),
            memory_share=load.memory_share,
        )

    def _process(self, guid: str) -> ProcessLine:
        health = self._processes[guid]
        return ProcessLine(
            process_guid=guid,
            name=self._name(guid),
            health=health.health,
            desired=health.desired,
            running=health.running,
            kinds=kinds_of_process(health),
            why=detail_of(health),
        )

    def _changes(self, page: Page, room: int) -> Window:
        news: Sequence[News] = self._story.latest
        text = page.text.lower()
        if text:
            news = [one for one in news if text in one.text.lower() or text in one.process_guid]
        keys = [f"{one.process_guid} {one.at} {one.text}" for one in news]
        page = _placed(page, room, keys)
        lines = tuple(
            NewsLine(
                key=keys[place], time=time.strftime("%H:%M:%S", time.localtime(news[place].at)), text=news[place].text
            )
            for place in range(page.top, min(page.top + room, len(keys)))
        )
        return Window(page=_held(page, keys[page.top :]), lines=lines, total=len(self._story.latest))

    def _on_cell(self, page: Page, room: int) -> Window:
        """List what is on a cell. O(rows of the cell)."""
        rows = self._mirror.actual_lrps(cell_id=page.subject)
        text, wall = page.text.lower(), time.time_ns()
        named = [(self._name(row.process_guid, row), row) for row in rows]
        if text:
            named = [(name, row) for name, row in named if text in f"{name} {row.process_guid} {row.state}".lower()]
        named.sort(key=lambda one: _rank_instance(one[0], one[1], page.ordered_by))
        keys = [f"{row.process_guid} {row.index} {row.presence}" for _, row in named]
        page = _placed(page, room, keys)
        lines = tuple(_instance(key, *one, wall) for key, one in zip(keys, named, strict=True))[
            page.top : page.top + room
        ]
        present = next((cell for cell in self._mirror.cells if cell.cell_id == page.subject), None)
        more = _about_cell(self._cells.get(page.subject), present)
        return Window(page=_held(page, keys[page.top :]), lines=lines, title=page.subject, more=more, total=len(rows))

    def _of_process(self, page: Page, room: int, width: int) -> Window:
        guid, mirror = page.subject, self._mirror
        detail = ProcessDetail(
            process_guid=guid,
            desired=mirror.desired_lrp(guid),
            health=self._processes.get(guid),
            rows=mirror.actual_lrps(guid),
            decisions=mirror.explain(guid),
            now=mirror.status.at,
            wall=time.time_ns(),
        )
        lines = tuple(process_lines(detail, width - _MARGIN))
        page = settled(page, count=len(lines), room=room, place=None)
        return Window(page=page, lines=lines[page.top : page.top + room], title=self._name(guid), total=len(lines))

    def _name(self, guid: str, row: ActualLRP | None = None) -> str:
        lrp = self._mirror.desired_lrp(guid)
        if lrp is None and row is None:
            row = next(iter(self._mirror.actual_lrps(guid)), None)
        return name_of(guid, lrp, row)

    def _rank_process(self, guid: str, value: ProcessHealth, order: str) -> tuple[Any, ...]:
        name = _natural(self._name(guid))
        if order == "instances":
            return -max(value.desired, value.running), name
        if order == "latest crash":
            return -(0 if value.last_crash is None else value.last_crash.since), name
        if order == "name":
            return (name,)
        # Of those with one health, those come first that are about to have a worse one.
        ailing = value.crashed + value.suspect + value.evacuating + value.missing + value.unclaimed
        return SEVERITY[value.health], -ailing, name

    def _process_says(self, guid: str, value: ProcessHealth) -> str:
        return f"{self._name(guid)} {guid} {value.health} {detail_of(value)}"


def kinds_of_cell(load: CellLoad) -> dict[Kind, int]:
    """Count the instances on a cell by kind; those that leave it and those of a lost cell are taken to run."""
    special = load.evacuating + load.suspect
    running = max(0, load.running - special)
    return _some(
        {
            Kind.RUNNING: running,
            Kind.CLAIMED: max(0, load.instances - special - running),
            Kind.EVACUATING: load.evacuating,
            Kind.SUSPECT: load.suspect,
        }
    )


def kinds_of_process(health: ProcessHealth) -> dict[Kind, int]:
    """Count the rows of a process by kind."""
    return _some(
        {
            Kind.RUNNING: health.running,
            Kind.CLAIMED: health.claimed,
            Kind.UNCLAIMED: health.unclaimed,
            Kind.CRASHED: health.crashed,
            Kind.EVACUATING: health.evacuating,
            Kind.SUSPECT: health.suspect,
        }
    )


def _natural(name: str) -> tuple[Any, ...]:
    """Sort app-2@ffff before app-10@0000."""
    app, _, version = name.partition("@")
    return natural(app), version


def _some(kinds: Mapping[Kind, int]) -> dict[Kind, int]:
    return {kind: count for kind, count in kinds.items() if count}


def _parts(value: ProcessHealth) -> Mapping[Hashable, int]:
    kinds: Iterable[tuple[Hashable, int]] = kinds_of_process(value).items()
    return {value.health: 1, **dict(kinds)}


def _cell_parts(load: CellLoad) -> Mapping[Hashable, int]:
    full = load.memory_share is not None and load.memory_share > FULL
    return {_THERE if load.present else _GONE: 1, _FULL: int(full)}


def _cell_says(cell_id: str, load: CellLoad) -> str:
    return f"{cell_id} {load.zone}{'' if load.present else ' gone'}"


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


def _rank_instance(name: str, row: ActualLRP, order: str) -> tuple[Any, ...]:
    named = (_natural(name), row.index, row.presence)
    if order == "name":
        return named
    if order == "age":
        return -row.since, *named
    return _KINDS_BY_TROUBLE.index(kind_of(row)), -row.crash_count, *named


def _instance(key: str, name: str, row: ActualLRP, wall: int) -> InstanceLine:
    notes = [f"crashed {'once' if row.crash_count == 1 else f'{row.crash_count} times'}"] if row.crash_count else []
    notes += ["not routable"] if row.routable is False else []
    return InstanceLine(
        key=key,
        name=f"{name}/{row.index}",
        kind=kind_of(row),
        state=row.state.value.lower(),
        age=duration(wall - row.since) if row.since else "",
        notes=", ".join(filter(None, (*notes, row.placement_error))),
    )


def _about_cell(load: CellLoad | None, present: CellPresence | None) -> str:
    parts = ["GONE: not there at the last list" if present is None else f"zone {present.zone or '-'}"]
    if load is not None and load.capacity is not None:
        parts.append(f"memory {load.memory_mb:,} of {load.capacity.memory_mb:,} MB")
        parts.append(f"disk {load.disk_mb:,} of {load.capacity.disk_mb:,} MB")
        parts.append(f"{load.instances} of {load.capacity.containers} containers")
    return ", ".join(parts)


def _placed(page: Page, room: int, keys: Sequence[str]) -> Page:
    place = keys.index(page.key) if page.key is not None and page.key in keys else None
    return settled(page, count=len(keys), room=room, place=place)


def _held(page: Page, shown: Sequence[str]) -> Page:
    """Return the page with what is at its cursor, given the keys from its first line on."""
    place = page.cursor - page.top
    under = shown[place] if place < len(shown) else None
    return replace(page, under=under, key=under if page.cursor else None)
