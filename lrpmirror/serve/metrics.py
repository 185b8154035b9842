"""A mirror and its replica in numbers, for Prometheus.

Nothing is counted here: each scrape reads what the mirror has counted, so a scrape costs what it reads, and there is no
state beside the mirror's own.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lrpmirror.core.explain.counters import Counts
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.lists.difference import KINDS
from lrpmirror.events import Event, UnknownEvent
from lrpmirror.mirror import Mirror
from lrpmirror.serve.replica import Replica
from lrpmirror.serve.routes import send_whole
from lrpmirror.server import StreamKind, Traffic
from lrpmirror.server.asgi import ASGIApp, Receive, Scope, Send

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST.encode("ascii")

NAMED: Final = 20
"""How many unknown types of events are distinguished; a server can make up any number."""

DECODING: Final = ("MalformedChunk", "MalformedFrame", "MalformedRecord", "TruncatedReply", "LimitExceeded")
"""The errors of bytes that cannot be read."""

EVENT_TYPES: Final = frozenset(kind.type for kind in get_args(Event) if kind is not UnknownEvent)

STREAMS: Final[tuple[StreamKind, ...]] = ("instances", "groups")


def registry_of(
    mirror: Mirror, replica: Replica | None = None, servers: Mapping[str, Traffic] = MappingProxyType({})
) -> CollectorRegistry:
    """Return a registry of its own with the metrics of a mirror, of its replica, and of servers, where it has any."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(mirror, replica, servers))
    return registry


