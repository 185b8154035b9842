"""Where a view is shown: on a terminal's other screen, redrawn in place, or as lines."""

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TextIO

import trio

from lrpmirror.cli.shared.command import require
from lrpmirror.cli.shared.tables import printable
from lrpmirror.cli.shared.view import NewsItem, View, status_line


class Display(Protocol):
    """Something that shows views."""

    interval: float
    """How many seconds there are to be between two views."""

    async def show(self, view: View) -> None:
        """Show a view in place of the one before. Does not block other tasks, however slow the reader is."""
        ...

    async def show_news(self, news: Sequence[NewsItem]) -> None:
        """Show what has happened since the last call."""
        ...


class Lines:
    """Shows a view as a line, and each piece of news as one."""

    interval: float = 1.0

    def __init__(self, out: TextIO) -> None:
        self._out = out

    async def show(self, view: View) -> None:
        """Print the view."""
        await self._write(f"{status_line(view)}\n")

    async def show_news(self, news: Sequence[NewsItem]) -> None:
        """Print what happened."""
        await self._write("".join(f"{one.at:6.1f} s    {printable(one.text)}\n" for one in news))

    async def _write(self, text: str) -> None:
        if text:
            await trio.to_thread.run_sync(_write_now, self._out, text)


@asynccontextmanager
async def open_display(out: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Display]:
    """Yield the display that suits stdout; a terminal is always restored at the end.

    A terminal that says it is dumb gets lines; NO_COLOR in the environment means no colours. Raises ConfigurationError
    on a terminal where the extra `cli` is not installed.
    """
    stdout = sys.stdout if out is None else out
    if not stdout.isatty() or environ.get("TERM", "dumb") == "dumb":
        yield Lines(stdout)
        return
    require("rich")
    # Only a terminal needs rich.
    from lrpmirror.cli.shared.screen import open_screen  # noqa: PLC0415

    async with open_screen(stdout, environ) as screen:
        yield screen


def _write_now(out: TextIO, text: str) -> None:
    out.write(text)
    out.flush()
