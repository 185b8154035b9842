"""The page for people: what it counts and shows, and that a real browser shows it."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
import trio
from page_support import document_at, require_chromium

import lrpmirror
from lrpmirror.core.rows.changes import Cause, Commit
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.events import ActualLRPCrashed, UnknownEvent
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, Presence
from lrpmirror.serve.event_rates import MINUTES, EventRates, Second
from lrpmirror.serve.ops import page_routes
from lrpmirror.serve.page_model import CELLS, TROUBLED, PageModel, letter, natural, page_model_of
from lrpmirror.serve.routes import not_found, routed
from lrpmirror.server import serve_app
from lrpmirror.sim import Autopilot, Diego, InstanceKey, Rates
from lrpmirror.sim.serving import ServedDiego, serve_diego
from lrpmirror.views import Cells, Processes

COMMIT = Commit(revision=1, cause=Cause.EVENT)
CRASH = ActualLRPCrashed(process_guid="p")


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_pulse_counts_events_changes_and_crashes_by_the_second() -> None:
    clock = Hands()
    event_rates = EventRates(clock)
    event_rates.event(CRASH, Outcome.NOTED, None)
    event_rates.event(UnknownEvent("new"), Outcome.NOTED, COMMIT)
    assert event_rates.history() == ()
    clock.now += 1
    event_rates.listed(COMMIT)
    clock.now += 2.5
    assert event_rates.history() == (Second(2, 1, 1), Second(0, 1, 0), Second())


def test_the_pulse_forgets_what_is_older_than_its_minutes_however_long_nobody_looked() -> None:
    clock = Hands()
    event_rates = EventRates(clock)
    event_rates.event(CRASH, Outcome.NOTED, None)
    clock.now += 1e6
    assert event_rates.history() == (Second(),) * (MINUTES * 60 - 1)


@pytest.mark.parametrize(
    ("state", "presence", "expected"),
    [
        ("RUNNING", Presence.ORDINARY, "r"),
        ("CLAIMED", Presence.ORDINARY, "c"),
        ("UNCLAIMED", Presence.ORDINARY, "u"),
        ("CRASHED", Presence.ORDINARY, "x"),
        ("RUNNING", Presence.EVACUATING, "e"),
        ("RUNNING", Presence.SUSPECT, "s"),
        ("PAUSED", Presence.ORDINARY, "?"),
        ("RUNNING", Presence(7), "r"),
    ],
)
def test_an_instance_is_a_letter(state: str, presence: Presence, expected: str) -> None:
    assert letter(ActualLRP(process_guid="p", state=ActualLRPState(state), presence=presence)) == expected


def lively_diego() -> Diego:
    diego = Diego(seed=5)
    autopilot = Autopilot(diego, seed=5, cells=12, apps=10, rates=Rates(cell_losses=0.0))
    for _ in range(40):
        autopilot.step()
    return diego


@asynccontextmanager
async def mirrored(diego: Diego) -> AsyncIterator[tuple[ServedDiego, lrpmirror.Mirror]]:
    tuning = lrpmirror.Tuning(first_delay=0.05, most_delay=0.2)
    async with serve_diego(diego) as served, lrpmirror.open_mirror(served.url, tuning=tuning) as mirror:
        await mirror.wait_synced(30)
        yield served, mirror


def test_the_picture_has_every_instance_on_its_cell_and_trouble_first() -> None:
    diego = lively_diego()
    process = next(lrp.process_guid for lrp in diego.desired_lrps() if lrp.instances)
    for row in diego.actual_lrps(process_guid=process):
        if row.state == "RUNNING":
            diego.crash(process, row.index, InstanceKey.of(row), "out of memory")

    async def main() -> PageModel:
        async with mirrored(diego) as (_, mirror):
            return await page_model_of(
                mirror, await mirror.view(Cells()), await mirror.view(Processes()), EventRates(Hands())
            )

    with_all = trio.run(main)
    rows = diego.actual_lrps()
    assert sum(with_all.totals.values()) == len(rows)
    for cell in with_all.cells:
        assert cell.instances == "".join(sorted(letter(row) for row in rows if row.cell_id == cell.cell_id))
        assert cell.present
    assert [cell.cell_id for cell in with_all.cells][:3] == ["cell-0", "cell-1", "cell-2"]
    assert with_all.cells[-1].cell_id == "cell-11"
    assert with_all.waiting == "".join(sorted(letter(row) for row in rows if not row.cell_id))
    assert with_all.processes[0].process_guid == process
    assert with_all.processes[0].health == "down"
    assert re.search(r"crashed (once|\d+ times): out of memory", with_all.processes[0].detail)
    assert sum(with_all.health.values()) == len(with_all.processes)
    assert with_all.ready


def test_cells_are_sorted_by_their_numbers_however_long_those_are() -> None:
    long = "9" * 5000
    names = [f"c-{long}", "c-10", "c-2", "c-02", "c", "b-3", f"c-1{long}"]
    assert sorted(names, key=natural) == ["b-3", "c", "c-02", "c-2", "c-10", f"c-{long}", f"c-1{long}"]


def test_a_picture_has_a_bounded_size_whatever_there_is() -> None:
    diego = Diego()
    rows = [
        ActualLRP(process_guid="p" * 1000, index=number, cell_id=f"{number:0500}", epoch=str(number))
        for number in range(CELLS + 2500)
    ]
    diego.adopt(rows, [DesiredLRP(process_guid=f"{number:0500}", instances=1) for number in range(TROUBLED + 2500)])

    async def main() -> PageModel:
        async with mirrored(diego) as (_, mirror):
            return await page_model_of(
                mirror, await mirror.view(Cells()), await mirror.view(Processes()), EventRates(Hands())
            )

    page_model = trio.run(main)
    assert (len(page_model.cells), page_model.more_cells, sum(page_model.totals.values())) == (
        CELLS,
        2500,
        CELLS + 2500,
    )
    assert (len(page_model.processes), sum(page_model.health.values())) == (TROUBLED, TROUBLED + 2501)
    assert max(len(cell.cell_id) for cell in page_model.cells) == 301
    assert page_model.processes == sorted(page_model.processes, key=lambda one: one.process_guid)


def test_a_cell_that_is_gone_keeps_its_instances_in_the_picture() -> None:
    diego = lively_diego()
    row = next(row for row in diego.actual_lrps() if row.cell_id)
    diego.lose_cell(row.cell_id)

    async def main() -> PageModel:
        async with mirrored(diego) as (_, mirror):
            return await page_model_of(
                mirror, await mirror.view(Cells()), await mirror.view(Processes()), EventRates(Hands())
            )

    cell = next(cell for cell in trio.run(main).cells if cell.cell_id == row.cell_id)
    assert cell.instances
    assert not cell.present


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = files("lrpmirror.serve").joinpath("page.html").read_text()
    assert not re.findall(r"(?:src|href)\s*=\s*\"(?!data:)", html)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html


def seen_by_chromium(profile: Path, prepare: Callable[[ServedDiego, lrpmirror.Mirror], object] | None = None) -> str:
    """Return the page's document as a real browser has it a few seconds on."""
    require_chromium()

    async def main() -> str:
        with trio.fail_after(60):
            async with mirrored(lively_diego()) as (served, mirror):
                clock = trio.lowlevel.current_clock().current_time
                event_rates = EventRates(clock)
                with mirror.observed(event_rates):
                    app = routed(page_routes(mirror, event_rates, clock), fallback=not_found)
                    async with serve_app(app) as host:
                        if prepare is not None:
                            await prepare(served, mirror)  # type: ignore[misc]
                        return await document_at(f"{host.url}/", profile)

    return trio.run(main)


