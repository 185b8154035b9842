"""`lrpmirror top`: its screens over a simulated BBS, driven by keys and mouse, and the whole of it on a terminal."""

import asyncio
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from html import unescape
from pathlib import Path
from subprocess import Popen
from typing import Any
from unittest.mock import patch

import pytest
from cli_support import simulated_bbs, started
from patience import PATIENCE
from textual.pilot import Pilot
from textual.widgets import Input

from lrpmirror.cli import main
from lrpmirror.cli.shared.progress import Waiting
from lrpmirror.cli.top import _screens
from lrpmirror.cli.top._board import Board
from lrpmirror.cli.top._listings import Listing
from lrpmirror.cli.top._screens import CellScreen, HelpScreen, MainScreen, ProcessScreen, Top
from lrpmirror.thread import MirrorThread

SCREENS = Path(__file__).parent / "screens"

Drive = Callable[[Pilot[None]], Awaitable[None]]


@contextmanager
def board_over(apps: int = 6, cells: int = 4, url: str = "") -> Iterator[Board]:
    """A board over a simulated BBS in which nothing happens any more; or over whatever is at a URL."""
    with simulated_bbs(apps=apps, cells=cells) as bbs, MirrorThread(url or bbs.url) as mirror:
        board = Board(mirror, "http://bbs", Waiting("reading"), wall=lambda: bbs.diego.now + 65 * 1_000_000_000)
        board.begin()
        if not url:
            mirror.wait_synced(30)
            until(lambda: board.cells.all == cells and board.processes.all == len(mirror.desired_lrps()))
        yield board


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def driven(board: Board, drive: Drive, width: int = 80, height: int = 24, *, looks: bool = False) -> None:
    """Show a board on a screen of that size, and drive it.

    Unless it `looks` again every half second, it looks where it is made to only: on a busy machine, looking again and
    again at a thousand cells would take all the time there is.
    """

    async def run() -> None:
        async with Top(board).run_test(size=(width, height)) as pilot:
            await settled(pilot)
            await drive(pilot)

    with patch.object(_screens, "INTERVAL", _screens.INTERVAL if looks else 3600):
        asyncio.run(run())


async def settled(pilot: Pilot[None]) -> None:
    """Wait until what was asked for is on the screen: what is drawn can ask for more."""
    for _ in range(5):
        await pilot.pause()


