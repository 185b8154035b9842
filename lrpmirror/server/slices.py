"""Long answers, made in slices of limited time, in turn, so that a large request does not delay others for long."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

import trio

from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP

T = TypeVar("T")
R = TypeVar("R", ActualLRP, DesiredLRP)

SLICE: Final = 0.002  # for how many seconds a slice is worked on at most, if no single step takes longer
PIECE: Final = 256  # how many records a slice has at most
GLANCES: Final = 32  # how many items a step without a result looks at


class Slices:
    """Walks iterators, all in turn; by trio's clock, if no other is given."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._turn = trio.Lock()

    async def take(self, steps: Iterator[T | None]) -> list[T]:
        """Return the next items, at least one; none at the end. Gives way before each slice."""
        found: list[T] = []
        now = self._clock or trio.lowlevel.current_clock().current_time
        while not found:
            async with self._turn:
                end = now() + SLICE
                for each in steps:
                    if each is not None:
                        found.append(each)
                    if len(found) >= PIECE or now() >= end:
                        break
                else:
                    break
        return found


def passing(candidates: Iterable[R | None], test: Callable[[R], bool]) -> Iterator[R | None]:
    """Yield the items that pass a test, and None now and then."""
    for number, each in enumerate(candidates):
        if each is not None and test(each):
            yield each
        elif not number % GLANCES:
            yield None


def grouped(
    rows: Iterable[ActualLRP | None], groups_of: Callable[[Iterable[ActualLRP]], Iterable[ActualLRPGroup]]
) -> Iterator[ActualLRPGroup | None]:
    """Yield the groups, made by `groups_of`, of rows that come process by process, and None now and then."""
    of_process: list[ActualLRP] = []
    for number, row in enumerate(rows):
        if row is not None:
            if of_process and of_process[0].process_guid != row.process_guid:
                yield from groups_of(of_process)
                of_process = []
            of_process.append(row)
        if not number % GLANCES:
            yield None
    yield from groups_of(of_process)
