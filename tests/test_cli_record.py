"""`lrpmirror record` of a simulated BBS over loopback, and replays of what it recorded."""

import signal
import subprocess
from pathlib import Path

import pytest
from cli_support import simulated_bbs, started
from patience import PATIENCE

from lrpmirror.cli import main
from lrpmirror.core.rows.changes import row_key
from lrpmirror.recording import Recording, StreamName, replay


@pytest.fixture(autouse=True)
def _no_bbs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BBS_URL", "CA_CERT_FILE", "CLIENT_CERT_FILE", "CLIENT_KEY_FILE", "SKIP_CERT_VERIFY"):
        monkeypatch.delenv(name, raising=False)


def record(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run `lrpmirror record`; return its status and what it said."""
    status = main(["record", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert out == ""
    return status, err


@pytest.mark.parametrize("stream", ["instances", "groups"])
def test_what_was_recorded_of_a_living_bbs_replays_to_its_state(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, stream: StreamName
) -> None:
    target = tmp_path / "new"
    with simulated_bbs(steps=40) as bbs:
        status, err = record(capsys, target, "--seconds", "0.6", "--bbs-url", bbs.url)
        rows = bbs.call(bbs.diego.actual_lrps)
    assert status == 0
    assert f"in {target}" in err
    recording = Recording(target)
    assert recording.streams == ("instances", "groups")
    assert recording.about.secrets is False
    assert len(list(recording.events(stream))) > 20
    expected = recording.lists("expected")
    assert {row_key(row) for row in expected.actual_lrps()} == {row_key(row) for row in rows}
    assert replay(recording, stream=stream).finish().differences(expected) == []


def test_a_bbs_that_never_pauses_gives_no_expected_lists(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with simulated_bbs(apps=8, steps=1000) as bbs:
        status, err = record(capsys, tmp_path / "new", "--seconds", "0.1", "--bbs-url", bbs.url)
    assert status == 0
    assert "events kept coming, so there are no expected lists" in err
    assert Recording(tmp_path / "new").folders == ("snapshot",)


def test_a_recording_of_a_quiet_bbs_ends_with_expected_lists(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    target = tmp_path / "new"
    with simulated_bbs() as bbs:
        status, err = record(capsys, target, "--seconds", "0.1", "--bbsURL", bbs.url, "--note", "why")
        snapshot = bbs.call(bbs.diego.snapshot)
    assert status == 0
    assert "no event came, so a replay shows the lists only" in err
    recording = Recording(target)
    assert recording.folders == ("snapshot", "expected")
    assert recording.about.note == "why"
    lists = recording.lists("expected")
    assert sorted(lists.actual_lrps(), key=hash) == sorted(snapshot.actual_lrps, key=hash)
    assert sorted(lists.domains()) == sorted(snapshot.domains)
    assert lists.cells() == list(snapshot.cells)
    # Whole desired LRPs are not even asked for.
    assert "desired_lrps" not in lists.names
    assert replay(recording).finish().differences(lists) == []
    assert main(["replay", str(target), "--print", "desired-lrps"]) == 3


def test_with_secrets_whole_desired_lrps_are_recorded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "new"
    with simulated_bbs() as bbs:
        assert record(capsys, target, "--seconds", "0.1", "--with-secrets", "--bbs-url", bbs.url)[0] == 0
        desired = bbs.call(bbs.diego.desired_lrps)
    found = Recording(target).lists().desired_lrps(full=True)
    assert sorted(found, key=hash) == sorted(desired, key=hash)
    assert replay(Recording(target), full=True).finish().desired_lrps()


def test_an_old_bbs_is_recorded_by_what_it_has(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "new"
    with simulated_bbs() as bbs:
        bbs.served.app.hidden = frozenset(
            {"/v1/desired_lrp_routing_infos/list", "/v1/events.r1", "/v1/events", "/v1/cells/list.r1"}
        )
        status, err = record(capsys, target, "--seconds", "0.1", "--bbs-url", bbs.url)
    assert status == 0
    assert "this server has no group stream" in err
    recording = Recording(target)
    assert recording.streams == ("instances",)
    assert {"desired_lrps", "actual_lrps"} <= set(recording.lists().names)
    assert all(lrp.detail and not lrp.detail.environment_variables for lrp in recording.lists().desired_lrps(full=True))
    assert replay(recording).finish().differences(recording.lists("expected")) == []


def test_a_lost_connection_is_status_1_and_leaves_what_came_before(tmp_path: Path) -> None:
    target = tmp_path / "new"
    with simulated_bbs(steps=1000) as bbs:
        process = started("record", str(target), "--bbs-url", bbs.url, stderr=subprocess.PIPE)
        assert process.stderr is not None
        first = process.stderr.readline()
        while not (target / "snapshot" / "domains.part").exists():
            assert process.poll() is None, first
        bbs.call(lambda: bbs.served.host.cut(streams_only=True))
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    last = err.decode().splitlines()[-1]
    assert last.startswith("lrpmirror record: ")
    assert "the server closed the stream" in last
    assert "the server closed the stream" in Recording(target).about.ended


def test_ctrl_c_ends_a_recording_well(tmp_path: Path) -> None:
    target = tmp_path / "new"
    with simulated_bbs() as bbs:
        process = started("record", str(target), "--bbs-url", bbs.url, stderr=subprocess.PIPE)
        # The last list that is asked for has begun.
        while not (target / "snapshot" / "cells.part").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    # It came after the lists, or else cut the last of them short: that is told apart, and both are quiet.
    assert process.returncode in (0, 130)
    assert b"Traceback" not in err
    assert (process.returncode == 0) == ("expected" in Recording(target).folders)


def test_a_folder_that_is_not_empty_is_status_3(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    status, err = record(capsys, tmp_path, "--bbs-url", "http://127.0.0.1:1")
    assert (status, err) == (
        3,
        f"lrpmirror record: {tmp_path} is not empty: choose a folder that does not exist yet\n",
    )


def test_a_bbs_that_is_not_there_is_status_1_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, err = record(capsys, tmp_path / "new", "--bbs-url", "http://127.0.0.1:1")
    assert status == 1
    assert err.count("\n") == 1
    assert "is the BBS running, and --bbs-url right?" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bbs-url", "ftp://b"], "must begin with https:// or http://"),
        (["--bbs-url", "https://b", "--ca-cert-file", "/nowhere"], "TLS CA '/nowhere' cannot be read"),
        (["--bbs-url", "http://b", "--client-cert-file", "c"], "TLS options are given, but the BBS URL"),
    ],
)
def test_options_that_cannot_be_used_are_status_2_and_leave_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    status, err = record(capsys, tmp_path / "new", *arguments)
    assert status == 2
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_a_bbs_out_of_service_is_status_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with simulated_bbs() as bbs:
        bbs.served.app.available = False
        status, err = record(capsys, tmp_path / "new", "--bbs-url", bbs.url)
    assert status == 1
    assert "503, the BBS is not in service; retry later" in err
