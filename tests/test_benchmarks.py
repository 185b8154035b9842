"""The benchmarks run, at a size that takes a moment, and a way that gives another answer is found out."""

import json
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from msgspec.structs import replace
from relay_support import needs_redis

from benchmarks import data, harness, stalls, workload
from benchmarks.__main__ import NAMES, main, reports_of
from benchmarks.harness import Check, Report, Run, Target, WrongAnswer, compare
from lrpmirror.wire import decode, encode

EACH = [pytest.param(name, marks=needs_redis) if name == "relay" else name for name in NAMES]


@cache
def smoke(name: str) -> list[Report]:
    return list(reports_of(name, None, 1, smoke=True))


@pytest.mark.parametrize("name", EACH)
def test_a_benchmark_runs_and_compares_with_its_baseline(name: str) -> None:
    for report in smoke(name):
        assert len(report.figures) > 1
        assert report.figures[0].ratio == 1
        # At such sizes the stream can be over before it is left unread for once.
        assert all(figure.value > 0 for figure in report.figures if "unread" not in figure.name)
        assert report.digest, report.title


@pytest.mark.parametrize("name", EACH)
def test_every_target_is_checked_by_its_own_benchmark(name: str) -> None:
    targets = import_module(f"benchmarks.{name}").TARGETS
    assert [check.target for report in smoke(name) for check in report.checks] == list(targets)


@pytest.mark.parametrize("name", ["snapshot", "stream", "query", "resync"])
def test_the_digest_does_not_depend_on_the_run_nor_on_the_number_of_rounds(name: str) -> None:
    again = reports_of(name, None, 2, smoke=True)
    assert [report.digest for report in smoke(name)] == [report.digest for report in again]


def answering(*answers: object) -> Run:
    run = Run(1)
    with run:
        pass
    run.answer = answers
    return run


def test_ways_that_end_in_different_states_are_no_comparison() -> None:
    with pytest.raises(WrongAnswer, match="faster, round 1"):
        compare("add", 1, {"slow": lambda: answering(2), "faster": lambda: answering(3)}, rounds=1)


def test_rounds_that_end_in_different_states_are_no_comparison() -> None:
    results = iter((2, 3))
    with pytest.raises(WrongAnswer, match="once, round 2"):
        compare("add", 1, {"once": lambda: answering(next(results))}, rounds=2)


def test_the_ratio_is_the_median_of_those_of_each_round() -> None:
    figure = harness.figure_of("way", [10.0, 90.0, 200.0], [10.0, 10.0, 100.0])
    assert (figure.value, figure.ratio) == (90.0, 2.0)


def test_time_is_that_which_went_by_unless_the_processors_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, processor = iter((0, 8_000)), iter((0, 2_000))
    clocks = SimpleNamespace(perf_counter_ns=wall.__next__, process_time_ns=processor.__next__)
    monkeypatch.setattr(harness, "time", clocks)
    with (run := Run(2)):
        pass
    assert (run.microseconds, run.busy) == (4.0, 0.25)
    chosen = harness.PROCESSOR_TIME.set(True)
    assert run.microseconds == 1.0
    harness.PROCESSOR_TIME.reset(chosen)


def test_a_target_is_met_from_its_limit_on() -> None:
    most = Target("time", 1.5, "µs")
    assert Check(most, 1.5).met
    assert not Check(most, 1.6).met
    least = replace(most, least=True)
    assert Check(least, 1.6).met
    assert not Check(least, 1.4).met


def test_rows_are_encoded_as_the_library_encodes_them() -> None:
    records = list(data.records(100))
    assert [encode.actual_lrp(decode.actual_lrp(record)) for record in records] == records
    rows = data.rows(100)
    assert len({row.epoch for row in rows}) == len({row.instance_guid for row in rows}) == 100
    assert len({row.process_guid for row in rows}) == 25
    assert [row.index for row in rows] == [0, 1, 2, 3] * 25


def test_a_written_row_differs_in_its_version_only() -> None:
    (row,) = map(decode.actual_lrp, data.records(1))
    (written,) = map(decode.actual_lrp, data.records(1, lambda _: 1))
    assert written == replace(row, tag_index=row.tag_index + 1)


def test_the_events_of_a_stream_are_each_the_next_of_its_row() -> None:
    rows = data.rows(40)
    versions = {row.epoch: row.tag_index for row in rows}
    for event in workload.flips(rows, 500):
        assert event.before.tag_index == versions[event.after.epoch]
        versions[event.after.epoch] = event.after.tag_index
    assert workload.flips(rows, 50) == workload.flips(rows, 50)
    assert workload.encoded(workload.churn(rows, 200)) == workload.encoded(workload.churn(rows, 200))


def test_a_stall_is_seen_also_at_the_very_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(stalls, "time", SimpleNamespace(perf_counter=lambda: now, thread_time=lambda: now / 2))
    stall = stalls.Stall()

    async def main() -> None:
        nonlocal now
        async with stalls.watched(stall):
            now = 3.0

    trio.run(main)
    assert (stall.wall, stall.processor) == (3_000.0, 1_500.0)


def test_one_table_says_what_was_measured_and_what_was_reached(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    figures = tmp_path / "figures.json"
    assert main(["--smoke", "--json", str(figures), "snapshot"]) == 0
    printed = capsys.readouterr().out
    assert "load a listed row" in printed
    assert "to reach" in printed
    kept = json.loads(figures.read_bytes())
    assert [report["title"] for report in kept["reports"]] == [
        "load a listed row",
        "load a listed desired LRP",
        "load everything over HTTP, a row",
        "load everything, and the views",
        "make views of a living mirror, a row",
    ]


def test_an_unknown_benchmark_is_refused_with_the_names_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--smoke", "tea"])
    assert "no benchmark named tea; there are decode" in capsys.readouterr().err
