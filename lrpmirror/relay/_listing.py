"""Lists from the hashes of a relay: in slices, by process or all; incomplete hashes are an error."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Self, TypeVar

import trio
from msgspec.structs import replace

from lrpmirror.errors import LimitExceeded, NoPublisher, ServiceUnavailable
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP
from lrpmirror.relay._commands import Commands, Later
from lrpmirror.relay._format import HASHES, Keys, Status
from lrpmirror.relay._stream import check_status
from lrpmirror.wire import decode

T = TypeVar("T")

SCAN: Final = 300
"""How many parts of desired LRPs are requested in one step: as many as a socket holds, so that they come in time."""

PROCESSES: Final = 60
"""The same for processes, whose rows are requested then."""

SLICE: Final = 100
"""How many records are decoded before others have their turn."""

TRIES: Final = 5
"""How many times the parts of a desired LRP are read again when a write came in between."""

_DECODERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "actual_lrps": decode.actual_lrp,
    "scheduling_infos": decode.scheduling_info,
    "routing_infos": decode.routing_info,
    "domains": decode.domain,
    "cells": decode.cell_presence,
}


class Lists:
    """Reads records by process, and checks that a list has all that was published."""

    def __init__(self, keys: Keys, where: str, tap: Callable[[str, bytes], None] | None) -> None:
        self.keys = keys
        self.where = where
        self._tap = tap

    async def status(self, redis: Commands) -> Status:
        """Return the status, where there is a live publisher. Raises NoPublisher, UpstreamStale."""
        status = Status.read(await redis.read_hash(self.keys.status), self.where)
        return check_status(status, await redis.time(), self.where)

    async def read_some(self, redis: Commands, name: str, guids: tuple[str, ...]) -> list[Any]:
        """Return the records of processes, encoded; or `joined` desired LRPs. For the lists."""
        if name == "actual_lrps":
            return await self._rows_of(redis, guids)
        if name == "joined":
            return await self.joined(redis, guids)
        return [value for value in await redis.read_fields(self.keys.key(name), guids) if value is not None]

    def decoded(self, name: str, values: Iterable[bytes], *, full: bool) -> list[Any]:
        """Return records from their bytes. For the lists."""
        if self._tap is not None:
            for value in values:
                self._tap(name, value)
        if name == "desired_lrps":
            return [decode.desired_lrp(value, full=full) for value in values]
        return list(map(_DECODERS[name], values))

    async def _rows_of(self, redis: Commands, guids: tuple[str, ...]) -> list[bytes]:
        """Return the rows of processes, by the index of them, which one transaction writes with the rows."""
        for _ in range(TRIES):
            fields = [
                field
                for value in await redis.read_fields(self.keys.key("processes"), guids)
                if value is not None
                for field in value.decode().split("\n")
            ]
            values = await redis.read_fields(self.keys.key("actual_lrps"), fields)
            if None not in values:
                return [value for value in values if value is not None]
        raise ServiceUnavailable(f"{self.where}: the rows of a process changed at every read; or some are gone")

    async def joined(self, redis: Commands, guids: tuple[str, ...], known: Sequence[bytes] = ()) -> list[DesiredLRP]:
        """Return desired LRPs joined from their two parts, of the same version; the first part may be given."""
        scheduling: Sequence[bytes | None] = known
        for _ in range(TRIES):
            if not scheduling:
                scheduling = await redis.read_fields(self.keys.key("scheduling_infos"), guids)
            routing = await redis.read_fields(self.keys.key("routing_infos"), guids)
            found = []
            for one, other in zip(scheduling, routing, strict=True):
                if one is None and other is None:
                    continue
                if one is None or other is None:
                    break
                lrp, tags = decode.scheduling_info(one), decode.desired_lrp(other)
                if lrp.modification_tag != tags.modification_tag:
                    break
                found.append(replace(lrp, metric_tags=tags.metric_tags))
            else:
                return found
            scheduling = ()
        raise ServiceUnavailable(f"{self.where}: the parts of a desired LRP do not belong together at any read")

    async def lacking(self, redis: Commands, name: str, before: Status, seen: int) -> int:
        """Return how many records a list lacks at least that the publisher has written."""
        after = await self.status(redis)
        expected = after.counts[HASHES.index(name)] if len(after.counts) == len(HASHES) else 0
        return max(0, expected - (after.changes - before.changes) - seen)


class RecordFilter:
    """The filters of a list."""

    def __init__(
        self,
        *,
        domain: str = "",
        cell_id: str = "",
        process_guid: str = "",
        index: int | None = None,
        process_guids: Iterable[str] = (),
        app_guids: Iterable[str] = (),
    ) -> None:
        self.guids = (process_guid,) if process_guid else tuple(dict.fromkeys(process_guids))
        self._domain = domain
        self._cell = cell_id
        self._index = index
        self._apps = tuple(app_guids)
        self.all = not (domain or cell_id or self._apps) and index is None
        """Whether every record passes."""

    def passes(self, record: ActualLRP | DesiredLRP | CellPresence | str) -> bool:
        """Return whether a record passes."""
        if isinstance(record, CellPresence | str):
            return True
        if self._domain and record.domain != self._domain:
            return False
        if isinstance(record, ActualLRP):
            return (not self._cell or record.cell_id == self._cell) and self._index in {None, record.index}
        return not self._apps or record.process_guid.startswith(self._apps)


class Records:
    """The records of one list, some at a time. No generator, which would have to be closed."""

    def __init__(
        self, lists: Lists, redis: Commands, name: str, record_filter: RecordFilter, status: Status, *, full: bool
    ) -> None:
        self._lists = lists
        self._redis = redis
        self._name = name
        self._filter = record_filter
        self._status = status
        self._full = full
        self._waiting: list[Any] = []
        self._number = 0
        """How many records were found."""
        self._seen: set[bytes] = set()
        """The fields that were scanned."""
        self._named: list[bytes] = []
        """The fields of the rows of each process, as they are stored; not all need be there."""
        self._by_process = name == "actual_lrps"
        self._slice: Later[tuple[int, Mapping[bytes, bytes]]] | None = None
        """The next slice of the hash that is scanned."""
        self._rows: Later[Sequence[bytes | None]] | None = None
        """The rows of the slice before it."""
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Any]:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            await self._fetch()
        await trio.lowlevel.checkpoint()
        some, self._waiting = self._waiting[:SLICE], self._waiting[SLICE:]
        if self._name != "joined":
            some = self._lists.decoded(self._name, some, full=self._full)
        return some if self._filter.all else list(filter(self._filter.passes, some))

    async def _fetch(self) -> None:
        """Fetch more: encoded records, or desired LRPs joined from their two parts."""
        lists, redis, joined = self._lists, self._redis, self._name == "joined"
        if self._filter.guids:
            self._ended = True
            self._waiting = await lists.read_some(redis, self._name, self._filter.guids)
            return
        if self._by_process:
            await self._fetch_rows()
            return
        name = "scheduling_infos" if joined else self._name
        found = await self._scan(name, SCAN)
        self._number += len(found)
        if self._slice is None:
            self._ended = True
            if lacking := await lists.lacking(redis, name, self._status, self._number):
                raise NoPublisher(
                    f"{lists.where}: at least {lacking} {name} are gone that had been published; the publisher "
                    f"({self._status.publisher}) finds that out and writes them again"
                )
        values = list(found.values())
        if joined:
            self._waiting = await lists.joined(redis, tuple(map(bytes.decode, found)), values)
        else:
            # The next slice is written while this one is decoded.
            await redis.send()
            self._waiting = values

    async def _fetch_rows(self) -> None:
        """Fetch the rows of some processes, while those of the next are on their way.

        They are stored in less time process by process than in the order of a hash.
        """
        rows, self._rows = self._rows, None
        if rows is None or self._slice is not None:
            found = await self._scan("processes", PROCESSES)
            self._named += found.values()
            self._rows = self._redis.fields_ahead(self._lists.keys.key(self._name), b"\n".join(found.values()))
        if rows is not None:
            self._waiting = [value for value in await rows() if value is not None]
            self._number += len(self._waiting)
        if self._rows is None:
            lacking = await self._lists.lacking(self._redis, self._name, self._status, self._number)
            self._by_process, self._ended = False, not lacking
            if lacking:
                # Where rows and processes are written by several transactions, a row can be there and not be named.
                self._seen = set(b"\n".join(self._named).split(b"\n"))

    async def _scan(self, name: str, count: int) -> Mapping[bytes, bytes]:
        """Return the next slice of a hash, and request the one after it; a growing hash can show a field twice."""
        key = self._lists.keys.key(name)
        following = self._slice or self._redis.scan_ahead(key, 0, count)
        cursor, found = await following()
        self._slice = self._redis.scan_ahead(key, cursor, count) if cursor else None
        if not self._seen.isdisjoint(found):
            found = {field: value for field, value in found.items() if field not in self._seen}
        self._seen.update(found)
        return found


async def all_of(
    batches: AbstractAsyncContextManager[AsyncIterator[list[T]]], most: int | None = None
) -> tuple[T, ...]:
    """Return a whole list; raises LimitExceeded as soon as more than `most` have come."""
    values: list[T] = []
    async with batches as listed:
        async for batch in listed:
            values += batch
            if most is not None and len(values) > most:
                raise LimitExceeded(f"over {most} records, which is all that is wanted (list_limit, of a mirror)")
    return tuple(values)


class SingleBatch:
    """A list that is one batch."""

    def __init__(self, batch: list[Any]) -> None:
        self._batches = [batch]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Any]:
        await trio.lowlevel.checkpoint()
        if not self._batches:
            raise StopAsyncIteration
        return self._batches.pop()


def order(entry_id: str) -> tuple[int, ...]:
    """Return the sort key of a stream's entry id."""
    return tuple(map(int, entry_id.split("-"))) if entry_id else ()
