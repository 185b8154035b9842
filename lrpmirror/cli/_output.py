"""JSON on stdout, one value a line."""

import sys
from collections.abc import Iterable
from typing import Final

__all__ = ["print_lines"]

_PIECE: Final = 256
"""How many lines are written at once."""


def print_lines(lines: Iterable[bytes]) -> None:
    """Print lines of UTF-8, whatever the terminal's encoding; each without its end.

    Raises BrokenPipeError where the reader is gone.
    """
    sys.stdout.flush()
    out = sys.stdout.buffer
    waiting: list[bytes] = []
    for line in lines:
        waiting.append(line)
        if len(waiting) == _PIECE:
            out.write(b"\n".join((*waiting, b"")))
            waiting.clear()
    out.write(b"\n".join((*waiting, b"")))
    out.flush()
