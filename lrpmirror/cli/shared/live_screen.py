"""A terminal's alternate screen, on which views are redrawn in place. Needs the extra `cli`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TextIO

import trio
from rich.console import Console, Group
from rich.live import Live

from lrpmirror.cli.shared.screen import render
from lrpmirror.cli.shared.view import NewsItem, View


class Screen:
    """Shows a screenful at a time; news are in the views."""

    interval: float = 0.5

    def __init__(self, live: Live) -> None:
        self._live = live

    async def show(self, view: View) -> None:
        """Draw the view over the one before, in the size that the terminal now has."""
        width, height = self._live.console.size
        lines = Group(*render(view, width, height))
        await trio.to_thread.run_sync(lambda: self._live.update(lines, refresh=True))

    async def tell(self, news: Sequence[NewsItem]) -> None:
        """Show nothing: the next view has them."""


@asynccontextmanager
async def open_screen(out: TextIO, environ: Mapping[str, str]) -> AsyncIterator[Screen]:
    """Use a terminal's alternate screen; the terminal is always restored at the end."""
    console = Console(file=out, force_terminal=True, highlight=False, _environ=environ)
    live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    await trio.to_thread.run_sync(live.start)
    try:
        yield Screen(live)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(live.stop)
