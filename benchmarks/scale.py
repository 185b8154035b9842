"""How applying and reading grow from a thousand rows to a million, beside how a bare dict of the rows does."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from random import Random

import trio
from msgspec.structs import replace

from benchmarks.data import lists, records
from benchmarks.harness import Report, Run, Target, agree, check, compare, compare_async, digest
from benchmarks.memory_bbs import MemoryBBS, client_of, committed, mirror_of
from benchmarks.workload import encoded, flips, frames
from lrpmirror import Mirror
from lrpmirror.events import ActualLRPInstanceChanged
from lrpmirror.model import ActualLRP
from lrpmirror.wire import encode

SIZE, SMOKE = 1_000_000, 2_000
"""Rows at most: it begins with a thousand, and takes ten times as many each time."""

LEAST = 1_000

NUMBER, BURST = 20_000, 100
"""Reads, and at most as many events, of each round; and the events that one read of the stream brings."""

TARGETS = (
    Target("read actual_lrps(guid), against dict.get, at the worst of the sizes", 2.5, "x"),
    Target("apply beyond decoding, growth from fewest rows to most, against a dict's", 1.0, "x"),
)


def run(size: int, rounds: int) -> Iterator[Report]:
    """Apply and read at each size up to `size`."""
    sizes = [LEAST]
    while sizes[-1] < size:
        sizes.append(min(size, sizes[-1] * 10))
    reads, writes = zip(*[trio.run(_at, each, min(NUMBER, size), rounds) for each in sizes], strict=True)
    worst = max(report.figures[1].ratio for report in reads)
    yield from reads[:-1]
    yield replace(reads[-1], checks=check(TARGETS, TARGETS[0].what, worst))
    ours = [report.figures[2].value - report.figures[1].value for report in writes]
    theirs = [report.figures[0].value for report in writes]
    growth, own = ours[-1] / ours[0], theirs[-1] / theirs[0]
    note = (
        f"beyond decoding {ours[0]:.2f} to {ours[-1]:.2f} µs, x {growth:.2f}; "
        f"the dict {theirs[0]:.2f} to {theirs[-1]:.2f} µs, x {own:.2f}"
    )
    yield from writes[:-1]
    yield replace(writes[-1], checks=check(TARGETS, TARGETS[1].what, growth / own), notes=(note,))


async def _at(size: int, number: int, rounds: int) -> tuple[Report, Report]:
    """Compare at one size, with rows only."""
    bbs = MemoryBBS({**lists(()), "/v1/actual_lrps/list": partial(_body, size)})
    async with mirror_of(bbs) as mirror:
        present = mirror.actual_lrps()
        rng = Random(5)
        guids = [row.process_guid for row in rng.choices(present, k=NUMBER)]
        processes = {row.process_guid: () for row in present}
        table = {row.epoch: row for row in present}
        reads = {"dict.get": partial(_get, processes, guids), "actual_lrps(guid)": partial(_read, mirror, guids)}
        read = compare("read a process, at each size", size, reads, rounds=rounds)
        # Where each round goes on from the one before, every event is news.
        events = flips(rng.sample(present, min(number, size)), number * rounds)
        batches = [events[at : at + number] for at in range(0, len(events), number)]
        texts = [_bursts(batch) for batch in batches]
        writes = {
            "decoded before, into one dict": partial(_put, table, iter(batches)),
            "decoded only": partial(_decoded, number, iter(texts)),
            "decoded, to the mirror": partial(_applied, mirror, bbs, number, iter(texts)),
        }
        write = await compare_async("apply an event, at each size", size, writes, rounds=rounds)
        agree("the rows of the mirror and of the dict", answer := _state(mirror.actual_lrps()), _state(table.values()))
    return replace(read, digest=answer), replace(write, digest=answer)


def _body(size: int) -> Iterator[bytes]:
    """Return the pieces of a list, without ever having the whole."""
    listed = records(size)
    while some := list(islice(listed, BURST)):
        yield encode.reply(some)


def _bursts(events: list[ActualLRPInstanceChanged]) -> list[bytes]:
    all_of_them = frames(encoded(events))
    return [b"".join(all_of_them[at : at + BURST]) for at in range(0, len(all_of_them), BURST)]


def _get(table: dict[str, tuple[()]], guids: list[str]) -> Run:
    get = table.get
    with (run := Run(len(guids))):
        for guid in guids:
            get(guid)
    return run


def _read(mirror: Mirror, guids: list[str]) -> Run:
    get = mirror.actual_lrps
    with (run := Run(len(guids))):
        for guid in guids:
            get(guid)
    run.answer = sum(len(get(guid)) for guid in guids)
    return run


async def _put(table: dict[str, ActualLRP], batches: Iterator[list[ActualLRPInstanceChanged]]) -> Run:
    rows = [event.after for event in next(batches)]
    with (run := Run(len(rows))):
        for row in rows:
            table[row.epoch] = row
    return run


async def _decoded(number: int, batches: Iterator[list[bytes]]) -> Run:
    bbs = MemoryBBS({})
    async with client_of(bbs) as client, client.events("instances") as stream:
        seen = 0
        with (run := Run(number)):
            bbs.say(next(batches))
            async for events in stream:
                seen += len(events)
                if seen == number:
                    break
    run.answer = seen
    return run


async def _applied(mirror: Mirror, bbs: MemoryBBS, number: int, batches: Iterator[list[bytes]]) -> Run:
    revision = mirror.revision
    with (run := Run(number)):
        await committed(mirror, bbs, next(batches), number)
    run.answer = mirror.revision - revision
    return run


def _state(of: Iterable[ActualLRP]) -> str:
    return digest(sorted((row.epoch, row.tag_index, row.routable) for row in of))
