"""`lrpmirror top`: a terminal dashboard over a mirror."""

import argparse
from typing import Final

import trio

from lrpmirror.cli import _bbs
from lrpmirror.cli._following import until_interrupted
from lrpmirror.cli._top_screen import frame
from lrpmirror.cli._top_sources import Sources
from lrpmirror.cli._top_state import State, press
from lrpmirror.cli._top_terminal import Terminal, open_terminal
from lrpmirror.cli._waiting import CountedBBS, Waiting
from lrpmirror.client import BBSClient
from lrpmirror.mirror import open_mirror

__all__ = ["DESCRIPTION", "HELP", "configure", "run"]

HELP: Final = "watch cells, processes in trouble and changes on a terminal"

DESCRIPTION: Final = """\
Open a mirror of the BBS and show it on the terminal, twice a second: how fresh
it is, how much happens, the cells and how full they are, the processes with
those in trouble first, and the latest changes in words. It goes on while the
BBS cannot be reached, and says so.

  Tab                  cells, processes, changes
  Up Down PgUp PgDn    move (also k and j)
  Enter                open: a cell's instances; a process's rows, routes and
                       what became of its latest events
  Esc, Backspace       back
  s                    sort by something else
  /                    show only what has a text in it
  ?                    help
  q, Ctrl-C            quit

NO_COLOR=1 is for no colours.
"""

INTERVAL: Final = 0.5
"""Seconds between two frames where no key is pressed."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    _bbs.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Show it until it is quit."""
    trio.run(_top, args)
    return 0


async def _top(args: argparse.Namespace) -> None:
    where = _bbs.target(args)
    waiting = Waiting("reading the first lists")
    async with (
        until_interrupted(),
        open_terminal() as terminal,
        BBSClient(where.url, tls=where.tls, tap=waiting.tap) as client,
        open_mirror(CountedBBS(client, waiting)) as mirror,
        trio.open_nursery() as nursery,
    ):
        sources = Sources(mirror, client.url, waiting)
        nursery.start_soon(sources.follow)
        await _show(sources, terminal)
        nursery.cancel_scope.cancel()


async def _show(sources: Sources, terminal: Terminal) -> None:
    """Draw a frame twice a second and after each key, until it is over."""
    state = State()
    while not state.over:
        style = terminal.style
        snapshot, state = await sources.take(state, style.width, style.height)
        await terminal.show(frame(snapshot, state, style))
        for key in await terminal.keys(INTERVAL):
            state = press(state, key)
