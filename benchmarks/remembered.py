"""What is remembered for a time: adding one and dropping the oldest costs the same, however many there are."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

from msgspec.structs import replace

from benchmarks.harness import Report, Run, Target, check, compare
from lrpmirror.core.rows.tombstones import Tombstone, TombstoneTable
from lrpmirror.relay._leading import OVERHEAD, Retention

SIZE, SMOKE = 100_000, 1_000
"""How many are remembered at most; it begins with a hundredth."""

NUMBER = 20_000
"""How many are added in each round, at most."""

TARGETS = (
    Target("a tombstone more among the most, against the fewest", 2.0, "x"),
    Target("an entry more of the most, against the fewest", 2.0, "x"),
)

Add = Callable[[int], None]


def run(size: int, rounds: int) -> Iterator[Report]:
    """Add to full tables of three sizes."""
    sizes = [size // 100, size // 10, size]
    kinds = {"add a tombstone, drop the oldest": _tombstones, "add an entry of the relay, drop the oldest": _entries}
    for (title, full), target in zip(kinds.items(), TARGETS, strict=True):
        ways = {f"of {most:,}": partial(_added, *full(most), number=min(NUMBER, 3 * size)) for most in sizes}
        report = compare(title, size, ways, rounds=rounds)
        yield replace(report, checks=check((target,), target.what, report.figures[-1].ratio))


def _added(add: Add, numbers: Iterator[int], number: int) -> Run:
    with (run := Run(number)):
        for _ in range(number):
            add(next(numbers))
    run.answer = number
    return run


def _tombstones(most: int) -> tuple[Add, Iterator[int]]:
    """Return what adds to a table of which as many expire as are added."""
    table, numbers = TombstoneTable(limit=2 * most, age=float(most)), count()

    def add(number: int) -> None:
        table.advance(float(number))
        table.add(f"epoch-{number}", Tombstone(number))

    return _filled(add, numbers, most)


def _entries(most: int) -> tuple[Add, Iterator[int]]:
    retention, numbers = Retention(most * (OVERHEAD + 500)), count()
    return _filled(lambda number: retention.add(f"{number}-0", 500), numbers, most)


def _filled(add: Add, numbers: Iterator[int], most: int) -> tuple[Add, Iterator[int]]:
    for _ in range(2 * most):
        add(next(numbers))
    return add, numbers
