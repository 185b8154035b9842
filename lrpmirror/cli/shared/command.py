"""What a command is."""

import argparse
import importlib.util
from typing import Protocol

from lrpmirror.errors import ConfigurationError


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


def require(package: str) -> None:
    """Raise ConfigurationError, which says how to get it, where a package of the extra `cli` is not installed."""
    if importlib.util.find_spec(package) is None:
        raise ConfigurationError(f"{package} is not installed: pip install 'lrpmirror[cli]'")
