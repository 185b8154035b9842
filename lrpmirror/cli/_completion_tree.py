"""What can be completed, as values: read from argparse's parsers."""

import argparse
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

__all__ = ["Argument", "Option", "Subcommand", "Tree", "tree_of"]

_FILES: Final = frozenset({"FILE", "DIR", "FOLDER"})
"""How arguments that are files are called in the usage."""


class Argument(Struct, frozen=True):
    """A value: one of some choices, a file, or anything else, which nobody can complete."""

    help: str
    choices: tuple[str, ...] = ()
    file: bool = False


class Option(Struct, frozen=True):
    """An option in all its spellings; `value` is what it takes, if it takes any."""

    names: tuple[str, ...]
    help: str
    value: Argument | None


class Subcommand(Struct, frozen=True):
    """A command with its options and arguments."""

    name: str
    help: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]


class Tree(Struct, frozen=True):
    """The whole command."""

    prog: str
    options: tuple[Option, ...]
    commands: tuple[Subcommand, ...]


def tree_of(parser: argparse.ArgumentParser) -> Tree:
    """Read a parser with subcommands."""
    (commands,) = [one for one in _actions(parser) if isinstance(one, argparse._SubParsersAction)]  # noqa: SLF001 - see _actions
    helps = {one.dest: one.help or "" for one in commands._choices_actions}  # noqa: SLF001 - as above
    return Tree(
        parser.prog,
        tuple(_options(parser)),
        tuple(
            Subcommand(name, helps[name], tuple(_options(one)), tuple(_arguments(one)))
            for name, one in commands.choices.items()
        ),
    )


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    # There is no public way to read a parser, and none has changed since argparse is in the standard library.
    return parser._actions  # noqa: SLF001


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in _actions(parser):
        if action.option_strings:
            takes = action.nargs != 0
            yield Option(tuple(action.option_strings), _help(action), _argument(action) if takes else None)


def _arguments(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    for action in _actions(parser):
        if not action.option_strings and not isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            yield _argument(action)


def _argument(action: argparse.Action) -> Argument:
    choices: Any = action.choices or ()
    return Argument(_help(action), tuple(map(str, choices)), file=action.metavar in _FILES)


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%(default)s", str(action.default))
    return " ".join(text.replace("%%", "%").split())
