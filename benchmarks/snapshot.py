"""From the bytes of lists to an indexed store, beside the plain way: the whole body, one parse, Structs, one dict.

Once in memory, by the machine alone, for rows and for desired LRPs in both details; and once over TLS, by a mirror that
opens, for everything that it lists, once more with views, and once for views that it gets when it has synchronised.
"""

import gc
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

import httpx
import trio
from msgspec.structs import replace

from benchmarks import plain
from benchmarks.data import desired, fingerprint, lists, records, rows
from benchmarks.harness import Report, Run, Target, check, compare
from benchmarks.machine import begun, filled, finished
from benchmarks.memory_bbs import PATIENCE, pieces_of
from benchmarks.served import Served, serve
from benchmarks.server import Script
from benchmarks.views import KINDS, Kinds
from benchmarks.workload import heavy
from lrpmirror import open_mirror
from lrpmirror.core.lists.slices import slices
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.wire import decode, encode

SIZE, SMOKE = 250_000, 1_000
"""Rows in the list."""

WHOLE, RECORDS = 5_000, 100
"""Whole desired LRPs at most, and how many are decoded at once."""

ROWS, DESIRED = "/v1/actual_lrps/list", "/v1/desired_lrp_scheduling_infos/list"

VIEWS: dict[str, Kinds] = {
    "no view": (),
    "HTTPRoutes": KINDS["HTTPRoutes"],
    "six views": tuple(kind for kinds in KINDS.values() for kind in kinds),
}

WITH_VIEWS = (
    Target("loading with HTTPRoutes, against no view", 1.5, "x"),
    Target("loading with six views, against no view", 4.0, "x"),
)

MADE_LATE = (
    Target("HTTPRoutes made late, against loading", 1.5, "x"),
    Target("six views made late, against loading", 4.0, "x"),
)

TARGETS = (
    Target("250,000 rows from bytes to an indexed store, against the plain way", 1.5 / 2.7, "x"),
    *WITH_VIEWS,
    *MADE_LATE,
)


def run(size: int, rounds: int) -> Iterator[Report]:
    """Load a list of rows; the desired LRPs are there already."""
    wanted = desired(rows(size))
    bodies = lists(records(size), wanted)
    body = bodies[ROWS]
    ways = {
        "whole body, one parse, one dict": partial(_plain, body, size),
        "in pieces, indexed": partial(_ours, body, size, wanted),
    }
    report = compare("load a listed row", size, ways, rounds=rounds)
    yield replace(report, checks=check(TARGETS, TARGETS[0].what, report.figures[1].ratio))
    yield _of_desired(wanted[:WHOLE], rounds)
    with serve(Script(bodies=bodies)) as served:
        over_http = {
            "httpx, whole bodies, two dicts": partial(_plain_over_http, served, size),
            "mirror, from opening to synced": partial(_mirror_over_http, served, size),
        }
        yield compare("load everything over HTTP, a row", size, over_http, rounds=rounds)
        with_views = {name: partial(_mirror_over_http, served, size, kinds) for name, kinds in VIEWS.items()}
        report = compare("load everything, and the views", size, with_views, rounds=rounds)
        yield _checked(report, WITH_VIEWS)
        late = {
            "load everything": partial(_mirror_over_http, served, size),
            **{
                f"{name} made late": partial(_late_views, served, size, kinds) for name, kinds in VIEWS.items() if kinds
            },
        }
        yield _checked(compare("make views of a living mirror, a row", size, late, rounds=rounds), MADE_LATE)


def _checked(report: Report, targets: Sequence[Target]) -> Report:
    """Return a report with the checks of all its ratios, in the order of the targets."""
    reached = [
        check(targets, target.what, figure.ratio) for target, figure in zip(targets, report.figures[1:], strict=True)
    ]
    return replace(report, checks=tuple(chain.from_iterable(reached)))


