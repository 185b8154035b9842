"""What a command is."""

import argparse
from typing import Protocol


class Command(Protocol):
    """A module, or a value where several are alike, with these four."""

    @property
    def HELP(self) -> str:  # noqa: N802 - as the constants of modules are named
        """What it does, in a line."""
        ...

    @property
    def DESCRIPTION(self) -> str:  # noqa: N802 - as above
        """The description for --help, in lines of their final width."""
        ...

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it, and return the exit status."""
        ...
