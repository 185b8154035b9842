"""`lrpmirror top` as a Textual program, with a mirror in a thread of its own."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final

from textual.app import App
from textual.binding import Binding, BindingType

from lrpmirror.cli.shared.bbs import Target
from lrpmirror.cli.shared.progress import Waiting
from lrpmirror.cli.top._board import Board
from lrpmirror.cli.top._screens import MainScreen
from lrpmirror.mirror import BBS
from lrpmirror.relay import client_at
from lrpmirror.thread import MirrorThread

DARK: Final = "textual-dark"
LIGHT: Final = "textual-light"


class Top(App[None]):
    """Shows a board."""

    CSS_PATH: ClassVar[Path] = Path(__file__).with_name("top.tcss")
    ENABLE_COMMAND_PALETTE = False
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-low"), (34, "-tall")]  # noqa: RUF012 - Textual declares it so
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (150, "-wide")]  # noqa: RUF012
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
    with MirrorThread(_counted(where, waiting)) as mirror:
        board = Board(mirror, where.name, waiting)
        board.begin()
        Top(board).run()


@asynccontextmanager
async def _counted(where: Target, waiting: Waiting) -> AsyncIterator[BBS]:
    async with client_at(where.url, tls=where.tls, tap=waiting.tap) as client:
        yield waiting.counted(client)
