"""The progress of a long command on stderr: one line that is rewritten, or a line now and then."""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import trio

from lrpmirror.background import background
from lrpmirror.cli.shared.arguments import Target
from lrpmirror.mirror._bbs import ListName
from lrpmirror.relay import Client, client_at

PATIENCE: Final = 0.7  # seconds that a list may take before its progress is shown
TICK: Final = 0.2  # seconds between two lines of progress
_QUIET: Final = 10.0  # seconds between two lines where they cannot be rewritten
_CLEAR: Final = "\r\x1b[K"  # begins the line of a terminal anew

_KIBI: Final = 1024
_MEBI: Final = _KIBI * _KIBI


class Progress:
    """A line of progress on stderr: on a terminal in place; elsewhere, if at all, every ten seconds."""

    def __init__(self, line: Callable[[], str], *, patience: float = 0.0, elsewhere: bool = False) -> None:
        self._line = line
        self._patience = patience  # seconds that pass before it is shown
        self._elsewhere = elsewhere
        self._out: Final = sys.stderr
        self._terminal = self._out.isatty()
        self._scope = trio.CancelScope()

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[Self]:
        """Show it for as long as the block lasts, or until `hide`."""
        async with background() as nursery:
            if self._terminal or self._elsewhere:
                nursery.start_soon(self._show)
            try:
                yield self
            finally:
                self.hide()

    def hide(self) -> None:
        """Show it no more."""
        if self._terminal and not self._scope.cancel_called:
            self._write(_CLEAR)
        self._scope.cancel()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._write(f"{_CLEAR if self._terminal else ''}{line}\n")

    async def _show(self) -> None:
        with self._scope:
            await trio.sleep(self._patience)
            while True:
                self._write(f"{_CLEAR}{self._line()}" if self._terminal else f"{self._line()}\n")
                await trio.sleep(TICK if self._terminal else _QUIET)

    def _write(self, text: str) -> None:
        # Without a reader of stderr the command goes on.
        with suppress(OSError):
            print(text, end="", file=self._out, flush=True)


@dataclass
class Waiting:
    """Counts what comes in of lists, for a line of progress."""

    doing: str
    records: int = 0
    received: int = 0  # bytes

    def shown(self) -> AbstractAsyncContextManager[Progress]:
        """Show the progress where the wait is long."""
        return Progress(self.line, patience=PATIENCE).shown()

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


@dataclass
class _CountedClient:
    _client: Client
    _waiting: Waiting

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
