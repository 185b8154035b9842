"""A BBS as a mirror uses it."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from lrpmirror.client._endpoints import ListName, StreamName
from lrpmirror.events import Event, SourceStatus
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP

__all__ = ["BBS", "ListName", "StreamName"]


class BBS(Protocol):
    """The reads of a BBS that a mirror makes. All raise BBSError or WireError, and nothing else.

    `most` is how many records a reply may have: with more, the read ends with LimitExceeded.
    """

    def events(
        self, name: StreamName, *, full: bool = ..., said: Callable[[SourceStatus], None] | None = ...
    ) -> AbstractAsyncContextManager[AsyncIterator[list[Event]]]:
        """Subscribe; entered once the server has answered. Yields the events of each read, in order of arrival.

        `said` is called with the source's status, which says how old the state is that all events so far lead to: at
        first, then about every second, and when it changes. It is called from the iteration, after the events before
        it have been taken. A BBS never sends one: it sends its own state. A source that passes on another's state must
        send it, or its state counts as new.
        """

    def stream_list(self, name: ListName, **filters: Any) -> AbstractAsyncContextManager[AsyncIterator[list[Any]]]:
        """List all records of a kind, batch by batch."""

    async def actual_lrps_by_process_guids(
        self, process_guids: Iterable[str], *, most: int | None = ...
    ) -> tuple[ActualLRP, ...]:
        """List the rows of some processes."""

    async def desired_lrps(
        self, *, process_guids: Iterable[str] = ..., full: bool = ..., most: int | None = ...
    ) -> tuple[DesiredLRP, ...]:
        """List the desired LRPs of some processes."""

    def renewed(self) -> bool:
        """Return whether the certificates on disk have changed since the last call; then the stream is replaced."""

    async def ping(self) -> bool:
        """Ask whether the BBS is in service, on another connection than the stream's."""

    async def domains(self, *, most: int | None = ...) -> tuple[str, ...]:
        """List the domains that are fresh."""

    async def cells(self, *, most: int | None = ...) -> tuple[CellPresence, ...]:
        """List the cells that are there."""
