"""Replies as the values they carry: lists in batches, and event streams."""

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Self, TypeVar

import trio

from lrpmirror.client._errors import MappedErrors
from lrpmirror.client._exchange import Body
from lrpmirror.client._options import Limits
from lrpmirror.errors import LimitExceeded, MalformedRecord
from lrpmirror.events import Event, SourceStatus
from lrpmirror.wire import decode, source
from lrpmirror.wire.lists import ReplySplitter
from lrpmirror.wire.sse import EventStreamDecoder

T = TypeVar("T")

BATCH: Final = 500  # how many events are decoded at most before other tasks get their turn: a few milliseconds
RECORDS: Final = 100  # the same for a list's records, which take longer and are stored at once


class Batches(Generic[T]):
    """The records of a list, decoded as they arrive: iterate over it for lists of values, in the server's order.

    A batch is what one read of the network brought, at most 100 records, never none. Raises a BBSError or a WireError;
    only an iteration that ends without an error has seen the whole list. Memory is bounded by one read and one record.
    """

    def __init__(self, body: Body, decode_record: Callable[[bytes], T], limits: Limits) -> None:
        self._body = body
        self._decode = decode_record
        self._splitter = ReplySplitter(max_record=limits.max_record)
        self._records: deque[bytes] = deque()
        self._errors = MappedErrors(body.info, "reading the list")
        self._number = 0
        self._max_number = limits.max_records

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[T]:
        if self._records:
            await trio.lowlevel.checkpoint()
        while not self._records:
            piece = await self._body.read()
            with self._errors:
                if not piece:
                    self._splitter.finish()
                    raise StopAsyncIteration
                self._records.extend(self._splitter.feed(piece))
                if self._number + len(self._records) > self._max_number:
                    raise LimitExceeded(f"the list has over {self._max_number} records (max_records)")
        count, waiting = min(RECORDS, len(self._records)), len(self._records)
        with self._errors:
            try:
                values = [self._decode(self._records.popleft()) for _ in range(count)]
            except MalformedRecord as exc:
                number = self._number + waiting - len(self._records)
                raise MalformedRecord(f"the list's record number {number}: {exc}") from exc
        self._number += count
        return values


class EventStream:
    """The events of a BBS as they happen: iterate over it for lists of events, in the order of arrival.

    A batch is what one read of the network brought, at most 500 events, never none. Events of unknown types are
    UnknownEvents, and those that cannot be decoded are UnreadableEvents. The iteration never ends by itself: a server
    that closes the stream, as to a reader that falls behind, is a ConnectionFailed; only a new list recovers what was
    sent meanwhile. Raises WireErrors for a stream whose framing cannot be read.
    """

    def __init__(
        self, body: Body, max_frame: int, *, full: bool, said: Callable[[SourceStatus], None] | None = None
    ) -> None:
        self._body = body
        self._decoder = EventStreamDecoder(max_frame=max_frame)
        self._errors = MappedErrors(body.info, "reading the stream")
        self._texts: list[tuple[str, bytes]] = []
        self._full = full
        self._said = said

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Event]:
        if self._texts:
            await trio.lowlevel.checkpoint()
        while True:
            while not self._texts:
                piece = await self._body.read()
                with self._errors:
                    self._texts = self._decoder.texts(piece)
            size = BATCH
            if self._decoder.asides:
                size = self._report_statuses(self._texts[:BATCH])
                if not size:
                    continue
            texts, self._texts = self._texts[:size], self._texts[size:]
            with self._errors:
                return decode.events(texts, full=self._full)

    def _report_statuses(self, texts: list[tuple[str, bytes]]) -> int:
        """Report the status at the head of these, or return the number of events before the next status."""
        place = next((at for at, (name, _) in enumerate(texts) if name == source.STATUS), len(texts))
        if place == 0:
            status = source.parse_comment(self._texts.pop(0)[1])
            if status is not None and self._said is not None:
                self._said(status)
        return place
