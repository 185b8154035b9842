"""The tables of `lrpmirror top`, which are brought up to date in place."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from lrpmirror.cli.shared.screen import bar, line
from lrpmirror.cli.shared.view import kind_of
from lrpmirror.cli.top._board import ORDERS, Board, Instance, kinds_of_cell, kinds_of_process
from lrpmirror.cli.top._text import HEALTHS, duration, kind, memory
from lrpmirror.serve.page_model import detail_of
from lrpmirror.views import Health, ProcessHealth

_STEP: Final = 500  # how many rows a table has at first, and by how many it grows when the cursor nears its end
_NEAR: Final = 50  # how many rows before its end that is
Row = tuple[str, list[Text]]  # what a row is known by, and its cells
Column = tuple[str, int]  # what a column's head says, and how wide it is


class Content(NamedTuple):
    """What a table shows."""

    columns: list[Column]
    rows: list[Row]  # the first of what fits the filter
    fitting: int  # how many fit the filter
    total: int  # how many there are


class Listing(DataTable[Text]):
    """A table of one kind, sorted by one of its orders, with what has a text in it.

    What is selected stays selected wherever it moves to; but for the first row, where one stays at the first.
    Subclasses say which columns there are and which rows.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("space", "page_down", show=False),
        Binding("g", "scroll_top", show=False),
        Binding("G", "scroll_bottom", show=False),
        Binding("right,l", "select_cursor", show=False),
        Binding("enter", "select_cursor", "Open"),
    ]

    kind: ClassVar[str]  # its name, by which its orders are known
    sorts: ClassVar[dict[str, str]] = {}  # what a click on the head of a column sorts by

    def __init__(self, board: Board, subject: str = "", **of_textual: Any) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False, cell_padding=1, **of_textual)
        self.board = board
        self.subject = subject  # what it is of, beyond its kind
        self.order = 0
        self.text = ""  # only what has this in it is listed
        self._columns_shown: list[Column] = []
        self._rows_shown: list[Row] = []
        self._limit = _STEP

    @property
    def ordered_by(self) -> str:
        """What it is sorted by."""
        return ORDERS[self.kind][self.order]

    @property
    def selected(self) -> str | None:
        """What the selected row is known by; None where there is none."""
        return self._rows_shown[self.cursor_row][0] if self.cursor_row < len(self._rows_shown) else None

    def take(self, width: int, limit: int) -> Content:
        """Return what is shown in a table so wide, with at most so many rows."""
        raise NotImplementedError

    def update(self) -> None:
        """Show what there is now."""
        if self.cursor_row >= len(self._rows_shown) - _NEAR and len(self._rows_shown) >= self._limit:
            self._limit += _STEP
        columns, rows, fitting, total = self.take(max(1, self.size.width), self._limit)
        if columns != self._columns_shown or [key for key, _ in rows] != [key for key, _ in self._rows_shown]:
            self._replace(columns, rows)
        else:
            self._change(rows)
        self._rows_shown, self._columns_shown = rows, columns
        self.border_title = self._title(fitting, total)

    def sort_by(self, order: int) -> None:
        """Sort by another order, and go back to the top: what was selected would have to be searched."""
        self.order = order % len(ORDERS[self.kind])
        self._from_the_top()

    def filter_by(self, text: str) -> None:
        """List only what has a text in it."""
        self.text = text
        self._from_the_top()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Sort by what was clicked on."""
        event.stop()
        order = self.sorts.get(str(event.label))
        if order is not None:
            self.sort_by(ORDERS[self.kind].index(order))

    def _from_the_top(self) -> None:
        self._limit = _STEP
        self.move_cursor(row=0, animate=False)
        self.update()

    def _replace(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        place, top = self.cursor_row, self.scroll_offset.y
        selected = self.selected if place else None
        keys = {key: place for place, (key, _) in enumerate(rows)}
        place = keys.get(selected or "", min(place, max(0, len(rows) - 1)))
        with self.app.batch_update():
            if columns == self._columns_shown:
                self.clear()
            else:
                self.clear(columns=True)
                for head, width in columns:
                    self.add_column(head, width=width, key=head)
            for key, cells in rows:
                self.add_row(*cells, key=key)
            # What is selected stays where it is on the screen, as far as the rows reach.
            self.move_cursor(row=place, animate=False, scroll=False)
            self.scroll_to(y=max(0, top), animate=False, force=True, immediate=True)
            self.call_after_refresh(lambda: self.move_cursor(row=self.cursor_row, animate=False, scroll=True))

    def _change(self, rows: Sequence[Row]) -> None:
        for (key, cells), (_, shown) in zip(rows, self._rows_shown, strict=True):
            for (head, _), cell, before in zip(self._columns_shown, cells, shown, strict=True):
                if cell != before:
                    self.update_cell(key, head, cell)

    def _title(self, fitting: int, total: int) -> Text:
        title = Text(f"{self.kind.upper()} ", "bold")
        if self.subject:
            title.append(f"{self.subject}  ", "bold")
        title.append(f"{fitting:,}")
        if len(ORDERS[self.kind]) > 1:
            title.append(f", by {self.ordered_by}")
        if self.text:
            title.append(f", with {self.text!r}", "bold yellow")
            title.append(f" (of {total:,})", "dim")
        return title


_NARROW: Final = 60  # below this width tables have only what is most needed


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
