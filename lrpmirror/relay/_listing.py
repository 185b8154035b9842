"""Lists from the hashes of a relay: in slices, by process or all; incomplete hashes are an error."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import trio
from msgspec.structs import replace

from lrpmirror.errors import LimitExceeded, NoPublisher, ServiceUnavailable
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP
from lrpmirror.relay._commands import Commands, Later
from lrpmirror.relay._format import HASHES, Keys, Status, check_status
from lrpmirror.wire import decode

T = TypeVar("T")

SCAN: Final = 300  # how many parts of desired LRPs are requested in one step: as many as a socket holds
PROCESSES: Final = 60  # the same for processes, whose rows are requested then
SLICE: Final = 100  # how many records are decoded before others have their turn
TRIES: Final = 5  # how many times the parts of a desired LRP are read again when a write came in between

_DECODERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "actual_lrps": decode.actual_lrp,
    "scheduling_infos": decode.scheduling_info,
    "routing_infos": decode.routing_info,
    "domains": decode.domain,
    "cells": decode.cell_presence,
}


async def live_status(redis: Commands, keys: Keys) -> Status:
    """Return the status, where there is a live publisher. Raises NoPublisher, UpstreamStale."""
    status = Status.read(await redis.read_hash(keys.status), keys.where)
    return check_status(status, await redis.time(), keys.where)


@dataclass(kw_only=True)
class RecordFilter:
    """The filters of a list."""

    domain: str = ""
    cell_id: str = ""
    process_guid: str = ""
    index: int | None = None
    process_guids: Iterable[str] = ()
    app_guids: Iterable[str] = ()

    def __post_init__(self) -> None:
        self.guids = (self.process_guid,) if self.process_guid else tuple(dict.fromkeys(self.process_guids))
        self.apps = tuple(self.app_guids)
        self.all = not (self.domain or self.cell_id or self.apps) and self.index is None  # whether every record passes

    def passes(self, record: ActualLRP | DesiredLRP | CellPresence | str) -> bool:
        """Return whether a record passes."""
        if isinstance(record, CellPresence | str):
            return True
        if self.domain and record.domain != self.domain:
            return False
        if isinstance(record, ActualLRP):
            return (not self.cell_id or record.cell_id == self.cell_id) and self.index in {None, record.index}
        return not self.apps or record.process_guid.startswith(self.apps)


@dataclass(eq=False)
class Records(AsyncIterator[list[Any]]):
    """The records of one list, some at a time. No generator, which would have to be closed."""

    _redis: Commands
    _keys: Keys
    _tap: Callable[[str, bytes], None] | None
    _name: str
    _filter: RecordFilter
    _status: Status
    _full: bool
    _waiting: list[Any] = field(default_factory=list)
    _number: int = 0  # how many records were found
    _seen: set[bytes] = field(default_factory=set)  # the fields that were scanned
    _named: list[bytes] = field(default_factory=list)  # the fields of rows by process; not all need be there
    _slice: Later[tuple[int, Mapping[bytes, bytes]]] | None = None  # the next slice of the hash that is scanned
    _rows: Later[Sequence[bytes | None]] | None = None  # the rows of the slice before it
    _ended: bool = False

    def __post_init__(self) -> None:
        self._by_process = self._name == "actual_lrps"

    async def __anext__(self) -> list[Any]:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            await self._fetch()
        await trio.lowlevel.checkpoint()
        some, self._waiting = self._waiting[:SLICE], self._waiting[SLICE:]
        if self._name != "joined":
            some = self._decoded(some)
        return some if self._filter.all else list(filter(self._filter.passes, some))

    async def _fetch(self) -> None:
        """Fetch more: encoded records, or desired LRPs joined from their two parts."""
        joined = self._name == "joined"
        if guids := self._filter.guids:
            self._ended = True
            if self._by_process:
                self._waiting = await self._rows_of(guids)
            elif joined:
                self._waiting = await self._joined(guids)
            else:
                found = await self._redis.read_fields(self._keys.key(self._name), guids)
                self._waiting = [value for value in found if value is not None]
            return
        if self._by_process:
            await self._fetch_rows()
            return
        name = "scheduling_infos" if joined else self._name
        scanned = await self._scan(name, SCAN)
        self._number += len(scanned)
        if self._slice is None:
            self._ended = True
            if lacking := await self._lacking(name):
                raise NoPublisher(
                    f"{self._keys.where}: at least {lacking} {name} are gone that had been published; the publisher "
                    f"({self._status.publisher}) finds that out and writes them again"
                )
        values = list(scanned.values())
        if joined:
            self._waiting = await self._joined(tuple(map(bytes.decode, scanned)), values)
        else:
            # The next slice is written while this one is decoded.
            await self._redis.send()
            self._waiting = values

    async def _fetch_rows(self) -> None:
        """Fetch the rows of some processes, which store faster than a slice of their hash; request the next."""
        rows, self._rows = self._rows, None
        if rows is None or self._slice is not None:
            found = await self._scan("processes", PROCESSES)
            self._named += found.values()
            self._rows = self._redis.fields_ahead(self._keys.key(self._name), b"\n".join(found.values()))
        if rows is not None:
            self._waiting = [value for value in await rows() if value is not None]
            self._number += len(self._waiting)
        if self._rows is None:
            lacking = await self._lacking(self._name)
            self._by_process, self._ended = False, not lacking
            if lacking:
                # Where rows and processes are written by several transactions, a row can be there and not be named.
                self._seen = set(b"\n".join(self._named).split(b"\n"))

    async def _scan(self, name: str, count: int) -> Mapping[bytes, bytes]:
        """Return the next slice of a hash, and request the one after it; a growing hash can show a field twice."""
        key = self._keys.key(name)
        following = self._slice or self._redis.scan_ahead(key, 0, count)
        cursor, found = await following()
        self._slice = self._redis.scan_ahead(key, cursor, count) if cursor else None
        if not self._seen.isdisjoint(found):
            found = {field: value for field, value in found.items() if field not in self._seen}
        self._seen.update(found)
        return found

    def _decoded(self, values: Iterable[bytes]) -> list[Any]:
        """Return records from their bytes."""
        if self._tap is not None:
            for value in values:
                self._tap(self._name, value)
        if self._name == "desired_lrps":
            return [decode.desired_lrp(value, full=self._full) for value in values]
        return list(map(_DECODERS[self._name], values))

    async def _rows_of(self, guids: tuple[str, ...]) -> list[bytes]:
        """Return the rows of processes, by the index of them, which one transaction writes with the rows."""
        for _ in range(TRIES):
            fields = [
                field
                for value in await self._redis.read_fields(self._keys.key("processes"), guids)
                if value is not None
                for field in value.decode().split("\n")
            ]
            values = await self._redis.read_fields(self._keys.key("actual_lrps"), fields)
            if None not in values:
                return [value for value in values if value is not None]
        raise ServiceUnavailable(f"{self._keys.where}: the rows of a process changed at every read; or some are gone")

    async def _joined(self, guids: tuple[str, ...], known: Sequence[bytes] = ()) -> list[DesiredLRP]:
        """Return desired LRPs joined from their two parts, of the same version; the first part may be given."""
        scheduling: Sequence[bytes | None] = known
        for _ in range(TRIES):
            if not scheduling:
                scheduling = await self._redis.read_fields(self._keys.key("scheduling_infos"), guids)
            routing = await self._redis.read_fields(self._keys.key("routing_infos"), guids)
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
        raise ServiceUnavailable(f"{self._keys.where}: the parts of a desired LRP do not belong together at any read")

    async def _lacking(self, name: str) -> int:
        """Return how many records a list lacks at least that the publisher has written."""
        after = await live_status(self._redis, self._keys)
        expected = after.counts[HASHES.index(name)] if len(after.counts) == len(HASHES) else 0
        return max(0, expected - (after.changes - self._status.changes) - self._number)


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


def order(entry_id: str) -> tuple[int, ...]:
    """Return the sort key of a stream's entry id."""
    return tuple(map(int, entry_id.split("-"))) if entry_id else ()
