"""The leading publisher: it brings the relay up to date, keeps it so, and checks for changes by others."""

import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, floor
from typing import Any, Final

import msgspec
import trio
from msgspec import Struct

from lrpmirror.core.freshness.status import Status as MirrorStatus
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.relay._commands import Commands, ServerClock
from lrpmirror.relay._content import Content, EventMaker
from lrpmirror.relay._format import (
    CLOSED,
    COMMIT,
    FILLING,
    FIRST_HASH,
    FORMAT,
    HASHES,
    HEARTBEAT,
    LEASE,
    UNDER_WAY,
    Keys,
    Status,
    Transaction,
)
from lrpmirror.relay._pending import MANY, Batch, Pending, Step

logger: Final = logging.getLogger("lrpmirror")

SLICE: Final = 250  # how many fields are compared in one step
TURN: Final = 300.0  # seconds in which the whole relay is checked once, to find what others have altered
GRACE: Final = 2.0  # seconds that the mirror has, at a takeover, to receive versions in the relay newer than its own
NOTHING: Final = "-"  # the `before` of an entry that follows no entry in the stream
OVERHEAD: Final = 250  # approximate bytes of an entry beside its events
_BEHIND: Final = "RelayBehind"  # the trouble of a publisher whose mirror is live, while it brings the relay up to date

AnyStep = Step[ActualLRP] | Step[DesiredLRP] | None


class LeaseLost(Exception):  # noqa: N818 - what happened is the name
    """Another publisher leads now, or none."""


class Counters(Struct):
    """What was counted since the publisher was opened."""

    transactions: int = 0
    records: int = 0
    entries: int = 0
    bytes: int = 0  # of events, in the stream of changes
    comparisons: int = 0  # how many times the whole relay was compared with the mirror
    differences: int = 0  # the differences these found
    altered: int = 0  # how many times the relay was not as the publisher had left it