def metrics_app(registry: CollectorRegistry) -> ASGIApp:
    """Return an ASGI application that answers with what a registry collects."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
        await send_whole(send, 200, CONTENT_TYPE, generate_latest(registry))

    return app


class _Collected(Collector):
    """Reads a mirror at each scrape."""

    def __init__(self, mirror: Mirror, replica: Replica | None, servers: Mapping[str, Traffic]) -> None:
        self._mirror = mirror
        self._replica = replica
        self._servers = servers

    def describe(self) -> Iterable[Metric]:
        """Describe nothing in advance: metrics are read at the scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read everything."""
        counts = self._mirror.counts
        yield from self._state()
        yield from _freshness(self._mirror)
        yield from _events(counts)
        yield from _course(counts)
        yield from _subscribers(counts)
        if self._replica is not None:
            yield from _readers(self._replica)
        if self._servers:
            yield from _traffic(self._servers)

    def _state(self) -> Iterator[Metric]:
        status = self._mirror.status
        yield _gauge("actual_lrps", "Rows that the mirror holds.", status.actual_lrps)
        yield _gauge("desired_lrps", "Desired LRPs that the mirror holds.", status.desired_lrps)
        yield _gauge("cells", "Cells that were there at the last list.", len(self._mirror.cells))
        yield _gauge("domains", "Domains that were fresh at the last list.", len(self._mirror.domains))
        yield _gauge("revision", "Number of the last commit.", status.revision)


def _freshness(mirror: Mirror) -> Iterator[Metric]:
    status = mirror.status
    phase = GaugeMetricFamily("lrpmirror_phase", "1 for what the mirror is doing, 0 for the rest.", labels=["phase"])
    for one in Phase:
        phase.add_metric([one.value], float(one is status.phase))
    yield phase
    ages = (
        ("age_seconds", "Seconds since the last proof of life.", status.age),
        ("stream_silence_seconds", "Seconds since the event stream itself was last heard.", status.silence),
        ("state_age_seconds", "Seconds since the state was last known to be the server's.", status.state_age),
    )
    for name, text, age in ages:
        if age is not None:
            yield _gauge(name, text, age)
    if status.synced_at is not None:
        synced = status.at - status.synced_at
        yield _gauge("synced_age_seconds", "Seconds since the last lists of everything.", synced)
    trouble = GaugeMetricFamily("lrpmirror_trouble", "1 for what is wrong now, if anything is.", labels=["error"])
    if status.trouble is not None:
        trouble.add_metric([type(status.trouble).__name__], 1.0)
    yield trouble


def _events(counts: Counts) -> Iterator[Metric]:
    known = CounterMetricFamily(
        "lrpmirror_events", "Events by type and by what became of them.", labels=["type", "verdict"]
    )
    unknown: dict[str, int] = {}
    for name, number in counts.events.items():
        kind, _, outcome = name.rpartition(" ")
        if kind in EVENT_TYPES:
            known.add_metric([kind, outcome], number)
        else:
            label = kind if len(unknown) < NAMED or kind in unknown else "other"
            unknown[label] = unknown.get(label, 0) + number
    yield known
    yield _counters("unknown_events", "Events of types that this version does not know.", "type", unknown)


def _course(counts: Counts) -> Iterator[Metric]:
    yield _counter("reconnects", "How often the event stream was opened again.", max(0, counts.streams - 1))
    yield _counters("lists", "Lists that were committed: of everything, or to repair.", "cause", counts.lists)
    yield _counter("stream_replacements", "How often the event stream was replaced in use.", counts.replacements)
    drift = {kind: counts.drift_kinds.get(kind, 0) for kind in KINDS}
    yield _counters("drift", "Rows and desired LRPs that an audit found different, unexplained.", "kind", drift)
    yield _counter("lists_held", "Lists that were not believed at once.", counts.lists_held)
    yield _counter("rollbacks", "Lists that took the state back, as the server was set back.", counts.rollbacks)
    yield _counter("rolled_back", "Records that they had in older versions, or again.", counts.rolled_back)
    yield _counters("commits", "Commits by cause.", "cause", counts.commits)
    yield _counters("errors", "What ended a stream, a list or a ping.", "error", counts.errors)
    unreadable = sum(counts.errors.get(name, 0) for name in DECODING) + counts.unreadable
    yield _counter("decode_errors", "Events, and ends of streams and lists, that could not be read.", unreadable)
    yield _gauge("repairs_pending", "Processes that are to be read again.", counts.repairs_pending)
    yield _counter("repairs_dropped", "Doubts that were left to the next list.", counts.repairs_dropped)
    yield _gauge("tombstones", "Removed records that are remembered.", counts.tombstones)


def _subscribers(counts: Counts) -> Iterator[Metric]:
    lags = counts.subscribers
    yield _gauge("subscribers", "Subscribers of rows, desired LRPs and views.", len(lags))
    yield _gauge("subscriber_pending_keys", "Keys that subscribers have not seen.", sum(lag.pending for lag in lags))
    oldest = max((lag.age for lag in lags), default=0.0)
    yield _gauge("subscriber_lag_seconds", "For how long the oldest of these keys has waited.", oldest)


def _readers(replica: Replica) -> Iterator[Metric]:
    readers = replica.readers
    number = GaugeMetricFamily("lrpmirror_replica_subscribers", "Open event streams.", labels=["stream"])
    pending = GaugeMetricFamily(
        "lrpmirror_replica_pending_events", "Unread events of the slowest reader.", labels=["stream"]
    )
    for stream in STREAMS:
        behind = readers.pending(stream)
        number.add_metric([stream], len(behind))
        pending.add_metric([stream], max(behind, default=0))
    yield number
    yield pending
    yield _counter("replica_subscribers_dropped", "Event streams that fell behind and were closed.", readers.dropped)
    load = readers.load
    yield _gauge("replica_overloaded", "1 while new streams are refused, 0 else.", float(bool(load.trouble)))
    yield _counter("replica_streams_refused", "Event streams that were refused for the others' sake.", load.refused)
    yield _counter("replica_streams_shed", "Event streams that were closed for the others' sake.", load.shed)
    yield _counter(
        "replica_closures", "How often all streams were closed, for what events cannot say.", replica.closures
    )


def _traffic(servers: Mapping[str, Traffic]) -> Iterator[Metric]:
    now = GaugeMetricFamily("lrpmirror_server_connections", "Open connections.", labels=["server"])
    taken = CounterMetricFamily("lrpmirror_server_accepted", "Connections that were taken.", labels=["server"])
    refused = CounterMetricFamily(
        "lrpmirror_server_refused", "Connections that were closed at once, being too many.", labels=["server"]
    )
    displaced = CounterMetricFamily(
        "lrpmirror_server_displaced", "Connections cut off to make room for others.", labels=["server"]
    )
    timeouts = CounterMetricFamily(
        "lrpmirror_server_timeouts", "Connections cut off for what took too long.", labels=["server", "what"]
    )
    replies = CounterMetricFamily("lrpmirror_server_replies", "Replies by status.", labels=["server", "status"])
    failures = CounterMetricFamily(
        "lrpmirror_server_failures", "Requests that failed by a mistake of the server.", labels=["server", "error"]
    )
    for name, traffic in servers.items():
        now.add_metric([name], traffic.open)
        taken.add_metric([name], traffic.accepted)
        refused.add_metric([name], traffic.refused)
        displaced.add_metric([name], traffic.displaced)
        for what, number in traffic.timeouts.items():
            timeouts.add_metric([name, what], number)
        for status, number in traffic.replies.items():
            replies.add_metric([name, str(status)], number)
        for error, number in traffic.failures.items():
            failures.add_metric([name, error], number)
    yield from (now, taken, refused, displaced, timeouts, replies, failures)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"lrpmirror_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"lrpmirror_{name}", text, value=value)


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"lrpmirror_{name}", text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
