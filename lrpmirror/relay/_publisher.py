"""Keeps the state of a mirror in Redis or Valkey, together with other publishers."""

import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from random import Random
from typing import Any, Final, Literal, Protocol
from uuid import uuid4

import trio
from msgspec import Struct

from lrpmirror.background import background
from lrpmirror.client import TLS
from lrpmirror.core.explain.observer import Observer
from lrpmirror.core.freshness.backoff import Backoff
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.freshness.status import Status as MirrorStatus
from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.rows.changes import Commit
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.errors import BBSError, ConfigurationError, LRPMirrorError, WireError
from lrpmirror.events import Event
from lrpmirror.model import CellPresence
from lrpmirror.relay._address import parse
from lrpmirror.relay._commands import Commands, Connect, connector
from lrpmirror.relay._content import Content, MirrorReads
from lrpmirror.relay._format import ACQUIRE, LEASE, RELEASE, Keys
from lrpmirror.relay._leading import Counters, Leading, LeaseLost, Retention
from lrpmirror.relay._pending import Pending

logger: Final = logging.getLogger("lrpmirror")

REFRESH: Final = 10.0  # seconds between two reads of the domains and cells, about which a BBS sends no events
LISTING: Final = 10.0  # seconds that a list of either may take
STREAM_BYTES: Final = 64 * 1024 * 1024  # how many bytes of events the stream of changes keeps
HAND_OVER: Final = 3.0  # seconds that a leader may have lost the BBS before a publisher that has not takes its place
CAMPAIGN: Final = 0.5  # seconds between two attempts to lead
FAREWELL: Final = 1.0  # seconds that closing may take


class Published(MirrorReads, Protocol):
    """The mirror that is published."""

    @property
    def status(self) -> MirrorStatus:
        """How fresh it is."""

    @property
    def phase(self) -> Phase:
        """The phase alone."""

    @property
    def tuning(self) -> Tuning:
        """Its limits."""

    @property
    def domains(self) -> frozenset[str]:
        """The fresh domains."""

    @property
    def cells(self) -> tuple[CellPresence, ...]:
        """The cells."""

    def observed(self, observer: Observer) -> AbstractContextManager[None]:
        """Register an observer of every commit."""

    async def wait_for(self, predicate: Callable[[Any], bool], /) -> None:
        """Wait until something holds."""


class Source(Protocol):
    """Lists what the mirror does not follow; the BBS."""

    async def domains(self, *, most: int | None = None) -> tuple[str, ...]:
        """List the domains that are fresh; raises LimitExceeded for more than `most`."""

    async def cells(self, *, most: int | None = None) -> tuple[CellPresence, ...]:
        """List the cells that are there; raises LimitExceeded for more than `most`."""


class PublisherStatus(Struct, frozen=True, kw_only=True):
    """The state of a publisher."""

    role: Literal["leader", "standby", "unconnected"]  # whether it leads, stands by to take over, or has no connection
    current: bool  # whether the relay is known to be what the mirror is, but for what is pending
    revision: int  # the mirror's last revision that is in the relay as a whole
    pending: int  # how many changed records are not written yet
    trouble: LRPMirrorError | None  # the present error of the relay
    counters: Counters