class Retention:
    """Decides which entries of the stream are kept: the newest ones, up to `most` bytes of events."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.forget()

    def forget(self) -> None:
        """Forget the entries that are there: they are dropped once `most` bytes have been written after them."""
        # The oldest first; no dict, whose first key is looked for among all that were removed before it.
        self._sizes: deque[tuple[str, int]] = deque()
        self._total = 0
        self.oldest = ""

    def add(self, entry_id: str, size: int) -> None:
        """Record an entry."""
        if not entry_id:
            return
        self._sizes.append((entry_id, size + OVERHEAD))
        self._total += size + OVERHEAD
        while self._total > self._most and len(self._sizes) > 1:
            _, dropped = self._sizes.popleft()
            self._total -= dropped
            self.oldest = self._sizes[0][0]


@dataclass(eq=False)
class Leading:
    """Writes to the relay; lives as long as the publisher, and remembers its writes across lost connections."""

    _status_of: Callable[[], MirrorStatus]
    _pending: Pending
    _content: Content
    _keys: Keys
    _name: str
    _detail: str
    _retention: Retention
    counters: Counters = dataclasses.field(default_factory=Counters)
    _event_maker: EventMaker = dataclasses.field(default_factory=EventMaker)
    _token: str = ""
    _number: int = 0  # of the last transaction that was tried; a link is the token, the publisher's own, and this
    _link: str = ""
    _counts: Sequence[int] = ()  # how many fields each of the hashes has, where that is known
    _introduced: bool = False  # whether the fields of the status that never change are there
    _clock: ServerClock = dataclasses.field(init=False)  # the last reading of the server's clock
    _unconfirmed: tuple[str, Batch] | None = None  # the link and batch of a transaction whose outcome is not known
    _silent: bool = False  # whether writes add no events to the stream, since every reader has to list anew anyway
    _gap: bool = False  # whether something was written or lost without an event: the next entry follows none
    _foreign: bool = False  # whether the content of the relay is another publisher's
    _disturbed: bool = False  # whether the relay was altered while it was compared
    _written_at: float = 0.0
    _current: bool = False  # whether the relay is known to equal the mirror, except for what is pending
    _comparing: bool = False
    _place: tuple[int, int] = (0, 0)  # the hash and cursor of the next check
    revision: int = 0  # the mirror's last revision that is in the relay as a whole

    @property
    def current(self) -> bool:
        """Whether the relay equals the mirror, except for what is pending."""
        return self._current and not self._pending.everything

    async def begin(self, redis: Commands, token: str) -> None:
        """Record that the publisher leads, and read what is there. Raises RelayUnreadable for a foreign format."""
        self._token = token
        self._introduced = False
        self._clock = await redis.clock()
        found = Status.read(await redis.read_hash(self._keys.status), self._keys.where)
        link = found.link if found is not None else ""
        unconfirmed, self._unconfirmed = self._unconfirmed, None
        if unconfirmed is not None and unconfirmed[0] == link:
            # It was written, and only its answer was lost.
            self._link = link
            self._content.written()
        elif unconfirmed is not None:
            self._pending.give_back(unconfirmed[1])
        self._foreign = bool(link) and link != self._link
        if not link or link != self._link:
            self._current, self._disturbed = False, True
        self._link = link
        # Where a hash has lost something since, the first write finds out.
        self._counts = found.counts if found is not None else ()
        if not link:
            self._fall_silent()
        self._retention.forget()

    async def keep(self, redis: Commands, wait: Callable[[float], Any]) -> None:
        """Write changes, or a heartbeat without any, until the lease is lost; `wait` waits for a change."""
        due = trio.current_time()
        while True:
            status = self._status_of()
            if not self.current and status.live:
                await self._bring_up_to_date(redis)
                status = self._status_of()
            await self._commit(redis, status)
            now = trio.current_time()
            if now >= due:
                due = now + HEARTBEAT
                await self._look(redis)
            able = status.live or self._current
            if not able or not (len(self._pending) or self._content.small_differ):
                await wait(due)

    async def end(self, redis: Commands) -> None:
        """Write that the publisher is closed."""
        # What was under way when it was cancelled may have been written.
        await self.begin(redis, self._token)
        await self._write(redis, CLOSED, "PublisherClosed", self._status_of(), None)

    # Bringing it up to date

    async def _bring_up_to_date(self, redis: Commands) -> None:
        """Compare the whole relay with the mirror, and write the difference."""
        self._pending.count_anew()
        self._current = self._disturbed = False
        self.counters.comparisons += 1
        self._content.expect_nothing()
        self._comparing = True
        try:
            ahead = await self._find_differences(redis)
            if ahead:
                await self._wait_for_what_is_ahead(redis, ahead)
            while len(self._pending) > MANY:
                await self._write_some(redis, least=0)
        finally:
            self._comparing = False
        self._current = not self._disturbed

    async def _find_differences(self, redis: Commands) -> set[tuple[str, str]]:
        """Compare, and queue the differences; return the records that may be newer there than in the mirror."""
        ahead: set[tuple[str, str]] = set()
        foreign = self._foreign
        for n, name in enumerate(HASHES):
            seen: set[str] = set()
            cursor = None
            while cursor != 0:
                cursor, found = await redis.scan(self._keys.hashes[n], cursor or 0, SLICE)
                seen.update(field.decode("utf-8", "replace") for field in found)
                for field, step in self._content.compare(name, found).items():
                    if foreign and _is_ahead(step):
                        ahead.add((name, field))
                    else:
                        self._add(name, field, step)
                await self._write_some(redis)
            for count, (field, step) in enumerate(self._content.lacking(name, seen), 1):
                self._add(name, field, step)
                if count % SLICE == 0:
                    await trio.lowlevel.checkpoint()
                    await self._write_some(redis)
        return ahead

    def _add(self, name: str, field: str, step: AnyStep) -> None:
        self.counters.differences += 1
        if name == "actual_lrps" and step is not None:
            # The name of the hash says of which kind the step is, here and below.
            self._pending.add_row(field, step)  # type: ignore[arg-type]
        elif name == "processes":
            self._pending.processes[field] = None
        elif step is not None:
            self._pending.add_desired(field, step)  # type: ignore[arg-type]

    async def _write_some(self, redis: Commands, least: int = MANY) -> None:
        """Write where much is pending, or a heartbeat is due: comparing takes longer than a lease."""
        many = len(self._pending) > 2 * MANY
        if many:
            self._fall_silent()
        if len(self._pending) > least or trio.current_time() - self._written_at > HEARTBEAT:
            await self._commit(redis, self._status_of())

    async def _wait_for_what_is_ahead(self, redis: Commands, ahead: set[tuple[str, str]]) -> None:
        """Wait for the mirror to receive what the leader before had written; afterwards the mirror is right."""
        until = trio.current_time() + GRACE
        while (left := until - trio.current_time()) > 0:
            await self._commit(redis, self._status_of())
            await trio.sleep(min(left, HEARTBEAT / 4))
        for n, name in enumerate(HASHES):
            fields = sorted(field for of, field in ahead if of == name)
            for at in range(0, len(fields), SLICE):
                some = fields[at : at + SLICE]
                values = await redis.read_fields(self._keys.hashes[n], some)
                found = {field.encode(): value for field, value in zip(some, values, strict=True) if value is not None}
                for field, step in self._content.compare(name, found).items():
                    self._add(name, field, step)

    # Writing

    async def _commit(self, redis: Commands, status: MirrorStatus) -> None:
        """Write what is pending, or as much of it as fits one transaction, and the mirror's status."""
        if not status.live and not self._current and not self._comparing:
            # What the leader before had written is not older than this.
            await self._write(redis, str(status.phase), _trouble(status), status, None)
            return
        batch = self._pending.take()
        last = not len(self._pending) and self._current and not self._pending.everything
        phase, trouble = str(status.phase), _trouble(status)
        if not last and status.live:
            phase, trouble = "resyncing", _BEHIND
        if last:
            self._silent = False
        await self._write(redis, phase, trouble, status, batch)
        if last:
            self.revision = status.revision

    async def _write(self, redis: Commands, phase: str, trouble: str, mirror: MirrorStatus, of: Batch | None) -> None:
        """Write a batch, with domains and cells; without a batch, a heartbeat."""
        batch = Batch() if of is None else of
        current_at = trio.current_time() - (mirror.state_age or 0.0)
        if self._silent and phase != CLOSED:
            phase, trouble = FILLING, trouble or _BEHIND
        self._number += 1
        link = f"{self._token}-{self._number}"
        self._unconfirmed = link, batch
        writes = await self._content.writes(of)
        events = (
            None if self._silent else await self._event_maker.tell(batch, writes["actual_lrps"], trio.current_time())
        )
        args = [part for n, (name, payload) in enumerate(events or ()) for part in (f"{n}.{name}", payload)]
        size = sum(map(len, args[1::2]))
        transaction = partial(
            Transaction,
            token=self._token,
            lease=str(_millis(LEASE)),
            before=self._link,
            link=link,
            counts=self._counts,
            patience=_millis(UNDER_WAY),
            phase=phase,
            trouble=trouble,
            revision=str(mirror.revision),
            live=mirror.live,
            more=() if self._introduced else ("format", FORMAT, "detail", self._detail, "publisher", self._name),
            follows=self._link if events is not None and not self._gap else NOTHING,
            oldest=self._retention.oldest,
            events=-1 if self._silent else len(args),
            hashes=[(_NUMBERS[name], 2 * len(one.records), len(one.remove)) for name, one in writes.items() if one.any],
        )
        for one in writes.values():
            args += one.args
        outcome, *told = await self._send(redis, transaction, current_at, args)
        self._unconfirmed = None
        if outcome == b"done":
            _, entry_id, self._counts = told
            self._link, self._introduced = link, True
            self._content.written()
            self._retention.add(entry_id.decode(), size)
            self._written_at = trio.current_time()
            self.counters.transactions += 1
            self.counters.records += len(batch)
            self.counters.bytes += size
            if not self._silent:
                self.counters.entries += 1
                self._gap = False
            return
        self._pending.give_back(batch)
        if outcome == b"fenced":
            raise LeaseLost
        if outcome == b"altered":
            self._altered(f"counts {told[0]} where {list(self._counts)} were")
            # What left the relay otherwise than by the stream is not found by comparing, and who follows has it still.
            self._fall_silent()
        else:
            self._altered(f"link {told[0].decode() or '(none)'}")
            await self.begin(redis, self._token)

    async def _send(
        self, redis: Commands, transaction: Callable[..., Transaction], current_at: float, args: Sequence[str | bytes]
    ) -> list[Any]:
        """Run the transaction with the server's time; again where that clock was set since it was last read."""
        outcome: list[Any] = [b"late"]
        while outcome[0] == b"late":
            now = trio.current_time()
            age, as_of = ceil((now - current_at) * 1000), floor(self._clock.earliest(now) * 1000)
            head = msgspec.msgpack.encode(transaction(age=age, as_of=as_of))
            outcome = await redis.run(COMMIT, self._keys.all, (head, *args))
            if outcome[0] in {b"done", b"late"}:
                self._clock = ServerClock(int(outcome[1]) / 1000, now, trio.current_time())
        return outcome

    def _altered(self, found: str) -> None:
        self.counters.altered += 1
        self._current, self._disturbed, self._counts = False, True, ()
        logger.warning(
            "%s: what is there is not what was written last (%s): all of it is compared and written again",
            self._keys.where,
            found,
        )

    def _fall_silent(self) -> None:
        """Add no events to the stream until the relay is complete; readers list anew then."""
        self._silent = self._gap = True
        self._event_maker.forget()

    # Looking

    async def _look(self, redis: Commands) -> None:
        """Check a slice of the relay, so that all of it is checked once in a while."""
        if not self.current or len(self._pending):
            return
        total = sum(self._counts)
        for _ in range(max(1, round(total * HEARTBEAT / TURN / SLICE))):
            n, cursor = self._place
            cursor, found = await redis.scan(self._keys.hashes[n], cursor, SLICE)
            self._place = (n, cursor) if cursor else ((n + 1) % len(HASHES), 0)
            if not self._content.agrees(HASHES[n], found):
                self._altered(f"another value in {HASHES[n]}")
                self._fall_silent()
                return


_NUMBERS: Final = {name: number for number, name in enumerate(HASHES, FIRST_HASH)}  # in the keys of a transaction


def _millis(seconds: float) -> int:
    return round(seconds * 1000)


def _trouble(status: MirrorStatus) -> str:
    if status.live:
        return ""
    return type(status.trouble).__name__ if status.trouble is not None else str(status.phase)


def _is_ahead(step: AnyStep) -> bool:
    """Return whether the relay's record may be newer than the mirror's."""
    if step is None or step.before is None:
        return False
    before, after = step.before, step.after
    return after is None or (before.epoch == after.epoch and before.tag_index > after.tag_index)
