"""The progress of a long command on stderr: one line that is rewritten, or a line now and then."""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from typing import Any, Final, TextIO, cast

import trio

from lrpmirror.background import background
from lrpmirror.mirror import BBS
from lrpmirror.mirror._bbs import ListName
from lrpmirror.relay import Client

PATIENCE: Final = 0.7
"""Seconds that a list may take before its progress is shown."""

TICK: Final = 0.2
"""Seconds between two lines of progress."""

_QUIET: Final = 10.0
"""Seconds between two lines where they cannot be rewritten."""

_KIBI: Final = 1024
_MEBI: Final = _KIBI * _KIBI


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
        # Without a reader of stderr the command goes on.
        with suppress(OSError):
            print(text, end="", file=self._out, flush=True)


@asynccontextmanager
async def showing(line: Callable[[], str], *, patience: float = 0.0) -> AsyncIterator[Callable[[], None]]:
    """Show a line of progress again and again, where stderr is a terminal, until the block ends; then it is removed.

    Yields a function that ends it before. Nothing is shown for the first `patience` seconds.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    progress, scope = Progress(), trio.CancelScope()

    async def tick() -> None:
        with scope:
            await trio.sleep(patience)
            while True:
                progress.show(line(), trio.current_time())
                await trio.sleep(TICK)

    def stop() -> None:
        if not scope.cancel_called:
            scope.cancel()
            progress.show("", trio.current_time())

    async with background() as nursery:
        nursery.start_soon(tick)
        try:
            yield stop
        finally:
            stop()


class Waiting:
    """Counts what comes in of lists, for a line of progress."""

    def __init__(self, doing: str) -> None:
        self.doing = doing
        self.records = 0
        self.bytes = 0

    def tap(self, name: str, piece: bytes) -> None:
        """Count a piece of a reply; for the tap of a client."""
        if not name.startswith("events."):
            self.bytes += len(piece)

    def shown(self) -> AbstractAsyncContextManager[Callable[[], None]]:
        """Show the progress, as `showing`, where the wait is long."""
        return showing(self.line, patience=PATIENCE)

    def line(self) -> str:
        """Return the line of progress."""
        size = f"{self.bytes / _MEBI:,.1f} MiB" if self.bytes >= _MEBI else f"{self.bytes / _KIBI:,.0f} KiB"
        return f"{self.doing}: {self.records:,} records, {size}"

    def counted(self, client: Client) -> BBS:
        """Return a client whose listed records are counted."""
        return cast("BBS", _CountedBBS(client, self))


class _CountedBBS:
    def __init__(self, client: Client, waiting: Waiting) -> None:
        self._client = client
        self._waiting = waiting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @asynccontextmanager
    async def stream_list(self, name: ListName, **filters: Any) -> AsyncIterator[AsyncIterator[list[Any]]]:
        async with self._client.stream_list(name, **filters) as batches, aclosing(self._counted(batches)) as counted:
            yield counted

    async def _counted(self, batches: AsyncIterator[list[Any]]) -> AsyncGenerator[list[Any], None]:
        async for batch in batches:
            self._waiting.records += len(batch)
            yield batch
