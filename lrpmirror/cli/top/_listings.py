"""The tables of `lrpmirror top`: cells, processes, changes, and the instances on one cell."""

import time
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from lrpmirror.cli.shared.paint import bar, line
from lrpmirror.cli.shared.view import kind_of
from lrpmirror.cli.top._board import Board, Instance, kinds_of_cell, kinds_of_process
from lrpmirror.cli.top._process import duration
from lrpmirror.cli.top._table import Column, Content, Listing, Row
from lrpmirror.cli.top._text import HEALTHS, kind, memory
from lrpmirror.serve.page_model import detail_of
from lrpmirror.views import Health, ProcessHealth

_NARROW: Final = 60
"""Below this width tables have only what is most needed."""


class CellsTable(Listing):
    """The cells: how full they are, and what is on them."""

    kind = "cells"
    sorts: ClassVar[dict[str, str]] = {"CELL": "name", "MEMORY": "memory", "MEM": "memory", "N": "instances"}

    def take(self, width: int, limit: int) -> Content:
        """Return what is shown."""
        ranking = self.board.cells
        ranking.arrange(self.ordered_by, self.text)
        found = ranking.first(limit)
        longest = max((load.instances for _, load in found), default=0)
        head = [("CELL", _widest((key for key, _ in found), width // 3)), ("ZONE", 5), ("MEMORY", 16), ("N", 5)]
        if width < _NARROW:
            head = [head[0], ("MEM", 5), ("N", 4)]
        columns = [*head, ("", _rest(head, width))]
        rows: list[Row] = []
        for key, load in found:
            drawn = bar(kinds_of_cell(load), columns[-1][1], longest)
            cells = [line((key, "" if load.present else "magenta"))]
            cells += [] if width < _NARROW else [line(load.zone or "-")]
            rows.append((key, [*cells, memory(load, columns[-3][1]), line(f"{load.instances:>4}"), drawn]))
        return Content(columns, rows, len(ranking), ranking.all)


class ProcessesTable(Listing):
    """The processes: how they are, and why."""

    kind = "processes"
    sorts: ClassVar[dict[str, str]] = {
        "PROCESS": "name",
        "HEALTH": "trouble",
        "RUN": "instances",
        "WHY": "latest crash",
    }

    def take(self, width: int, limit: int) -> Content:
        """Return what is shown."""
        ranking = self.board.processes
        ranking.arrange(self.ordered_by, self.text)
        found = [(key, self.board.name(key), value) for key, value in ranking.first(limit)]
        longest = max((sum(kinds_of_process(value).values()) for *_, value in found), default=0)
        columns = [("PROCESS", _widest((name for _, name, _ in found), width // 3)), ("HEALTH", 11), ("RUN", 7)]
        if width >= _NARROW:
            # Bars are as wide as the longest, and leave room for the reason.
            columns.append(("", max(1, min(longest, _rest(columns, width) // 3))))
        columns.append(("WHY", _rest(columns, width)))
        rows: list[Row] = []
        for key, name, value in found:
            cells = [line(name), line((value.health.value, HEALTHS[value.health])), line(f"{_counts(value):>7}")]
            cells += [bar(kinds_of_process(value), columns[3][1], longest)] if width >= _NARROW else []
            rows.append((key, [*cells, line((detail_of(value), "dim"))]))
        return Content(columns, rows, len(ranking), ranking.all)


class ChangesTable(Listing):
    """The latest changes, in words."""

    kind = "changes"

    def take(self, width: int, limit: int) -> Content:
        """Return what is shown."""
        found = self.board.changes(self.text)
        columns = [("TIME", 8), ("WHAT", _rest([("TIME", 8)], width))]
        seen: dict[str, int] = {}
        rows: list[Row] = []
        for one in found[:limit]:
            # What has happened twice at one moment is two rows.
            stem = f"{one.process_guid} {one.at} {one.text}"
            seen[stem] = again = seen.get(stem, -1) + 1
            when = time.strftime("%H:%M:%S", time.localtime(one.at))
            rows.append((f"{stem} {again}", [line((when, "dim")), line(one.text)]))
        return Content(columns, rows, len(found), len(self.board.changes("")))


class CellTable(Listing):
    """The instances on one cell."""

    kind = "cell"
    sorts: ClassVar[dict[str, str]] = {"INSTANCE": "name", "STATE": "trouble", "FOR": "age"}

    def __init__(self, board: Board, cell_id: str) -> None:
        super().__init__(board)
        self.subject = cell_id

    def take(self, width: int, limit: int) -> Content:
        """Return what is shown."""
        found = self.board.on_cell(self.subject, self.ordered_by, self.text)
        total = len(self.board.mirror.actual_lrps(cell_id=self.subject))
        head = [("INSTANCE", _widest((_instance(one) for one in found), width // 3)), ("STATE", 19), ("FOR", 7)]
        columns = [*head, ("NOTES", _rest(head, width))]
        wall = self.board.wall()
        rows: list[Row] = []
        for one in found[:limit]:
            row = one.row
            age = duration(wall - row.since) if row.since else ""
            cells = [line(_instance(one)), kind(kind_of(row), row.state.value.lower()), line(f"{age:>7}")]
            rows.append((one.key, [*cells, line((_notes(one), "dim"))]))
        return Content(columns, rows, len(found), total)


def _widest(texts: Iterable[str], most: int) -> int:
    return max(8, min(most, max(map(len, texts), default=8)))


def _rest(columns: Sequence[Column], width: int) -> int:
    """Return how wide the last column is: what the others and their margins leave of the table."""
    used = sum(wide + 2 for _, wide in columns)
    # Two for its own margins, two for the scroll bar.
    return max(1, width - used - 4)


def _counts(value: ProcessHealth) -> str:
    return f"{value.running}/{'-' if value.health is Health.UNDESIRED else value.desired}"


def _instance(one: Instance) -> str:
    return f"{one.name}/{one.row.index}"


def _notes(one: Instance) -> str:
    row = one.row
    crashed = f"crashed {'once' if row.crash_count == 1 else f'{row.crash_count} times'}" if row.crash_count else ""
    notes = (crashed, "not routable" if row.routable is False else "", row.placement_error)
    return ", ".join(filter(None, notes))
