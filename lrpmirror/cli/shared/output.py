"""What a command prints: results on stdout, one value a line; everything else on stderr.

A result that cannot be written ends a command; a message on stderr that cannot does not.
"""

import errno
import fcntl
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import trio

_UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})  # those of an open file

_CONTROLS: Final = re.compile(rb"\xc2[\x80-\x9f]|\x7f")
"""The control characters that JSON need not escape, and that some terminals obey (U+009B begins a sequence); UTF-8."""


def print_lines(lines: Iterable[bytes]) -> None:
    """Print lines of UTF-8 without their ends, `escaped`. Raises OSError; BrokenPipeError where the reader is gone."""
    sys.stdout.flush()
    for line in lines:
        sys.stdout.buffer.write(escaped(line) + b"\n")
    sys.stdout.buffer.flush()


def escaped(line: bytes) -> bytes:
    """Return a line, which is JSON or text, with its control characters beyond ASCII as JSON escapes them."""
    return _CONTROLS.sub(lambda found: b"\\u%04x" % ord(found[0].decode()), line)


def say(line: str) -> None:
    """Print a line on stderr. Where that cannot be written it is dropped, and the command goes on."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def say_of(command: str, text: str) -> None:
    """Print what a command that runs for long has to say on stderr, in one line."""
    say(f"lrpmirror {command}: {' '.join(text.split())}")


class LineWriter:
    """Prints lines to stdout from async code, in the order of the writes, without holding up other tasks."""

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
        """Print a line, such as a server's address. Where it cannot be written, stderr says so."""
        try:
            await self.write([line.encode()])
        except OSError as error:
            say(f"lrpmirror: {line} could not be written to stdout: {error.strerror or error}")


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def open_streams() -> None:
    """Open those of the three standard streams that the parent process has closed.

    Else the next file or connection would get the descriptor of one of them, and what is printed would go there.
    Writing to a stdout that was closed fails; messages to a stderr that was are dropped.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def flush() -> OSError | None:
    """Write what the two streams still hold; return why that cannot be done of stdout.

    What is left in them then goes nowhere, since the interpreter would complain of it at its end.
    """
    failures = []
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            if stream is sys.stdout:
                failures.append(error)
    return failures[0] if failures else None


def why_unwritten(error: BaseException) -> str:
    """Return why stdout could not be written, if the error is about that; else an empty text."""
    if not isinstance(error, OSError) or error.filename is not None:
        return ""
    if error.errno == errno.EBADF and fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        return "it is closed"
    return os.strerror(error.errno) if error.errno in _UNWRITABLE else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table, each column as wide as its widest cell; columns that are empty are left out."""
    cells = [[printable(cell) for cell in row] for row in rows]
    used = [column for column in range(len(heads)) if any(row[column] for row in cells)]
    widths = {column: max(len(heads[column]), *(len(row[column]) for row in cells)) for column in used}
    for row in [list(heads), *cells] if cells else []:
        yield "  ".join(row[column].ljust(widths[column]) for column in used).rstrip()


def printable(text: str) -> str:
    """Return a text without what would move a terminal's cursor: it comes from a server."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
