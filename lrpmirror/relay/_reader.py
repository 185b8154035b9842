"""A client with the reads of a BBS over a relay: to a mirror it is a BBS that also reports the age of its state."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

import trio

from lrpmirror import errors
from lrpmirror.background import let_others_go_first
from lrpmirror.client import TLS, BBSClient
from lrpmirror.client._tls import Identity
from lrpmirror.core.rows.groups import groups_of
from lrpmirror.events import Event, SourceStatus
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.relay._address import is_relay, parse
from lrpmirror.relay._commands import Commands, Connect, ServerClock, connector
from lrpmirror.relay._format import HEARTBEAT, PATIENCE, Entry, Keys, Status, check_status, trouble_of
from lrpmirror.relay._listing import RecordFilter, Records, all_of, live_status, order
from lrpmirror.wire import decode

COUNT: Final = 64  # how many entries are read at once
BLOCK: Final = 1.0  # seconds that one read waits for the next entry


@dataclass(eq=False)
class RelayStream(AsyncIterator[list[Event]]):
    """The events of a relay's changes, a list for each read. Raises BBSErrors; see `RelayClient.events`."""

    _redis: Commands
    _keys: Keys
    position: str  # the id of the last entry that was taken
    _link: str
    _untold: Entry | None  # the entry whose age is reported once the events before it have been taken
    _clock: ServerClock
    _full: bool
    _said: Callable[[SourceStatus], None] | None
    _heard_at: float = field(default_factory=trio.current_time)

    async def __anext__(self) -> list[Event]:
        # Who waits for what was yielded has a turn now, and not after the next command is made and sent.
        await let_others_go_first()
        while True:
            await self._tell()
            events: list[Event] = []
            for entry_id, pairs in await self._next():
                entry = Entry.read(pairs, self._keys.where)
                if entry.before != self._link:
                    raise errors.ChangesMissed(
                        f"{self._keys.where}: the changes do not go on where they were left: they were dropped from "
                        "the stream before they were read, or the relay was written anew"
                    )
                self._link, self.position = entry.link, entry_id
                events += [decode.event_payload(name, payload, full=self._full) for name, payload in entry.events]
                self._untold = entry
            if events:
                return events

    async def _next(self) -> Any:
        while True:
            wait = self._heard_at + PATIENCE - trio.current_time()
            found = await self._redis.entries_after(self._keys.changes, self.position, COUNT, min(BLOCK, max(wait, 0)))
            now = trio.current_time()
            if found:
                self._heard_at = now
                return found
            if now >= self._heard_at + PATIENCE:
                raise errors.NoPublisher(
                    f"{self._keys.where}: nobody publishes there: nothing has come for {now - self._heard_at:.1f} s, "
                    "where there is something each second"
                )

    async def _tell(self) -> None:
        """Report the present age of the state; the time of the last entry is in its id."""
        entry, self._untold = self._untold, None
        if entry is None or self._said is None:
            return
        written_at = int(self.position.partition("-")[0]) / 1000
        lag = self._clock.latest(trio.current_time()) - written_at
        if not 0 <= lag <= HEARTBEAT and trio.current_time() > self._clock.heard_at + HEARTBEAT:
            # It was long on its way; or the clock has been set, or is another server's.
            self._clock = await self._redis.clock()
            lag = self._clock.latest(trio.current_time()) - written_at
        self._said(SourceStatus(entry.age + max(0.0, lag), trouble_of(entry.phase, entry.trouble)))


@asynccontextmanager
async def open_stream(
    redis: Commands, keys: Keys, *, full: bool, said: Callable[[SourceStatus], None] | None
) -> AsyncIterator[RelayStream]:
    """Follow the changes from the last entry that is there."""
    found = Status.read(await redis.read_hash(keys.status), keys.where)
    clock = await redis.clock()
    status = check_status(found, clock.said, keys.where)
    last = await redis.last_entry(keys.changes)
    if last is None:
        raise errors.NoPublisher(
            f"{keys.where}: the stream of changes is empty; the publisher ({status.publisher}) writes it anew"
        )
    entry = Entry.read(last[1], keys.where)
    yield RelayStream(redis, keys, last[0], entry.link, entry, clock, full, said)


T = TypeVar("T")

CATCH_UP: Final = 3.0  # seconds that a server may lag behind what was followed on another before a list from it fails

_LISTS: Final = ("actual_lrps", "actual_lrp_groups", "desired_lrps", "scheduling_infos", "routing_infos")


