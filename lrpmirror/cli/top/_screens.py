"""`lrpmirror top` as a Textual program: its screens, and a mirror in a thread of its own."""

import asyncio
import signal
from pathlib import Path
from typing import ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical, VerticalScroll
from textual.events import Resize
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Input, Label, Sparkline, Static

from lrpmirror.cli.shared.arguments import Target
from lrpmirror.cli.shared.progress import Waiting
from lrpmirror.cli.shared.screen import line
from lrpmirror.cli.top._board import Board
from lrpmirror.cli.top._listings import CellsTable, CellTable, ChangesTable, Listing, ProcessesTable
from lrpmirror.cli.top._text import amounts, freshness, instances, phase, process_lines, trouble
from lrpmirror.model import ActualLRP
from lrpmirror.thread import MirrorThread

INTERVAL: Final = 0.5  # seconds between two reads of the mirror
_RATED: Final = 10  # over how many seconds a rate is taken

HELP: Final = """\
Keys
  Up Down k j          one row; what is selected stays selected where it moves
  PgUp PgDn Space      one screen
  Home End g G         to the first, to the last
  Tab Shift-Tab 1 2 3  cells, processes, changes
  Enter Right l, click open: a cell's instances; the process of a row
  Esc Backspace Left h back; or no filter any more
  s S, click on a head sort by the next, by the one before
  /                    show only what has a text in it
  t                    dark or light
  q Ctrl-C             quit

Health of processes, the worst first
  down        no instance runs
  crashing    an instance has crashed and waits for its restart
  unplaceable an instance could not be placed on any cell
  degraded    some instances run, and some do not yet
  undesired   there are instances and no desired LRP

Of cells: the share of the memory that is reserved, and how many instances.
Rates are those of the last ten seconds, beside them the last five minutes.
"""


_LOWEST: Final = 2  # how many screens there are when the first one is shown: below it is Textual's own, an empty one


