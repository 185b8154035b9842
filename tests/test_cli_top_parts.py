"""What `lrpmirror top` is made of: lists in an order, styled text, and the text of a process."""

import importlib.util
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpmirror.cli.shared.arguments import require
from lrpmirror.cli.shared.screen import bar, line
from lrpmirror.cli.shared.view import Kind
from lrpmirror.cli.top._board import Ranking, kinds_of_cell
from lrpmirror.cli.top._text import ProcessDetail, amounts, duration, freshness, memory, process_lines
from lrpmirror.core.explain.decisions import Decision
from lrpmirror.core.freshness.status import Phase, Status
from lrpmirror.core.rows.changes import Cause, Change
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.errors import ConfigurationError
from lrpmirror.model import ActualLRP, ActualLRPState, CellCapacity, DesiredLRP, ModificationTag, Presence
from lrpmirror.views import CellLoad, Health, ProcessHealth

# Lists in an order


Step = tuple[str, int | None]
steps = st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(0, 9)), max_size=30)


@given(steps, steps, st.sampled_from(["up", "down"]), st.sampled_from(["", "a", "1", "E="]))
def test_a_ranking_is_the_values_sorted_and_filtered_whatever_changes(
    before: list[Step], after: list[Step], order: str, text: str
) -> None:
    ranked: Ranking[int] = Ranking(
        lambda key, value, order: (value if order == "up" else -value, key),
        lambda key, value: f"{key}={value}",
        lambda value: {"sum": value},
        "up",
    )
    values: dict[str, int] = {}

    def take(changes: list[Step]) -> None:
        ranked.follow([[Change(key, None, value, 1, Cause.EVENT)] for key, value in changes])
        for key, value in changes:
            values.pop(key, None)
            if value is not None:
                values[key] = value

    take(before)
    ranked.arrange(order, text)
    take(after)
    wanted = sorted(
        (key for key, value in values.items() if text.lower() in f"{key}={value}"),
        key=lambda key: (values[key] if order == "up" else -values[key], key),
    )
    assert ranked.first(100) == [(key, values[key]) for key in wanted]
    assert ranked.first(2) == [(key, values[key]) for key in wanted[:2]]
    assert (len(ranked), ranked.all) == (len(wanted), len(values))
    assert ranked.totals["sum"] == sum(values.values())


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
            outcome=Outcome.STALE,
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


# Styled text


@pytest.mark.parametrize("hostile", ["[red]x[/red]", "\x1b]0;title\x07", "a\nb", "\x9b31m"])
def test_what_a_server_wrote_is_shown_and_not_obeyed(hostile: str) -> None:
    text = line(("name ", "bold"), hostile)
    assert text.plain.isprintable()
    assert len(text.plain) == len(f"name {hostile}")
    assert "[red]" not in hostile or "[red]x[/red]" in text.plain


def test_bars_that_do_not_fit_keep_their_proportions_and_one_sign_for_each_kind() -> None:
    kinds = {Kind.RUNNING: 3000, Kind.CLAIMED: 1000, Kind.SUSPECT: 1}
    generated = bar(kinds, 39).plain
    assert (generated.count("#"), generated.count("+"), generated.count("?")) == (26, 8, 1)
    # Beside a longer one they are drawn to its scale.
    assert len(bar({Kind.RUNNING: 20}, 41, longest=80)) == 10


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (CellLoad(present=False), " GONE"),
        (CellLoad(present=True), "    -"),
        (CellLoad(present=True, memory_mb=96, capacity=CellCapacity(100, 1, 1)), "  96% ━━━━━━━━━━"),
        (CellLoad(present=True, memory_mb=4, capacity=CellCapacity(100, 1, 1)), "   4% "),
    ],
)
def test_memory_is_the_share_that_is_reserved(load: CellLoad, said: str) -> None:
    assert memory(load, 16).plain == said
    assert len(memory(load, 5)) == 5


def status(**fields: object) -> Status:
    known = {
        "phase": Phase.LIVE,
        "revision": 1234,
        "at": 100.0,
        "synced_at": 88.0,
        "alive_at": 99.75,
        "heard_at": 99.75,
        "current_at": 99.75,
        "trouble": None,
        "last_error": None,
        "actual_lrps": 0,
        "desired_lrps": 0,
        "restored_at": None,
    }
    return Status(**{**known, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(("silence", "said"), [(0.25, ""), (1.2, ""), (42.0, "the stream 42 s ago, ")])
def test_a_stream_that_is_silent_while_pings_are_answered_shows(silence: float, said: str) -> None:
    assert freshness(status(heard_at=100 - silence)).plain == f"heard 0.2 s ago, {said}listed 12 s ago, revision 1,234"


def test_an_error_that_is_overcome_is_said_to_be() -> None:
    over = status(last_error=ConfigurationError("connection refused"))
    assert freshness(over).plain.endswith("; overcome: connection refused")


def test_amounts_have_what_is_gone_or_full_and_the_healths_by_severity() -> None:
    cells, processes = Counter(there=99, gone=1, full=4), Counter({Health.HEALTHY: 1200, Health.CRASHING: 1})
    assert amounts(cells, processes).plain == "99 cells and 1 gone, 4 full; 1,201 processes: 1 crashing, 1,200 healthy"


def test_a_command_whose_extra_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    require("rich")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"textual is not installed: pip install 'lrpmirror\[cli\]'"):
        require("textual")
