"""A mirror as a source for the server side of the protocol: to its readers it is a BBS."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Final

import trio

from lrpmirror.core.freshness.status import Phase, Status
from lrpmirror.core.rows.changes import Commit, Delta
from lrpmirror.core.rows.groups import groups_of
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.errors import BBSError, ConfigurationError, ServiceUnavailable, UpstreamStale, WireError
from lrpmirror.events import ActualLRPCrashed, ActualLRPInstanceCreated, Event, SourceStatus, UnknownEvent
from lrpmirror.mirror import BBS, Mirror
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.redaction import without_secrets
from lrpmirror.relay._content import AnnouncedVersions
from lrpmirror.serve.event_rates import EventRates
from lrpmirror.serve.events import desired_events, group_events, row_events
from lrpmirror.serve.readers import Readers, hand_out, watch_load
from lrpmirror.server import EncodedStatus, MirrorOnly, StreamKind, Subscription
from lrpmirror.server.lists import desired_filter, row_filter
from lrpmirror.server.slices import grouped, passing

logger: Final = logging.getLogger("lrpmirror.serve")

APPS: Final = 200  # how many apps are looked up one by one; for more, all desired LRPs are scanned
APP_GUID: Final = 32  # the least length of a prefix of process guids that is taken for one app's
REFRESH: Final = 10.0  # seconds between two reads of the domains and cells, about which a BBS sends no events
PATIENCE: Final = 3.0  # how many seconds the cells may take, which another service keeps
MAX_AGE: Final = 30.0  # the age in seconds up to which the state is served
HEARTBEAT: Final = 2.0  # seconds between two statuses on the streams, while nothing else changes about the state's age


class Replica:
    """A `lrpmirror.server.Source` over a mirror, made by `open_replica`.

    Reads are answered from the mirror's state, also while that is stale, as long as it is not older than `max_age`; its
    age is in `status`, which is sent on the streams too. Beyond that the replica is not `available`, and its streams
    are closed. Domains lapse as they would at a BBS, counted from when they were last seen fresh. What a commit changes
    goes to the subscribers as events, and so does what the mirror finds different when it synchronises anew. What no
    event of a BBS would carry is sent to mirrors only, in comments of the stream; they end in the same rows and desired
    LRPs. Where the server was set back, which no event can say, all streams are closed, as a BBS's are when it
    restarts.
    """

    def __init__(
        self, mirror: Mirror, clock: Callable[[], float], *, full: bool = False, max_age: float = MAX_AGE
    ) -> None:
        self._mirror = mirror
        self._shown: Callable[[DesiredLRP], DesiredLRP] = (lambda lrp: lrp) if full else without_secrets
        self._clock = clock
        self._max_age = max_age
        self._domains_at = float("-inf")
        self._refresh_interval = REFRESH
        self._announced_versions = AnnouncedVersions()
        self._withheld: dict[str, DesiredLRP] = {}
        self._domains: tuple[str, ...] | None = None
        self._cells: tuple[CellPresence, ...] | None = None
        self.readers = Readers(clock)
        self.event_rates = EventRates(clock)  # the event rates, for the status page
        self.closures = 0  # how many times all streams were closed because a change could not be sent as events

    @property
    def available(self) -> bool:
        """Whether there is a state to answer from that is not too old."""
        return not self.refusal

    @property
    def refusal(self) -> str:
        """Why nothing is answered now; empty where it is."""
        status = self._mirror.status
        if status.synced_at is None:
            return "the BBS has not been read yet"
        age = status.state_age
        if age is None or age <= self._max_age:
            return ""
        return f"the state is {age:.1f} s old, which is more than {self._max_age:g} s; {_trouble(status)}"

    @property
    def status(self) -> SourceStatus:
        """How old the state is, and why it does not follow the BBS, where it does not."""
        status = self._mirror.status
        return SourceStatus(max(0.0, status.state_age or 0.0), "" if status.live else _trouble(status))

    # As a source

    def domains(self) -> tuple[str, ...]:
        """Return the domains that were fresh a few seconds ago; none where they were last read too long ago."""
        status = self._mirror.status
        seen_at = max(self._domains_at, status.synced_at or 0.0)
        if status.at - seen_at > self._max_age + 2 * self._refresh_interval:
            return ()
        return tuple(sorted(self._mirror.domains)) if self._domains is None else self._domains

    def cells(self) -> tuple[CellPresence, ...]:
        """Return the registered cells, as of a few seconds ago."""
        return self._mirror.cells if self._cells is None else self._cells

    def actual_lrps(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> Iterable[ActualLRP | None]:
        """Return the rows that pass the filters, process by process. O(rows of the process, or on the cell, or all)."""
        rows: Iterable[ActualLRP]
        if process_guid:
            rows = self._mirror.actual_lrps(process_guid)
        elif cell_id:
            rows = sorted(self._mirror.actual_lrps(cell_id=cell_id), key=attrgetter("process_guid"))
        else:
            # Not row by row: a quarter of a million references are copied, and looked at by the garbage collector, in
            # more than ten milliseconds each.
            rows = chain.from_iterable(self._mirror.rows_by_process())
        unfiltered = not domain and index is None and not (process_guid and cell_id)
        return rows if unfiltered else passing(rows, row_filter(domain, cell_id, index))

    def actual_lrps_by_process_guids(self, process_guids: Sequence[str]) -> list[ActualLRP]:
        """Return the rows of these processes. O(found)."""
        return [row for guid in dict.fromkeys(process_guids) for row in self._mirror.actual_lrps(guid)]

    def actual_lrp_groups(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> Iterable[ActualLRPGroup | None]:
        """Return the groups of the rows that pass the filters; a filter by cell can show a part of a group."""
        return grouped(self.actual_lrps(domain, cell_id, process_guid, index), groups_of)

    def desired_lrps(
        self, domain: str = "", process_guids: Sequence[str] = (), app_guids: Sequence[str] = ()
    ) -> Iterable[DesiredLRP | None]:
        """Return the desired LRPs that pass the filters. O(found) by guids, else O(all desired LRPs)."""
        found = passing(self._candidates(process_guids, app_guids), desired_filter(domain, process_guids, app_guids))
        return (None if lrp is None else self._shown(lrp) for lrp in found)

    def _candidates(self, process_guids: Sequence[str], app_guids: Sequence[str]) -> Iterable[DesiredLRP | None]:
        """Return the candidates for a request, a superset of the desired LRPs that pass."""
        mirror = self._mirror
        if process_guids:
            return [mirror.desired_lrp(guid) for guid in dict.fromkeys(process_guids)]
        if 0 < len(app_guids) <= APPS and min(map(len, app_guids)) >= APP_GUID:
            # By way of a dict: prefixes of one another find the same.
            return {lrp.process_guid: lrp for app in app_guids for lrp in mirror.desired_lrps(app_guid=app)}.values()
        return mirror.desired_lrps()

    def subscribe(self, kind: StreamKind, cell_id: str = "") -> Subscription:
        """Return a subscription from now on, first to the state's age; raises ServiceUnavailable when overloaded."""
        load = self.readers.load
        if load.trouble:
            load.refused += 1
            raise ServiceUnavailable(f"this replica takes no more streams now: {load.trouble}")
        subscription = self.readers.add(kind, cell_id)
        subscription.add(EncodedStatus(self.status, self._clock()))
        return subscription

    # As an observer of the mirror

    def event(self, event: Event, outcome: Outcome, commit: Commit | None) -> None:  # noqa: ARG002 - an observer's
        """Send the outcome of an event. Events that change nothing, such as crashes, are passed on as they are."""
        if commit is not None:
            self._publish(commit, event)
        elif isinstance(event, ActualLRPCrashed):
            self.readers.put("instances", [event])
            self.readers.put("groups", [event])
        elif isinstance(event, UnknownEvent):
            self.readers.put("instances", [event])

    def listed(self, commit: Commit) -> None:
        """Send the differences that a list found."""
        if commit.domains is not None:
            self._domains = None
        if commit.cells is not None:
            self._cells = None
        for delta in commit.desired_lrps:
            if delta.before is not None and delta.after is None and delta.before.domain not in self._mirror.domains:
                self._withheld[delta.key] = delta.before
        self._publish(commit, None)

    def _publish(self, commit: Commit, event: Event | None) -> None:
        """Send what a commit changed; `event` is the event of the BBS that caused it, if one did."""
        trace_id = getattr(event, "trace_id", "")
        desired_deltas = self._desired_deltas(commit)
        if not self.readers:
            self._announced_versions.clear()
            return
        self._announced_versions.advance(self._clock())
        if self._announced_versions.contradicts(commit.actual_lrps, desired_deltas):
            self.closures += 1
            self.readers.close()
            self._announced_versions.clear()
            return
        # First, as a BBS does what it desires: an instance beyond the number that is known is passed over by some.
        desired: list[Event | MirrorOnly] = []
        for delta in desired_deltas:
            before, after = (None if lrp is None else self._shown(lrp) for lrp in (delta.before, delta.after))
            desired += desired_events(Delta(delta.key, before, after), trace_id)
        if self.readers.want("instances"):
            rows = row_events(commit.actual_lrps, trace_id, created=isinstance(event, ActualLRPInstanceCreated))
            self.readers.put("instances", desired + rows)
        if self.readers.want("groups"):
            slots = group_events(commit.actual_lrps, self._mirror.actual_lrps, from_event=event is not None)
            self.readers.put("groups", desired + slots)

    def _desired_deltas(self, commit: Commit) -> list[Delta[str, DesiredLRP]]:
        """Return the deltas of desired LRPs to send; a withheld removal is sent when it is released."""
        deltas: list[Delta[str, DesiredLRP]] = []
        for delta in commit.desired_lrps:
            if delta.after is None and delta.key in self._withheld:
                continue
            known = self._withheld.pop(delta.key, None)
            deltas.append(delta if known in (None, delta.after) else Delta(delta.key, known, delta.after))
        for guid in commit.released:
            gone = self._withheld.pop(guid, None)
            if gone is not None:
                deltas.append(Delta(guid, gone, None))
        return deltas

    # What runs beside it

    async def refresh(self, bbs: BBS, interval: float) -> None:
        """Read domains and cells at an interval while the mirror is live; itself it does so with its lists only."""
        self._refresh_interval = interval
        while True:
            await trio.sleep(interval)
            status = self._mirror.status
            if not status.live:
                continue
            most = self._mirror.tuning.list_limit
            with suppress(BBSError, WireError):
                domains = await bbs.domains(most=most)
                if self._mirror.status.live:
                    self._domains, self._domains_at = tuple(sorted(domains)), status.at
            # Another service keeps them, which can be down while the BBS is well.
            with trio.move_on_after(PATIENCE), suppress(BBSError, WireError):
                cells = await bbs.cells(most=most)
                if self._mirror.status.live:
                    self._cells = cells

    async def say_age(self) -> None:
        """Send the state's age on the streams, at an interval and where following begins or ends; or close them."""
        mirror, away = self._mirror, ""
        while True:
            live = mirror.status.live
            with trio.move_on_after(HEARTBEAT):
                await mirror.wait_for(partial(_differs, live))
            before, away = away, self.refusal
            if away:
                self.readers.close()
                self._announced_versions.clear()
            else:
                self.readers.put_status(self.status, self._clock())
            if away and not before:
                logger.warning("the replica answers nothing any more: %s", away)
            elif before and not away:
                logger.warning("the replica answers again")


