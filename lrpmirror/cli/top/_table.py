"""A table of what is first in some order, which is brought up to date in place."""

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from lrpmirror.cli.top._board import ORDERS, Board

_STEP: Final = 500
"""How many rows a table has at first, and by how many it grows when the cursor nears its end."""

_NEAR: Final = 50
"""How many rows before its end that is."""

Row = tuple[str, list[Text]]
"""What a row is known by, and its cells."""

Column = tuple[str, int]
"""What a column's head says, and how wide it is."""


class Content(NamedTuple):
    """What a table shows."""

    columns: list[Column]
    rows: list[Row]
    """The first of what fits the filter."""
    fitting: int
    """How many fit the filter."""
    total: int
    """How many there are."""


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

    kind: ClassVar[str]
    """Its name, by which its orders are known."""
    sorts: ClassVar[dict[str, str]] = {}
    """What a click on the head of a column sorts by."""
    subject: str = ""
    """What it is of, beyond its kind."""

    def __init__(self, board: Board, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, cursor_type="row", zebra_stripes=False, cell_padding=1)
        self.board = board
        self.order = 0
        self.text = ""
        """Only what has this in it is listed."""
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