class Publisher:
    """Keeps a relay current from a mirror, made by `open_publisher`."""

    def __init__(
        self, mirror: Published, connect: Connect, keys: Keys, *, full: bool, stream_bytes: int, rng: Random
    ) -> None:
        self._mirror = mirror
        self._connect = connect
        self._keys = keys
        self._woken = trio.Event()
        self._due, self._due_moved = 0.0, trio.Event()
        self._pending = Pending(self._wake)
        self._content = Content(mirror, self._pending, full=full)
        self._leading = Leading(
            lambda: mirror.status,
            self._pending,
            self._content,
            keys,
            f"{socket.gethostname()}:{os.getpid()}",
            "full" if full else "routing",
            Retention(stream_bytes),
        )
        self._backoff = Backoff(rng, first=0.2, most=2.0)
        # One for the publisher's life: links are checked as well, so what was sent on an earlier connection and comes
        # late does no harm.
        self._token = uuid4().hex
        self._role: Literal["leader", "standby", "unconnected"] = "unconnected"
        self._trouble: LRPMirrorError | None = None
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def status(self) -> PublisherStatus:
        """The present state. O(1)."""
        return PublisherStatus(
            role=self._role,
            current=self._leading.current,
            revision=self._leading.revision,
            pending=len(self._pending),
            trouble=self._trouble,
            counters=self._leading.counters,
        )

    async def wait_for(self, predicate: Callable[[PublisherStatus], bool]) -> PublisherStatus:
        """Wait until its status meets the condition; checked at each change of role or trouble and each transaction."""
        while not predicate(self.status):
            await self._changed.park()
        return self.status

    # As an observer of the mirror

    def event(self, event: Event, outcome: Outcome, commit: Commit | None) -> None:
        """Record what an event changed."""
        self._pending.event(event, outcome, commit)

    def listed(self, commit: Commit) -> None:
        """Record what a list changed."""
        if commit.domains is not None:
            self._content.set_domains(commit.domains)
        if commit.cells is not None:
            self._content.set_cells(commit.cells)
        self._pending.listed(commit)

    # What runs beside the mirror

    async def run(self) -> None:
        """Publish for ever; on every loss of the relay wait, connect and read what is there."""
        self._content.set_domains(self._mirror.domains)
        self._content.set_cells(self._mirror.cells)
        while True:
            try:
                async with self._connect() as redis:
                    self._backoff.succeeded()
                    while True:
                        await self._campaign(redis)
                        with suppress(LeaseLost):
                            await self._lead(redis)
                        logger.info("%s: another publisher leads now, or none: this one stands by", self._keys.where)
            except (BBSError, WireError) as error:
                self._record_role("unconnected", error)
            await trio.sleep(self._backoff.failed())

    async def watch(self) -> None:
        """Write the status at once when the mirror's phase changes."""
        while True:
            await self._mirror.wait_for(_left(self._mirror.phase))
            self._wake()

    async def remind(self) -> None:
        """Wake the leader when a heartbeat is due. A deadline of its own for each wait costs more than the waiting."""
        while True:
            await self._due_moved.wait()
            self._due_moved = trio.Event()
            await trio.sleep_until(self._due)
            self._wake()

    async def refresh(self, bbs: Source, interval: float) -> None:
        """Read domains and cells at an interval while the mirror is live: it does so itself only with its lists."""
        reads: list[tuple[Callable[..., Any], Callable[[Any], None]]]
        reads = [(bbs.domains, self._content.set_domains), (bbs.cells, self._content.set_cells)]
        while True:
            await trio.sleep(interval)
            if not self._mirror.status.live:
                continue
            # Each by itself: another service keeps the cells, which can be down while the BBS is well.
            for ask, write in reads:
                with trio.move_on_after(LISTING), suppress(BBSError, WireError):
                    found = await ask(most=self._mirror.tuning.list_limit)
                    if self._mirror.status.live:
                        write(found)
                        self._wake()

    async def _campaign(self, redis: Commands) -> None:
        """Try to take the lead until it succeeds."""
        token = self._token
        while True:
            status = self._mirror.status
            # Without a state there is nothing to lead with.
            if status.synced_at is not None:
                args = [token, str(round(LEASE * 1000)), "1" if status.live else "0", str(round(HAND_OVER * 1000))]
                if await redis.run(ACQUIRE, (self._keys.lease, self._keys.status), args):
                    await self._leading.begin(redis, token)
                    return
                # The leader writes what changes from here on.
                self._pending.lose_count()
                self._record_role("standby", None)
                await trio.sleep(CAMPAIGN)
            else:
                await redis.time()
                self._record_role("standby", None)
                with trio.move_on_after(CAMPAIGN):
                    await self._woken.wait()
            self._woken = trio.Event()

    async def _lead(self, redis: Commands) -> None:
        self._record_role("leader", None)
        logger.info("%s: this publisher leads", self._keys.where)
        try:
            await self._leading.keep(redis, self._wait_for_change)
        except trio.Cancelled:
            # On a connection of its own: that of this block is cancelled with it.
            with trio.move_on_after(FAREWELL, shield=True), suppress(BBSError, LeaseLost):
                async with self._connect() as another:
                    await self._leading.end(another)
                    await another.run(RELEASE, (self._keys.lease,), (self._token,))
            raise

    async def _wait_for_change(self, due: float) -> None:
        self._changed.unpark_all()
        if due != self._due:
            self._due = due
            self._due_moved.set()
        await self._woken.wait()
        self._woken = trio.Event()

    def _wake(self) -> None:
        self._woken.set()

    def _record_role(self, role: Literal["leader", "standby", "unconnected"], trouble: LRPMirrorError | None) -> None:
        if trouble is not None and str(trouble) != str(self._trouble):
            logger.info("the relay is not written: %s", trouble)
        self._role, self._trouble = role, trouble
        self._changed.unpark_all()


@asynccontextmanager
async def open_publisher(
    mirror: Published,
    bbs: Source,
    to: str,
    *,
    tls: TLS | None = None,
    detail: Literal["routing", "full"] = "routing",
    stream_bytes: int = STREAM_BYTES,
    refresh: float = REFRESH,
    rng: Random | None = None,
    connect: Connect | None = None,
) -> AsyncIterator[Publisher]:
    """Keep the state of a mirror in Redis or Valkey for as long as the block lasts.

    `mirror` is followed and `bbs`, which it mirrors, is asked for domains and cells every `refresh` seconds. `to` is
    the relay's URL, as for `open_mirror`; `tls` are the files for `rediss://`. `detail` is that of the mirror: with
    "full" whole desired LRPs are written, environments and credentials included. `stream_bytes` bounds the events that
    the stream of changes keeps: a reader that is further behind lists anew. `connect` stands in for the network.

    Several may publish to one relay: one leads, the others stand by and take over. Nothing that goes wrong with the
    relay is an error here: it is in the `status`, and tried again. Raises ConfigurationError for a URL or file that
    cannot be used.
    """
    address = parse(to)
    if address.replica:
        raise ConfigurationError(f"{address.name}: read_from=replica is for readers; nothing can be written there")
    publisher = Publisher(
        mirror,
        connect or connector(address, tls)[0],
        Keys(address.prefix, address.name),
        full=detail == "full",
        stream_bytes=stream_bytes,
        rng=rng or Random(),  # noqa: S311 - jitter, not a secret
    )
    with mirror.observed(publisher):
        async with background() as nursery:
            nursery.start_soon(publisher.run)
            nursery.start_soon(publisher.watch)
            nursery.start_soon(publisher.remind)
            nursery.start_soon(publisher.refresh, bbs, refresh)
            yield publisher


def _left(phase: Phase) -> Callable[[Published], bool]:
    return lambda mirror: mirror.phase is not phase
