"""A BBS in memory for the tests of the mirror, with faults at its edge.

It is a simulated Diego. What a mirror gets of it goes through the wire's encoding and back, so that it has no more than
a network would bring: a diff without internal routes, a scheduling part without metric tags.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import Any

import trio
from msgspec import Struct

from lrpmirror.errors import BBSError, ConnectionFailed, UnknownPath, WireError
from lrpmirror.events import Event, SourceStatus, UnknownEvent, UnreadableEvent
from lrpmirror.mirror._bbs import ListName, StreamName
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP
from lrpmirror.server import Subscription
from lrpmirror.sim import Diego
from lrpmirror.wire import decode, encode

__all__ = ["FOREVER", "GONE", "READ", "Answer", "Asked", "FakeBBS", "Stream", "whole"]

READ = 100
"""How many events one read of the stream brings at most."""


class Answer(Struct, frozen=True, kw_only=True):
    """How a list is answered. Times in virtual seconds."""

    before: float = 0.0
    """Until the server reads its state."""
    after: float = 0.0
    """From there until the reply begins."""
    pause: float = 0.0
    """Between two batches."""
    error: BBSError | WireError | None = None
    """What it ends in."""
    batches: int = 0
    """How many batches come before the error."""
    gate: trio.Event | None = None
    """What the server waits for before it reads its state; what follows comes in the same turn of the scheduler."""


PROMPT = Answer()
FOREVER = Answer(before=float("inf"))
"""The reply that never comes."""

GONE = ConnectionFailed("refused by the test")


class Asked(Struct, frozen=True):
    """A list that was asked for: which, when, of which processes."""

    name: str
    at: float
    process_guids: tuple[str, ...] = ()


class Stream:
    """One open event stream."""

    def __init__(
        self,
        subscription: Subscription,
        loses: Callable[[Event], bool],
        *,
        full: bool,
        said: Callable[[SourceStatus], None] | None = None,
    ) -> None:
        self._subscription = subscription
        self._loses = loses
        self._full = full
        self._error: BBSError | WireError | None = None
        self._news = trio.Event()
        self._said = said
        self._says: deque[SourceStatus] = deque()
        self.batches: list[int] = []
        """How many events each read brought."""
        self.lag: Callable[[], float] = lambda: 0.0
        """For how long what one read brings is under way, in virtual seconds."""
        self.deaf = False
        """Whether it brings nothing any more, and does not end either: a half-open connection."""
        subscription.on_change = self._wake

    def cut(self, error: BBSError | WireError) -> None:
        """End the stream with an error; what was not read is lost."""
        self._error = error
        self._wake()

    def say(self, age: float, trouble: str = "") -> None:
        """Say of the source how old its state is, behind all events so far."""
        self._says.append(SourceStatus(age, trouble))
        self._wake()

    def put(self, event: Event) -> None:
        """Send an event of the test's own making."""
        self._subscription.put(event)

    def close(self) -> None:
        self._subscription.on_change = None
        self._subscription.close()

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> list[Event]:
        await trio.lowlevel.checkpoint()
        while True:
            if self._error is not None:
                raise self._error.with_traceback(None)
            if self._subscription.closed:
                raise ConnectionFailed("the server closed the stream: the reader fell behind")
            events = self._take()
            if events:
                self.batches.append(len(events))
                if self.lag():
                    await trio.sleep(self.lag())
                return events
            while self._says and self._said is not None:
                self._said(self._says.popleft())
            self._news = trio.Event()
            await self._news.wait()

    def _take(self) -> list[Event]:
        events: list[Event] = []
        while len(events) < READ and (event := self._subscription.take()) is not None:
            if not self.deaf and not self._loses(event):
                events.append(carried(event, full=self._full))
        return events

    def _wake(self) -> None:
        self._news.set()


def _same(record: Any) -> Any:
    return record


def _carried_record(name: ListName, record: Any, *, full: bool = False) -> Any:
    """Return what the wire brings of a record of a list; of rows and groups it brings all."""
    match name:
        case "desired_lrps":
            return whole(record, full=full)
        case "scheduling_infos":
            return decode.scheduling_info(encode.scheduling_info(record))
        case "routing_infos":
            return decode.desired_lrp(encode.routing_info(record))
        case _:
            return record


