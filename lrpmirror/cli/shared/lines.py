"""Lines on stdout from async code: a slow reader holds up the printing, and nothing else."""

import os
import sys
from collections.abc import Iterable

import trio

from lrpmirror.cli.shared.output import escaped, say


class LineWriter:
    """Prints lines to stdout, in the order in which they are written by however many tasks."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._file = sys.stdout.fileno()
        self._turn = trio.Lock()

    async def write(self, lines: Iterable[bytes]) -> None:
        """Print lines of UTF-8, each without its end; returns when they are out.

        They are `escaped`. Cancelling leaves it at once, whether or not the reader has taken all. Raises OSError where
        they cannot be written; BrokenPipeError where the reader is gone.
        """
        data = b"".join([escaped(line) + b"\n" for line in lines])
        if data:
            async with self._turn:
                # The buffer of sys.stdout stays out of it: a thread that is left in the middle of a write would keep
                # its lock, which the interpreter wants at its end.
                await trio.to_thread.run_sync(_write_all, self._file, data, abandon_on_cancel=True)

    async def announce(self, line: str) -> None:
        """Print the line with a server's address; it serves also where stdout has no reader."""
        try:
            await self.write([line.encode()])
        except OSError as error:
            say(f"lrpmirror: {line} could not be written to stdout: {error.strerror or error}")


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