async def pressed(pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


def lines_of(pilot: Pilot[None]) -> list[str]:
    """What stands on the screen, line by line, without colours."""
    svg = pilot.app.export_screenshot()
    wide = float(re.search(r'textLength="([\d.]+)"[^>]*>[^<]', svg)[1])  # type: ignore[index]
    found: dict[float, dict[int, str]] = {}
    pieces = re.findall(r'<text class="[^"]*-r\d+" x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"[^>]*>([^<]*)<', svg)
    wide = min(float(length) / len(unescape(text)) for _, _, length, text in pieces)
    for x, y, _, text in pieces:
        found.setdefault(float(y), {})[round(float(x) / wide)] = unescape(text)
    lines = []
    for y in sorted(found):
        line = ""
        for column, text in sorted(found[y].items()):
            line = line.ljust(column) + text.replace("\xa0", " ")
        lines.append(line.rstrip())
    return lines


def listing(pilot: Pilot[None]) -> Listing:
    return pilot.app.screen.query_one(".current", Listing)


def same_as_kept(name: str, lines: list[str]) -> None:
    """Compare a screen with the one that is kept; UPDATE_SCREENS=1 keeps this one."""
    text = "\n".join(lines) + "\n"
    # What the clock on the wall decides.
    text = re.sub(
        r"heard [\d.]+ s ago,(?: the stream \d+ s ago,)? listed \d+ s ago, revision \d+",
        "heard … s ago, listed … s ago, revision …",
        text,
    )
    text = re.sub(r"\d\d:\d\d:\d\d", "hh:mm:ss", text)
    # Where the bar beside a list ends within a line.
    text = re.sub(r"[▁▂▃▄▅▆▇█](?=│)", " ", text)
    kept = SCREENS / f"{name}.txt"
    if os.environ.get("UPDATE_SCREENS"):
        kept.write_text(text)
    assert text == kept.read_text()


# What it shows


@pytest.mark.parametrize(
    ("name", "cells", "width", "height", "keys"),
    [
        ("cells-80x24", 50, 80, 24, ()),
        ("processes-80x24", 50, 80, 24, ("2",)),
        ("everything-200x60", 50, 200, 60, ()),
        ("a-thousand-cells-80x24", 1000, 80, 24, ("G",)),
        ("a-thousand-cells-200x60", 1000, 200, 60, ()),
        ("narrow-40x12", 50, 40, 12, ()),
        ("one-cell-80x24", 4, 80, 24, ("enter",)),
        ("help-100x40", 4, 100, 40, ("question_mark",)),
    ],
)
def test_a_screen_is_as_it_was(name: str, cells: int, width: int, height: int, keys: tuple[str, ...]) -> None:
    async def look(pilot: Pilot[None]) -> None:
        await pressed(pilot, *keys)
        same_as_kept(name, lines_of(pilot))

    with board_over(cells=cells) as board:
        driven(board, look, width, height)


def test_a_process_has_its_rows_routes_and_decisions() -> None:
    async def look(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "enter")
        lines = "\n".join(lines_of(pilot))
        assert isinstance(pilot.app.screen, ProcessScreen)
        assert all(word in lines for word in ("PROCESS", "Desired: ", "Health: ", "ROWS", "ROUTES", "LATEST DECISIONS"))

    with board_over() as board:
        driven(board, look, 120, 50)


def test_where_the_bbs_is_not_reached_it_says_so_and_why() -> None:
    async def look(pilot: Pilot[None]) -> None:
        until(lambda: board.mirror.status.trouble is not None)
        pilot.app.screen.look()  # type: ignore[attr-defined]
        await settled(pilot)
        lines = lines_of(pilot)
        assert " CONNECTING " in lines[0]
        assert any("127.0.0.1:9" in line for line in lines[1:8])

    with board_over(url="http://127.0.0.1:9") as board:
        driven(board, look)


# What keys and the mouse do


def test_tab_and_numbers_turn_to_another_list() -> None:
    async def drive(pilot: Pilot[None]) -> None:
        seen = [listing(pilot).kind]
        for key in ("tab", "tab", "tab", "shift+tab", "2", "1"):
            await pressed(pilot, key)
            seen.append(listing(pilot).kind)
            assert pilot.app.focused is listing(pilot)
        assert seen == ["cells", "processes", "changes", "cells", "changes", "processes", "cells"]

    with board_over() as board:
        driven(board, drive)


def test_s_sorts_by_the_next_order_and_a_click_on_a_head_by_that_column() -> None:
    async def drive(pilot: Pilot[None]) -> None:
        await pressed(pilot, "s")
        assert listing(pilot).ordered_by == "name"
        await pressed(pilot, "S", "S")
        assert listing(pilot).ordered_by == "instances"
        await pilot.click("#cells", offset=(3, 1))
        await settled(pilot)
        assert listing(pilot).ordered_by == "name"
        assert [str(cell) for cell in listing(pilot).get_column("CELL")] == ["cell-0", "cell-1", "cell-2", "cell-3"]

    with board_over() as board:
        driven(board, drive)


def test_a_filter_narrows_the_list_as_it_is_typed_and_escape_takes_it_back() -> None:
    async def drive(pilot: Pilot[None]) -> None:
        await pressed(pilot, "slash", "l", "-", "3")
        assert (listing(pilot).row_count, listing(pilot).selected) == (1, "cell-3")
        await pressed(pilot, "enter")
        assert isinstance(pilot.app.focused, Listing)
        assert "with 'l-3' (of 4)" in lines_of(pilot)[5]
        await pressed(pilot, "slash", "x")
        assert listing(pilot).row_count == 0
        await pressed(pilot, "escape")
        assert (listing(pilot).text, listing(pilot).row_count) == ("l-3", 1)
        await pressed(pilot, "escape")
        assert listing(pilot).row_count == 4
        assert not pilot.app.screen.query_one("#filter", Input).display

    with board_over() as board:
        driven(board, drive)


def test_enter_opens_a_cell_then_the_process_of_an_instance_and_escape_goes_back() -> None:
    async def drive(pilot: Pilot[None]) -> None:
        screens = [type(pilot.app.screen)]
        for key in ("enter", "enter", "question_mark", "escape", "escape", "escape", "escape"):
            await pressed(pilot, key)
            screens.append(type(pilot.app.screen))
        assert screens == [
            MainScreen,
            CellScreen,
            ProcessScreen,
            HelpScreen,
            ProcessScreen,
            CellScreen,
            MainScreen,
            MainScreen,
        ]

    with board_over() as board:
        driven(board, drive)


def test_what_is_selected_stays_selected_where_it_moves() -> None:
    async def drive(pilot: Pilot[None]) -> None:
        await pressed(pilot, "j", "j")
        assert listing(pilot).selected == "cell-2"
        # By number of instances the order is another one.
        table = listing(pilot)
        table.order = 3
        table.update()
        await settled(pilot)
        assert table.selected == "cell-2"
        names = [str(cell) for cell in table.get_column("CELL")]
        assert names != sorted(names)
        assert table.cursor_row == names.index("cell-2")

    with board_over() as board:
        driven(board, drive)


def test_it_turns_light_and_dark_and_follows_the_size_of_the_terminal() -> None:
    async def drive(pilot: Pilot[None]) -> None:
        await pressed(pilot, "t")
        assert not pilot.app.current_theme.dark
        await pressed(pilot, "t")
        assert pilot.app.current_theme.dark
        assert [table.display for table in pilot.app.screen.query(Listing)] == [True, False, False]
        await pilot.resize_terminal(200, 60)
        await settled(pilot)
        assert all(table.display for table in pilot.app.screen.query(Listing))
        assert len(lines_of(pilot)) == 60

    with board_over() as board:
        driven(board, drive)


def test_a_list_of_thousands_is_made_as_far_as_somebody_goes() -> None:
    async def drive(pilot: Pilot[None]) -> None:
        assert listing(pilot).row_count == 500
        for _ in range(3):
            await pressed(pilot, "G")
            listing(pilot).update()
            await settled(pilot)
        assert listing(pilot).row_count == 1200

    with board_over(cells=1200) as board:
        driven(board, drive)


def test_what_happens_shows_as_changes_and_rates() -> None:
    with simulated_bbs(apps=6, cells=4, steps=100_000) as bbs, MirrorThread(bbs.url) as mirror:
        board = Board(mirror, bbs.url, Waiting("reading"))
        board.begin()

        async def look(pilot: Pilot[None]) -> None:
            deadline = time.monotonic() + PATIENCE
            while not (board.rates and board.changes("")):
                assert time.monotonic() < deadline
                await pilot.pause(0.1)
            await pilot.press("3")
            while not re.match(r"│ *\d\d:\d\d:\d\d  ", lines_of(pilot)[7]):
                assert time.monotonic() < deadline, lines_of(pilot)
                await pilot.pause(0.1)
            assert sum(second.events for second in board.rates) > 0

        driven(board, look, looks=True)


# On a terminal


class Session:
    """`top` on a terminal of its own, and what it has written to it."""

    def __init__(self, process: Popen[bytes], ours: int, theirs: int) -> None:
        self.process = process
        self._ours = ours
        self._theirs = theirs
        self.written = ""

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def until_written(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.plain:
            assert time.monotonic() < deadline, self.plain[-2000:]
            self._read(0.1)

    @property
    def plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.written)

    def end(self) -> int:
        while self.process.poll() is None:
            self._read(0.05)
        self._read(0.05)
        return self.process.returncode

    @property
    def modes(self) -> list[Any]:
        return termios.tcgetattr(self._theirs)

    def _read(self, seconds: float) -> None:
        if select.select([self._ours], [], [], seconds)[0]:
            with suppress(OSError):
                self.written += os.read(self._ours, 1 << 20).decode(errors="replace")


@contextmanager
def on_a_terminal(*arguments: str, width: int = 80, height: int = 24) -> Iterator[Session]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    process = started(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        yield Session(process, ours, theirs)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE)
        os.close(ours)
        os.close(theirs)


def test_a_session_on_a_terminal_which_is_put_back() -> None:
    with simulated_bbs(apps=6, cells=4, steps=2000) as bbs, on_a_terminal("top", "--bbs-url", bbs.url) as top:
        modes = top.modes
        top.until_written("this is the server's state")
        assert top.modes != modes
        top.press(b"2")
        top.until_written("PROCESSES 6")
        top.press(b"q")
        assert top.end() == 0
        assert top.modes == modes
        assert "\x1b[?1049l" in top.written[-200:]


@pytest.mark.parametrize("ending", ["ctrl-c", "terminated"])
def test_without_a_bbs_it_says_so_and_ends_quietly(ending: str) -> None:
    with on_a_terminal("top", "--bbs-url", "http://127.0.0.1:9", width=60, height=12) as top:
        modes = top.modes
        top.until_written("CONNECTING")
        if ending == "ctrl-c":
            top.press(b"\x03")
        else:
            top.process.send_signal(signal.SIGTERM)
        assert top.end() == 0
        assert top.modes == modes
        assert "Traceback" not in top.plain


def test_elsewhere_than_on_a_terminal_it_is_refused_in_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--bbs-url", "http://127.0.0.1:9"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("lrpmirror top: stdin and stdout have to be a terminal; ")
    assert err.count("\n") == 1
