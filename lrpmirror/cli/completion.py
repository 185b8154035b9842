"""`lrpmirror completion`: what a shell needs to complete the command's arguments, made from the parsers themselves."""

import argparse
from collections.abc import Callable, Mapping
from typing import Final

from lrpmirror.cli._completion_scripts import bash, fish, zsh
from lrpmirror.cli._completion_tree import Tree, tree_of
from lrpmirror.cli._output import print_lines

__all__ = ["DESCRIPTION", "HELP", "configure", "run"]

HELP: Final = "print a script that completes lrpmirror's arguments in a shell"

DESCRIPTION: Final = """\
Print a script that completes the arguments of lrpmirror: commands, options, and
what they can be. To have it in each shell from now on:

  bash   echo 'source <(lrpmirror completion bash)' >> ~/.bashrc
  zsh    lrpmirror completion zsh > "${fpath[1]}/_lrpmirror"
  fish   lrpmirror completion fish > ~/.config/fish/completions/lrpmirror.fish
"""

_SHELLS: Final[Mapping[str, Callable[[Tree], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("shell", choices=tuple(_SHELLS), help="which shell")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from lrpmirror.cli._main import build_parser  # noqa: PLC0415 - which has this command, as all others, in it

    script = _SHELLS[args.shell](tree_of(build_parser()))
    print_lines([script.rstrip("\n").encode()])
    return 0
