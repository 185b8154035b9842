"""The reads of a BBS from a relay: whoever mirrors it cannot tell it from a BBS, but for how old it says it is."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio
from msgspec.structs import replace

from lrpmirror.client import TLS
from lrpmirror.client._identity import Identity
from lrpmirror.core.groups import groups_of
from lrpmirror.errors import (
    ChangesMissed,
    ConfigurationError,
    LimitExceeded,
    NoPublisher,
    RequestRefused,
    ResourceNotFound,
    ServiceUnavailable,
    UnknownPath,
)
from lrpmirror.events import SourceStatus
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.relay._address import parse
from lrpmirror.relay._commands import Commands, Connect, connector
from lrpmirror.relay._format import HASHES, Keys, Status
from lrpmirror.relay._stream import RelayStream, check_status, open_stream
from lrpmirror.wire import decode

__all__ = ["RelayClient"]

T = TypeVar("T")

SCAN: Final = 500
"""How many records are listed in one step."""

CATCH_UP: Final = 3.0
"""Seconds that a server may lag behind what was followed on another before a list from it fails."""

TRIES: Final = 5
"""How often parts of a desired LRP are read that were written in between."""

_DECODERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "actual_lrps": decode.actual_lrp,
    "scheduling_infos": decode.scheduling_info,
    "routing_infos": decode.desired_lrp,
    "domains": decode.domain,
    "cells": decode.cell_presence,
}
_LISTS: Final = ("actual_lrps", "actual_lrp_groups", "desired_lrps", "scheduling_infos", "routing_infos")


class RelayClient:
    """Reads the state of a BBS from Redis or Valkey, where `lrpmirror publish` keeps it; on trio.

    It has the methods of `BBSClient`, and a mirror takes it in its place: `open_mirror("redis://…")` makes one. `url`
    is `redis://[user:password@]host[:port][/db][?prefix=…]`, `rediss://` with TLS by the files of `tls`,
    `unix:///path`, `redis+sentinel://host[:port],…/service` or `redis+cluster://host[:port],…`; see README.

    `tap` is given the records of lists, by the list's name, and `connect` stands in for the network. Each request has a
    connection of its own. All raise BBSErrors: RelayUnreachable, RelayRefused (user, password or
    permissions), RelayUnreadable (another version of the format), NoPublisher, UpstreamStale (the publisher has lost
    the BBS), ChangesMissed (a stream); and WireErrors for records that cannot be read. Raises ConfigurationError at
    construction.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: TLS | None = None,
        tap: Callable[[str, bytes], None] | None = None,
        connect: Connect | None = None,
    ) -> None:
        address = parse(url)
        identity: Identity | None = None
        if connect is None:
            connect, identity = connector(address, tls)
        self.url = self._where = address.name
        self.keys = Keys(address.prefix)
        """The names of its keys."""
        self._connect = connect
        self._identity = identity
        self._changes_seen = 0
        self._tap = tap
        self._streams: list[RelayStream] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def renewed(self) -> bool:
        """Look at the TLS files, and return whether a new set of them has been taken up since the last call."""
        if self._identity is None:
            return False
        self._identity.check()
        before, self._changes_seen = self._changes_seen, self._identity.changes
        return before != self._changes_seen

    async def ping(self) -> bool:
        """Ask whether somebody publishes who is live with the BBS; what else it can be is an error."""
        async with self._connect() as redis:
            await self._status(redis)
        return True

    @asynccontextmanager
    async def events(
        self,
        name: str,
        cell_id: str = "",
        *,
        full: bool = False,
        said: Callable[[SourceStatus], None] | None = None,
    ) -> AsyncIterator[RelayStream]:
        """Follow the changes: `async with client.events("instances") as stream: async for events in stream`.

        There is the stream of instances only, and no filter by cell: UnknownPath for others. A whole record is told as
        `created`, whether it is new or another version. `said` is called with how old all that was yielded is, whenever
        the publisher says so, which is each second. Raises ChangesMissed where the stream has gone on without this
        reader, and NoPublisher after some seconds without anything.
        """
        if name != "instances" or cell_id:
            raise UnknownPath(f"{self._where}: a relay has the stream of instances only, of all cells")
        async with (
            self._connect() as redis,
            open_stream(redis, self.keys, self._where, full=full, said=said) as stream,
        ):
            self._streams.append(stream)
            try:
                yield stream
            finally:
                self._streams.remove(stream)

    # Lists

    def stream_list(self, name: str, **filters: Any) -> AbstractAsyncContextManager[AsyncIterator[list[Any]]]:
        """Ask for a list and take its records as they come, as `BBSClient.stream_list`.

        Filters by process are read directly; other filters go through all records.
        """
        if name == "actual_lrp_groups":
            return self._groups(**filters)
        if name not in _LISTS:
            raise ConfigurationError(f"{name!r} is not a list; these are: {', '.join(_LISTS)}")
        return self._list(name, **filters)

    async def actual_lrps(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> tuple[ActualLRP, ...]:
        """Return the rows, or those that pass all given filters."""
        filters: dict[str, Any] = {"domain": domain, "cell_id": cell_id, "process_guid": process_guid, "index": index}
        return await _all(self._list("actual_lrps", **filters))

    async def actual_lrps_by_process_guids(
        self, process_guids: Iterable[str], *, most: int | None = None
    ) -> tuple[ActualLRP, ...]:
        """Return the rows of some processes; nothing is asked for none."""
        guids = tuple(dict.fromkeys(process_guids))
        return await _all(self._list("actual_lrps", process_guids=guids), most) if guids else ()

    async def actual_lrp_groups(self, domain: str = "", cell_id: str = "") -> tuple[ActualLRPGroup, ...]:
        """Return the groups, or those that pass both filters."""
        return await _all(self._groups(domain=domain, cell_id=cell_id))

    async def actual_lrp_groups_by_process_guid(self, process_guid: str) -> tuple[ActualLRPGroup, ...]:
        """Return the groups of one process."""
        return groups_of(await self.actual_lrps_by_process_guids((process_guid,)))

    async def actual_lrp_group_by_process_guid_and_index(self, process_guid: str, index: int) -> ActualLRPGroup:
        """Return one group; raises ResourceNotFound."""
        for group in await self.actual_lrp_groups_by_process_guid(process_guid):
            if group.resolve().index == index:
                return group
        raise ResourceNotFound("ResourceNotFound", f"no actual LRP {process_guid}/{index}")

    async def desired_lrps(
        self,
        domain: str = "",
        process_guids: Iterable[str] = (),
        app_guids: Iterable[str] = (),
        *,
        full: bool = False,
        most: int | None = None,
    ) -> tuple[DesiredLRP, ...]:
        """Return the desired LRPs, or those that pass all given filters.

        `full` needs a publisher that keeps whole ones: RequestRefused else.
        """
        name = "desired_lrps" if full else "joined"
        filters: dict[str, Any] = {
            "domain": domain,
            "process_guids": tuple(process_guids),
            "app_guids": tuple(app_guids),
        }
        return await _all(self._list(name, full=full, **filters), most)

    async def scheduling_infos(
        self, domain: str = "", process_guids: Iterable[str] = (), app_guids: Iterable[str] = ()
    ) -> tuple[DesiredLRP, ...]:
        """Return the scheduling part of the desired LRPs, or of those that pass all given filters."""
        filters: dict[str, Any] = {"domain": domain, "process_guids": process_guids, "app_guids": app_guids}
        return await _all(self._list("scheduling_infos", **filters))

    async def routing_infos(
        self, domain: str = "", process_guids: Iterable[str] = (), app_guids: Iterable[str] = ()
    ) -> tuple[DesiredLRP, ...]:
        """Return the routing part of the desired LRPs, or of those that pass all given filters."""
        filters: dict[str, Any] = {"domain": domain, "process_guids": process_guids, "app_guids": app_guids}
        return await _all(self._list("routing_infos", **filters))

    async def desired_lrp(self, process_guid: str, *, full: bool = False) -> DesiredLRP:
        """Return one desired LRP; raises ResourceNotFound."""
        found = await self.desired_lrps(process_guids=(process_guid,), full=full)
        if not found:
            raise ResourceNotFound("ResourceNotFound", f"no desired LRP {process_guid}")
        return found[0]

    async def domains(self, *, most: int | None = None) -> tuple[str, ...]:
        """Return the fresh domains."""
        return await _all(self._list("domains"), most)

    async def cells(self, *, most: int | None = None) -> tuple[CellPresence, ...]:
        """Return the cells that are there."""
        return await _all(self._list("cells"), most)

    @asynccontextmanager
    async def _groups(
        self, domain: str = "", cell_id: str = "", process_guid: str = ""
    ) -> AsyncIterator[AsyncIterator[list[ActualLRPGroup]]]:
        rows = await self.actual_lrps(domain, cell_id, process_guid)
        by_process: dict[str, list[ActualLRP]] = {}
        for row in rows:
            by_process.setdefault(row.process_guid, []).append(row)
        yield _Once([group for some in by_process.values() for group in groups_of(some)])

    @asynccontextmanager
    async def _list(self, name: str, *, full: bool = False, **filters: Any) -> AsyncIterator[AsyncIterator[list[Any]]]:
        wanted = _Wanted(**filters)
        async with self._connect() as redis:
            status = await self._caught_up(redis)
            if name == "desired_lrps" and status.detail != "full":
                if full:
                    raise RequestRefused(
                        "InvalidRequest",
                        f"{self._where} has no whole desired LRPs: its publisher runs without --detail full",
                    )
                name = "joined"
            yield _Records(self, redis, name, wanted, status, full=full)

    # Reading

    async def _status(self, redis: Commands) -> Status:
        status = Status.read(await redis.read_hash(self.keys.status), self._where)
        return check_status(status, await redis.time(), self._where)

    async def _caught_up(self, redis: Commands) -> Status:
        """Return the status, once the server is not behind what was followed on another connection.

        That other connection can be to another server: a replica, or the primary before a fail-over. A list from one
        that lags would lack what the stream has told before it was asked for. Raises ServiceUnavailable, ChangesMissed.
        """
        status = await self._status(redis)
        position = max((stream.position for stream in self._streams), key=_order, default="")
        if not position:
            return status
        until = trio.current_time() + CATCH_UP
        while True:
            last = await redis.last_entry(self.keys.changes)
            if last is not None and _order(last[0]) >= _order(position):
                break
            if trio.current_time() > until:
                raise ServiceUnavailable(
                    f"{self._where}: the server that was asked lags behind what has been followed, by more than "
                    f"{CATCH_UP:g} s"
                )
            await trio.sleep(0.05)
        if not await redis.has_entry(self.keys.changes, position):
            raise ChangesMissed(f"{self._where}: the server that was asked has another history than what was followed")
        return status

    async def read_some(self, redis: Commands, name: str, guids: tuple[str, ...], *, full: bool) -> list[Any]:
        """Return the records of processes. For the lists."""
        if name == "actual_lrps":
            return await self._rows_of(redis, guids)
        if name == "joined":
            return await self._joined(redis, guids)
        values = await redis.read_fields(self.keys.key(name), guids)
        return self.decoded(name, [value for value in values if value is not None], full=full)

    def decoded(self, name: str, values: Iterable[bytes], *, full: bool) -> list[Any]:
        """Return records from their bytes. For the lists."""
        if self._tap is not None:
            for value in values:
                self._tap(name, value)
        if name == "desired_lrps":
            return [decode.desired_lrp(value, full=full) for value in values]
        return list(map(_DECODERS[name], values))

    async def _rows_of(self, redis: Commands, guids: tuple[str, ...]) -> list[ActualLRP]:
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
                return [decode.actual_lrp(value) for value in values if value is not None]
        raise ServiceUnavailable(f"{self._where}: the rows of a process changed at every read; or some are gone")

    async def _joined(self, redis: Commands, guids: tuple[str, ...]) -> list[DesiredLRP]:
        """Return desired LRPs of their two parts, of the same version."""
        for _ in range(TRIES):
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
        raise ServiceUnavailable(f"{self._where}: the parts of a desired LRP do not belong together at any read")

    async def check_complete(self, redis: Commands, name: str, before: Status, seen: int) -> None:
        """Raise NoPublisher where a list lacks what the publisher has written."""
        after = await self._status(redis)
        n = HASHES.index(name)
        expected = after.counts[n] if len(after.counts) == len(HASHES) else 0
        lacking = expected - (after.changes - before.changes) - seen
        if lacking > 0:
            raise NoPublisher(
                f"{self._where}: {lacking} of {expected} {name} are gone that had been published; the publisher "
                f"({after.publisher}) finds that out and writes them again"
            )


class _Wanted:
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

    def passes(self, record: ActualLRP | DesiredLRP | CellPresence | str) -> bool:
        """Return whether a record passes."""
        if isinstance(record, CellPresence | str):
            return True
        if self._domain and record.domain != self._domain:
            return False
        if isinstance(record, ActualLRP):
            return (not self._cell or record.cell_id == self._cell) and self._index in {None, record.index}
        return not self._apps or record.process_guid.startswith(self._apps)


class _Records:
    """The records of one list, some at a time. No generator, which would have to be closed."""

    def __init__(
        self, client: RelayClient, redis: Commands, name: str, wanted: _Wanted, status: Status, *, full: bool
    ) -> None:
        self._client = client
        self._redis = redis
        self._name = name
        self._wanted = wanted
        self._status = status
        self._full = full
        self._cursor: int | None = None
        self._seen: set[bytes] = set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Any]:
        if self._cursor == 0:
            raise StopAsyncIteration
        if self._wanted.guids:
            self._cursor = 0
            found = await self._client.read_some(self._redis, self._name, self._wanted.guids, full=self._full)
        else:
            found = await self._scanned()
        return list(filter(self._wanted.passes, found))

    async def _scanned(self) -> list[Any]:
        name = "scheduling_infos" if self._name == "joined" else self._name
        key = self._client.keys.key(name)
        self._cursor, found = await self._redis.scan(key, self._cursor or 0, SCAN)
        self._seen.update(found)
        if not self._cursor:
            await self._client.check_complete(self._redis, name, self._status, len(self._seen))
        if self._name == "joined":
            guids = tuple([field.decode() for field in found])
            return await self._client.read_some(self._redis, self._name, guids, full=self._full)
        return self._client.decoded(name, found.values(), full=self._full)


async def _all(batches: AbstractAsyncContextManager[AsyncIterator[list[T]]], most: int | None = None) -> tuple[T, ...]:
    values: list[T] = []
    async with batches as listed:
        async for batch in listed:
            values += batch
            if most is not None and len(values) > most:
                raise LimitExceeded(f"over {most} records, which is all that is wanted (list_limit, of a mirror)")
    return tuple(values)


class _Once:
    """One batch."""

    def __init__(self, batch: list[Any]) -> None:
        self._batches = [batch]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Any]:
        await trio.lowlevel.checkpoint()
        if not self._batches:
            raise StopAsyncIteration
        return self._batches.pop()


def _order(entry_id: str) -> tuple[int, ...]:
    """Return a stream's id as what it is ordered by."""
    return tuple(map(int, entry_id.split("-"))) if entry_id else ()
