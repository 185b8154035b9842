"""`lrpmirror top`: what it shows and what keys do, as pure functions, and the whole of it on a terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import trio
from cli_support import simulated_bbs, started
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lrpmirror.cli import main
from lrpmirror.cli._paint import Style, sparkline
from lrpmirror.cli._top_keys import keys_in
from lrpmirror.cli._top_process import ProcessDetail, duration, process_lines
from lrpmirror.cli._top_ranking import Ranking
from lrpmirror.cli._top_screen import frame
from lrpmirror.cli._top_snapshot import CellLine, InstanceLine, NewsLine, ProcessLine, Snapshot, Window, rooms
from lrpmirror.cli._top_sources import kinds_of_cell
from lrpmirror.cli._top_state import ORDERS, Page, PageKind, State, press, settled
from lrpmirror.cli._view import Kind
from lrpmirror.core.changes import Cause, Change
from lrpmirror.core.decisions import Decision
from lrpmirror.core.reconcile import Verdict
from lrpmirror.core.status import Phase
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, ModificationTag, Presence
from lrpmirror.serve.pulse import Second
from lrpmirror.views import CellLoad, Health, ProcessHealth

CELLS = tuple(
    CellLine(
        cell_id=f"cell-{n}",
        zone=f"z{n % 3}",
        present=n != 0,
        kinds={Kind.RUNNING: 40 - n, Kind.CLAIMED: 1},
        memory_share=None if n == 0 else 1 - n / 100,
    )
    for n in range(100)
)
PROCESSES = (
    ProcessLine(
        process_guid="guid-1",
        name="web@12ab",
        health=Health.CRASHING,
        desired=3,
        running=2,
        kinds={Kind.RUNNING: 2, Kind.CRASHED: 1},
        why="index 2 crashed 3 times: out of memory",
    ),
    ProcessLine(
        process_guid="guid-2", name="worker", health=Health.HEALTHY, desired=1, running=1, kinds={Kind.RUNNING: 1}
    ),
)
NEWS = (NewsLine(key="guid-1 7 x", time="12:00:07", text="web@12ab/2 crashed on cell-4"),)


def windows(state: State, height: int) -> tuple[Window, ...]:
    """The lists above, as far as there is room on a screen so high."""
    lines: dict[PageKind, tuple[Any, ...]] = {
        PageKind.CELLS: CELLS,
        PageKind.PROCESSES: PROCESSES,
        PageKind.CHANGES: NEWS,
    }
    found = []
    for tab, room in rooms(state, height):
        page = state.page if tab is None else state.tabs[tab]
        every = lines.get(page.kind, ())
        page = settled(page, count=len(every), room=room, place=None)
        longest = max([sum(one.kinds.values()) for one in every if isinstance(one, CellLine | ProcessLine)], default=0)
        found.append(Window(page=page, lines=every[page.top :][:room], total=len(every), longest=longest))
    return tuple(found)


def snapshot(state: State, height: int, **fields: Any) -> Snapshot:
    return Snapshot(
        **{
            "url": "http://bbs",
            "phase": Phase.LIVE,
            "age": 0.25,
            "listed": 12.0,
            "revision": 1234,
            "kinds": {Kind.RUNNING: 1200, Kind.CRASHED: 1},
            "healths": {Health.HEALTHY: 1, Health.CRASHING: 1},
            "cells": 99,
            "cells_gone": 1,
            "cells_full": 4,
            "rates": tuple(Second(n, n // 2, 0) for n in range(20)),
            "windows": windows(state, height),
            **fields,
        }
    )


def drawn(state: State, width: int, height: int, **fields: Any) -> list[str]:
    """The screen without colours."""
    return frame(snapshot(state, height, **fields), state, Style(width, height, colour=False))


def pressed(*keys: str, state: State | None = None) -> State:
    """The state after keys, on a screen that shows 10 of 100 lines of each list."""
    now = state or State(tabs=tuple(replace(page, count=100, room=10, under="it") for page in State().tabs))
    for key in keys:
        now = press(now, key)
    return now


# Screens


@pytest.mark.parametrize(("silence", "said"), [(0.25, ""), (1.2, ""), (42.0, "the stream 42 s ago, ")])
def test_a_stream_that_is_silent_while_pings_are_answered_shows(silence: float, said: str) -> None:
    lines = drawn(State(), 79, 17, silence=silence)
    assert lines[1] == f"heard 0.2 s ago, {said}listed 12 s ago, revision 1,234"


def test_a_screen_has_freshness_amounts_rates_the_list_and_the_keys() -> None:
    lines = drawn(State(), 79, 12 + 5)
    assert lines[:4] == [
        " LIVE   this is the server's state  http://bbs",
        "heard 0.2 s ago, listed 12 s ago, revision 1,234",
        "99 cells and 1 gone, 4 full; 2 processes: 1 crashing, 1 healthy",
        "1,201 instances  # 1,200 running  x 1 crashed",
    ]
    assert lines[4] == "events 14.5/s ▁▂▃▅▆▇█   changes 7.0/s .▂▃▅▆▇█   crashes 0.0/s .......   0:20"
    assert lines[5:8] == [
        " CELLS  1-10 of 100, by trouble",
        "> cell-0 z0      GONE                 41 ###################################+",
        "  cell-1 z1       99% [==========]    40 ##################################+",
    ]
    assert lines[-1] == "q quit  ? help  Tab next list  Enter open  / filter  s sort  "
    assert len(lines) == 17


def test_processes_say_how_they_are_and_why() -> None:
    lines = drawn(State(focus=1), 79, 24)
    assert lines[5:9] == [
        " PROCESSES  2, by trouble",
        "> web@12ab crashing        2/3 ##x  index 2 crashed 3 times: out of memory",
        "  worker   healthy         1/1 #  ",
        "",
    ]


def test_a_high_screen_has_all_three_lists_and_the_focused_one_has_the_most_room() -> None:
    lines = drawn(State(focus=1), 199, 60)
    places = [next(n for n, line in enumerate(lines) if line.startswith(f" {name} ")) for name in LISTS]
    assert places == sorted(places)
    rooms_of = [window.page.room for window in windows(State(focus=1), 60)]
    assert rooms_of[1] > rooms_of[0] == rooms_of[2] > 5
    assert len(lines) == 60


LISTS = ("CELLS", "PROCESSES", "CHANGES")


def test_a_small_screen_has_what_matters() -> None:
    lines = drawn(State(), 39, 10)
    assert lines[0] == " LIVE   this is the server's state  htt"
    assert lines[3] == "> cell-0  GONE    41 ###############+"
    assert lines[-1].startswith("q quit")
    assert len(lines) == 10


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        (Phase.CONNECTING, "connecting; there is nothing to show yet"),
        (Phase.SYNCING, "connected; reading the first lists"),
        (Phase.RESYNCING, "reading the lists, until then this may be old"),
        (Phase.STALE, "out of touch; this is the last known state"),
    ],
)
@pytest.mark.parametrize("height", [24, 60])
def test_what_is_not_live_says_so_and_why(phase: Phase, said: str, height: int) -> None:
    lines = drawn(State(), 79, height, phase=phase, error="connection refused")
    assert phase.name in lines[0]
    assert said in lines[0]
    assert lines[4] == "connection refused"
    low = drawn(State(), 79, 10, phase=phase, error="connection refused")
    assert "connection refused" in low[0]


def test_an_error_that_is_overcome_is_none_any_more() -> None:
    lines = drawn(State(), 79, 24, error="connection refused", error_over=True)
    assert any("overcome: connection refused" in line for line in lines)
    assert lines[4].startswith("events ")


def test_the_first_lists_are_shown_as_they_come() -> None:
    lines = drawn(State(), 79, 24, phase=Phase.SYNCING, reading="reading the first lists: 12 records, 3 KiB")
    assert "12 records, 3 KiB" in lines[0]


def test_what_a_filter_hides_is_told() -> None:
    state = State(tabs=(Page(kind=PageKind.CELLS, text="nix"), *State().tabs[1:]))
    empty = Window(page=settled(state.page, count=0, room=5, place=None), total=100)
    lines = drawn(state, 79, 24, windows=(empty,))
    assert lines[5:7] == [" CELLS  0, by trouble, with 'nix' (of 100)", "  nothing has 'nix' in it"]


def test_help_is_on_the_screen_and_any_key_ends_it() -> None:
    state = pressed("?")
    assert "Keys" in drawn(state, 79, 24)
    assert pressed("x", state=state).help is False
    assert all(len(line) <= 79 for line in drawn(state, 79, 24))


def test_wide_screens_have_cells_in_columns() -> None:
    page = settled(Page(kind=PageKind.CELLS), count=100, room=20, place=None)
    window = Window(page=page, lines=CELLS[:20], total=100, columns=2, longest=41)
    lines = drawn(State(), 140, 24, windows=(window,))
    assert re.match(r"> cell-0 .* cell-10 ", lines[6])
    assert lines[6].index("cell-10") == 72
    assert "cell-19" in lines[15]


hostile = st.text(st.characters(codec="utf-8"), max_size=30)
lines_of_lists = st.one_of(
    st.builds(
        CellLine,
        cell_id=hostile,
        zone=hostile,
        present=st.booleans(),
        kinds=st.dictionaries(st.sampled_from(Kind), st.integers(0, 500)),
        memory_share=st.none() | st.floats(0, 30),
    ),
    st.builds(
        ProcessLine,
        process_guid=hostile,
        name=hostile,
        health=st.sampled_from(Health),
        desired=st.integers(0, 1000),
        running=st.integers(0, 1000),
        kinds=st.dictionaries(st.sampled_from(Kind), st.integers(0, 500)),
        why=hostile,
    ),
    st.builds(
        InstanceLine,
        key=hostile,
        name=hostile,
        kind=st.sampled_from(Kind),
        state=hostile,
        age=hostile,
        notes=hostile,
    ),
    st.builds(NewsLine, key=hostile, time=hostile, text=hostile),
    hostile,
)


@given(
    st.lists(lines_of_lists, max_size=30),
    st.sampled_from(PageKind),
    hostile,
    st.tuples(st.integers(1, 220), st.integers(1, 70)),
    st.booleans(),
)
def test_anything_fits_any_screen_and_no_text_of_a_servers_is_obeyed(
    lines: list[Any], kind: PageKind, text: str, size: tuple[int, int], opened: bool
) -> None:
    width, height = size
    page = settled(Page(kind=kind, text=text), count=len(lines), room=max(1, height - 7), place=None)
    state = State(opened=(page,)) if opened else State(tabs=(page, *State().tabs[1:]))
    longest = max([sum(one.kinds.values()) for one in lines if isinstance(one, CellLine | ProcessLine)], default=0)
    window = Window(page=page, lines=tuple(lines[: page.room]), title=text, total=99, longest=longest)
    shot = snapshot(state, height, windows=(window,), error=text, url=text)
    shown = frame(shot, state, Style(width, height, colour=True))
    assert len(shown) == height
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown]
    assert all(line.isprintable() for line in plain)
    assert frame(shot, state, Style(width, height, colour=False)) == plain
    assert all(len(line) <= width for line in plain)


def test_a_sparkline_is_high_where_most_happened() -> None:
    assert sparkline([0, 1, 4, 8], Style()) == ".▂▅█"
    assert sparkline([0, 1, 4, 8], Style(blocks=False)) == "._+#"


# Keys


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"jk/q", ["j", "k", "/", "q"]),
        (b"\x1b[A\x1bOB\x1b[1;5C", ["up", "down", "right"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[4~\x1b[Z", ["pgup", "pgdn", "home", "end", "backtab"]),
        (b"\t\r\x7f\x08\x03", ["tab", "enter", "backspace", "backspace", "ctrl-c"]),
        ("é😀".encode(), ["é", "😀"]),
        (b"\x1bq", ["esc", "q"]),
        (b"\x1b", ["esc"]),
        (b"\x1b[200~\x00\xff", ["�"]),
    ],
)
def test_what_a_terminal_sends_are_keys(data: bytes, keys: list[str]) -> None:
    assert keys_in(data, more=False) == (keys, b"")


@given(
    st.lists(st.sampled_from([b"j", b"\x1b[A", b"\x1b[5~", b"\x1bOB", "é".encode(), "😀".encode(), b"\r"])), st.data()
)
def test_keys_are_the_same_in_whatever_pieces_they_come(sent: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(sent)
    keys, rest = [], b""
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        some, rest = keys_in(rest + whole[:size], more=True)
        keys += some
        whole = whole[size:]
    assert keys + keys_in(rest, more=False)[0] == keys_in(b"".join(sent), more=False)[0]


def test_tab_goes_round_the_lists_and_numbers_go_straight_there() -> None:
    assert [pressed(*["tab"] * n).page.kind for n in range(4)] == [
        PageKind.CELLS,
        PageKind.PROCESSES,
        PageKind.CHANGES,
        PageKind.CELLS,
    ]
    assert pressed("backtab").page.kind is PageKind.CHANGES
    assert pressed("2").page.kind is PageKind.PROCESSES


@pytest.mark.parametrize(
    ("keys", "cursor"),
    [("j", 1), ("jjk", 1), ("k", 0), ("G", 99), ("Gj", 99), ("Gg", 0), (["pgdn"], 9), (["pgdn", "pgup"], 0), (" ", 9)],
)
def test_keys_move_the_cursor_within_the_list(keys: Any, cursor: int) -> None:
    assert pressed(*keys).page.cursor == cursor


def test_enter_opens_what_is_at_the_cursor_and_esc_goes_back() -> None:
    cell = pressed("enter")
    assert (cell.page.kind, cell.page.subject) == (PageKind.CELL, "it")
    on_it = cell.with_page(replace(cell.page, under="guid 3 0", count=5))
    process = press(on_it, "enter")
    assert (process.page.kind, process.page.subject) == (PageKind.PROCESS, "guid")
    assert press(process, "enter") == process
    assert press(process, "backspace") == on_it
    assert press(press(process, "esc"), "esc") == pressed()
    assert pressed("tab", "enter").page.kind is PageKind.PROCESS
    assert pressed("tab", "tab", "enter").page.kind is PageKind.PROCESS


def test_what_is_about_no_process_opens_none() -> None:
    phases = State(focus=2).with_page(Page(kind=PageKind.CHANGES, under=" 7 the mirror is LIVE"))
    assert press(phases, "enter") == phases
    assert press(State(), "enter") == State()


def test_s_goes_round_the_orders() -> None:
    orders = [pressed(*"s" * n).page.ordered_by for n in range(len(ORDERS[PageKind.CELLS]) + 1)]
    assert orders == [*ORDERS[PageKind.CELLS], ORDERS[PageKind.CELLS][0]]
    assert pressed("S").page.ordered_by == ORDERS[PageKind.CELLS][-1]


def test_a_filter_is_typed_kept_and_taken_back() -> None:
    typing = pressed("/", "q", "ä", "?")
    assert (typing.page.text, typing.over, typing.help) == ("qä?", False, False)
    kept = pressed("backspace", "enter", state=typing)
    assert (kept.page.text, kept.typing) == ("qä", None)
    assert pressed("/", "x", "esc", state=kept).page.text == "qä"
    assert pressed("/", "ctrl-u", "enter", state=kept).page.text == ""
    assert pressed("esc", state=kept).page.text == ""
    assert pressed("/", "backspace").typing is None
    assert pressed("/", "a", "down").page.cursor == 1


def test_q_and_ctrl_c_end_it() -> None:
    assert pressed("q").over
    assert pressed("/", "ctrl-c").over
    assert pressed("?", "ctrl-c").over


def test_the_text_of_a_process_scrolls() -> None:
    opened = pressed("tab", "enter")
    page = settled(opened.page, count=30, room=10, place=None)
    assert pressed("G", state=opened.with_page(page)).page.top == 20
    assert pressed("j", "j", "k", state=opened.with_page(page)).page.top == 1
    assert settled(replace(page, top=25), count=12, room=10, place=None).top == 2


def test_what_is_selected_is_followed_to_where_it_moves() -> None:
    page = Page(kind=PageKind.CELLS, cursor=3, key="x")
    assert settled(page, count=100, room=10, place=50).cursor == 50
    assert settled(page, count=100, room=10, place=50).top == 41
    assert settled(page, count=2, room=10, place=None).cursor == 1


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 60), st.integers(0, 60), st.none() | st.integers(0, 60))
def test_the_cursor_is_on_the_screen_and_no_room_is_wasted(
    count: int, room: int, cursor: int, top: int, place: int | None
) -> None:
    page = Page(kind=PageKind.CELLS, cursor=cursor, top=top, key="x")
    page = settled(page, count=count, room=room, place=place)
    assert page.top <= page.cursor < page.top + page.room
    assert page.cursor < max(1, count)
    assert page.top == 0 or page.top + page.room <= count


# What is listed


def ranking() -> Ranking[int]:
    return Ranking(
        lambda key, value, order: (value if order == "up" else -value, key),
        lambda key, value: f"{key}={value}",
        lambda value: {"sum": value},
        "up",
    )


Step = tuple[str, int | None]
steps = st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(0, 9)), max_size=30)


@given(steps, steps, st.sampled_from(["up", "down"]), st.sampled_from(["", "a", "1", "E="]))
def test_a_ranking_is_the_values_sorted_and_filtered_whatever_changes(
    before: list[Step], after: list[Step], order: str, text: str
) -> None:
    ranked, values = ranking(), dict[str, int]()

    def take(changes: list[Step]) -> None:
        for key, value in changes:
            ranked.take(Change(key, values.get(key), value, 1, Cause.EVENT))
            values.pop(key, None)
            if value is not None:
                values[key] = value

    take(before)
    trio.run(ranked.arrange, order, text)
    take(after)
    wanted = sorted(
        (key for key, value in values.items() if text.lower() in f"{key}={value}"),
        key=lambda key: (values[key] if order == "up" else -values[key], key),
    )
    assert ranked.keys(0, 100) == wanted
    assert [ranked.place(key) for key in wanted] == list(range(len(wanted)))
    assert ranked.totals["sum"] == sum(values.values())


def test_what_changes_while_a_ranking_is_arranged_is_listed_once() -> None:
    ranked = ranking()
    values = {f"{n:04}": n for n in range(1200)}
    for key, value in values.items():
        ranked.take(Change(key, None, value, 1, Cause.EVENT))

    async def change() -> None:
        while len(ranked) == len(values):
            await trio.lowlevel.checkpoint()
        for key, value in (("0003", 5000), ("1199", 6000), ("0700", None)):
            ranked.take(Change(key, values[key], value, 1, Cause.EVENT))

    async def both() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ranked.arrange, "down", "")
            nursery.start_soon(change)

    trio.run(both)
    assert ranked.keys(0, 3) == ["1199", "0003", "1198"]
    assert len(ranked) == len(set(ranked.keys(0, 2000))) == 1199


def test_a_cell_s_instances_are_counted_once() -> None:
    load = CellLoad(running=10, claimed=2, evacuating=3, suspect=1)
    assert kinds_of_cell(load) == {Kind.RUNNING: 6, Kind.CLAIMED: 2, Kind.EVACUATING: 3, Kind.SUSPECT: 1}


EPOCH = "06f70355-3b89-484c-973d-5dc79b80fedd"
DETAIL = ProcessDetail(
    process_guid="guid",
    desired=DesiredLRP(
        process_guid="guid",
        instances=2,
        memory_mb=64,
        epoch=EPOCH,
        routes={
            "cf-router": b'[{"hostnames":["a.example.com"],"port":8080}]',
            "tcp-router": b'[{"router_group_guid":"g","external_port":1024,"container_port":61}]',
            "internal-router": b'[{"hostname":"a.internal"}]',
            "diego-ssh": b'{"private_key":"secret"}',
        },
    ),
    health=ProcessHealth(health=Health.DEGRADED, desired=2, running=1, missing=1),
    rows=(
        ActualLRP(
            process_guid="guid",
            state=ActualLRPState.RUNNING,
            presence=Presence.SUSPECT,
            cell_id="cell-1",
            since=60_000_000_000,
            epoch=EPOCH,
            crash_reason="boom",
        ),
    ),
    decisions=(
        Decision(
            at=1,
            type="actual_lrp_instance_changed",
            verdict=Verdict.STALE,
            index=0,
            tag=ModificationTag(EPOCH, 1),
            stored=ModificationTag(EPOCH, 2),
        ),
    ),
    now=3.5,
    wall=125_000_000_000,
)


def test_a_process_has_its_rows_routes_and_decisions() -> None:
    lines = [line.rstrip() for line in process_lines(DETAIL, 200)]
    assert lines[:3] == [
        "guid",
        f"Desired: 2 x 64 MB memory, 0 MB disk; domain ; version {EPOCH}:0",
        "Health: degraded; 1 missing",
    ]
    assert f"  0      RUNNING  suspect   1m5s  cell-1  {EPOCH}:0  boom" in lines
    assert "  a.example.com to port 8080" in lines
    assert "  port 1024 of g to port 61 (TCP)" in lines
    assert "  a.internal (internal)" in lines
    assert lines[-1].startswith("  2.5 s ago  instance_changed  0      stale    ")
    assert not any("secret" in line for line in lines)


@given(st.integers(20, 250))
def test_a_process_s_text_fits_the_width(width: int) -> None:
    assert all(len(line) <= width for line in process_lines(DETAIL, width))
    if width < 150:
        assert not any(EPOCH in line for line in process_lines(DETAIL, width))


def test_of_a_process_that_is_gone_little_is_told() -> None:
    gone = ProcessDetail(process_guid="guid", desired=None, health=None, rows=(), decisions=(), now=0.0, wall=0)
    assert "It is not desired." in list(process_lines(gone, 80))


@pytest.mark.parametrize(("seconds", "said"), [(-3, "0s"), (59, "59s"), (61, "1m1s"), (7260, "2h1m"), (90_000, "1d1h")])
def test_durations_have_two_units(seconds: int, said: str) -> None:
    assert duration(seconds * 1_000_000_000) == said


# On a terminal


class Session:
    """`top` on a terminal of its own, and what it last showed."""

    def __init__(self, process: subprocess.Popen[bytes], ours: int, theirs: int) -> None:
        self.process = process
        self._ours = ours
        self._theirs = theirs
        self.shown = ""

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """Wait for a screen."""
        deadline = time.monotonic() + 15
        while not holds(self.screen):
            assert time.monotonic() < deadline, self.screen
            self._read(0.1)
        return self.screen

    @property
    def screen(self) -> list[str]:
        whole = self.shown.rpartition("\x1b[J")[0].rpartition("\x1b[H")[2]
        return [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in re.split("\r+\n", whole)]

    def end(self) -> int:
        """Wait for the end."""
        while self.process.poll() is None:
            self._read(0.05)
        self._read(0.05)
        return self.process.returncode

    @property
    def modes(self) -> list[Any]:
        return termios.tcgetattr(self._theirs)

    def _read(self, seconds: float) -> None:
        if select.select([self._ours], [], [], seconds)[0]:
            with suppress(OSError):
                self.shown += os.read(self._ours, 1 << 20).decode()


@contextmanager
def on_a_terminal(*arguments: str, width: int = 80, height: int = 24) -> Iterator[Session]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    process = started(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        yield Session(process, ours, theirs)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        os.close(ours)
        os.close(theirs)


def test_a_session_on_a_terminal() -> None:
    with simulated_bbs(apps=6, cells=4, steps=2000) as bbs, on_a_terminal("top", "--bbs-url", bbs.url) as top:
        modes = top.modes
        screen = top.until(lambda lines: " LIVE " in lines[0] and any(line.startswith("> cell-") for line in lines))
        assert len(screen) == 24
        assert "6 processes" in screen[2]
        assert top.modes != modes
        top.press(b"s")
        top.until(lambda lines: lines[5].endswith("by name"))
        top.press(b"\r")
        top.until(lambda lines: lines[5].startswith(" CELL  cell-"))
        top.press(b"\x1b")
        top.until(lambda lines: lines[5].startswith(" CELLS "))
        top.press(b"\t/app-1")
        top.until(lambda lines: lines[-1].startswith("/app-1") and "app-1" in lines[6])
        top.press(b"\r\r")
        top.until(lambda lines: lines[5].startswith(" PROCESS  app-1") and any("Desired: " in line for line in lines))
        top.press(b"3")
        top.until(
            lambda lines: lines[5].startswith(" CHANGES ") and re.match(r"> \d\d:\d\d:\d\d  ", lines[6]) is not None
        )
        top.press(b"q")
        assert top.end() == 0
        assert top.modes == modes
        assert top.shown.endswith("\x1b[?25h\x1b[?1049l")


@pytest.mark.parametrize("ending", ["ctrl-c", "terminated"])
def test_without_a_bbs_it_says_so_and_ends_quietly(ending: str) -> None:
    with on_a_terminal("top", "--bbs-url", "http://127.0.0.1:9", width=60, height=12) as top:
        modes = top.modes
        screen = top.until(lambda lines: "CONNECTING" in lines[0] and "at http://12" in lines[0])
        assert len(screen) == 12
        if ending == "ctrl-c":
            top.press(b"\x03")
        else:
            top.process.send_signal(signal.SIGTERM)
        assert top.end() == 0
        assert top.modes == modes
        assert top.shown.endswith("\x1b[?25h\x1b[?1049l")


def test_the_terminal_is_put_back_after_a_crash() -> None:
    program = (
        "import trio\nfrom lrpmirror.cli._top_terminal import open_terminal\n"
        "async def crash():\n    async with open_terminal():\n        raise ZeroDivisionError\ntrio.run(crash)"
    )
    ours, theirs = pty.openpty()
    modes = termios.tcgetattr(theirs)
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm"},
        check=False,
    )
    assert b"ZeroDivisionError" in done.stderr
    assert termios.tcgetattr(theirs) == modes
    assert os.read(ours, 1000).endswith(b"\x1b[?25h\x1b[?1049l")
    os.close(ours)
    os.close(theirs)


def test_elsewhere_than_on_a_terminal_it_is_refused_in_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--bbs-url", "http://127.0.0.1:9"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("lrpmirror top: stdin and stdout have to be a terminal; ")
    assert err.count("\n") == 1
