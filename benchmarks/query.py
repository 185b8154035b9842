"""Each read of a mirror, beside a bare `dict.get` on a dict of the same size."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from random import Random

import trio
from msgspec.structs import replace

from benchmarks.data import CELLS, desired, fingerprint, lists, records, rows
from benchmarks.harness import Report, Run, Target, agree, check, compare, digest
from benchmarks.memory_bbs import MemoryBBS, mirror_of
from lrpmirror import ActualLRP, Mirror, ModificationTag

SIZE, SMOKE = 250_000, 2_000
"""Rows that are there."""

READS = 50_000

TARGETS = (
    Target("read actual_lrps(guid), against dict.get", 2.5, "x"),
    Target("read actual_lrps(guid), results that are made for the read", 0.0, "of 1,000"),
)


def run(size: int, rounds: int) -> Iterator[Report]:
    """Read in random order."""
    present = rows(size)
    bbs = MemoryBBS(lists(records(size), desired(present)))
    found: list[Report] = []

    async def measured() -> None:
        async with mirror_of(bbs) as mirror:
            answer = _checked(mirror, present)
            found.extend(_by_key(mirror, size, rounds))
            found.append(_by_filter(mirror, size, rounds))
            found[:] = [replace(report, digest=answer) for report in found]

    trio.run(measured)
    yield from found


def _by_key(mirror: Mirror, size: int, rounds: int) -> Iterator[Report]:
    some = Random(3).sample(rows(size), min(size, READS))
    guids = [row.process_guid for row in some]
    table = {row.process_guid: () for row in rows(size)}
    instances = [row.instance_guid for row in some]
    apps = [guid[:36] for guid in guids[: READS // 10]]
    tags = [(row.process_guid, ModificationTag(row.epoch, row.tag_index)) for row in some[: READS // 10]]
    ways: dict[str, Callable[[], Run]] = {
        "dict.get": partial(_each, table.get, guids),
        "actual_lrps(guid)": partial(_each, mirror.actual_lrps, guids, len),
        "actual_lrps(guid, state=)": partial(_each, partial(mirror.actual_lrps, state="RUNNING"), guids, len),
        "actual_lrp_groups(guid)": partial(_each, mirror.actual_lrp_groups, guids, len),
        "instance(guid)": partial(_each, mirror.instance, instances),
        "desired_lrp(guid)": partial(_each, mirror.desired_lrp, guids),
        "desired_lrps(app_guid=)": partial(_each, lambda app: mirror.desired_lrps(app_guid=app), apps, len),
        "has_seen(guid, tag)": partial(_each, lambda pair: mirror.has_seen(*pair), tags),
        "explain(guid)": partial(_each, mirror.explain, guids),
        "status": partial(_each, lambda _: mirror.status, guids),
        "domains": partial(_each, lambda _: mirror.domains, guids),
        "cells": partial(_each, lambda _: mirror.cells, guids),
    }
    report = compare("read by key", size, ways, rounds=rounds)
    ratio = report.figures[1].ratio
    made = sum(mirror.actual_lrps(guid) is not mirror.actual_lrps(guid) for guid in guids[:1_000])
    checks = check(TARGETS, TARGETS[0].what, ratio) + check(TARGETS, TARGETS[1].what, made)
    yield replace(report, checks=checks)


def _by_filter(mirror: Mirror, size: int, rounds: int) -> Report:
    """Read many rows at once; the time is that of one row of the result, beside a `dict.get` for each."""
    names = [f"cell-{at:04}" for at in range(0, CELLS, 20)]
    table = {row.epoch: row for row in rows(size)}
    ways: dict[str, Callable[[], Run]] = {
        "dict.get": partial(_each, table.get, list(table)),
        "actual_lrps()": partial(_rows_of, lambda _: mirror.actual_lrps(), [""]),
        "actual_lrps(cell_id=)": partial(_rows_of, lambda cell: mirror.actual_lrps(cell_id=cell), names),
        "actual_lrps(cell_id=, state=)": partial(
            _rows_of, lambda cell: mirror.actual_lrps(cell_id=cell, state="RUNNING"), names
        ),
        "actual_lrps(state=)": partial(_rows_of, lambda state: mirror.actual_lrps(state=state), ["RUNNING"]),
        "actual_lrps(domain=)": partial(_rows_of, lambda domain: mirror.actual_lrps(domain=domain), ["cf-apps"]),
        "desired_lrps(domain=)": partial(_rows_of, lambda domain: mirror.desired_lrps(domain=domain), ["cf-apps"]),
        "desired_lrps()": partial(_rows_of, lambda _: mirror.desired_lrps(), [""]),
    }
    return compare("read by filter, a row of the result", size, ways, rounds=rounds)


def _checked(mirror: Mirror, present: Sequence[ActualLRP]) -> str:
    """Compare what reads find with a scan of the rows, and return a digest of it."""
    row = present[len(present) // 2]
    reads: dict[str, tuple[Iterable[ActualLRP | None], Callable[[ActualLRP], bool]]] = {
        "all": (mirror.actual_lrps(), lambda _: True),
        "of a process": (mirror.actual_lrps(row.process_guid), lambda one: one.process_guid == row.process_guid),
        "of a cell": (mirror.actual_lrps(cell_id=row.cell_id), lambda one: one.cell_id == row.cell_id),
        "of a state": (mirror.actual_lrps(state="RUNNING"), lambda one: one.state == "RUNNING"),
        "of a domain": (mirror.actual_lrps(domain=row.domain), lambda one: one.domain == row.domain),
        "of an instance": ([mirror.instance(row.instance_guid)], lambda one: one.instance_guid == row.instance_guid),
    }
    answers = {}
    for what, (found, matches) in reads.items():
        answers[what] = digest(sorted(fingerprint(one) for one in found if one is not None))
        agree(f"the rows {what}, and a scan", answers[what], digest(sorted(map(fingerprint, filter(matches, present)))))
    return digest(answers)


def _each(
    read: Callable[..., object], arguments: Sequence[object], check_each: Callable[..., object] | None = None
) -> Run:
    with (run := Run(len(arguments))):
        for argument in arguments:
            read(argument)
    # Every key is one that is there.
    if check_each is not None:
        agree("each read finds something", all(check_each(read(argument)) for argument in arguments), True)
    return run


def _rows_of(read: Callable[[str], tuple[object, ...]], arguments: list[str]) -> Run:
    for argument in arguments:
        read(argument)
    found = sum(len(read(argument)) for argument in arguments)
    with (run := Run(found)):
        for argument in arguments:
            read(argument)
    return run
