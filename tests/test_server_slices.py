"""Long answers come in slices, however they are asked for: nobody who asks holds up the others."""

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sim_support import A, diego, wanted

from lrpmirror.errors import RequestRefused
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.server import LISTS
from lrpmirror.server.lists import MOST_NAMES, begins_with, unique
from lrpmirror.server.slices import GLANCES, PIECE, SLICE, Slices, grouped, passing
from lrpmirror.sim import Diego, groups_of_rows
from lrpmirror.sim.serving import Sliced
from lrpmirror.wire.proto import requests_pb2 as pb

SCHEDULING = "/v1/desired_lrp_scheduling_infos/list"


class Clock:
    """A clock that the work moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def steps(self, number: int, cost: float, found: int = 1) -> Iterator[int | None]:
        """Take so many steps, each of which takes so long; every so many find something."""
        for step in range(number):
            self.now += cost
            yield None if step % found else step


def test_a_slice_ends_by_the_clock_or_when_it_is_long_enough() -> None:
    async def main() -> None:
        clock = Clock()
        slices = Slices(clock)
        steps = clock.steps(1000, 0.0)
        assert len(await slices.take(steps)) == PIECE
        steps = clock.steps(1000, SLICE / 4)
        assert await slices.take(steps) == [0, 1, 2, 3]
        assert await slices.take(steps) == [4, 5, 6, 7]

    trio.run(main)


def test_in_simulated_time_what_a_slice_has_does_not_depend_on_the_machine() -> None:
    def steps() -> Iterator[int]:
        for step in range(3):
            end = time.perf_counter() + SLICE
            while time.perf_counter() < end:
                pass
            yield step

    async def main() -> None:
        assert await Slices().take(steps()) == [0, 1, 2]

    trio.run(main, clock=trio.testing.MockClock())


def test_the_end_is_a_slice_of_nothing() -> None:
    async def main() -> None:
        steps = iter([1, None, 2])
        slices = Slices()
        assert await slices.take(steps) == [1, 2]
        assert await slices.take(steps) == []
        assert await slices.take(iter([])) == []

    trio.run(main)


def test_what_finds_nothing_gives_way_too_and_all_requests_take_turns() -> None:
    async def main() -> None:
        clock = Clock()
        slices = Slices(clock)
        turns: list[float] = []

        async def stream() -> None:
            while True:
                turns.append(clock.now)
                await trio.lowlevel.checkpoint()

        async def request() -> None:
            assert await slices.take(clock.steps(100, SLICE / 2, found=100)) == [0]
            assert await slices.take(clock.steps(50, SLICE / 2, found=51)) == [0]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream)
            async with trio.open_nursery() as requests:
                for _ in range(20):
                    requests.start_soon(request)
            nursery.cancel_scope.cancel()
        # However many ask: two slices, where the stream is the first to have its turn, and the last the next time.
        assert max(later - earlier for earlier, later in pairwise(turns)) <= 2.01 * SLICE

    trio.run(main)


def test_a_filter_that_nothing_passes_and_a_grouping_take_many_small_steps() -> None:
    rows = [ActualLRP(process_guid=f"p{number}") for number in range(1000)]
    assert len(list(passing(rows, lambda _: False))) >= 1000 / GLANCES
    of_one = [ActualLRP(process_guid="p", index=number) for number in range(1000)]
    steps = list(grouped(of_one, groups_of_rows))
    first = next(at for at, step in enumerate(steps) if step is not None)
    assert first >= 1000 / GLANCES
    assert len(steps) - first == 1000


@given(st.lists(st.text("ab", max_size=4)), st.text("ab", max_size=6))
def test_a_text_begins_with_one_of_many_as_with_each(prefixes: list[str], text: str) -> None:
    assert begins_with(prefixes)(text) is text.startswith(tuple(prefixes))


def test_too_many_names_are_refused_before_anything_is_looked_up() -> None:
    assert unique(["a"] * MOST_NAMES, "names") == ("a",)
    for request, path in [
        (pb.DesiredLRPsRequest(app_guids=["a"] * (MOST_NAMES + 1)), SCHEDULING),
        (pb.DesiredLRPsRequest(process_guids=["a"] * (MOST_NAMES + 1)), SCHEDULING),
        (
            pb.ActualLRPsByProcessGuidsRequest(process_guids=map(str, range(MOST_NAMES + 1))),
            "/v1/actual_lrps/list_by_process_guids",
        ),
    ]:
        with pytest.raises(RequestRefused, match=r"10001 (app|process) guids are asked for, 10000 at most"):
            next(LISTS[path](diego(), request.SerializeToString()))


def test_an_app_that_is_asked_for_a_thousand_times_is_answered_once() -> None:
    bbs = diego()
    for guid in ("aa-1", "aa-2", "b-1"):
        bbs.desire(wanted(guid, 0))
    asked = pb.DesiredLRPsRequest(app_guids=[*["aa"] * 1000, "a", "aa-1"])
    records = LISTS[SCHEDULING](Sliced(bbs), asked.SerializeToString())
    assert len([record for record in records if record]) == 2


guids = st.sampled_from(["a-1", "a-2", "ab-1", "b", ""])
domains = st.sampled_from(["d", "e", ""])


@given(
    st.lists(st.tuples(guids, st.sampled_from(["d", "e"]), st.integers(0, 2), st.sampled_from(["x", "y"]))),
    domains,
    st.sampled_from(["x", "y", "z", ""]),
    guids,
    st.none() | st.integers(0, 3),
    st.lists(guids),
    st.lists(guids),
)
def test_a_sliced_simulation_answers_as_the_simulation(
    of: list[tuple[str, str, int, str]],
    domain: str,
    cell: str,
    guid: str,
    index: int | None,
    processes: list[str],
    apps: list[str],
) -> None:
    bbs = Diego()
    bbs.adopt(
        [ActualLRP(process_guid=p, domain=d, index=i, cell_id=c, epoch=f"{p}{i}") for p, d, i, c in of],
        [DesiredLRP(process_guid=p, domain=d) for p, d, _, _ in of],
    )
    sliced = Sliced(bbs)

    def some(found: object) -> set[str]:
        return {repr(each) for each in found if each is not None}  # type: ignore[attr-defined]

    assert some(sliced.actual_lrps(domain, cell, guid, index)) == some(bbs.actual_lrps(domain, cell, guid, index))
    assert some(sliced.actual_lrp_groups(domain, cell, guid, index)) == some(
        bbs.actual_lrp_groups(domain, cell, guid, index)
    )
    assert some(sliced.desired_lrps(domain, processes, apps)) == some(bbs.desired_lrps(domain, processes, apps))
    assert some(sliced.actual_lrps_by_process_guids(processes)) == some(bbs.actual_lrps_by_process_guids(processes))


def test_a_list_is_of_one_moment_whatever_is_written_while_it_is_sent() -> None:
    bbs = Diego()
    bbs.adopt(ActualLRP(process_guid=f"p{number}", domain="d", epoch=str(number)) for number in range(100))
    before = {row.process_guid: row for row in bbs.actual_lrps()}
    found = iter(Sliced(bbs).actual_lrps("d"))
    first = next(found)
    for number in range(100):
        bbs.start(f"p{number}", 0, A, domain="d")
    bbs.adopt([replace(next(iter(before.values())), process_guid="q", epoch="q")])
    rows = [first, *found]
    assert {row.process_guid: row for row in rows if row is not None} == before


def test_a_long_body_whose_texts_are_not_utf_8_is_refused_and_a_short_one_read() -> None:
    path = "/v1/actual_lrps/list_by_process_guids"
    bad = b"\x0a\x01\xc3"
    assert list(LISTS[path](diego(), bad)) == []
    with pytest.raises(RequestRefused, match="not a ActualLRPsByProcessGuidsRequest"):
        next(LISTS[path](diego(), bad * 3000))