def _of_desired(wanted: list[DesiredLRP], rounds: int) -> Report:
    """Load whole desired LRPs of some 8 KB, or only the two parts of them that a mirror lists if it may."""
    scheduling, routing = map(encode.scheduling_info, wanted), map(encode.routing_info, wanted)
    parts = list(scheduling), list(routing)
    whole = [encode.desired_lrp(heavy(lrp)) for lrp in wanted]
    ways = {
        "its two parts": partial(_parts, *parts),
        'whole, with detail="full"': partial(_whole, whole),
        'the same, and each "detail" read': partial(_whole, whole, read=True),
    }
    return compare("load a listed desired LRP", len(wanted), ways, rounds=rounds)


def _parts(scheduling: list[bytes], routing: list[bytes]) -> Run:
    session, snapshot = begun()
    with (run := Run(len(scheduling))):
        for some in slices(scheduling, RECORDS):
            snapshot.list_scheduling_parts([decode.scheduling_info(record) for record in some])
        for some in slices(routing, RECORDS):
            snapshot.list_metric_tags([decode.routing_info(record) for record in some])
        finished(session, snapshot)
    run.answer = sorted(session.knowledge.store.desired_guids())
    return run


def _whole(records: list[bytes], *, read: bool = False) -> Run:
    session, snapshot = begun()
    with (run := Run(len(records))):
        for some in slices(records, RECORDS):
            snapshot.list_desired([decode.desired_lrp(record, full=True) for record in some])
        finished(session, snapshot)
        details = (
            [lrp.detail for lrp in session.knowledge.store.select_desired(app_guid=None, domain=None)] if read else []
        )
    if None in details:
        raise AssertionError("a whole desired LRP has no detail")
    run.answer = sorted(session.knowledge.store.desired_guids())
    return run


def _plain(body: bytes, size: int) -> Run:
    with (run := Run(size)):
        table = plain.table_of(body)
    run.answer = _answer(table.values())
    return run


def _ours(body: bytes, size: int, wanted: list[DesiredLRP]) -> Run:
    session, snapshot = begun(wanted)
    with (run := Run(size)):
        filled(snapshot, pieces_of(body))
        finished(session, snapshot)
    run.answer = _answer(session.knowledge.store.select(cell_id=None, state=None, domain=None))
    return run


def _plain_over_http(served: Served, size: int) -> Run:
    run = Run(size)

    async def load() -> tuple[dict[str, plain.Row], dict[str, plain.Desired]]:
        with run:
            async with httpx.AsyncClient(verify=served.context, timeout=PATIENCE) as client:
                table = plain.table_of((await client.post(served.url + ROWS)).content)
                return table, plain.desired_of((await client.post(served.url + DESIRED)).content)

    table, wanted = trio.run(load)
    run.answer = (len(wanted), _answer(table.values()))
    return run


def _mirror_over_http(served: Served, size: int, kinds: Kinds = ()) -> Run:
    run = Run(size)

    async def load() -> None:
        with run:
            opening = open_mirror(served.url, tls=served.tls)
            mirror = await opening.__aenter__()
            for kind in kinds:
                await mirror.view(kind())
            await mirror.wait_synced(timeout=PATIENCE)
        run.answer = (mirror.status.desired_lrps, _answer(mirror.actual_lrps()))
        await opening.__aexit__(None, None, None)

    trio.run(load)
    return run


def _late_views(served: Served, size: int, kinds: Kinds) -> Run:
    """Make views of a mirror that has synchronised: each is up to date when it is returned."""
    run = Run(size)

    async def make() -> None:
        async with open_mirror(served.url, tls=served.tls) as mirror:
            await mirror.wait_synced(timeout=PATIENCE)
            gc.collect()
            with run:
                for kind in kinds:
                    await mirror.view(kind())
            run.answer = (mirror.status.desired_lrps, _answer(mirror.actual_lrps()))

    trio.run(make)
    return run


def _answer(found: Iterable[plain.Row | ActualLRP]) -> Sequence[object]:
    return sorted(fingerprint(row) for row in found)
