"""From the bytes of a list to an indexed store, beside the plain way: the whole body, one parse, Structs, one dict."""

from collections.abc import Iterable, Iterator
from functools import partial

from msgspec.structs import replace

from benchmarks import plain
from benchmarks.data import desired, fingerprint, lists, records, rows
from benchmarks.harness import Report, Run, Target, check, compare
from benchmarks.machine import begun, filled, finished
from lrpmirror.model import ActualLRP, DesiredLRP

SIZE, SMOKE = 250_000, 1_000
"""Rows in the list."""

TARGETS = (Target("250,000 rows from bytes to an indexed store, against the plain way", 1.5 / 2.7, "x"),)


def run(size: int, rounds: int) -> Iterator[Report]:
    """Load a list of rows; the desired LRPs are there already."""
    body = lists(records(size))["/v1/actual_lrps/list"]
    wanted = desired(rows(size))
    ways = {
        "whole body, one parse, one dict": partial(_plain, body, size),
        "in pieces, indexed": partial(_ours, body, size, wanted),
    }
    report = compare("load a listed row", size, ways, rounds=rounds)
    yield replace(report, checks=check(TARGETS, TARGETS[0].what, report.figures[1].ratio))


def _plain(body: bytes, size: int) -> Run:
    with (run := Run(size)):
        table = plain.table_of(body)
    run.answer = _answer(table.values())
    return run


def _ours(body: bytes, size: int, wanted: list[DesiredLRP]) -> Run:
    session, shadow = begun(wanted)
    with (run := Run(size)):
        filled(shadow, body)
        finished(session, shadow)
    run.answer = _answer(session.store.select(cell_id=None, state=None, domain=None))
    return run


def _answer(found: Iterable[plain.Row | ActualLRP]) -> list[object]:
    return sorted(fingerprint(row) for row in found)
