"""The progress of a long command on stderr: one line that is rewritten, or a line now and then."""

import sys
from typing import Final, TextIO

_QUIET: Final = 10.0
"""Seconds between two lines where they cannot be rewritten."""


class Progress:
    """Shows a line of progress: on a terminal in place, elsewhere every ten seconds."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out: Final = sys.stderr if out is None else out
        self._terminal = self._out.isatty()
        self._last: float | None = None

    def show(self, line: str, now: float) -> None:
        """Show the progress at `now`, in seconds of any clock."""
        if self._terminal:
            self._write(f"\r\x1b[K{line}")
        elif self._last is None or now - self._last >= _QUIET:
            self._last = now
            self._write(f"{line}\n")

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._write(f"\r\x1b[K{line}\n" if self._terminal else f"{line}\n")

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except OSError:
            # Without a reader of stderr the command goes on.
            return
