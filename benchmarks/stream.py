"""The event stream over TLS from a server in another process, one record an event, beside a plain consumer of the same.

The plain one is httpx, httpx-sse and a dict (see `plain`). Both end with the same rows; ours with all indexes, in the
order of versions, and with the changes of each commit. Once it is the events of instances only, and once a mix of all
ten types, which the mirror follows in both details.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import httpx
import trio
from httpx_sse import EventSource
from msgspec.structs import replace

from benchmarks import plain
from benchmarks.data import desired, fingerprint, records, rows
from benchmarks.harness import PROCESSOR_TIME, Report, Run, Target, agree, check, compare
from benchmarks.machine import loaded
from benchmarks.memory_bbs import PATIENCE
from benchmarks.served import STREAM, Served, serve
from benchmarks.server import Script
from benchmarks.workload import churn, encoded, frames, mix
from lrpmirror import BBSClient
from lrpmirror.events import ActualLRPCrashed, Event
from lrpmirror.model import ActualLRP
from lrpmirror.wire import encode

SIZE, SMOKE = 50_000, 500
"""Events."""

ROWS = 20_000
"""That are there, at most."""

BOTTLENECK = 0.8
"""From this share of the server's own rate on, it is the server that is measured."""

TARGETS = (Target("stream, against the plain consumer", 8.0, "times as fast", least=True),)


def run(size: int, rounds: int) -> Iterator[Report]:
    """Follow a stream of `size` events."""
    present = rows(min(ROWS, size))
    report = _followed("follow the stream, an event", rounds, present, churn(present, size), (False,))
    yield replace(report, checks=check(TARGETS, TARGETS[0].what, 1 / report.figures[1].ratio))
    mixed = mix(present, desired(present), size)
    yield _followed("follow all ten events, an event", rounds, present, mixed, (False, True))


def _followed(
    title: str, rounds: int, present: Sequence[ActualLRP], events: Sequence[Event], details: Iterable[bool]
) -> Report:
    size = len(events)
    changing = sum(not isinstance(event, ActualLRPCrashed) for event in events)
    script = Script(bodies={}, frames=frames(encoded(events)))
    with serve(script) as served:
        own = served.own_rate(size)
        ways = {"httpx, httpx-sse, one dict": partial(_plain, served, size, encode.reply(records(len(present))))}
        for full in details:
            name = 'the same, detail="full"' if full else "BBSClient, Session"
            ways[name] = partial(_ours, served, size, present, changing, full=full)
        report = compare(title, size, ways, rounds=rounds)
    rates = [1e6 / figure.value for figure in report.figures]
    notes = [f"the server alone sends {own:,.0f} events/s; the ways read {', '.join(f'{rate:,.0f}' for rate in rates)}"]
    # Of processor time the server's is not counted.
    if rates[1] > BOTTLENECK * own and not PROCESSOR_TIME.get():
        notes.append("the server was the bottleneck: the mirror can be faster than this says")
    return replace(report, notes=tuple(notes))


def _plain(served: Served, size: int, body: bytes) -> Run:
    table: dict[str, plain.Row | plain.Desired] = {**plain.table_of(body)}
    run = Run(size)

    async def consume() -> None:
        async with (
            httpx.AsyncClient(verify=served.context, timeout=PATIENCE) as client,
            client.stream("POST", served.url + STREAM) as response,
        ):
            with run:
                served.go()
                async for frame in EventSource(response).aiter_sse():
                    # It makes empty ones up, after every event once there was an id.
                    if frame.data:
                        plain.apply(table, frame.event, frame.data)

    trio.run(consume)
    run.answer = _answer(row for row in table.values() if isinstance(row, plain.Row))
    return run


def _ours(served: Served, size: int, present: Iterable[ActualLRP], changing: int, *, full: bool) -> Run:
    session = loaded(present, desired(present))
    run = Run(size)
    commits = 0

    async def follow() -> None:
        nonlocal commits
        async with BBSClient(served.url, tls=served.tls) as client, client.events("instances", full=full) as stream:
            seen = 0
            with run:
                served.go()
                async for events in stream:
                    commits += len(session.events(events, trio.current_time()))
                    seen += len(events)
                    if seen == size:
                        break

    trio.run(follow)
    agree("the commits, and the events that each changed something", commits, changing)
    run.answer = _answer(session.knowledge.store.select(cell_id=None, state=None, domain=None))
    return run


def _answer(found: Iterable[ActualLRP | plain.Row]) -> Sequence[object]:
    return sorted(map(fingerprint, found))