def _differs(live: bool, mirror: Mirror) -> bool:
    return (mirror.phase is Phase.LIVE) is not live


def checked_age(max_age: float) -> float:
    """Return a `max_age` that can be used, or raise ConfigurationError."""
    if not max_age > 0:
        raise ConfigurationError(f"max_age={max_age}: give a number of seconds above 0, or inf for any age")
    return max_age


def _trouble(status: Status) -> str:
    """Return why a mirror does not follow the BBS, as the name of an error: where it has it from another, the first."""
    trouble = status.trouble
    if isinstance(trouble, UpstreamStale):
        return trouble.trouble
    return str(status.phase) if trouble is None else type(trouble).__name__


@asynccontextmanager
async def open_replica(
    mirror: Mirror, bbs: BBS, *, full: bool = False, refresh: float = REFRESH, max_age: float = MAX_AGE
) -> AsyncIterator[Replica]:
    """Answer from a mirror for as long as the block lasts, and as its state is not older than `max_age` seconds.

    `bbs` is what the mirror mirrors: it is asked for domains and cells every `refresh` seconds. Unless `full`, secrets
    are not served: the routes of other routers than the three known ones are there by name only. Raises
    ConfigurationError for a `max_age` that is none.
    """
    replica = Replica(mirror, trio.current_time, full=full, max_age=checked_age(max_age))
    with mirror.observed(replica), mirror.observed(replica.event_rates):
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hand_out, replica.readers)
                nursery.start_soon(watch_load, replica.readers)
                nursery.start_soon(replica.refresh, bbs, refresh)
                nursery.start_soon(replica.say_age)
                yield replica
                nursery.cancel_scope.cancel()
        finally:
            replica.readers.close()