class FakeBBS:
    """A BBS that answers from a simulated Diego, as well as it is told to.

    `answer` says how each list is answered, unless `once` has something for it. `hidden` are the lists and streams that
    the server is too old for. While `refusal` is set, no stream is opened.
    """

    def __init__(self, source: Diego, *, batch: int = 500, hidden: Iterable[str] = ()) -> None:
        self.diego = source
        self.hidden = set(hidden)
        self.refusal: BBSError | WireError | None = None
        self.gate: trio.Event | None = None
        """What a stream's opening waits for; what follows comes in the same turn of the scheduler."""
        self.answer: Callable[[str], Answer] = lambda _name: PROMPT
        self.loses: Callable[[Event], bool] = lambda _event: False
        self.pong = PROMPT
        """How a ping is answered."""
        self.available = True
        """What a ping says of the server."""
        self.lag: Callable[[], float] = lambda: 0.0
        """For how long what one read of a stream brings is under way, in virtual seconds."""
        self.closing = 0.0
        """How long it takes to close a stream, in virtual seconds."""
        self.renewals = 0
        """How often the certificates were replaced since it was last asked."""
        self.pings: list[float] = []
        """When it was pinged."""
        self.asked: list[Asked] = []
        self.tries: list[float] = []
        """When the stream was asked for."""
        self.streams: list[Stream] = []
        """All that were ever opened; the last is the one that is open, if any is."""
        self._batch = batch
        self._once: dict[str, deque[Answer]] = {}

    def once(self, name: str, *answers: Answer) -> None:
        """Answer the next requests of a list in these ways."""
        self._once.setdefault(name, deque()).extend(answers)

    def cut(self, error: BBSError | WireError | None = None) -> None:
        """End the open stream."""
        self.streams[-1].cut(error or ConnectionFailed("cut by the test"))

    def names(self) -> list[str]:
        """The lists that were asked for so far."""
        return [each.name for each in self.asked]

    def times(self, name: str) -> list[float]:
        """When a list was asked for."""
        return [each.at for each in self.asked if each.name == name]

    # What a mirror asks

    @asynccontextmanager
    async def events(
        self, name: StreamName, *, full: bool = False, said: Callable[[SourceStatus], None] | None = None
    ) -> AsyncIterator[Stream]:
        self.tries.append(trio.current_time())
        await _pass(self.gate)
        self._check_known(name)
        if self.refusal is not None:
            raise self.refusal.with_traceback(None)
        stream = Stream(self.diego.subscribe(name), self._loses, full=full, said=said)
        stream.lag = self._lag
        self.streams.append(stream)
        try:
            yield stream
        finally:
            stream.close()
            if self.closing:
                with trio.CancelScope(shield=True):
                    await trio.sleep(self.closing)

    def stream_list(self, name: ListName, **filters: Any) -> AbstractAsyncContextManager[AsyncIterator[list[Any]]]:
        guids = tuple(filters.pop("process_guids", ()))
        return self._list(name, lambda: self._records(name, guids), partial(_carried_record, name, **filters), guids)

    async def actual_lrps_by_process_guids(self, process_guids: Iterable[str], **_: Any) -> tuple[ActualLRP, ...]:
        guids = tuple(process_guids)
        return await self._all(
            "rows of processes", lambda: self.diego.actual_lrps_by_process_guids(guids), process_guids=guids
        )

    async def desired_lrps(
        self, *, process_guids: Iterable[str] = (), full: bool = False, **_: Any
    ) -> tuple[DesiredLRP, ...]:
        guids = tuple(process_guids)
        return await self._all(
            "desired of processes",
            lambda: self.diego.desired_lrps(process_guids=guids),
            partial(whole, full=full),
            process_guids=guids,
        )

    def renewed(self) -> bool:
        renewals, self.renewals = self.renewals, 0
        return renewals > 0

    async def ping(self) -> bool:
        self.pings.append(trio.current_time())
        await trio.sleep(self.pong.before)
        self._check_known("ping")
        if self.pong.error is not None:
            raise self.pong.error.with_traceback(None)
        return self.available

    async def domains(self, **_: Any) -> tuple[str, ...]:
        return await self._all("domains", self.diego.domains)

    async def cells(self, **_: Any) -> tuple[CellPresence, ...]:
        return await self._all("cells", self.diego.cells)

    # How it is answered

    def _records(self, name: ListName, process_guids: tuple[str, ...]) -> Sequence[Any]:
        match name:
            case "actual_lrps":
                return self.diego.actual_lrps()
            case "actual_lrp_groups":
                return self.diego.actual_lrp_groups()
            case _:
                return self.diego.desired_lrps(process_guids=process_guids)

    async def _all(
        self,
        name: str,
        read: Callable[[], Sequence[Any]],
        convert: Callable[[Any], Any] = _same,
        *,
        process_guids: tuple[str, ...] = (),
    ) -> tuple[Any, ...]:
        async with self._list(name, read, convert, process_guids) as batches:
            return tuple([record async for batch in batches for record in batch])

    @asynccontextmanager
    async def _list(
        self,
        name: str,
        read: Callable[[], Sequence[Any]],
        convert: Callable[[Any], Any],
        process_guids: tuple[str, ...] = (),
    ) -> AsyncIterator[AsyncIterator[list[Any]]]:
        self.asked.append(Asked(name, trio.current_time(), process_guids))
        queued = self._once.get(name)
        answer = queued.popleft() if queued else self.answer(name)
        if answer.before:
            await trio.sleep(answer.before)
        await _pass(answer.gate)
        self._check_known(name)
        records = read()
        if answer.after:
            await trio.sleep(answer.after)
        async with aclosing(self._batches(records, answer, convert)) as batches:
            yield batches

    async def _batches(
        self, records: Sequence[Any], answer: Answer, convert: Callable[[Any], Any]
    ) -> AsyncGenerator[list[Any], None]:
        starts = range(0, len(records), self._batch)
        for number, start in enumerate(starts):
            if answer.error is not None and number >= answer.batches:
                break
            if number or answer.pause:
                await trio.sleep(answer.pause)
            yield [convert(record) for record in records[start : start + self._batch]]
        if answer.error is not None:
            raise answer.error.with_traceback(None)

    def _check_known(self, name: str) -> None:
        if name in self.hidden:
            raise UnknownPath(f"404: {name}")

    def _lag(self) -> float:
        return self.lag()

    def _loses(self, event: Event) -> bool:
        return self.loses(event)


async def _pass(gate: trio.Event | None) -> None:
    if gate is None:
        await trio.lowlevel.checkpoint()
    else:
        await gate.wait()


def carried(event: Event, *, full: bool = False) -> Event:
    """Return what the wire brings of an event."""
    if isinstance(event, (UnknownEvent, UnreadableEvent)):
        return event
    return decode.event_payload(event.type, encode.event(event), full=full)


def whole(lrp: DesiredLRP, *, full: bool) -> DesiredLRP:
    """Return what the wire brings of a whole desired LRP."""
    return decode.desired_lrp(encode.desired_lrp(lrp), full=full)
