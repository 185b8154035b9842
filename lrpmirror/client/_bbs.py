"""The client of one BBS."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Literal, Self, TypeVar, overload

import httpx
import trio
from google.protobuf.message import DecodeError

from lrpmirror.client import _endpoints as endpoints
from lrpmirror.client._endpoints import ListName, ListRequest, StreamName
from lrpmirror.client._errors import MappedErrors, RequestInfo
from lrpmirror.client._exchange import Body, ReplyLimits, Tap, exchange
from lrpmirror.client._options import Limits, Timeouts, checked_limits, checked_timeouts, checked_url
from lrpmirror.client._replies import Batches, EventStream
from lrpmirror.client._tls import TLS, Identity, warn_of_insecure_tls
from lrpmirror.client._transport import Transport
from lrpmirror.errors import ConfigurationError, LimitExceeded, MalformedRecord, UnexpectedReply, UnknownPath
from lrpmirror.events import SourceStatus
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.wire import text
from lrpmirror.wire.proto import requests_pb2

T = TypeVar("T")


class BBSClient:
    """Asks a BBS, over HTTP/1.1 with or without mutual TLS, on trio.

        async with BBSClient("https://bbs.service.cf.internal:8889", tls=TLS(ca=…, cert=…, key=…)) as client:
            rows = await client.actual_lrps(cell_id="cell-1")
            async with client.events("instances") as stream:
                async for events in stream: …

    The files of `tls` are read at construction, and again when they are replaced on disk; see `renewed`. Files that
    cannot be used are logged once and given to `on_tls_problem`; those before go on. `timeout` is Timeouts, or seconds
    for every step. `limits` bound what the server may send. `tap(name, chunk)` is given every piece of the bodies of
    whole lists and of streams as received, first an empty one when a 200 head has come. The names are those of
    `stream_list`, "domains", "cells", "events.instances" and "events.groups". `transport` stands in for the network.

    What returns a whole list holds it in memory: with `most` it raises LimitExceeded as soon as more have arrived.
    Requests may run in parallel: every stream has a connection of its own. Nothing is retried.

    Raises ConfigurationError at construction; each request raises the BBSErrors, and WireErrors for replies that cannot
    be read. RequestRefused is the BBS's own refusal. Requests that an older server does not know fall back to older
    paths. The path found is remembered until ConnectionFailed, TimedOut or ServiceUnavailable: the next server may be
    newer.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: TLS | None = None,
        timeout: Timeouts | float = Timeouts(),  # noqa: B008 - a frozen value
        limits: Limits = Limits(),  # noqa: B008 - as above
        tap: Tap | None = None,
        on_tls_problem: Callable[[ConfigurationError], None] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = checked_url(url, tls)
        timeouts = checked_timeouts(timeout)
        self._limits = checked_limits(limits)
        self._reply_limits = ReplyLimits(limits.max_list, timeouts.list)
        if tls is not None and not tls.verify:
            warn_of_insecure_tls(stacklevel=2)
        self._identity = Identity(tls or TLS(), on_tls_problem) if self.url.startswith("https:") else None
        self._changes_seen = 0
        self._timeouts = {"connect": timeouts.connect, "write": timeouts.write, "read": timeouts.read, "pool": None}
        self._lists = transport or Transport(self._identity, limits, endless=False)
        self._streams = transport or Transport(self._identity, limits, endless=True)
        self._tap = tap
        self._older: dict[str, int] = {}
        self.source: SourceStatus | None = None
        """How old the state of the last reply was, if a replica answered it and not a BBS; None if it did not say."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, value: object, traceback: object) -> None:
        with trio.CancelScope(shield=True):
            await self._streams.aclose()
            await self._lists.aclose()

    def renewed(self) -> bool:
        """Look at the TLS files, in microseconds; return whether new ones were taken up since the last call."""
        if self._identity is None:
            return False
        self._identity.check()
        before, self._changes_seen = self._changes_seen, self._identity.changes
        return before != self._changes_seen

    @property
    def tls_problem(self) -> ConfigurationError | None:
        """Why the TLS files found at the last check are not in use; None when they are."""
        return self._identity.problem if self._identity else None

    def forget_fallbacks(self) -> None:
        """Try the newest paths again from the next request on."""
        self._older.clear()

    async def ping(self) -> bool:
        """Return whether the BBS is in service; raises where it cannot be reached."""
        info = self._info(endpoints.PING)
        async with self._exchange(info, b"", "") as body:
            reply = b""
            while piece := await body.read():
                reply += piece
                if len(reply) > self._limits.max_record:
                    raise LimitExceeded(f"{info}: over {self._limits.max_record} bytes, which no ping answers")
        with MappedErrors(info, "reading the reply"):
            try:
                return text.parse(requests_pb2.PingResponse, reply).available
            except DecodeError as exc:
                raise MalformedRecord(f"not a PingResponse: {exc}") from exc

    async def domains(self, *, most: int | None = None) -> tuple[str, ...]:
        """Return the fresh domains."""
        return await self._all(endpoints.DOMAINS, most)

    async def cells(self, *, most: int | None = None) -> tuple[CellPresence, ...]:
        """Return the registered cells."""
        return await self._all(endpoints.CELLS, most)

    async def actual_lrps(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> tuple[ActualLRP, ...]:
        """Return the rows, or those that pass all given filters."""
        filters: dict[str, Any] = {"domain": domain, "cell_id": cell_id, "process_guid": process_guid, "index": index}
        return await self._all(endpoints.ACTUAL_LRPS.of(**filters))

    async def actual_lrps_by_process_guids(
        self, process_guids: Iterable[str], *, most: int | None = None
    ) -> tuple[ActualLRP, ...]:
        """Return the rows of some processes; servers before late 2025 are asked for one after the other."""
        guids = tuple(dict.fromkeys(process_guids))
        if not guids:
            return ()
        request = endpoints.ACTUAL_LRPS_BY_PROCESS_GUIDS.of(process_guids=guids)
        if not self._older.get(request.path):
            try:
                return await self._all(request, most)
            except UnknownPath:
                self._older[request.path] = 1
        rows: list[ActualLRP] = []
        for guid in guids:
            left = None if most is None else most - len(rows)
            rows += await self._all(endpoints.ACTUAL_LRPS.of(process_guid=guid), left)
        return tuple(rows)

    async def actual_lrp_groups(self, domain: str = "", cell_id: str = "") -> tuple[ActualLRPGroup, ...]:
        """Return the groups, or those that pass both filters."""
        return await self._all(endpoints.GROUPS.of(domain=domain, cell_id=cell_id))

    async def actual_lrp_groups_by_process_guid(self, process_guid: str) -> tuple[ActualLRPGroup, ...]:
        """Return the groups of one process."""
        return await self._all(endpoints.GROUPS_OF_PROCESS.of(process_guid=process_guid))

    async def actual_lrp_group_by_process_guid_and_index(self, process_guid: str, index: int) -> ActualLRPGroup:
        """Return one group; raises ResourceNotFound."""
        return await self._one(endpoints.GROUP.of(process_guid=process_guid, index=index))

    async def desired_lrps(
        self,
        domain: str = "",
        process_guids: Iterable[str] = (),
        app_guids: Iterable[str] = (),
        *,
        full: bool = False,
        most: int | None = None,
    ) -> tuple[DesiredLRP, ...]:
        """Return the desired LRPs, or those that pass all given filters; `full` decodes all of them, with secrets."""
        filters: dict[str, Any] = {"domain": domain, "process_guids": process_guids, "app_guids": app_guids}
        return await self._all(endpoints.DESIRED_LRPS.of(full=full, **filters), most)

    async def desired_lrp(self, process_guid: str, *, full: bool = False) -> DesiredLRP:
        """Return one desired LRP; raises ResourceNotFound."""
        return await self._one(endpoints.DESIRED_LRP.of(full=full, process_guid=process_guid))

    async def scheduling_infos(
        self, domain: str = "", process_guids: Iterable[str] = (), app_guids: Iterable[str] = ()
    ) -> tuple[DesiredLRP, ...]:
        """Return the scheduling part of the desired LRPs, or of those that pass all given filters."""
        return await self._all(
            endpoints.SCHEDULING_INFOS.of(domain=domain, process_guids=process_guids, app_guids=app_guids)
        )

    async def scheduling_info(self, process_guid: str) -> DesiredLRP:
        """Return the scheduling part of one desired LRP; raises ResourceNotFound."""
        return await self._one(endpoints.SCHEDULING_INFO.of(process_guid=process_guid))

    async def routing_infos(
        self, domain: str = "", process_guids: Iterable[str] = (), app_guids: Iterable[str] = ()
    ) -> tuple[DesiredLRP, ...]:
        """Return the routing part of desired LRPs, as `scheduling_infos`; raises UnknownPath on old servers."""
        return await self._all(
            endpoints.ROUTING_INFOS.of(domain=domain, process_guids=process_guids, app_guids=app_guids)
        )

    @overload
    def stream_list(
        self, name: Literal["actual_lrps"], **filters: Any
    ) -> AbstractAsyncContextManager[Batches[ActualLRP]]: ...
    @overload
    def stream_list(
        self, name: Literal["actual_lrp_groups"], **filters: Any
    ) -> AbstractAsyncContextManager[Batches[ActualLRPGroup]]: ...
    @overload
    def stream_list(
        self, name: Literal["desired_lrps", "scheduling_infos", "routing_infos"], **filters: Any
    ) -> AbstractAsyncContextManager[Batches[DesiredLRP]]: ...

    def stream_list(self, name: ListName, **filters: Any) -> AbstractAsyncContextManager[Batches[Any]]:
        """Request a list and receive its records as they arrive: `async with … as batches: async for batch in batches`.

        The filters are those of the method of that name. Leaving early closes the connection. See Batches.
        """
        if name not in endpoints.LISTS:
            raise ConfigurationError(f"{name!r} is not a list; these are: {', '.join(endpoints.LISTS)}")
        return self._batches(endpoints.LISTS[name].of(**filters))

    @asynccontextmanager
    async def events(
        self,
        name: StreamName,
        cell_id: str = "",
        *,
        full: bool = False,
        said: Callable[[SourceStatus], None] | None = None,
    ) -> AsyncIterator[EventStream]:
        """Follow an event stream: `async with client.events("instances") as stream: async for events in stream`.

        Entering returns when the server has answered 200: it keeps every event from then on, up to 1024 unread ones, so
        a list that is asked for afterwards misses nothing. `cell_id` leaves out the actual events of other cells, and
        of rows on no cell. `full` decodes all of a desired LRP, secrets included. `said` is called, from the iteration,
        with how old the state behind the events so far is, as a replica reports it. Leaving closes the connection. See
        EventStream.
        """
        if name not in endpoints.STREAMS:
            raise ConfigurationError(f"{name!r} is not a stream; these are: {', '.join(endpoints.STREAMS)}")
        request = endpoints.by_cell(cell_id)
        async with AsyncExitStack() as stack:
            body = await self._open_stream(stack, name, request)
            yield EventStream(body, self._limits.max_frame, full=full, said=said)

    async def _open_stream(self, stack: AsyncExitStack, name: StreamName, request: bytes) -> Body:
        """Open a stream by the newest path that the server knows."""
        paths, age = endpoints.STREAMS[name], self._older.get(name, 0)
        while True:
            method, path = paths[age]
            info = self._info(path, method)
            opening = self._exchange(info, request, f"events.{name}", endless=True)
            try:
                body = await stack.enter_async_context(opening)
            except UnknownPath:
                age += 1
                if age == len(paths):
                    raise
            else:
                self._older[name] = age
                return body

    @asynccontextmanager
    async def _batches(self, request: ListRequest[T]) -> AsyncIterator[Batches[T]]:
        info = self._info(request.path)
        async with self._exchange(info, request.body, request.tap) as body:
            yield Batches(body, request.decode, self._limits)

    async def _all(self, request: ListRequest[T], most: int | None = None) -> tuple[T, ...]:
        values: list[T] = []
        async with self._batches(request) as batches:
            async for batch in batches:
                values += batch
                if most is not None and len(values) > most:
                    what = f"over {most} records, which is all that is wanted (list_limit, of a mirror)"
                    raise LimitExceeded(f"{self._info(request.path)}: {what}")
        return tuple(values)

    async def _one(self, request: ListRequest[T]) -> T:
        values = await self._all(request)
        if len(values) != 1:
            info = self._info(request.path)
            raise UnexpectedReply(f"{info}: {len(values)} records in the reply, where there is always one")
        return values[0]

    def _info(self, path: str, method: str = "POST") -> RequestInfo:
        return RequestInfo(method, path, self.url, self._identity, self.forget_fallbacks)

    @asynccontextmanager
    async def _exchange(
        self, info: RequestInfo, request: bytes, tap: str, *, endless: bool = False
    ) -> AsyncIterator[Body]:
        transport, limits = (self._streams, None) if endless else (self._lists, self._reply_limits)
        received = partial(self._tap, tap) if self._tap and tap else None
        async with exchange(
            transport, info, request, timeouts=self._timeouts, limits=limits, received=received
        ) as body:
            self.source = body.source
            yield body
