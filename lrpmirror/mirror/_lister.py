"""Reading lists into a snapshot, by the paths that the server has."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

import trio

from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.groups import rows_of
from lrpmirror.errors import BBSError, RequestRefused, TimedOut, UnknownPath, WireError
from lrpmirror.mirror._bbs import BBS, ListName
from lrpmirror.mirror._freeing import in_slices


@dataclass
class Lister:
    """Fills snapshots. There is one for each stream, since the next server may have other paths."""

    _bbs: BBS
    _clock: Callable[[], float]
    _full: bool
    _cells_timeout: float
    _has_rows: bool = True

    def __post_init__(self) -> None:
        self._has_parts = not self._full

    async def everything(self, snapshot: PendingSnapshot) -> None:
        """List everything. Raises BBSError, WireError; LimitExceeded where too many events arrive meanwhile."""
        # The domains first: only a domain that was fresh before the list proves that its desired LRPs are complete.
        most = snapshot.list_limit
        domains = await self._bbs.domains(most=most)
        snapshot.check_count("domains", len(domains))
        snapshot.domains = frozenset(domains)
        await self._rows(snapshot)
        await self._desired(snapshot)
        await self._cells(snapshot)
        await self._settle(snapshot)

    async def _cells(self, snapshot: PendingSnapshot) -> None:
        """List the cells, which another service keeps: those known stay where they do not come in a short time."""
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
            # Sorted, since the server's order changes from reply to reply.
            snapshot.answered_at = self._clock()
            snapshot.cells = tuple(sorted(cells, key=attrgetter("cell_id")))
        if waiting.cancelled_caught:
            snapshot.cells_error = TimedOut(f"no list of the cells within {self._cells_timeout:g} s: those known stay")

    async def processes(self, snapshot: PendingSnapshot) -> None:
        """List the processes of the snapshot's scope. Raises BBSError, WireError."""
        if snapshot.scope.rows:
            guids, most = sorted(snapshot.scope.rows), snapshot.list_limit
            snapshot.list_rows(await self._bbs.actual_lrps_by_process_guids(guids, most=most))
        if snapshot.scope.desired:
            await self._desired_of(snapshot, sorted(snapshot.scope.desired))
        snapshot.answered_at = self._clock()
        await self._settle(snapshot)

    async def _desired_of(self, snapshot: PendingSnapshot, guids: list[str]) -> None:
        try:
            most = snapshot.list_limit
            snapshot.list_desired(await self._bbs.desired_lrps(process_guids=guids, full=self._full, most=most))
        except RequestRefused:
            # A replica of a BBS can have only their parts.
            if not self._has_parts:
                raise
            await self._read("scheduling_infos", snapshot, snapshot.list_scheduling_parts, process_guids=guids)
            await self._read("routing_infos", snapshot, snapshot.list_metric_tags, process_guids=guids)

    async def _settle(self, snapshot: PendingSnapshot) -> None:
        snapshot.check_limit()
        await in_slices(snapshot.settle())

    async def _rows(self, snapshot: PendingSnapshot) -> None:
        if self._has_rows:
            try:
                await self._read("actual_lrps", snapshot, snapshot.list_rows)
            except UnknownPath:
                self._has_rows = False
        if not self._has_rows:
            await self._read(
                "actual_lrp_groups",
                snapshot,
                lambda groups: snapshot.list_rows(chain.from_iterable(map(rows_of, groups))),
            )

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
