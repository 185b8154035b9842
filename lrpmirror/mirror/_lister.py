"""Reading lists into a snapshot, whatever paths the server has."""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import trio

from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.errors import BBSError, RequestRefused, TimedOut, UnknownPath, WireError
from lrpmirror.mirror._bbs import BBS, ListName
from lrpmirror.model import ActualLRP, ActualLRPGroup

__all__ = ["Lister"]


class Lister:
    """Reads what a snapshot is to be filled with. There is one for each stream, since the next server may be newer."""

    def __init__(self, bbs: BBS, clock: Callable[[], float], *, full: bool, cells_timeout: float) -> None:
        self._bbs = bbs
        self._clock = clock
        self._full = full
        self._cells_timeout = cells_timeout
        self._has_rows = True
        self._has_parts = not full

    async def everything(self, snapshot: PendingSnapshot) -> None:
        """List it all. Raises BBSError, WireError; LimitExceeded where events come in faster than lists."""
        # The domains first: a domain that was fresh before the desired LRPs were listed vouches that they are complete.
        most = snapshot.list_limit
        domains = await self._bbs.domains(most=most)
        snapshot.check_count("domains", len(domains))
        snapshot.domains = frozenset(domains)
        await self._rows(snapshot)
        await self._desired(snapshot)
        await self._cells(snapshot)
        await self._settle(snapshot)

    async def _cells(self, snapshot: PendingSnapshot) -> None:
        """List the cells, which another service keeps: it can be down while the BBS is well, and holds up nothing.

        Where they cannot be had in a short time, those known before stay.
        """
        snapshot.answered_at = self._clock()
        with trio.move_on_after(self._cells_timeout) as waiting:
            try:
                cells = await self._bbs.cells(most=snapshot.list_limit)
                snapshot.check_count("cells", len(cells))
            except UnknownPath:
                return
            except (BBSError, WireError) as error:
                snapshot.cells_error = error
                return
            # In an order of our own: that of the server changes from reply to reply, which is no change of the cells.
            snapshot.answered_at = None
            snapshot.cells = tuple(sorted(cells, key=attrgetter("cell_id")))
        if waiting.cancelled_caught:
            snapshot.cells_error = TimedOut(f"no list of the cells within {self._cells_timeout:g} s: those known stay")

    async def some(self, snapshot: PendingSnapshot) -> None:
        """List what is in the snapshot's scope, which is of some processes. Raises BBSError, WireError."""
        if snapshot.scope.rows:
            guids, most = sorted(snapshot.scope.rows), snapshot.list_limit
            snapshot.list_rows(await self._bbs.actual_lrps_by_process_guids(guids, most=most))
        if snapshot.scope.desired:
            await self._some_desired(snapshot, sorted(snapshot.scope.desired))
        await self._settle(snapshot)

    async def _some_desired(self, snapshot: PendingSnapshot, guids: list[str]) -> None:
        try:
            most = snapshot.list_limit
            snapshot.list_desired(await self._bbs.desired_lrps(process_guids=guids, full=self._full, most=most))
        except RequestRefused:
            # A replica of a BBS can have their parts only.
            if not self._has_parts:
                raise
            await self._read("scheduling_infos", snapshot, snapshot.list_scheduling_parts, process_guids=guids)
            await self._read("routing_infos", snapshot, snapshot.list_metric_tags, process_guids=guids)

    async def _settle(self, snapshot: PendingSnapshot) -> None:
        snapshot.check_limit()
        for _ in snapshot.settle():
            await trio.lowlevel.checkpoint()

    async def _rows(self, snapshot: PendingSnapshot) -> None:
        if self._has_rows:
            try:
                await self._read("actual_lrps", snapshot, snapshot.list_rows)
            except UnknownPath:
                self._has_rows = False
        if not self._has_rows:
            await self._read("actual_lrp_groups", snapshot, lambda groups: snapshot.list_rows(_rows_of(groups)))

    async def _desired(self, snapshot: PendingSnapshot) -> None:
        """List the desired LRPs: by their parts, which are a small share of the whole, unless the whole is wanted."""
        if self._has_parts:
            try:
                await self._read("scheduling_infos", snapshot, snapshot.list_scheduling_parts)
                await self._read("routing_infos", snapshot, snapshot.list_metric_tags)
            except UnknownPath:
                self._has_parts = False
        if not self._has_parts:
            await self._read("desired_lrps", snapshot, snapshot.list_desired, full=self._full)

    async def _read(
        self, name: ListName, snapshot: PendingSnapshot, take: Callable[[list[Any]], None], **filters: Any
    ) -> None:
        async with self._bbs.stream_list(name, **filters) as batches:
            async for batch in batches:
                take(batch)
                snapshot.check_limit()


def _rows_of(groups: list[ActualLRPGroup]) -> Iterator[ActualLRP]:
    return (row for group in groups for row in (group.instance, group.evacuating) if row is not None)
