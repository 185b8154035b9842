"""Recordings of a real BBS, read and replayed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_support import NAMES, RECORDINGS, recorded
from msgspec.structs import replace

from lrpmirror.core.rows.changes import Cause, row_key
from lrpmirror.errors import MalformedRecord, RecordingError, RequestRefused, TruncatedReply
from lrpmirror.events import ActualLRPInstanceChanged, ActualLRPInstanceCreated, UnreadableEvent
from lrpmirror.model import ActualLRP, ActualLRPState
from lrpmirror.recording import Lists, Recording, StreamName, replay


def all_lists() -> Iterator[tuple[str, str]]:
    """Every folder of lists that a replay can begin with."""
    if not RECORDINGS.is_dir():
        yield NAMES[0], "snapshot"  # whose test then says why it is skipped
        return
    for name in NAMES:
        for folder in Recording(RECORDINGS / name).folders:
            if folder != "expected":
                yield name, folder


def carried(recording: Recording, lists: Lists) -> set[str]:
    """The epochs of the rows whose internal routes and metric tags were listed, or told by a `created` event."""
    notified = [event.actual_lrp for event in recording.events() if isinstance(event, ActualLRPInstanceCreated)]
    return {row.epoch for row in (*lists.actual_lrps(), *notified) if row.metric_tags and row.internal_routes}


def started(recording: Recording) -> set[str]:
    """The epochs of the rows that a `changed` event made RUNNING, which tells neither of the two."""
    changes = [event for event in recording.events() if isinstance(event, ActualLRPInstanceChanged)]
    return {
        change.after.epoch
        for change in changes
        if change.after.state is ActualLRPState.RUNNING
        and (change.before.state is not ActualLRPState.RUNNING or change.before.epoch != change.after.epoch)
    }


@pytest.mark.parametrize(("name", "folder"), list(all_lists()))
def test_any_lists_and_all_instance_events_give_the_rows_that_the_server_had(name: str, folder: str) -> None:
    recording = Recording(recorded(name))
    run = replay(recording, lists=folder).finish()
    expected = {row_key(row): row for row in recording.lists("expected").actual_lrps()}
    knowable, unknowable = carried(recording, run.lists), started(recording)
    rows = {row_key(row): row for row in run.actual_lrps()}
    assert rows.keys() == expected.keys()
    for key, row in rows.items():
        if row == expected[key]:
            continue
        # Only what no input told may be missing, and it may only be missing, not wrong.
        assert row.epoch in unknowable - knowable
        assert (row.internal_routes, row.metric_tags) == ((), {})
        assert row == replace(expected[key], internal_routes=(), metric_tags={})
    run.session.knowledge.store._check()


@pytest.mark.parametrize(("name", "folder"), list(all_lists()))
@pytest.mark.parametrize("stream", ["instances", "groups"])
def test_both_streams_give_the_groups_and_desired_lrps_that_the_server_had(
    name: str, folder: str, stream: StreamName
) -> None:
    recording = Recording(recorded(name))
    run = replay(recording, stream=stream, lists=folder).finish()
    expected = recording.lists("expected")
    assert run.differences(expected) == []
    assert run.desired_lrps() == sorted(expected.desired_lrps(), key=lambda lrp: lrp.process_guid)
    assert len(run.actual_lrp_groups()) == len(expected.actual_lrp_groups())


@pytest.mark.parametrize("name", NAMES)
def test_a_full_replay_ends_with_whole_desired_lrps(name: str) -> None:
    recording = Recording(recorded(name))
    run = replay(recording, full=True).finish()
    expected = recording.lists("expected").desired_lrps(full=True)
    assert run.desired_lrps() == sorted(expected, key=lambda lrp: lrp.process_guid)
    assert all(lrp.detail is not None for lrp in run.desired_lrps())


@pytest.mark.parametrize(("name", "folder"), list(all_lists()))
def test_domains_are_those_of_the_lists_or_of_the_snapshot(name: str, folder: str) -> None:
    recording = Recording(recorded(name))
    domains = replay(recording, lists=folder).finish().domains()
    assert domains == sorted(recording.lists("snapshot").domains())
    if name != "01-lifecycle":
        # In 01 one expired meanwhile, which no event says.
        assert domains == sorted(recording.lists("expected").domains())


def test_the_two_parts_of_desired_lrps_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "snapshot").symlink_to(recorded("06-mixed") / "expected")
    (tmp_path / "events.instances.sse").touch()
    run = replay(Recording(tmp_path)).finish()
    expected = run.lists.desired_lrps()
    assert run.desired_lrps() == sorted(expected, key=lambda lrp: lrp.process_guid)
    assert all(lrp.metric_tags for lrp in expected)
    assert [cell.cell_id for cell in run.cells()] == ["cell-b"]


def test_commits_have_growing_revisions_and_fold_to_the_state() -> None:
    run = replay(Recording(recorded("06-mixed")))
    rows: dict[object, ActualLRP | None] = {}
    commits = list(run)
    for commit in commits:
        for delta in commit.actual_lrps:
            assert rows.get(delta.key) == delta.before
            rows[delta.key] = delta.after
    assert [commit.revision for commit in commits] == list(range(1, run.commits + 1))
    assert {commit.cause for commit in commits[1:]} == {Cause.EVENT}
    assert commits[0].cause is Cause.SNAPSHOT
    left = [row for row in rows.values() if row is not None]
    assert sorted(left, key=lambda row: (row.process_guid, row.index, row.presence, row.epoch)) == run.actual_lrps()


def test_a_replay_that_was_begun_goes_on_where_it_stopped() -> None:
    run = replay(Recording(recorded("02-crash")))
    first = next(iter(run))
    rest = list(run)
    assert [commit.revision for commit in (first, *rest)] == list(range(1, run.commits + 1))
    assert list(run) == []


def test_a_recording_says_what_it_holds() -> None:
    recording = Recording(recorded("01-lifecycle"))
    assert recording.streams == ("instances", "groups")
    assert recording.folders == ("snapshot", *(f"steps/{step:02}" for step in range(19)), "expected")
    assert recording.about.steps[0] == "desire 3"
    assert recording.lists("steps/00").names == ("actual_lrps", "actual_lrp_groups", "desired_lrps")


def test_a_list_is_bytes_and_records_and_values() -> None:
    lists = Recording(recorded("06-mixed")).lists("expected")
    assert lists.raw("domains") == (recorded("06-mixed") / "expected" / "domains.pb").read_bytes()
    assert lists.records("domains") == [name.encode() for name in lists.domains()]
    assert [cell.cell_id for cell in lists.cells()] == ["cell-b"]
    assert {lrp.process_guid for lrp in lists.scheduling_infos()} == {lrp.process_guid for lrp in lists.routing_infos()}


def test_a_recorded_refusal_is_the_refusal_and_does_not_hinder_a_replay() -> None:
    recording = Recording(recorded("02-crash"))
    with pytest.raises(RequestRefused):
        recording.lists().cells()
    assert replay(recording).finish().cells() == []


# What is wrong with a recording is said with the file it is in


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "copy"
    shutil.copytree(recorded("02-crash"), path, copy_function=shutil.copyfile)
    for folder in (path, *path.rglob("*")):
        folder.chmod(0o755)
    return path


def test_no_folder_and_no_folder_at_all_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="nowhere does not exist"):
        Recording(tmp_path / "nowhere")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(RecordingError, match="is a file, not the folder"):
        Recording(file)


def test_a_missing_stream_is_named_with_those_that_are_there(copy: Path) -> None:
    (copy / "events.groups.sse").unlink()
    with pytest.raises(RecordingError, match=r"events\.groups\.sse is missing: .* has the streams instances"):
        replay(Recording(copy), stream="groups").finish()


def test_a_missing_list_is_named_with_those_that_are_there(copy: Path) -> None:
    (copy / "snapshot" / "actual_lrps.pb").unlink()
    (copy / "snapshot" / "actual_lrp_groups.pb").unlink()
    with pytest.raises(RecordingError, match=r"actual_lrps\.pb is missing: .*snapshot has desired_lrps\.pb"):
        replay(Recording(copy)).finish()


def test_lists_that_do_not_exist_are_named_with_those_that_do(copy: Path) -> None:
    with pytest.raises(RecordingError, match=r"steps/99 is no folder with lists: .* has snapshot, steps/00"):
        replay(Recording(copy), lists="steps/99")


def test_a_truncated_list_is_named_with_the_byte(copy: Path) -> None:
    path = copy / "steps" / "00" / "actual_lrps.pb"
    first, *_ = Recording(copy).lists("steps/00").records("actual_lrps")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        RecordingError, match=rf"{path} is truncated: .* within a record that starts at byte \d+"
    ) as exc:
        replay(Recording(copy), lists="steps/00").finish()
    assert isinstance(exc.value.__cause__, TruncatedReply)
    path.write_bytes(b"\x12\x7f" + first[:100])
    with pytest.raises(RecordingError, match="its 102 bytes end within a record that starts at byte 0"):
        Recording(copy).lists("steps/00").actual_lrps()


def test_a_damaged_record_is_named_with_its_number(copy: Path) -> None:
    path = copy / "snapshot" / "actual_lrps.pb"
    path.write_bytes(path.read_bytes() + b"\x12\x01\xff")
    with pytest.raises(RecordingError, match=r"actual_lrps\.pb, record 1: ") as exc:
        Recording(copy).lists().actual_lrps()
    assert isinstance(exc.value.__cause__, MalformedRecord)


def test_a_file_that_is_no_list_is_named(copy: Path) -> None:
    (copy / "snapshot" / "actual_lrps.pb").write_bytes(b"<html>")
    with pytest.raises(RecordingError, match=r"actual_lrps\.pb has .*: it is no list, or was damaged"):
        Recording(copy).lists().actual_lrps()


def test_a_list_that_is_a_refusal_says_so(copy: Path) -> None:
    (copy / "snapshot" / "actual_lrps.pb").write_bytes((copy / "snapshot" / "cells.pb").read_bytes())
    with pytest.raises(RecordingError, match="snapshot holds the BBS's refusal instead of a list"):
        replay(Recording(copy)).finish()


def test_a_damaged_event_is_named_by_its_id(copy: Path) -> None:
    path = copy / "events.instances.sse"
    path.write_bytes(path.read_bytes() + b"id: 77\nevent: actual_lrp_crashed\ndata: ???\n\n")
    with pytest.raises(RecordingError, match=r"events\.instances\.sse, event '77': .* is not base64"):
        replay(Recording(copy)).finish()


def test_events_that_say_nothing_cost_a_replay_nothing(copy: Path) -> None:
    before = replay(Recording(copy)).finish()
    path = copy / "events.instances.sse"
    empty = b"id: 77\nevent: actual_lrp_instance_removed\ndata: \n\nid: 78\nevent: \xff\ndata: \n\n"
    path.write_bytes(empty + path.read_bytes() + b"id: 79\nevent: desired_lrp_changed\ndata: ////\n\n")
    run = replay(Recording(copy)).finish()
    assert run.actual_lrps() == before.actual_lrps()
    assert run.events - before.events == {"unreadable": 2, "\ufffd": 1}
    damaged = [event for event in Recording(copy).events() if isinstance(event, UnreadableEvent)]
    assert damaged == [
        UnreadableEvent("actual_lrp_instance_removed", 0, "its data is empty"),
        UnreadableEvent("desired_lrp_changed", 4, "3 bytes are no protobuf record of the kind 'desired_lrp_changed'"),
    ]


def test_an_incomplete_event_at_the_end_is_left_out(copy: Path) -> None:
    before = list(Recording(copy).events())
    path = copy / "events.instances.sse"
    path.write_bytes(path.read_bytes() + b"id: 77\nevent: actual_lrp_crashed\ndata: ")
    assert list(Recording(copy).events()) == before


def test_about_json_is_checked_and_can_be_missing(copy: Path) -> None:
    about = copy / "about.json"
    about.write_text('{"format": 2}')
    with pytest.raises(RecordingError, match="format 2 is newer than 1"):
        Recording(copy)
    for content in (b"[]", b'{"note": "\xec"}', b'{"other": ' + b"[" * 100_000):
        about.write_bytes(content)
        with pytest.raises(RecordingError, match="is not what describes a recording"):
            Recording(copy)
    about.unlink()
    assert Recording(copy).about.note == ""


def test_rows_come_from_groups_where_there_are_no_rows(copy: Path) -> None:
    (copy / "snapshot" / "actual_lrps.pb").unlink()
    assert replay(Recording(copy)).finish().differences(Recording(copy).lists("expected")) == []


def test_a_full_replay_needs_whole_desired_lrps(copy: Path) -> None:
    (copy / "snapshot" / "desired_lrps.pb").unlink()
    with pytest.raises(RecordingError, match="holds no whole desired LRPs"):
        replay(Recording(copy), full=True).finish()


def test_differences_name_what_is_expected_otherwise(copy: Path) -> None:
    recording = Recording(copy)
    run = replay(recording).finish()
    (row,) = run.actual_lrps()
    assert run.differences(recording.lists("snapshot")) == []
    kinds = {(one.kind, one.key) for one in run.differences(recording.lists("steps/00"))}
    (guid,) = {one.process_guid for one in recording.lists("steps/00").actual_lrps()} - {row.process_guid}
    assert {kind for kind, _ in kinds} == {"actual_lrp", "actual_lrp_group", "desired_lrp"}
    assert {("actual_lrp_group", (guid, 0)), ("actual_lrp_group", (guid, 1)), ("desired_lrp", guid)} <= kinds
