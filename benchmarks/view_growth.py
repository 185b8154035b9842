"""What an event of one instance costs a view, where much else is of its process, its host name or its app.

The machine alone, without decoding and tasks: what is there is looked at through the views only.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from random import Random

import msgspec
from msgspec.structs import replace

from benchmarks.data import fingerprint
from benchmarks.harness import Report, Target, agree, check, digest, figure_of
from benchmarks.views import KINDS, Kinds
from benchmarks.workload import flips
from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.derived.dirty import dirtied_by
from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.session import Session
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, PortMapping

SIZE, SMOKE = 1_000, 100
"""Of how many things the largest has."""

EVENTS = 500

ROUNDS = 3
"""At most."""

TARGETS = (Target("an event among 1,000 of its process, its host name or its cell, at worst", 2.0, "x"),)


World = Callable[[int], tuple[list[ActualLRP], list[DesiredLRP]]]
"""What there is, by how many of something."""


def run(size: int, rounds: int) -> Iterator[Report]:
    """Apply events among a hundredth of `size`, a tenth of it, and all."""
    some, worst = min(rounds, ROUNDS), 0.0
    sizes = [max(1, size // part) for part in (100, 10, 1)]
    for what, world in WORLDS.items():
        for name, kinds in KINDS.items():
            runs = {number: [_event_cost(world, number, kinds) for _ in range(some)] for number in sizes}
            costs = {number: [cost for cost, _ in of_size] for number, of_size in runs.items()}
            figures = tuple(figure_of(f"{name}, {number:,}", costs[number], costs[sizes[0]], "µs") for number in sizes)
            report = Report(title=f"an event: {what}", size=size, figures=figures, digest=runs[size][0][1])
            if kinds and world is not _many_names:
                worst = max(worst, figures[-1].ratio)
            is_last = world is _many_names and name == [*KINDS][-1]
            yield replace(report, checks=check(TARGETS, TARGETS[0].what, worst)) if is_last else report


def _event_cost(world: World, size: int, kinds: Kinds) -> tuple[float, str]:
    """Return the processor time of applying an event and deriving what follows, in microseconds; and what follows."""
    present, wanted = world(size)
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    snapshot = session.begin_list(0)
    snapshot.list_rows(present)
    snapshot.list_desired(wanted)
    deque(snapshot.settle(), maxlen=0)
    session.end_list(snapshot, 0)
    derivations = [Derivation(kind()) for kind in kinds]
    for derivation in derivations:
        derivation.update(map(session.knowledge.process, session.knowledge.process_guids()))
    # Where one thing is that large, all events are of it.
    events = flips(present[:10], EVENTS)
    started = time.process_time()
    for event in events:
        dirty = dirtied_by(session.events([event], 0))
        for derivation in derivations:
            derivation.update(map(session.knowledge.process, dirty), dirty)
    cost = (time.process_time() - started) / EVENTS * 1e6
    for derivation in derivations:
        fresh = Derivation(derivation.view)
        fresh.update(map(session.knowledge.process, session.knowledge.process_guids()))
        agree("a view kept, and made anew", fresh.values == derivation.values, True)
    values = [sorted(map(str, derivation.values.items())) for derivation in derivations]
    return cost, digest(
        values, sorted(map(fingerprint, session.knowledge.store.select(cell_id=None, state=None, domain=None)))
    )


def _instances(guid: str, number: int, host: int = 0) -> list[ActualLRP]:
    return [
        ActualLRP(
            process_guid=guid,
            index=index,
            domain="cf-apps",
            instance_guid=f"{guid}-{index}",
            cell_id="cell",
            state=ActualLRPState.RUNNING,
            epoch=f"{guid}/{index}",
            address=f"10.{host >> 8}.{host & 255}.1",
            instance_address="10.255.0.1",
            ports=(PortMapping(8080, 61_000 + index, 61_443, 30_000 + index),),
            routable=True,
        )
        for index in range(number)
    ]


def _wanted(guid: str, instances: int, names: Iterable[str]) -> DesiredLRP:
    routes = {
        "cf-router": msgspec.json.encode([{"hostnames": [name], "port": 8080} for name in names]),
        "tcp-router": b'[{"router_group_guid": "group", "external_port": 1024, "container_port": 8080}]',
        "internal-router": msgspec.json.encode([{"hostname": name} for name in names]),
    }
    return DesiredLRP(process_guid=guid, domain="cf-apps", instances=instances, routes=routes, epoch=guid)


def _big_process(size: int) -> tuple[list[ActualLRP], list[DesiredLRP]]:
    return _instances("p", size), [_wanted("p", size, ["app.example.com"])]


def _shared_name(size: int) -> tuple[list[ActualLRP], list[DesiredLRP]]:
    guids = [f"p{at:05}" for at in range(size)]
    rows = [row for host, guid in enumerate(guids) for row in _instances(guid, 1, host)]
    return rows, [_wanted(guid, 1, ["app.example.com"]) for guid in guids]


def _many_names(size: int) -> tuple[list[ActualLRP], list[DesiredLRP]]:
    return _instances("p", 100), [_wanted("p", 100, [f"{at}.example.com" for at in range(size)])]


WORLDS = {
    "instances of its process": _big_process,
    "processes of its host name, and of its cell": _shared_name,
    "host names of its app": _many_names,
}
"""What an event's instance is among."""
