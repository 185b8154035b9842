"""Progress on a terminal while lists are read: the records and bytes that have come."""

import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Self

import trio

from lrpmirror.cli.shared.progress import Progress
from lrpmirror.events import Event, SourceStatus
from lrpmirror.mirror._bbs import ListName, StreamName
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP
from lrpmirror.relay import Client

PATIENCE: Final = 0.7
"""Seconds before the first line of progress."""

TICK: Final = 0.2
"""Seconds between two lines of progress."""

_KIBI: Final = 1024
_MEBI: Final = _KIBI * _KIBI


class Waiting:
    """Counts what comes in of lists, and shows it on stderr where that is a terminal and the wait is long."""

    def __init__(self, doing: str) -> None:
        self.doing = doing
        self.records = 0
        self.bytes = 0
        self._progress: Progress | None = None

    def tap(self, name: str, piece: bytes) -> None:
        """Record a piece of a reply; for the tap of a client."""
        if not name.startswith("events."):
            self.bytes += len(piece)

    def took(self, records: int) -> None:
        """Record so many records."""
        self.records += records

    def printing(self) -> None:
        """Show nothing more where the results themselves come out on a terminal."""
        if sys.stdout.isatty():
            self._hide()

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[Self]:
        """Show the progress for as long as the block lasts; at its end the line is removed."""
        if not sys.stderr.isatty():
            yield self
            return
        self._progress = Progress()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tick)
            try:
                yield self
            finally:
                nursery.cancel_scope.cancel()
                self._hide()

    def line(self) -> str:
        """Return the line of progress."""
        size = f"{self.bytes / _MEBI:,.1f} MiB" if self.bytes >= _MEBI else f"{self.bytes / _KIBI:,.0f} KiB"
        return f"{self.doing}: {self.records:,} records, {size}"

    def _hide(self) -> None:
        if self._progress is not None:
            self._progress.show("", trio.current_time())
            self._progress = None

    async def _tick(self) -> None:
        await trio.sleep(PATIENCE)
        while self._progress is not None:
            self._progress.show(self.line(), trio.current_time())
            await trio.sleep(TICK)


class CountedBBS:
    """A client, as a mirror needs one, whose lists are counted."""

    def __init__(self, client: Client, waiting: Waiting) -> None:
        self._client = client
        self._waiting = waiting

    def events(
        self, name: StreamName, *, full: bool = False, said: Callable[[SourceStatus], None] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[list[Event]]]:
        """Subscribe."""
        return self._client.events(name, full=full, said=said)

    @asynccontextmanager
    async def stream_list(self, name: ListName, **filters: Any) -> AsyncIterator[AsyncIterator[list[Any]]]:
        """List, and count."""
        async with self._client.stream_list(name, **filters) as batches:
            yield _Counted(batches, self._waiting)

    async def actual_lrps_by_process_guids(
        self, process_guids: Iterable[str], *, most: int | None = None
    ) -> tuple[ActualLRP, ...]:
        """List the rows of some processes."""
        return await self._client.actual_lrps_by_process_guids(process_guids, most=most)

    async def desired_lrps(
        self, *, process_guids: Iterable[str] = (), full: bool = False, most: int | None = None
    ) -> tuple[DesiredLRP, ...]:
        """List the desired LRPs of some processes."""
        return await self._client.desired_lrps(process_guids=process_guids, full=full, most=most)

    def renewed(self) -> bool:
        """Return whether the certificates have been replaced since the last call."""
        return self._client.renewed()

    async def ping(self) -> bool:
        """Ask whether the BBS is in service."""
        return await self._client.ping()

    async def domains(self, *, most: int | None = None) -> tuple[str, ...]:
        """List the domains that are fresh."""
        return await self._client.domains(most=most)

    async def cells(self, *, most: int | None = None) -> tuple[CellPresence, ...]:
        """List the cells that are there."""
        return await self._client.cells(most=most)


class _Counted:
    """Batches that are counted as they are taken. No generator, which would have to be closed."""

    def __init__(self, batches: AsyncIterator[list[Any]], waiting: Waiting) -> None:
        self._batches = batches
        self._waiting = waiting

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Any]:
        batch = await anext(self._batches)
        self._waiting.took(len(batch))
        return batch
