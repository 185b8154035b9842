"""What a mirror needs of a BBS; `BBSClient` is one, and tests have others."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

from lrpmirror.events import Event, SourceStatus
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP

__all__ = ["BBS", "ListName", "StreamName"]

ListName = Literal["actual_lrps", "actual_lrp_groups", "desired_lrps", "scheduling_infos", "routing_infos"]
StreamName = Literal["instances", "groups"]


class BBS(Protocol):
    """The reads of a BBS that a mirror makes. All raise BBSError or WireError, and nothing else.

    `most` is how many records are wanted at most: where more arrive, the read is given up with LimitExceeded then.
    """

    def events(
        self, name: StreamName, *, full: bool = ..., said: Callable[[SourceStatus], None] | None = ...
    ) -> AbstractAsyncContextManager[AsyncIterator[list[Event]]]:
        """Subscribe; entered once the server has answered. Yields the events of each read, in order of arrival.

        `said` is called with how old all that is which has been yielded so far, whenever the source says so: at first,
        then every second or so, and when that changes; from the iteration, once what was told before has been taken. A
        BBS never says so: what it tells is its own state. Whoever tells another's state must, or it passes for new.
        """
        ...

    def stream_list(self, name: ListName, **filters: Any) -> AbstractAsyncContextManager[AsyncIterator[list[Any]]]:
        """List all records of a kind, batch by batch."""
        ...

    async def actual_lrps_by_process_guids(
        self, process_guids: Iterable[str], *, most: int | None = ...
    ) -> tuple[ActualLRP, ...]:
        """List the rows of some processes."""
        ...

    async def desired_lrps(
        self, *, process_guids: Iterable[str] = ..., full: bool = ..., most: int | None = ...
    ) -> tuple[DesiredLRP, ...]:
        """List the desired LRPs of some processes."""
        ...

    def renewed(self) -> bool:
        """Return whether the certificates have been replaced since the last call, so that the stream should be too."""
        ...

    async def ping(self) -> bool:
        """Ask whether the BBS is in service, on another connection than the stream's."""
        ...

    async def domains(self, *, most: int | None = ...) -> tuple[str, ...]:
        """List the domains that are fresh."""
        ...

    async def cells(self, *, most: int | None = ...) -> tuple[CellPresence, ...]:
        """List the cells that are there."""
        ...
