"""The soak, in small: the parts that a long run relies on."""

from pathlib import Path

import msgspec
import pytest
from simulation import soak
from simulation.soak import Sample, trend
from simulation.soak_server import plan_of


def test_memory_that_grows_is_told_by_the_minute() -> None:
    assert trend([Sample(60 * minute, 1000 + 7 * minute) for minute in range(30)]) == pytest.approx(7)
    assert trend([Sample(60 * minute, 1000 + minute % 2) for minute in range(31)]) == pytest.approx(0, abs=0.01)
    assert trend([Sample(0, 1)]) == 0


def test_something_is_cut_every_so_many_seconds() -> None:
    plan = plan_of(1, cut_every=5)

    assert plan.cuts + plan.stream_cuts + plan.failovers + plan.outages + plan.silences == pytest.approx(1 / 5)


def test_a_short_soak_ends_in_the_servers_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "report.jsonl"
    arguments = ["--rows", "200", "--minutes", "0.03", "--cut-every", "0.5", "--report", str(report)]
    monkeypatch.setattr("sys.argv", ["soak", *arguments])
    monkeypatch.setattr(soak, "SAMPLE", 0.5)

    assert soak.main() == 0

    first, last = map(msgspec.json.decode, (report.read_bytes().splitlines()[each] for each in (0, -1)))
    assert first["phase"] == "connecting"
    assert last["result"] == "agreed"
    assert last["differences"] == []
    assert last["streams"] >= 1
    assert last["rss_median_kib"] > 0
