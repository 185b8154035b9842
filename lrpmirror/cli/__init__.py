"""The command `lrpmirror`: see `lrpmirror --help`."""

from lrpmirror.cli._main import main

__all__ = ["main"]
