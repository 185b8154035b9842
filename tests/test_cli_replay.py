"""`lrpmirror replay`, run in this process."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cli_support import IN_PARTS, NAMES, recorded, started
from patience import PATIENCE
from wire_support import without_younger

from lrpmirror.cli import main
from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP
from lrpmirror.recording import Recording
from lrpmirror.wire import json as diego_json

NOT_STREAMED = ("actual_lrp_internal_routes", "metric_tags")


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[Any]:
    """Run `lrpmirror replay`, which succeeds, and return what it prints: one JSON value a line."""
    assert main(["replay", *map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == "" or out.endswith("\n")
    return [json.loads(line) for line in out.splitlines()]


def ndjson(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run `lrpmirror replay`, which fails; return its status and its one line of error."""
    status = main(["replay", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lrpmirror replay: ")
    assert len(err.splitlines()) == 1
    return status, err


# What Diego's own tool printed for the same state


@pytest.mark.parametrize("what", ["desired-lrp-scheduling-infos", "desired-lrps", "domains"])
@pytest.mark.parametrize("stream", ["instances", "groups"])
def test_it_prints_what_diegos_own_tool_printed(capsys: pytest.CaptureFixture[str], what: str, stream: str) -> None:
    path = recorded("06-mixed")
    expected = ndjson(path / "json" / f"{what}.ndjson")
    got = without_younger(printed(capsys, path, "--stream", stream, "--print", what))
    assert {json.dumps(one, sort_keys=True) for one in got} == {json.dumps(one, sort_keys=True) for one in expected}
    assert len(got) == len(expected)


def rows_by_slot(rows: list[Any]) -> dict[tuple[str, int, str], dict[str, Any]]:
    return {(row["process_guid"], row["index"], row["presence"]): row for row in without_younger(rows)}


def test_its_rows_are_those_of_diegos_own_tool_but_for_what_the_stream_does_not_tell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = recorded("06-mixed")
    expected = rows_by_slot(ndjson(path / "json" / "actual-lrps.ndjson"))
    got = rows_by_slot(printed(capsys, path, "--print", "actual-lrps"))
    assert got.keys() == expected.keys()
    others = [key for key, row in got.items() if row != expected[key]]
    for key in others:
        assert got[key] == {name: value for name, value in expected[key].items() if name not in NOT_STREAMED}
    # The three that a `changed` event started; over a thousand others are equal to the letter.
    assert len(others) == 3


def test_its_rows_from_the_group_stream_are_all_those_of_diegos_own_tool(capsys: pytest.CaptureFixture[str]) -> None:
    path = recorded("06-mixed")
    expected = rows_by_slot(ndjson(path / "json" / "actual-lrps.ndjson"))
    assert rows_by_slot(printed(capsys, path, "--stream", "groups", "--print", "actual-lrps")) == expected


# What it prints


@pytest.mark.parametrize("name", [*NAMES, *IN_PARTS])
def test_the_summary_says_that_the_outcome_is_as_expected(capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = recorded(name)
    for stream in ("instances", "groups"):
        (summary,) = printed(capsys, path, "--stream", stream)
        assert summary["as_expected"] is True
        recording = Recording(path)
        assert sum(summary["events"].values()) == len(list(recording.frames(recording.streams[stream == "groups"])))
        assert summary["actual_lrps"] == len(recording.lists("expected").actual_lrps())
        assert sum(summary["states"].values()) == sum(summary["presences"].values()) == summary["actual_lrps"]


def test_a_summary_of_what_is_not_as_expected_names_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = recorded("01-lifecycle")
    path = tmp_path / "copy"
    (path / "expected").mkdir(parents=True)
    for file in ("snapshot", "events.instances.sse"):
        (path / file).symlink_to(source / file)
    (path / "expected" / "actual_lrps.pb").touch()
    (summary,) = printed(capsys, path)
    (row,) = Recording(source).lists("expected").actual_lrps()
    assert summary["as_expected"] is False
    assert summary["differences"] == [{"kind": "actual_lrp", "key": row.epoch}]


def test_a_summary_without_expected_lists_does_not_judge(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for file in ("snapshot", "events.instances.sse"):
        (tmp_path / file).symlink_to(recorded("01-lifecycle") / file)
    (summary,) = printed(capsys, tmp_path)
    assert summary["as_expected"] is None


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("actual-lrps", ActualLRP),
        ("actual-lrp-groups", ActualLRPGroup),
        ("desired-lrps", DesiredLRP),
        ("desired-lrp-scheduling-infos", DesiredLRP),
    ],
)
def test_what_it_prints_can_be_read_back_and_is_sorted(
    capsys: pytest.CaptureFixture[str], what: str, kind: type[ActualLRP | ActualLRPGroup | DesiredLRP]
) -> None:
    path = recorded("07-routes")
    values = [diego_json.from_json(kind, one) for one in printed(capsys, path, "--print", what)]
    rows = [one.resolve() if isinstance(one, ActualLRPGroup) else one for one in values]
    keys = [
        (row.process_guid, row.index, int(row.presence)) if isinstance(row, ActualLRP) else (row.process_guid, 0, 0)
        for row in rows
    ]
    assert len(keys) > 10
    assert keys == sorted(set(keys))


def test_changes_lead_from_nothing_to_the_state(capsys: pytest.CaptureFixture[str]) -> None:
    path = recorded("03-evacuation")
    state: dict[tuple[str, str], Any] = {}
    changes = printed(capsys, path, "--print", "changes", "--lists", "steps/03")
    for change in changes:
        assert list(change) == ["kind", "key", "before", "after", "revision", "cause"]
        key = change["kind"], str(change["key"])
        assert state.get(key) == (change["before"] or None)
        state[key] = change["after"]
    rows = [value for (kind, _), value in state.items() if kind == "actual_lrp" and value is not None]
    assert rows == printed(capsys, path, "--print", "actual-lrps", "--lists", "steps/03")
    assert state["domains", "domains"] == printed(capsys, path, "--print", "domains")
    first = [change for change in changes if change["revision"] == 1]
    assert Counter(change["cause"] for change in first) == {"snapshot": len(first)}
    assert {change["cause"] for change in changes if change["revision"] > 1} == {"event"}
    assert sorted({change["revision"] for change in changes}) == list(range(1, changes[-1]["revision"] + 1))


def test_lists_are_of_the_recording_or_of_any_folder(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = recorded("01-lifecycle")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "steps").symlink_to(recorded("02-crash") / "steps")
    (tmp_path / "mine").symlink_to(path / "steps" / "07")
    by_name, by_path, own = (
        printed(capsys, path, "--lists", lists, "--print", "changes")
        for lists in ("steps/07", path / "steps" / "07", "mine")
    )
    assert by_name == by_path == own != printed(capsys, path, "--print", "changes")


def test_the_output_of_two_runs_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    path = recorded("07-routes")
    assert printed(capsys, path, "--print", "changes") == printed(capsys, path, "--print", "changes")


# What goes wrong


def test_a_bad_recording_is_status_3_and_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, err = refused(capsys, tmp_path / "nowhere")
    assert status == 3
    assert "nowhere does not exist: give the folder that `lrpmirror record` made" in err
    status, err = refused(capsys, tmp_path)
    assert status == 3
    assert "is no folder with lists" in err


def test_a_missing_stream_is_status_3(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "snapshot").symlink_to(recorded("01-lifecycle") / "snapshot")
    status, err = refused(capsys, tmp_path)
    assert status == 3
    assert "events.instances.sse is missing" in err


@pytest.mark.parametrize("arguments", [(), ("x", "--print", "everything"), ("x", "--stream", "all")])
def test_wrong_arguments_are_status_2_and_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    status, err = refused(capsys, *arguments)
    assert status == 2
    assert err.endswith("see 'lrpmirror replay --help'\n")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    process = started(
        "replay",
        str(recorded("churn1")),
        "--print",
        "changes",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(PATIENCE) == 141
    process.stderr.close()


def test_output_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    domains = tmp_path / "snapshot"
    domains.mkdir()
    for name in ("actual_lrps", "desired_lrps"):
        (domains / f"{name}.pb").touch()
    (domains / "domains.pb").write_bytes(b"\x12\x04\xe2\x98\x83!")
    (tmp_path / "events.instances.sse").touch()
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = ["lrpmirror", "replay", str(tmp_path), "--print", "domains"]
    run = "import sys; from lrpmirror.cli import main; sys.argv = sys.argv[1:]; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", run, *command], env=environment, capture_output=True, check=False, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '"☃!"\n'.encode(), b"")
