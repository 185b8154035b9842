"""The progress of a long command on stderr: one line that is rewritten, or a line now and then."""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, cast

import trio

from lrpmirror.background import background
from lrpmirror.cli.shared.arguments import Target
from lrpmirror.mirror._bbs import ListName
from lrpmirror.relay import Client, client_at

PATIENCE: Final = 0.7  # seconds that a list may take before its progress is shown
TICK: Final = 0.2  # seconds between two lines of progress
_QUIET: Final = 10.0  # seconds between two lines where they cannot be rewritten

_KIBI: Final = 1024
_MEBI: Final = _KIBI * _KIBI


class Progress:
    """Shows a line of progress: on a terminal in place, elsewhere every ten seconds."""

    def __init__(self) -> None:
        self._out: Final = sys.stderr
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
    """Show a line of progress on a terminal, after `patience` seconds; yields a function that ends it early."""
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


@dataclass
class Waiting:
    """Counts what comes in of lists, for a line of progress."""

    doing: str
    records: int = 0
    received: int = 0  # bytes

    def shown(self) -> AbstractAsyncContextManager[Callable[[], None]]:
        """Show the progress, as `showing`, where the wait is long."""
        return showing(self.line, patience=PATIENCE)

    def line(self) -> str:
        """Return the line of progress."""
        size = f"{self.received / _MEBI:,.1f} MiB" if self.received >= _MEBI else f"{self.received / _KIBI:,.0f} KiB"
        return f"{self.doing}: {self.records:,} records, {size}"

    @asynccontextmanager
    async def client(self, where: Target) -> AsyncIterator[Client]:
        """Open a client of what is named, whose listed records and bytes are counted."""
        async with client_at(where.url, tls=where.tls, tap=self._tap) as client:
            yield cast("Client", _CountedClient(client, self))

    def _tap(self, name: str, piece: bytes) -> None:
        if not name.startswith("events."):
            self.received += len(piece)


class _CountedClient:
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
