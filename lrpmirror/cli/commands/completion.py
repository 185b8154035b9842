"""Print a script that completes lrpmirror's arguments in a shell.

Needs the extra lrpmirror[cli]. To have it in each shell from now on:

  bash   echo 'source <(lrpmirror completion bash)' >> ~/.bashrc
  zsh    lrpmirror completion zsh > "${fpath[1]}/_lrpmirror"
  fish   lrpmirror completion fish > ~/.config/fish/completions/lrpmirror.fish
"""

import argparse
from collections.abc import Iterator
from typing import Final

from lrpmirror.cli.shared.arguments import require
from lrpmirror.cli.shared.output import print_lines

_SHELLS: Final = ("bash", "zsh", "fish")

_FILES: Final = frozenset({"FILE", "DIR", "FOLDER"})  # the metavars of arguments that are files


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("shell", choices=_SHELLS, help="which shell")


def run(args: argparse.Namespace) -> int:
    """Print the script, for the parser that has parsed the arguments: `args.parser`."""
    require("shtab")
    import shtab  # noqa: PLC0415 - only this command needs it

    for action in _actions(args.parser):
        if action.metavar in _FILES:
            # How shtab is configured.
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    print_lines([shtab.complete(args.parser, shell=args.shell).rstrip("\n").encode()])
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the options and arguments of a parser and of its commands."""
    # There is no public way to read a parser, and none has changed since argparse is in the standard library.
    for action in parser._actions:  # noqa: SLF001 - as above
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for command in action.choices.values():
                yield from _actions(command)
