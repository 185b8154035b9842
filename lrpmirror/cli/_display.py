"""Where a view is shown: on a terminal's other screen, redrawn in place, or as lines."""

import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol, TextIO

import trio

from lrpmirror.cli._paint import Style
from lrpmirror.cli._screen import render, status_line
from lrpmirror.cli._view import News, View

__all__ = ["ENTER", "LEAVE", "Display", "open_display", "screenful", "size_of"]

ENTER: Final = "\x1b[?1049h\x1b[?25l"
LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_TOP: Final = "\x1b[H"
_END_OF_LINE: Final = "\x1b[K\r\n"
_REST: Final = "\x1b[K\x1b[J"


class Display(Protocol):
    """Something that shows views."""

    interval: float
    """How many seconds there are to be between two views."""

    async def show(self, view: View) -> None:
        """Show a view in the place of the one before. Does not hold up other tasks, however slow the reader is."""
        ...

    async def tell(self, news: Sequence[News]) -> None:
        """Show what has happened since the last time."""
        ...


class Screen:
    """Shows a screenful at a time; news are in the views."""

    interval: float = 0.5

    def __init__(self, out: TextIO, *, colour: bool) -> None:
        self._out = out
        self._colour = colour

    async def show(self, view: View) -> None:
        """Draw the view over the one before, in the size that the terminal now has."""
        width, height = size_of(self._out)
        # The last column stays empty: what follows it would belong to the next line for some terminals.
        lines = render(view, Style(max(1, width - 1), height, self._colour))
        await _write(self._out, screenful(lines))

    async def tell(self, news: Sequence[News]) -> None:
        """Show nothing: the next view has them."""


class Lines:
    """Shows a view as a line, and each piece of news as one."""

    interval: float = 1.0

    def __init__(self, out: TextIO) -> None:
        self._out = out

    async def show(self, view: View) -> None:
        """Print where things stand."""
        await _write(self._out, f"{status_line(view)}\n")

    async def tell(self, news: Sequence[News]) -> None:
        """Print what happened."""
        lines = (f"{one.at:6.1f} s    {''.join(c if c.isprintable() else ' ' for c in one.text)}\n" for one in news)
        await _write(self._out, "".join(lines))


@asynccontextmanager
async def open_display(out: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Display]:
    """Yield what suits stdout: a terminal is put back as it was at the end, however it comes.

    A terminal that says it is dumb gets lines; NO_COLOR in the environment means no colours.
    """
    stdout = sys.stdout if out is None else out
    if not stdout.isatty() or environ.get("TERM", "dumb") == "dumb":
        yield Lines(stdout)
        return
    await _write(stdout, ENTER)
    try:
        yield Screen(stdout, colour=not environ.get("NO_COLOR"))
    finally:
        with trio.CancelScope(shield=True):
            await _write(stdout, LEAVE)


def screenful(lines: Iterable[str]) -> str:
    """Return what draws lines over the screen that is there."""
    return _TOP + _END_OF_LINE.join(lines) + _REST


def size_of(out: TextIO) -> tuple[int, int]:
    """Return how many columns and rows a terminal has."""
    try:
        width, height = os.get_terminal_size(out.fileno())
    except OSError:
        return 80, 24
    return width or 80, height or 24


async def _write(out: TextIO, text: str) -> None:
    if text:
        await trio.to_thread.run_sync(_write_now, out, text)


def _write_now(out: TextIO, text: str) -> None:
    out.write(text)
    out.flush()
