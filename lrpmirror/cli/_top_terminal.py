"""The terminal of `lrpmirror top`: its keys one by one, its other screen, and everything put back at the end."""

import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from lrpmirror.cli._display import ENTER, LEAVE, screenful, size_of
from lrpmirror.cli._paint import Style
from lrpmirror.cli._top_keys import keys_in
from lrpmirror.errors import ConfigurationError

__all__ = ["Terminal", "open_terminal"]

_REST_OF_KEY: Final = 0.05
"""Seconds within which the rest of a key comes that begins with an escape character."""

_PARTING: Final = 2.0
"""Seconds that a terminal that takes no more has to be put back."""

_READ: Final = 1024


class Terminal:
    """A terminal that gives keys and shows screens. Made by `open_terminal`."""

    def __init__(self, *, colour: bool, blocks: bool) -> None:
        self._in = sys.stdin.fileno()
        self._out = sys.stdout.fileno()
        self._colour = colour
        self._blocks = blocks
        self._keys: list[str] = []
        self._pressed = trio.Event()

    @property
    def style(self) -> Style:
        """What lines are to be like for it to show them, in the size that it has now."""
        width, height = size_of(sys.stdout)
        # The last column stays empty: what follows it would belong to the next line for some terminals.
        return Style(max(1, width - 1), height, self._colour, self._blocks)

    async def keys(self, seconds: float) -> list[str]:
        """Return the keys that were pressed since the last call, once there are some, or it is that long ago.

        A change of its size counts as a key of the name `resize`.
        """
        with trio.move_on_after(seconds):
            await self._pressed.wait()
        self._pressed = trio.Event()
        keys, self._keys = self._keys, []
        return keys

    async def show(self, lines: Sequence[str]) -> None:
        """Draw lines over those that are there. Does not hold up other tasks."""
        await self.write(screenful(lines))

    async def write(self, text: str) -> None:
        """Write to it; when cancelled, it is left alone with what it has not taken."""
        data = text.encode(errors="replace")
        await trio.to_thread.run_sync(_write_all, self._out, data, abandon_on_cancel=True)

    async def listen(self) -> None:
        """Gather keys until nobody can press any more, which counts as one last key, Ctrl-C."""
        begun = b""
        while True:
            with trio.move_on_after(_REST_OF_KEY if begun else float("inf")) as waited:
                await trio.lowlevel.wait_readable(self._in)
            if waited.cancelled_caught:
                keys, begun = keys_in(begun, more=False)
                self._press(keys)
                continue
            try:
                data = os.read(self._in, _READ)
            except OSError:
                data = b""
            if not data:
                self._press(["ctrl-c"])
                return
            keys, begun = keys_in(begun + data, more=True)
            self._press(keys)

    async def watch_size(self) -> None:
        """Take note of changes of its size; for ever."""
        with trio.open_signal_receiver(signal.SIGWINCH) as signals:
            async for _ in signals:
                self._press(["resize"])

    def _press(self, keys: list[str]) -> None:
        if keys:
            self._keys += keys
            self._pressed.set()


@asynccontextmanager
async def open_terminal(environ: Mapping[str, str] = os.environ) -> AsyncIterator[Terminal]:
    """Take the terminal of stdin and stdout; it is put back as it was at the end, however that comes.

    NO_COLOR in the environment means no colours. Raises ConfigurationError where there is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or environ.get("TERM", "dumb") == "dumb":
        raise ConfigurationError(
            "stdin and stdout have to be a terminal; elsewhere use 'lrpmirror cells --watch' or 'lrpmirror lrp-events'"
        )
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    terminal = Terminal(colour=not environ.get("NO_COLOR"), blocks=unicode)
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        await terminal.write(ENTER)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(terminal.listen)
            nursery.start_soon(terminal.watch_size)
            yield terminal
            nursery.cancel_scope.cancel()
    finally:
        try:
            with trio.move_on_after(_PARTING, shield=True):
                await terminal.write(LEAVE)
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
