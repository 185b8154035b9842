"""`lrpmirror demo`: what it shows, as pure functions of a view, and the whole of it, in lines and on a terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence
from io import StringIO

import pytest
import trio
from cli_support import started
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from patience import PATIENCE
from rich.cells import cell_len
from rich.console import Console, Group

from lrpmirror.cli import main
from lrpmirror.cli.commands.demo import Settings, disagreements, play
from lrpmirror.cli.shared.screen import render
from lrpmirror.cli.shared.story import desired_in_words, found, row_in_words
from lrpmirror.cli.shared.view import (
    CellView,
    Display,
    Kind,
    NewsItem,
    ProcessView,
    View,
    kind_of,
    name_of,
    status_line,
)
from lrpmirror.core.freshness.status import Phase, Status
from lrpmirror.core.rows.changes import Cause
from lrpmirror.errors import LRPMirrorError
from lrpmirror.mirror import open_mirror
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, MetricTagValue, Presence
from lrpmirror.sim import Autopilot, Diego, serve_diego

UNCLAIMED, CLAIMED, RUNNING, CRASHED = ActualLRPState
ORDINARY, EVACUATING, SUSPECT = Presence

STATUS = Status(
    phase=Phase.LIVE,
    revision=7,
    at=100.0,
    synced_at=88.0,
    alive_at=99.75,
    heard_at=99.75,
    current_at=99.75,
    trouble=None,
    last_error=None,
    actual_lrps=4,
    desired_lrps=2,
)

VIEW = View(
    title="a mirror",
    elapsed=75.4,
    status=STATUS,
    kinds={Kind.RUNNING: 3, Kind.CRASHED: 1},
    domains=("cf-apps",),
    cells=(CellView("cell-1", "z1", True, {Kind.RUNNING: 3}), CellView("", "", True, {Kind.CRASHED: 1})),
    processes=(ProcessView("app-1", 2, {Kind.RUNNING: 1, Kind.CRASHED: 1}, "0: out of memory"),),
    news=(NewsItem(74.0, "app-1/0 crashed on cell-1"), NewsItem(3.0, "app-1/0 runs on cell-1")),
)


def shown(view: View, width: int = 70, height: int = 24) -> list[str]:
    """The screen as a terminal of that size has it, without colours."""
    console = Console(width=width, height=height, file=StringIO(), color_system=None)
    lines = console.render_lines(Group(*render(view, width, height)), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def row(**fields: object) -> ActualLRP:
    return replace(ActualLRP(process_guid="p", epoch="e"), **fields)


# A screenful


def test_a_screen_says_first_how_fresh_it_is_then_cells_processes_and_news() -> None:
    assert shown(VIEW, 70, 24) == [
        " LIVE   this is the server's state",
        "a mirror, 1:15, revision 7; Ctrl-C ends it",
        "the server was last heard 0.2 s ago, the last lists are 12 s old",
        "4 instances: 3 running, 1 crashed; 2 desired, domains: cf-apps",
        "# running  + claimed  . unclaimed  x crashed  > evacuating  ? suspect",
        "",
        "CELLS",
        "cell-1           z1     3 ###",
        "on no cell       -      1 x",
        "",
        "PROCESSES, trouble first",
        "app-1                1/2 #x  0: out of memory",
        "",
        "NEWS",
        "1:14  app-1/0 crashed on cell-1",
        "0:03  app-1/0 runs on cell-1",
    ]


def test_a_stale_screen_says_so_and_why() -> None:
    status = replace(STATUS, phase=Phase.STALE, trouble=LRPMirrorError("no connection"))
    lines = shown(replace(VIEW, status=status), 70, 24)
    assert lines[0] == " STALE   out of touch; this is the last known state"
    assert lines[3] == "no connection"


def test_a_screen_before_the_first_state_is_no_empty_promise() -> None:
    status = replace(STATUS, phase=Phase.CONNECTING, synced_at=None, alive_at=None, desired_lrps=0)
    lines = shown(View(title="a mirror", elapsed=0, status=status, kinds={}), 70, 24)
    assert lines[0] == " CONNECTING   connecting; there is nothing to show yet"
    assert lines[3] == "0 instances; 0 desired, domains: none"


def test_what_does_not_fit_is_counted() -> None:
    many = replace(VIEW, cells=tuple(CellView(f"c{n}", "z", n != 0, {}) for n in range(50)))
    lines = shown(many, 70, 20)
    assert "CELLS  (47 more)" in lines
    assert "c0               z      0  gone" in lines


def test_a_bar_that_does_not_fit_keeps_its_proportions_and_one_sign_for_each_kind() -> None:
    view = replace(VIEW, cells=(CellView("c", "z", True, {Kind.RUNNING: 3000, Kind.CLAIMED: 1000, Kind.SUSPECT: 1}),))
    (line,) = [line for line in shown(view, 66, 24) if line.startswith("c ")]
    bar = line.rpartition(" ")[2]
    assert (bar.count("#"), bar.count("+"), bar.count("?")) == (27, 9, 1)


NAMES = st.text(max_size=30)
COUNTS = st.dictionaries(st.sampled_from(Kind), st.integers(0, 10_000))
STATUSES = st.builds(
    Status,
    phase=st.sampled_from(Phase),
    revision=st.integers(0),
    at=st.just(1e6),
    synced_at=st.none() | st.floats(0, 1e6),
    alive_at=st.none() | st.floats(0, 1e6),
    heard_at=st.none(),
    current_at=st.none(),
    trouble=st.none() | NAMES.map(LRPMirrorError),
    last_error=st.none(),
    actual_lrps=st.integers(0),
    desired_lrps=st.integers(0),
)
VIEWS = st.builds(
    View,
    title=NAMES,
    elapsed=st.floats(0, 1e6),
    status=STATUSES,
    kinds=COUNTS,
    domains=st.lists(NAMES, max_size=3).map(tuple),
    cells=st.lists(st.builds(CellView, NAMES, NAMES, st.booleans(), COUNTS), max_size=9).map(tuple),
    processes=st.lists(st.builds(ProcessView, NAMES, st.none() | st.integers(0), COUNTS, NAMES), max_size=9).map(tuple),
    news=st.lists(st.builds(NewsItem, st.floats(0, 1e6), NAMES), max_size=9).map(tuple),
)


@given(view=VIEWS, width=st.integers(1, 120), height=st.integers(1, 50))
def test_any_view_fits_any_screen_and_obeys_no_text_of_the_servers(view: View, width: int, height: int) -> None:
    lines = shown(view, width, height)
    assert len(lines) <= height
    assert all(cell_len(line) <= width and line.isprintable() for line in lines)
    assert status_line(view).isprintable()


def test_wide_characters_take_two_columns() -> None:
    status = replace(STATUS, phase=Phase.STALE, trouble=LRPMirrorError("火" * 40))
    (line, *_) = shown(replace(VIEW, title="", news=(), status=status), 21, 24)[3:]
    assert line == "火" * 10 + "…"


def test_a_status_line_has_phase_age_and_amounts() -> None:
    assert status_line(VIEW) == (
        "  75.4 s  LIVE       revision 7, last heard 0.2 s ago; 4 instances: 3 running, 1 crashed; 2 desired, 1 cells"
    )


# What a view is made of


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (row(state=RUNNING), Kind.RUNNING),
        (row(state=RUNNING, presence=EVACUATING), Kind.EVACUATING),
        (row(state=CLAIMED, presence=SUSPECT), Kind.SUSPECT),
        (row(state=ActualLRPState("PAUSED")), Kind.OTHER),
    ],
)
def test_an_instance_counts_as_what_is_out_of_the_ordinary(one: ActualLRP, kind: Kind) -> None:
    assert kind_of(one) is kind


def test_processes_are_called_by_their_app_and_version() -> None:
    guid = "11111111-1111-4111-8111-111111111111-2222abcd-2222-4222-8222-222222222222"
    lrp = DesiredLRP(process_guid=guid, metric_tags={"app_name": MetricTagValue("shop")})
    assert name_of(guid, lrp) == "shop@2222"
    assert name_of(guid, None, row(metric_tags={"app_name": "shop"})) == "shop@2222"
    assert name_of(guid) == "11111111@2222"
    assert name_of("short") == "short"


def test_trouble_is_what_is_missing_or_ailing() -> None:
    fine = ProcessView("p", 2, {Kind.RUNNING: 2})
    moving = ProcessView("p", 2, {Kind.RUNNING: 2, Kind.EVACUATING: 1})
    short = ProcessView("p", 2, {Kind.RUNNING: 1})
    crashed = ProcessView("p", 2, {Kind.RUNNING: 1, Kind.CRASHED: 1})
    troubles = [process.trouble for process in (fine, moving, short, crashed)]
    assert troubles[0] == 0
    assert troubles == sorted(set(troubles))


# Changes in words


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (None, row(), "p/0 waits for a place"),
        (None, row(state=RUNNING, cell_id="c", presence=EVACUATING), "p/0 is being evacuated from c"),
        (None, row(state=RUNNING, cell_id="c"), "p/0 is running on c"),
        (row(), row(state=CLAIMED, cell_id="c"), "p/0 is starting on c"),
        (row(state=CLAIMED, cell_id="c"), row(state=RUNNING, cell_id="c"), "p/0 runs on c"),
        (row(state=CLAIMED, cell_id="c"), row(), "p/0 has left c and waits for another"),
        (row(state=RUNNING, cell_id="c"), row(crash_count=1, crash_reason="oom"), "p/0 crashed on c: oom"),
        (
            row(state=RUNNING, cell_id="c", crash_count=2),
            row(state=CRASHED, crash_count=3),
            "p/0 crashed on c, 3 times now and stays down",
        ),
        (row(state=CRASHED, crash_count=3), row(crash_count=3), "p/0 is tried again after its crashes"),
        (
            row(state=RUNNING, cell_id="c"),
            row(state=RUNNING, cell_id="c", presence=SUSPECT),
            "p/0 is suspect: c is lost",
        ),
        (
            row(state=RUNNING, cell_id="c", presence=SUSPECT),
            row(state=RUNNING, cell_id="c"),
            "p/0 is back on c",
        ),
        (row(), row(placement_error="no memory"), "p/0 cannot be placed: no memory"),
        (row(routable=True), row(routable=False), "p/0 takes no requests now"),
        (row(routable=False), row(routable=True), "p/0 takes requests again"),
        (row(), row(metric_tags={"a": "b"}), "p/0 has its internal routes and metric tags"),
        (row(), row(address="a"), "p/0 was updated"),
        (row(state=CLAIMED), row(state=ActualLRPState("PAUSED")), "p/0 is paused now"),
        (row(state=RUNNING, cell_id="c"), None, "p/0 is gone from c"),
        (row(), None, "p/0 is gone"),
    ],
)
def test_a_change_of_a_row_in_words(before: ActualLRP | None, after: ActualLRP | None, words: str) -> None:
    assert row_in_words("p", before, after) == words


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (None, DesiredLRP(process_guid="p", instances=1), "p is desired with 1 instance"),
        (None, DesiredLRP(process_guid="p", instances=2), "p is desired with 2 instances"),
        (
            DesiredLRP(process_guid="p", instances=2),
            DesiredLRP(process_guid="p", instances=3),
            "p is scaled from 2 to 3",
        ),
        (DesiredLRP(process_guid="p"), DesiredLRP(process_guid="p", routes={"r": b""}), "p has new routes"),
        (DesiredLRP(process_guid="p"), DesiredLRP(process_guid="p", annotation="a"), "p was updated"),
        (DesiredLRP(process_guid="p"), None, "p is no longer desired"),
    ],
)
def test_a_change_of_a_desired_lrp_in_words(before: DesiredLRP | None, after: DesiredLRP | None, words: str) -> None:
    assert desired_in_words("p", before, after) == words


def test_what_the_stream_did_not_tell_is_said_to_be_found() -> None:
    assert [found(cause) for cause in (Cause.EVENT, Cause.SNAPSHOT, Cause.REPAIR)] == [
        "",
        " (found by a list)",
        " (found by a second look)",
    ]


# The whole


class Kept(Display):
    """A display that keeps what it is shown."""

    interval = 0.05

    def __init__(self) -> None:
        self.views: list[View] = []
        self.news: list[NewsItem] = []

    async def show(self, view: View) -> None:
        self.views.append(view)

    async def show_news(self, news: Sequence[NewsItem]) -> None:
        self.news += news


def test_a_mirror_follows_the_life_of_the_simulation_and_survives_a_cut() -> None:
    display = Kept()
    settings = Settings(seed=4, steps=60, pace=25, first_cut=15, cut_for=12)
    outcome = trio.run(play, settings, display, trio.Event())
    assert outcome.agreed
    assert outcome.text.endswith("after 60 virtual seconds and 1 cut connection")
    phases = [view.status.phase for view in display.views]
    order = [phases.index(phase) for phase in (Phase.LIVE, Phase.STALE, Phase.RESYNCING)]
    assert order == sorted(order)
    assert phases[-1] is Phase.LIVE
    stale = display.views[order[1]]
    assert stale.status.trouble
    assert sum(stale.kinds.values()) > 0
    notified = [news.text for news in display.news]
    assert "--- the demo cuts the connection" in notified
    assert sum("the mirror is LIVE" in text for text in notified) == 2
    assert sorted(news.at for news in display.news) == [news.at for news in display.news]


def test_a_demo_that_is_asked_to_end_ends_in_agreement() -> None:
    async def asked_at_once() -> None:
        asked = trio.Event()
        asked.set()
        outcome = await play(Settings(), Kept(), asked)
        assert outcome.agreed

    trio.run(asked_at_once)


def test_what_the_simulator_has_otherwise_is_named() -> None:
    async def change_it_behind_the_mirrors_back() -> None:
        diego = Diego(seed=1)
        Autopilot(diego, seed=1, apps=2, cells=2).run(30)
        async with serve_diego(diego) as served, open_mirror(served.url) as mirror:
            await mirror.wait_synced(10)
            assert disagreements(mirror, diego, listed=True) == []
            first, *_ = diego.actual_lrps()
            desired, *_ = diego.desired_lrps()
            diego.adopt([replace(first, metric_tags={})])
            assert disagreements(mirror, diego, listed=False) == [f"row {first.epoch}"]
            # What the stream does not carry, the mirror may lack; but not once it has listed.
            diego.adopt([replace(first, metric_tags={**first.metric_tags, "new": "tag"})])
            assert disagreements(mirror, diego, listed=True) == [f"row {first.epoch}"]
            diego.adopt([first], [replace(desired, instances=99)])
            diego.upsert_domain("new")
            diego.add_cell("new")
            assert disagreements(mirror, diego, listed=False) == [f"desired LRP {desired.process_guid}"]
            names = [f"desired LRP {desired.process_guid}", "domain new", "cell new"]
            assert disagreements(mirror, diego, listed=True) == names

    trio.run(change_it_behind_the_mirrors_back)


def test_without_a_terminal_it_prints_lines_and_whether_mirror_and_simulator_agree(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo", "--seconds", "1", "--seed", "3", "--apps", "5", "--cells", "2"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert "\x1b" not in out
    assert any(re.match(r" +\d\.\d s  LIVE  ", line) for line in lines)
    assert any("the mirror is LIVE" in line for line in lines)
    assert re.fullmatch(
        r"mirror and simulator agree: \d+ instances, \d+ desired LRPs, \d cells, "
        r"after 5 virtual seconds and 0 cut connections",
        lines[-1],
    )
    again = trio.run(play, Settings(seed=3, apps=5, cells=2, steps=5, pace=50), Kept(), trio.Event())
    assert again.text == lines[-1], "the same seed and number of steps are the same simulation"


def test_on_a_terminal_it_redraws_a_screen_of_its_size_and_puts_the_terminal_back() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
    process = started("demo", "--seconds", "1", stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    data = b""
    try:
        while piece := os.read(ours, 65536):
            data += piece
    except OSError:
        # How a terminal whose other side is closed ends.
        pass
    os.close(ours)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, b"")
    text = data.decode()
    assert text.startswith("\x1b[?1049h")
    screens, left, last = text.rpartition("\x1b[?1049l")
    assert left
    assert "\x1b[?25h" in screens
    assert re.fullmatch(r"mirror and simulator agree: .*\r\n", last)
    generated = screens.split("\x1b[H")[1:]
    assert len(generated) >= 3
    for screen in generated:
        lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in re.split("\r+\n", screen)]
        assert len(lines) <= 20
        assert all(len(line) <= 60 for line in lines)
    assert " LIVE " in generated[-1]
    assert "CELLS" in generated[-1]
