"""A mirror and its replica in numbers, for Prometheus: each scrape reads what the mirror has counted."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, get_args

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lrpmirror.core.explain.counters import Counts
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.lists.difference import KINDS
from lrpmirror.events import Event, UnknownEvent
from lrpmirror.mirror import Mirror
from lrpmirror.serve.replica import Replica
from lrpmirror.server import StreamKind, Traffic
from lrpmirror.server.asgi import ASGIApp, Receive, Scope, Send, send_whole

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST.encode("ascii")

NAMED: Final = 20  # how many unknown types of events are distinguished; a server can make up any number

# The errors of bytes that cannot be read.
DECODING: Final = ("MalformedChunk", "MalformedFrame", "MalformedRecord", "TruncatedReply", "LimitExceeded")

EVENT_TYPES: Final = frozenset(kind.type for kind in get_args(Event) if kind is not UnknownEvent)

STREAMS: Final[tuple[StreamKind, ...]] = ("instances", "groups")


def metrics_app(mirror: Mirror, replica: Replica | None, servers: Mapping[str, Traffic]) -> ASGIApp:
    """Return an ASGI application that answers with the metrics of a mirror, of its replica if any, and of servers."""
    collected = _Collected(mirror, replica, servers)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - as ASGI calls it
        await send_whole(send, 200, CONTENT_TYPE, generate_latest(collected))

    return app


class _Collected(Collector):
    """Reads a mirror at each scrape."""

    def __init__(self, mirror: Mirror, replica: Replica | None, servers: Mapping[str, Traffic]) -> None:
        self._mirror = mirror
        self._replica = replica
        self._servers = servers

    def collect(self) -> Iterator[Metric]:
        yield from _state(self._mirror)
        yield from _freshness(self._mirror)
        yield from _events(self._mirror.counts)
        yield from _course(self._mirror.counts)
        yield from _subscribers(self._mirror.counts)
        if self._replica is not None:
            yield from _readers(self._replica)
        if self._servers:
            yield from _traffic(self._servers)


def _state(mirror: Mirror) -> Iterator[Metric]:
    status = mirror.status
    yield _gauge("actual_lrps", "Rows that the mirror holds.", status.actual_lrps)
    yield _gauge("desired_lrps", "Desired LRPs that the mirror holds.", status.desired_lrps)
    yield _gauge("cells", "Cells that were there at the last list.", len(mirror.cells))
    yield _gauge("domains", "Domains that were fresh at the last list.", len(mirror.domains))
    yield _gauge("revision", "Number of the last commit.", status.revision)


def _freshness(mirror: Mirror) -> Iterator[Metric]:
    status = mirror.status
    phases = {phase.value: float(phase is status.phase) for phase in Phase}
    yield _gauge("phase", "1 for what the mirror is doing, 0 for the rest.", phases, "phase")
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
    trouble = {} if status.trouble is None else {type(status.trouble).__name__: 1.0}
    yield _gauge("trouble", "1 for what is wrong now, if anything is.", trouble, "error")


def _events(counts: Counts) -> Iterator[Metric]:
    known: dict[tuple[str, ...], int] = {}
    unknown: dict[str, int] = {}
    for name, number in counts.events.items():
        kind, _, outcome = name.rpartition(" ")
        if kind in EVENT_TYPES:
            known[kind, outcome] = number
        else:
            label = kind if len(unknown) < NAMED or kind in unknown else "other"
            unknown[label] = unknown.get(label, 0) + number
    text = "Events by type and by what became of them."
    yield _counter("events", text, known, "type", "verdict")
    yield _counter("unknown_events", "Events of types that this version does not know.", unknown, "type")


def _course(counts: Counts) -> Iterator[Metric]:
    yield _counter("reconnects", "How often the event stream was opened again.", max(0, counts.streams - 1))
    yield _counter("lists", "Lists that were committed: of everything, or to repair.", counts.lists, "cause")
    yield _counter("stream_replacements", "How often the event stream was replaced in use.", counts.replacements)
    drift = {kind: counts.drift_kinds.get(kind, 0) for kind in KINDS}
    yield _counter("drift", "Rows and desired LRPs that an audit found different, unexplained.", drift, "kind")
    yield _counter("lists_held", "Lists that were not believed at once.", counts.lists_held)
    yield _counter("rollbacks", "Lists that took the state back, as the server was set back.", counts.rollbacks)
    yield _counter("rolled_back", "Records that they had in older versions, or again.", counts.rolled_back)
    yield _counter("commits", "Commits by cause.", counts.commits, "cause")
    yield _counter("errors", "What ended a stream, a list or a ping.", counts.errors, "error")
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
    behind = {stream: readers.pending(stream) for stream in STREAMS}
    number = {stream: len(each) for stream, each in behind.items()}
    yield _gauge("replica_subscribers", "Open event streams.", number, "stream")
    slowest = {stream: max(each, default=0) for stream, each in behind.items()}
    yield _gauge("replica_pending_events", "Unread events of the slowest reader.", slowest, "stream")
    yield _counter("replica_subscribers_dropped", "Event streams that fell behind and were closed.", readers.dropped)
    load = readers.load
    yield _gauge("replica_overloaded", "1 while new streams are refused, 0 else.", float(bool(load.trouble)))
    yield _counter("replica_streams_refused", "Event streams that were refused for the others' sake.", load.refused)
    yield _counter("replica_streams_shed", "Event streams that were closed for the others' sake.", load.shed)
    yield _counter(
        "replica_closures", "How often all streams were closed, for what events cannot say.", replica.closures
    )


def _traffic(servers: Mapping[str, Traffic]) -> Iterator[Metric]:
    for metric, name, counter, text in (
        (_gauge, "connections", "open", "Open connections."),
        (_counter, "accepted", "accepted", "Connections that were taken."),
        (_counter, "refused", "refused", "Connections that were closed at once, being too many."),
        (_counter, "displaced", "displaced", "Connections cut off to make room for others."),
    ):
        numbers = {server: getattr(traffic, counter) for server, traffic in servers.items()}
        yield metric(f"server_{name}", text, numbers, "server")
    for name, label, text in (
        ("timeouts", "what", "Connections cut off for what took too long."),
        ("replies", "status", "Replies by status."),
        ("failures", "error", "Requests that failed by a mistake of the server."),
    ):
        found = {(server, str(of)): n for server, each in servers.items() for of, n in getattr(each, name).items()}
        yield _counter(f"server_{name}", text, found, "server", label)


def _metric(
    kind: type[GaugeMetricFamily | CounterMetricFamily],
    name: str,
    text: str,
    value: float | Mapping[Any, float],
    *labels: str,
) -> Metric:
    """Return a metric with one value, or with one for each label or labels."""
    family = kind(f"lrpmirror_{name}", text, labels=labels)
    for of, number in value.items() if isinstance(value, Mapping) else [((), value)]:
        family.add_metric(of if isinstance(of, tuple) else (of,), number)
    return family


_gauge: Final = partial(_metric, GaugeMetricFamily)
_counter: Final = partial(_metric, CounterMetricFamily)