class Watching(Screen[None]):
    """A screen that reads the mirror twice a second."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,left,h", "back", "Back"),
        Binding("question_mark", "help", "Help"),
    ]

    def __init__(self, board: Board, subject: str = "") -> None:
        super().__init__()
        self.board = board
        self.subject = subject  # the cell or process that it is about

    def on_mount(self) -> None:
        """Begin to look."""
        self.look()
        self.set_interval(INTERVAL, self.look)

    def on_resize(self, _: Resize) -> None:
        """Show what fits now, once it is known what does."""
        self.call_after_refresh(self.look)

    def on_screen_resume(self) -> None:
        """Show at once what has changed since another screen came above this one."""
        self.look()

    def look(self) -> None:
        """Show the present state."""
        self.board.tick()
        self.query_one("#phase", Static).update(phase(self.board.mirror.status, self.board.url, self.board.reading))

    def action_back(self) -> None:
        """Go back to the screen below, if there is one that shows anything."""
        if len(self.app.screen_stack) > _LOWEST:
            self.dismiss()

    def action_help(self) -> None:
        """Show the help."""
        self.app.push_screen(HelpScreen())


class Listed(Watching):
    """A screen with tables, one of which keys are for, that can be sorted and filtered."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter"),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", show=False),
    ]

    @property
    def listing(self) -> Listing:
        """The table that keys are for."""
        return self.query_one(".current", Listing)

    def compose_filter(self) -> ComposeResult:
        """Make the line that a filter is typed into."""
        yield Input(id="filter", placeholder="what has this in it; Enter keeps it, Esc takes it back", compact=True)

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one("#filter").display = False
        super().on_mount()
        self.listing.focus()

    def look(self) -> None:
        """Show the present state."""
        super().look()
        for listing in self.query(Listing):
            if listing.display:
                listing.update()

    def action_sort(self, step: int) -> None:
        """Sort by the next order."""
        self.listing.sort_by(self.listing.order + step)

    def action_filter(self) -> None:
        """Ask for a text."""
        box = self.query_one("#filter", Input)
        box.display = True
        box.value = self.listing.text
        self._before = self.listing.text
        box.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as it is typed."""
        if self.query_one("#filter").display:
            self.listing.filter_by(event.value)

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self.query_one("#filter").display = False
        self.listing.focus()

    def action_back(self) -> None:
        """Take the filter back that is being typed; else the one that is there; else go back."""
        if self.query_one("#filter").display:
            self.on_input_submitted()
            self.listing.filter_by(self._before)
        elif self.listing.text:
            self.listing.filter_by("")
        else:
            super().action_back()

    def on_data_table_row_selected(self, event: Listing.RowSelected) -> None:
        """Open what a row is about."""
        key = event.row_key.value or ""
        if event.data_table.id == "cells":
            self.app.push_screen(CellScreen(self.board, key))
            return
        # Rows of instances and changes have the process before what makes them differ.
        guid = key if event.data_table.id == "processes" else key.partition(" ")[0]
        if guid:
            self.app.push_screen(ProcessScreen(self.board, guid))


class MainScreen(Listed):
    """How fresh it is, how much happens, and the cells, processes and changes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "next(1)", "Next", priority=True),
        Binding("shift+tab", "next(-1)", show=False, priority=True),
        Binding("1", "go(0)", show=False),
        Binding("2", "go(1)", show=False),
        Binding("3", "go(2)", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Make what is on it."""
        yield Static(id="phase")
        with Vertical(id="head"):
            for part in ("freshness", "amounts", "instances", "trouble"):
                yield Static(id=part)
        with Horizontal(id="rates"):
            for rate in ("events", "changes", "crashes"):
                yield Label(id=f"{rate}-rate", classes="rate")
                yield Sparkline(id=f"{rate}-line", classes="line")
        with Container(id="lists"):
            yield CellsTable(self.board, id="cells")
            yield ProcessesTable(self.board, id="processes")
            yield ChangesTable(self.board, id="changes")
        yield from self.compose_filter()
        yield Footer()

    def on_mount(self) -> None:
        """Begin with the cells."""
        self.query_one("#cells").add_class("current")
        super().on_mount()

    def look(self) -> None:
        """Show the present state."""
        super().look()
        board = self.board
        status, processes = board.mirror.status, board.processes.totals
        wrong = trouble(status)
        self.query_one("#freshness", Static).update(freshness(status))
        self.query_one("#amounts", Static).update(amounts(board.cells.totals, processes))
        self.query_one("#instances", Static).update(instances(processes))
        self.query_one("#trouble", Static).display = wrong is not None
        self.query_one("#trouble", Static).update(wrong or "")
        for name in ("events", "changes", "crashes"):
            self._rate(name, [getattr(second, name) for second in board.rates])

    def action_next(self, step: int) -> None:
        """Turn to the next table."""
        tables = list(self.query(Listing))
        self.action_go((tables.index(self.listing) + step) % len(tables))

    def action_go(self, place: int) -> None:
        """Turn to a table."""
        self._turn_to(list(self.query(Listing))[place])
        self.listing.focus()

    def on_descendant_focus(self) -> None:
        """Turn to the table that was clicked on."""
        if isinstance(self.focused, Listing):
            self._turn_to(self.focused)

    def _turn_to(self, listing: Listing) -> None:
        self.query(Listing).remove_class("current")
        listing.add_class("current")
        self.call_after_refresh(self.look)

    def _rate(self, name: str, counts: list[int]) -> None:
        latest = counts[-_RATED:]
        rate = sum(latest) / len(latest) if latest else 0.0
        # A low rate has one more digit.
        text = f"{name} {rate:,.0f}/s" if rate >= 100 else f"{name} {rate:.1f}/s"  # noqa: PLR2004
        self.query_one(f"#{name}-rate", Label).update(text)
        # Lines are drawn from the least value to the greatest: the least is to be zero.
        self.query_one(f"#{name}-line", Sparkline).data = [0, *counts] if any(counts) else None


class CellScreen(Listed):
    """The instances on one cell."""

    def compose(self) -> ComposeResult:
        """Make what is on it."""
        yield Static(id="phase")
        yield Static(id="about")
        yield CellTable(self.board, self.subject, classes="current")
        yield from self.compose_filter()
        yield Footer()

    def look(self) -> None:
        """Show the present state."""
        super().look()
        self.query_one("#about", Static).update(line(self.board.about_cell(self.subject)))


class ProcessScreen(Watching):
    """The detail of one process: its rows, its routes, and what became of the latest events about it."""

    def compose(self) -> ComposeResult:
        """Make what is on it."""
        yield Static(id="phase")
        with VerticalScroll(id="process"):
            yield Static(id="text")
        yield Footer()

    def look(self) -> None:
        """Show the present state."""
        super().look()
        area = self.query_one("#process", VerticalScroll)
        area.border_title = line(
            (f"PROCESS {self.board.name(self.subject, ActualLRP(process_guid=self.subject))}", "bold")
        )
        width = max(20, area.size.width - 2)
        lines = process_lines(self.board.process(self.subject), width)
        self.query_one("#text", Static).update(Text("\n").join(_styled(text) for text in lines))


class HelpScreen(ModalScreen[None]):
    """What keys do, and what words mean."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,space,backspace,question_mark", "dismiss", "Goes on")
    ]

    def compose(self) -> ComposeResult:
        """Make what is on it."""
        with VerticalScroll(id="help"):
            yield Static(Text("\n").join(_styled(text) for text in HELP.splitlines()))


def _styled(text: str) -> Text:
    """Make headings stand out."""
    heading = text.partition(",")[0].isupper() or text.startswith(("Keys", "Health of"))
    return line((text, "bold" if heading else ""))


DARK: Final = "textual-dark"
LIGHT: Final = "textual-light"


class Top(App[None]):
    """Shows a board."""

    CSS_PATH: ClassVar[Path] = Path(__file__).with_name("top.tcss")
    ENABLE_COMMAND_PALETTE = False
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-low"), (34, "-tall")]  # noqa: RUF012 - Textual declares it so
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (150, "-wide")]  # noqa: RUF012 - as above
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("t", "turn_light", "Light"),
    ]

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board = board

    def on_mount(self) -> None:
        """Show the first screen; end quietly when asked to."""
        self.theme = DARK
        self.push_screen(MainScreen(self._board))
        if not self.is_headless:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)

    def action_turn_light(self) -> None:
        """Turn light, or dark again."""
        self.theme = LIGHT if self.theme == DARK else DARK


def show(where: Target) -> None:
    """Show what a mirror of a BBS has, until it is quit."""
    waiting = Waiting("reading the first lists")
    with MirrorThread(waiting.client(where)) as mirror:
        board = Board(mirror, where.name, waiting)
        board.begin()
        Top(board).run()