class RelayClient:
    """Reads the state of a BBS from Redis or Valkey, where `lrpmirror publish` keeps it; on trio.

    It has the methods of `BBSClient`, and a mirror takes it in its place: `open_mirror("redis://…")` makes one. `url`
    is `redis://[user:password@]host[:port][/db][?prefix=…]`, `rediss://` with TLS by the files of `tls`,
    `unix:///path`, `redis+sentinel://host[:port],…/service` or `redis+cluster://host[:port],…`; see README.

    `tap` is given the records of lists, by the list's name, and `connect` stands in for the network. Each request has a
    connection of its own. All raise BBSErrors: RelayUnreachable, RelayRefused (user, password or permissions),
    RelayUnreadable (another format), NoPublisher, UpstreamStale (the publisher has lost the BBS), ChangesMissed (a
    stream); and WireErrors for records that cannot be read. Raises ConfigurationError at construction.
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
        self.url = address.name
        self.keys = Keys(address.prefix, address.name)  # the names of its keys
        self._connect = connect
        self._identity = identity
        self._changes_seen = 0
        self._tap = tap
        self._streams: list[RelayStream] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
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
            await live_status(redis, self.keys)
        return True

    @asynccontextmanager
    async def events(
        self, name: str, cell_id: str = "", *, full: bool = False, said: Callable[[SourceStatus], None] | None = None
    ) -> AsyncIterator[RelayStream]:
        """Follow the changes: `async with client.events("instances") as stream: async for events in stream`.

        There is the stream of instances only, and no filter by cell: UnknownPath for others. A whole record comes as
        `created`, whether it is new or another version. `said` is called each second with the age of all that was
        yielded. Raises ChangesMissed where the stream has gone on without this reader, and NoPublisher.
        """
        if name != "instances" or cell_id:
            raise errors.UnknownPath(f"{self.url}: a relay has the stream of instances only, of all cells")
        async with self._connect() as redis, open_stream(redis, self.keys, full=full, said=said) as stream:
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
            raise errors.ConfigurationError(f"{name!r} is not a list; these are: {', '.join(_LISTS)}")
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
        raise errors.ResourceNotFound("ResourceNotFound", f"no actual LRP {process_guid}/{index}")

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
            raise errors.ResourceNotFound("ResourceNotFound", f"no desired LRP {process_guid}")
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
        send, receive = trio.open_memory_channel[list[ActualLRPGroup]](1)
        with send, receive:
            send.send_nowait([group for some in by_process.values() for group in groups_of(some)])
            send.close()
            yield receive

    @asynccontextmanager
    async def _list(self, name: str, *, full: bool = False, **filters: Any) -> AsyncIterator[AsyncIterator[list[Any]]]:
        record_filter = RecordFilter(**filters)
        async with self._connect() as redis:
            status = await self._caught_up(redis)
            if name == "desired_lrps" and status.detail != "full":
                if full:
                    raise errors.RequestRefused(
                        "InvalidRequest",
                        f"{self.url} has no whole desired LRPs: its publisher runs without --detail full",
                    )
                name = "joined"
            yield Records(redis, self.keys, self._tap, name, record_filter, status, full)

    async def _caught_up(self, redis: Commands) -> Status:
        """Return the status, once the server has all that was followed on another connection.

        That can be to another server: a replica, or the primary before a fail-over. One that lags lacks events that
        were delivered before the list was requested. Raises ServiceUnavailable, ChangesMissed.
        """
        status = await live_status(redis, self.keys)
        position = max((stream.position for stream in self._streams), key=order, default="")
        if not position:
            return status
        until = trio.current_time() + CATCH_UP
        while True:
            last = await redis.last_entry(self.keys.changes)
            if last is not None and order(last[0]) >= order(position):
                break
            if trio.current_time() > until:
                raise errors.ServiceUnavailable(
                    f"{self.url}: the server that was asked lags behind what has been followed, by more than "
                    f"{CATCH_UP:g} s"
                )
            await trio.sleep(0.05)
        if not await redis.has_entry(self.keys.changes, position):
            raise errors.ChangesMissed(
                f"{self.url}: the server that was asked has another history than what was followed"
            )
        return status


Client = BBSClient | RelayClient  # a client that reads the state of a BBS


def client_at(url: str, *, tls: TLS | None = None, tap: Callable[[str, bytes], None] | None = None) -> Client:
    """Return a client, to be entered. Raises ConfigurationError for a URL or file that cannot be used."""
    return RelayClient(url, tls=tls, tap=tap) if is_relay(url) else BBSClient(url, tls=tls, tap=tap)
