"""Follows a relay's stream of changes: every entry in order, or an error where one is missing."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import trio

from lrpmirror.background import let_others_go_first
from lrpmirror.errors import ChangesMissed, NoPublisher, UpstreamStale
from lrpmirror.events import Event, SourceStatus
from lrpmirror.relay._clock import ServerClock, ask
from lrpmirror.relay._commands import Commands
from lrpmirror.relay._format import CLOSED, FILLING, HEARTBEAT, PATIENCE, Entry, Keys, Status
from lrpmirror.wire import decode

__all__ = ["RelayStream", "check_status"]

COUNT: Final = 64
"""How many entries are read at once."""

BLOCK: Final = 1.0
"""Seconds that one read waits for the next entry."""


class RelayStream:
    """The events of a relay's changes, a list for each read. Raises BBSErrors; see `RelayClient.events`."""

    def __init__(
        self,
        redis: Commands,
        keys: Keys,
        where: str,
        *,
        position: str,
        entry: Entry,
        clock: ServerClock,
        full: bool,
        said: Callable[[SourceStatus], None] | None,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._where = where
        self.position = position
        """The id of the last entry that was taken."""
        self._link = entry.link
        self._clock = clock
        self._full = full
        self._said = said
        self._heard_at = trio.current_time()
        self._untold: Entry | None = entry
        """The entry whose age is reported once the events before it have been taken."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Event]:
        # Who waits for what was yielded has a turn now, and not after the next command is made and sent.
        await let_others_go_first()
        while True:
            await self._tell()
            events: list[Event] = []
            for entry_id, pairs in await self._next():
                entry = Entry.read(pairs, self._where)
                if entry.before != self._link:
                    raise ChangesMissed(
                        f"{self._where}: the changes do not go on where they were left: they were dropped from the "
                        "stream before they were read, or the relay was written anew"
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
                raise NoPublisher(
                    f"{self._where}: nobody publishes there: nothing has come for {now - self._heard_at:.1f} s, where "
                    "there is something each second"
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
            self._clock = await ask(self._redis)
            lag = self._clock.latest(trio.current_time()) - written_at
        self._said(SourceStatus(entry.age + max(0.0, lag), _trouble(entry.phase, entry.trouble)))


@asynccontextmanager
async def open_stream(
    redis: Commands, keys: Keys, where: str, *, full: bool, said: Callable[[SourceStatus], None] | None
) -> AsyncIterator[RelayStream]:
    """Follow the changes from the last entry that is there."""
    found = Status.read(await redis.read_hash(keys.status), where)
    clock = await ask(redis)
    status = check_status(found, clock.said, where)
    last = await redis.last_entry(keys.changes)
    if last is None:
        raise NoPublisher(f"{where}: the stream of changes is empty; the publisher ({status.publisher}) writes it anew")
    entry = Entry.read(last[1], where)
    yield RelayStream(redis, keys, where, position=last[0], entry=entry, clock=clock, full=full, said=said)


def check_status(status: Status | None, now: float, where: str) -> Status:
    """Return the status; `now` is the server's time.

    Raises NoPublisher where it was not written lately, UpstreamStale where the relay is not complete yet.
    """
    if status is None:
        raise NoPublisher(f"{where}: nothing has been published there: is the prefix right, and a publisher running?")
    silence = now - status.heartbeat
    if silence > PATIENCE:
        how = "has been closed" if status.phase == CLOSED else "was last heard of"
        raise NoPublisher(f"{where}: nobody publishes there: {status.publisher} {how} {silence:.0f} s ago")
    if status.phase == FILLING:
        raise UpstreamStale(_trouble(status.phase, status.trouble))
    return status


def _trouble(phase: str, trouble: str) -> str:
    return "" if phase == "live" else trouble or phase
