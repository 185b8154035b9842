"""How much memory a row takes, and how much loading them takes at most, beside the plain way; and what views add.

Each run is a fresh process, since what was freed before is used again. The desired LRPs are there before.
"""

import gc
import subprocess
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
from msgspec import Struct

from benchmarks import plain
from benchmarks.data import desired, fingerprint, lists, records, rows
from benchmarks.harness import Report, Target, agree, check, digest, figure_of
from benchmarks.machine import begun, filled, finished
from benchmarks.memory_bbs import PIECE
from benchmarks.served import ROOT
from benchmarks.views import KINDS
from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.preparation import ViewBuild
from lrpmirror.wire import decode
from lrpmirror.wire.lists import ReplySplitter

SIZE, SMOKE = 250_000, 1_000
"""Rows in the list."""

ROUNDS: Final = 3
"""At most: memory does not depend on the weather."""

PLAIN, INDEXED = "whole body, one parse, one dict", "in pieces, indexed"

READ = "its other fields, once read"
"""Decoded and kept when a view, or anybody, first reads them; so it is no view's own."""

VIEWS = {name: kinds for name, kinds in KINDS.items() if kinds} | {
    "all of them": tuple(kind for kinds in KINDS.values() for kind in kinds)
}

TARGETS = (
    Target("an indexed row, by tracemalloc", 1_300.0, "bytes"),
    Target("an indexed row, by RSS", 1_300.0, "bytes"),
    Target("peak over steady, by RSS", 1.25, "x"),
)


class Use(Struct, frozen=True):
    """What one run took: bytes a row when all is done, and the most over what stays, of the whole process."""

    row: float
    peak: float
    answer: str


def run(size: int, rounds: int) -> Iterator[Report]:
    """Load a list of `size` rows in fresh processes."""
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        bodies = lists(records(size), desired(rows(size)))
        (folder / "rows").write_bytes(bodies["/v1/actual_lrps/list"])
        (folder / "desired").write_bytes(bodies["/v1/desired_lrp_scheduling_infos/list"])
        traced = {way: [_child(folder, way, "tracemalloc")] for way in (PLAIN, INDEXED)}
        added = {way: [_child(folder, way, "tracemalloc")] for way in (READ, *VIEWS)}
        resident: dict[str, list[Use]] = {PLAIN: [], INDEXED: []}
        for _ in range(min(rounds, ROUNDS)):
            for way, uses in resident.items():
                uses.append(_child(folder, way, "RSS"))
    answers = {use.answer for uses in (*traced.values(), *added.values(), *resident.values()) for use in uses}
    agree("the rows, in all ways and rounds", len(answers), 1)
    result = answers.pop()
    yield _report("memory of a row, by tracemalloc", size, result, traced, lambda use: use.row)
    yield _report("memory of a row, by RSS", size, result, resident, lambda use: use.row)
    row = traced[INDEXED][0].row
    figures = (
        figure_of("the row itself", [row], [row], "bytes"),
        *(figure_of(name, [uses[0].row], [row], "bytes") for name, uses in added.items()),
    )
    yield Report(title="memory that views add to a row", size=size, figures=figures, digest=result)
    yield _report("memory, peak over steady, by RSS", size, result, resident, lambda use: use.peak)


def _report(title: str, size: int, result: str, ways: dict[str, list[Use]], of: Callable[[Use], float]) -> Report:
    unit = "x" if "peak" in title else "bytes"
    baseline = [of(use) for use in ways[PLAIN]]
    figures = tuple(figure_of(name, [of(use) for use in uses], baseline, unit) for name, uses in ways.items())
    name = title.removeprefix("memory, ").replace("memory of a row", "an indexed row")
    return Report(title=title, size=size, figures=figures, digest=result, checks=check(TARGETS, name, figures[1].value))


def _child(folder: Path, way: str, by: str) -> Use:
    command = [sys.executable, "-m", "benchmarks.memory", str(folder), way, by]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - this module itself
    return msgspec.json.decode(done.stdout, type=Use)


def _measured(folder: Path, way: str, by: str) -> Use:
    """Load the list in this process, and say what it took."""
    splitter = ReplySplitter(what="desired_lrps")
    wanted = [decode.scheduling_info(record) for record in splitter.feed((folder / "desired").read_bytes())]
    session, snapshot = begun(wanted)
    held = _traced if by == "tracemalloc" else _resident
    if by == "tracemalloc":
        tracemalloc.start()
    before, _ = held()
    table: dict[str, plain.Row] = {}
    if way == PLAIN:
        table = plain.table_of((folder / "rows").read_bytes())
    else:
        with (folder / "rows").open("rb") as file:
            filled(snapshot, iter(lambda: file.read(PIECE), b""))
        finished(session, snapshot)
    del snapshot
    gc.collect()
    derivations = [Derivation(kind()) for kind in VIEWS.get(way, ())]
    if derivations or way == READ:
        if way == READ:
            before, _ = held()
        deque((row.ports for row in session.knowledge.store.select(cell_id=None, state=None, domain=None)), maxlen=0)
    if derivations:
        before, _ = held()
        for derivation in derivations:
            deque(ViewBuild(session, derivation).steps(), maxlen=0)
        gc.collect()
    after, peak = held()
    tracemalloc.stop()
    found = table.values() or session.knowledge.store.select(cell_id=None, state=None, domain=None)
    return Use((after - before) / len(found), peak / after, digest(sorted(map(fingerprint, found))))


def _traced() -> tuple[int, int]:
    return tracemalloc.get_traced_memory()


def _resident() -> tuple[int, int]:
    """Return how much memory the process has now, and has had at most, in bytes."""
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, most = (int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_measured(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
