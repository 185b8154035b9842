"""Watch cells, processes in trouble and changes on a terminal.

Open a mirror of the BBS and show it on the terminal, twice a second: how fresh
it is, how much happens, the cells and how full they are, the processes with
those in trouble first, and the latest changes in words. It goes on while the
BBS cannot be reached, and says so. Needs the extra lrpmirror[cli].

  Tab, 1 2 3           cells, processes, changes
  Up Down PgUp PgDn    move (also k and j)
  Enter, click         open: a cell's instances; a process's rows, routes and
                       what became of its latest events
  Esc, Backspace       back
  s, click on a head   sort by something else
  /                    show only what has a text in it
  t                    dark or light
  ?                    help
  q, Ctrl-C            quit

NO_COLOR=1 is for no colours.
"""

import argparse
import os
import sys

from lrpmirror.cli.shared.arguments import add_bbs, require, target
from lrpmirror.errors import ConfigurationError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_bbs(parser)


def run(args: argparse.Namespace) -> int:
    """Show it until it is quit."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        raise ConfigurationError(
            "stdin and stdout have to be a terminal; elsewhere use 'lrpmirror cells --watch' or 'lrpmirror lrp-events'"
        )
    require("textual")
    # Only `top` needs Textual.
    from lrpmirror.cli.top._screens import show  # noqa: PLC0415

    show(target(args))
    return 0