def test_a_browser_shows_cells_instances_processes_and_freshness(tmp_path: Path) -> None:
    document = seen_by_chromium(tmp_path)
    rows = lively_diego().actual_lrps()
    running = sum(letter(row) == "r" for row in rows)
    assert re.search(r'<span id="phase"[^>]*class="live"[^>]*>LIVE</span>', document)
    assert f'<b id="rows">{len(rows)}</b>' in document
    assert f"{running} running" in document
    assert len(re.findall(r'id="cell:\d+:cell-\d+"', document)) == 12
    known = {row.process_guid for row in rows} | {lrp.process_guid for lrp in lively_diego().desired_lrps()}
    assert len(re.findall(r"<tr><td", document)) == len(known)
    assert document.count("a second<canvas") == 3


def test_a_browser_shows_why_the_state_is_not_fresh(tmp_path: Path) -> None:
    async def lose(served: ServedDiego, mirror: lrpmirror.Mirror) -> None:
        await served.host.refuse()
        served.host.cut()
        await mirror.wait_for(lambda m: m.status.phase is lrpmirror.Phase.STALE, 20)

    document = seen_by_chromium(tmp_path, lose)
    assert re.search(r'<span id="phase"[^>]*class="stale"[^>]*>STALE</span>', document)
    cause = re.search(r'<div id="cause">(.*?)</div>', document)
    assert cause is not None
    assert cause[1].startswith("stale: there is no event stream")


def test_the_state_is_taken_once_for_all_who_look_within_a_second() -> None:
    async def main() -> None:
        async with mirrored(lively_diego()) as (_, mirror):
            clock = Hands()
            state = page_routes(mirror, EventRates(clock), clock)["/page/state"]
            bodies: list[bytes] = []

            async def receive() -> dict[str, object]:
                raise AssertionError("nothing is received")

            async def send(message: object) -> None:
                assert isinstance(message, dict)
                if "body" in message:
                    bodies.append(message["body"])

            for step in (0.0, 0.5, 1.0):
                clock.now += step
                await state({"type": "http"}, receive, send)
            assert bodies[0] is bodies[1]
            assert bodies[2] is not bodies[1]
            assert msgspec.json.decode(bodies[2])["phase"] == "live"

    trio.run(main)
