"""A client with the reads of a BBS over a relay: to a mirror it is a BBS that also reports the age of its state."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio

from lrpmirror.client import TLS, BBSClient
from lrpmirror.client._identity import Identity
from lrpmirror.core.rows.groups import groups_of
from lrpmirror.errors import (
    ChangesMissed,
    ConfigurationError,
    RequestRefused,
    ResourceNotFound,
    ServiceUnavailable,
    UnknownPath,
)
from lrpmirror.events import SourceStatus
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.relay._address import is_relay, parse
from lrpmirror.relay._commands import Commands, Connect, connector
from lrpmirror.relay._format import Keys, Status
from lrpmirror.relay._listing import Lists, RecordFilter, Records, SingleBatch, all_of, order
from lrpmirror.relay._stream import RelayStream, open_stream

T = TypeVar("T")

CATCH_UP: Final = 3.0
"""Seconds that a server may lag behind what was followed on another before a list from it fails."""

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
        self._lists = Lists(self.keys, address.name, tap)
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
        """Return whether a live publisher is there; raises otherwise."""
        async with self._connect() as redis:
            await self._lists.status(redis)
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

        There is the stream of instances only, and no filter by cell: UnknownPath for others. A whole record comes as
        `created`, whether it is new or another version. `said` is called each second with the age of all that was
        yielded. Raises ChangesMissed where the stream has gone on without this reader, and NoPublisher.
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
        """Request a list and receive its records as they come, as `BBSClient.stream_list`.

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
        rows = self._list("actual_lrps", domain=domain, cell_id=cell_id, process_guid=process_guid, index=index)
        return await all_of(rows)

    async def actual_lrps_by_process_guids(
        self, process_guids: Iterable[str], *, most: int | None = None
    ) -> tuple[ActualLRP, ...]:
        """Return the rows of some processes; without any, no request is sent."""
        guids = tuple(dict.fromkeys(process_guids))
        return await all_of(self._list("actual_lrps", process_guids=guids), most) if guids else ()

    async def actual_lrp_groups(self, domain: str = "", cell_id: str = "") -> tuple[ActualLRPGroup, ...]:
        """Return the groups, or those that pass both filters."""
        return await all_of(self._groups(domain=domain, cell_id=cell_id))

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
        filters: dict[str, Any] = {"domain": domain, "process_guids": process_guids, "app_guids": app_guids}
        return await all_of(self._list("desired_lrps" if full else "joined", full=full, **filters), most)

    async def scheduling_infos(
        self, domain: str = "", process_guids: Iterable[str] = (), app_guids: Iterable[str] = ()
    ) -> tuple[DesiredLRP, ...]:
        """Return the scheduling part of the desired LRPs, or of those that pass all given filters."""
        found = self._list("scheduling_infos", domain=domain, process_guids=process_guids, app_guids=app_guids)
        return await all_of(found)

    async def routing_infos(
        self, domain: str = "", process_guids: Iterable[str] = (), app_guids: Iterable[str] = ()
    ) -> tuple[DesiredLRP, ...]:
        """Return the routing part of the desired LRPs, or of those that pass all given filters."""
        found = self._list("routing_infos", domain=domain, process_guids=process_guids, app_guids=app_guids)
        return await all_of(found)

    async def desired_lrp(self, process_guid: str, *, full: bool = False) -> DesiredLRP:
        """Return one desired LRP; raises ResourceNotFound."""
        found = await self.desired_lrps(process_guids=(process_guid,), full=full)
        if not found:
            raise ResourceNotFound("ResourceNotFound", f"no desired LRP {process_guid}")
        return found[0]

    async def domains(self, *, most: int | None = None) -> tuple[str, ...]:
        """Return the fresh domains."""
        return await all_of(self._list("domains"), most)

    async def cells(self, *, most: int | None = None) -> tuple[CellPresence, ...]:
        """Return the registered cells."""
        return await all_of(self._list("cells"), most)

    @asynccontextmanager
    async def _groups(
        self, domain: str = "", cell_id: str = "", process_guid: str = ""
    ) -> AsyncIterator[AsyncIterator[list[ActualLRPGroup]]]:
        rows = await self.actual_lrps(domain, cell_id, process_guid)
        by_process: dict[str, list[ActualLRP]] = {}
        for row in rows:
            by_process.setdefault(row.process_guid, []).append(row)
        yield SingleBatch([group for some in by_process.values() for group in groups_of(some)])

    @asynccontextmanager
    async def _list(self, name: str, *, full: bool = False, **filters: Any) -> AsyncIterator[AsyncIterator[list[Any]]]:
        record_filter = RecordFilter(**filters)
        async with self._connect() as redis:
            status = await self._caught_up(redis)
            if name == "desired_lrps" and status.detail != "full":
                if full:
                    raise RequestRefused(
                        "InvalidRequest",
                        f"{self._where} has no whole desired LRPs: its publisher runs without --detail full",
                    )
                name = "joined"
            yield Records(self._lists, redis, name, record_filter, status, full=full)

    # Reading

    async def _caught_up(self, redis: Commands) -> Status:
        """Return the status, once the server has all that was followed on another connection.

        That can be to another server: a replica, or the primary before a fail-over. One that lags lacks events that
        were delivered before the list was requested. Raises ServiceUnavailable, ChangesMissed.
        """
        status = await self._lists.status(redis)
        position = max((stream.position for stream in self._streams), key=order, default="")
        if not position:
            return status
        until = trio.current_time() + CATCH_UP
        while True:
            last = await redis.last_entry(self.keys.changes)
            if last is not None and order(last[0]) >= order(position):
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


Client = BBSClient | RelayClient
"""A client that reads the state of a BBS."""


def client_at(url: str, *, tls: TLS | None = None, tap: Callable[[str, bytes], None] | None = None) -> Client:
    """Return a client, to be entered. Raises ConfigurationError for a URL or file that cannot be used."""
    return RelayClient(url, tls=tls, tap=tap) if is_relay(url) else BBSClient(url, tls=tls, tap=tap)
