"""Recordings as they are written, from what a client is shown."""

import stat
from base64 import b64decode
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from cli_support import recorded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrpmirror.errors import RecordingError, RequestRefused
from lrpmirror.events import UnknownEvent
from lrpmirror.recording import LIST_NAMES, Recorder, Recording, StreamName, replay
from lrpmirror.wire import encode
from lrpmirror.wire.sse import encode_frame

TAPS = {
    "actual_lrps": "actual_lrps",
    "actual_lrp_groups": "actual_lrp_groups",
    "desired_lrps": "desired_lrps",
    "desired_lrp_scheduling_infos": "scheduling_infos",
    "desired_lrp_routing_infos": "routing_infos",
    "domains": "domains",
    "cells": "cells",
}
SECRETS = (b"vvvvvvvv", b"VCAP_APPLICATION", b"launcher", b"private_key", b"host_fingerprint")
"""What is found in the environments, actions and keys of the desired LRPs of 06-mixed."""


def show(recorder: Recorder, name: str, *pieces: bytes) -> None:
    """Show a reply as a client does: first that it begins, then its body."""
    recorder.tap(name, b"")
    for piece in filter(None, pieces):
        recorder.tap(name, piece)


def show_all(recorder: Recorder, source: Path, folder: str = "snapshot") -> None:
    """Show the streams of a recording, and the lists of one of its folders."""
    if folder == "snapshot":
        for name in ("instances", "groups"):
            show(recorder, f"events.{name}", (source / f"events.{name}.sse").read_bytes())
    for name, tap in TAPS.items():
        show(recorder, tap, (source / folder / f"{name}.pb").read_bytes())


def everything_in(path: Path) -> Iterator[bytes]:
    """The bytes of every file, and of what is in base64 in it."""
    for file in path.rglob("*.*"):
        data = file.read_bytes()
        yield data
        yield from (b64decode(line[6:]) for line in data.splitlines() if line.startswith(b"data: "))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 20_000), max_size=20))
def test_with_secrets_every_byte_is_recorded_in_whatever_pieces_it_came(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    source, target = recorded("06-mixed"), tmp_path_factory.mktemp("r") / "new"
    names = {f"events.{stream}": source / f"events.{stream}.sse" for stream in ("instances", "groups")}
    names |= {tap: source / "snapshot" / f"{name}.pb" for name, tap in TAPS.items()}
    with Recorder(target, secrets=True) as recorder:
        for name, path in names.items():
            body, edges = path.read_bytes(), [0, *sorted(cuts), None]
            show(recorder, name, *(body[start:end] for start, end in pairwise(edges)))
    for path in names.values():
        assert (target / path.relative_to(source)).read_bytes() == path.read_bytes()


def test_by_default_nothing_secret_is_recorded(tmp_path: Path) -> None:
    source, target = recorded("06-mixed"), tmp_path / "new"
    assert all(any(secret in data for data in everything_in(source)) for secret in SECRETS)
    with Recorder(target) as recorder:
        show_all(recorder, source)
        recorder.expect()
        show_all(recorder, source, "expected")
    found = {secret for secret in SECRETS if any(secret in data for data in everything_in(target))}
    assert found == set()
    assert Recording(target).about.secrets is False


def test_what_holds_no_secret_is_recorded_byte_for_byte_also_by_default(tmp_path: Path) -> None:
    source, target = recorded("06-mixed"), tmp_path / "new"
    with Recorder(target) as recorder:
        show_all(recorder, source)
    for name in ("actual_lrps", "actual_lrp_groups", "domains", "cells"):
        assert (target / "snapshot" / f"{name}.pb").read_bytes() == (source / "snapshot" / f"{name}.pb").read_bytes()
    frames = zip(Recording(source).frames(), Recording(target).frames(), strict=True)
    assert all(one == other for one, other in frames if not one.event.startswith("desired"))


@pytest.mark.parametrize("stream", ["instances", "groups"])
def test_a_recording_without_secrets_replays_to_the_same_state(tmp_path: Path, stream: StreamName) -> None:
    source, target = recorded("06-mixed"), tmp_path / "new"
    with Recorder(target) as recorder:
        show_all(recorder, source)
    run, original = (replay(Recording(path), stream=stream).finish() for path in (target, source))
    assert run.actual_lrps() == original.actual_lrps()
    kept = {"cf-router", "tcp-router", "internal-router"}
    for lrp, before in zip(run.desired_lrps(), original.desired_lrps(), strict=True):
        assert lrp.routes == {name: route if name in kept else b"null" for name, route in before.routes.items()}
        assert (lrp.instances, lrp.metric_tags, lrp.modification_tag) == (
            before.instances,
            before.metric_tags,
            before.modification_tag,
        )
    with pytest.raises(RecordingError, match="no whole desired LRPs"):
        replay(Recording(target), full=True).finish()


def test_an_event_without_a_name_here_leaves_its_name_only(tmp_path: Path) -> None:
    with Recorder(tmp_path / "new") as recorder:
        show(recorder, "events.instances", encode_frame(0, "task_changed", b"password"))
    assert list(Recording(tmp_path / "new").events()) == [UnknownEvent("task_changed")]


def test_a_refusal_is_recorded_as_the_refusal(tmp_path: Path) -> None:
    for secrets in (True, False):
        path = tmp_path / f"new-{secrets}"
        with Recorder(path, secrets=secrets) as recorder:
            for name in ("scheduling_infos", "cells"):
                show(recorder, name, encode.error_reply("UnknownError", "down"))
        lists = Recording(path).lists()
        for read in (lists.scheduling_infos, lists.cells):
            with pytest.raises(RequestRefused, match="down"):
                read()


def test_only_the_owner_can_read_a_recording(tmp_path: Path) -> None:
    target = tmp_path / "far" / "new"
    with Recorder(target) as recorder:
        show_all(recorder, recorded("06-mixed"))
        recorder.step("later")
        show(recorder, "domains", b"")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (target, *target.rglob("*")) if path.is_dir()}
    assert modes == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*") if path.is_file()} == {0o600}


def test_a_folder_with_anything_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(RecordingError, match="is not empty: choose a folder that does not exist yet"):
        Recorder(tmp_path)
    with pytest.raises(RecordingError, match="is a file: choose a folder that does not exist yet"):
        Recorder(tmp_path / "something")
    with pytest.raises(RecordingError, match=r"something.* cannot be written: "):
        Recorder(tmp_path / "something" / "new")


def test_an_empty_folder_is_taken_and_closed_to_others(tmp_path: Path) -> None:
    target = tmp_path / "there"
    target.mkdir(mode=0o755)
    with Recorder(target) as recorder:
        show(recorder, "domains", b"")
    assert stat.S_IMODE(target.stat().st_mode) == 0o700


def test_a_recorder_that_was_shown_nothing_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("there", "new"):
        with Recorder(tmp_path / name):
            pass
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_reply_that_was_cut_short_is_not_kept(tmp_path: Path) -> None:
    rows = (recorded("06-mixed") / "snapshot" / "actual_lrps.pb").read_bytes()
    with Recorder(tmp_path / "new") as recorder:
        show(recorder, "actual_lrps", rows[:1000])
        show(recorder, "domains", b"")
    assert Recording(tmp_path / "new").lists().names == ("domains",)
    assert not list((tmp_path / "new").rglob("*.part"))


def test_the_latest_whole_reply_is_kept(tmp_path: Path) -> None:
    first, second, cut = (encode.reply([name]) for name in (b"first", b"second", b"third"))
    with Recorder(tmp_path / "new") as recorder:
        for body in (first, second, cut[:-1]):
            show(recorder, "domains", body)
    assert Recording(tmp_path / "new").lists().domains() == ["second"]


def test_lists_go_where_they_are_told_to(tmp_path: Path) -> None:
    with Recorder(tmp_path / "new", note="why") as recorder:
        show(recorder, "domains", encode.reply([b"a"]))
        for label in ("one", "two"):
            recorder.step(label)
            show(recorder, "domains", encode.reply([label.encode()]))
        recorder.expect()
        show(recorder, "domains", encode.reply([b"z"]))
    recording = Recording(tmp_path / "new")
    folders = ("snapshot", "steps/00", "steps/01", "expected")
    assert recording.folders == folders
    assert [recording.lists(folder).domains() for folder in folders] == [["a"], ["one"], ["two"], ["z"]]
    assert (recording.about.note, recording.about.steps, recording.about.ended) == ("why", ("one", "two"), "")


def test_expected_lists_can_be_taken_back(tmp_path: Path) -> None:
    with Recorder(tmp_path / "new") as recorder:
        show(recorder, "domains", b"")
        recorder.expect()
        show(recorder, "domains", encode.reply([b"early"]))
        show(recorder, "domains", encode.reply([b"too"]))
        recorder.drop_expected()
    assert Recording(tmp_path / "new").folders == ("snapshot",)


def test_a_recording_ends_with_the_connection_of_its_stream(tmp_path: Path) -> None:
    with Recorder(tmp_path / "new") as recorder:
        for id_ in (0, 1):
            show(recorder, "events.instances", encode_frame(id_, "one", b""), encode_frame(id_ + 10, "two", b""))
        show(recorder, "domains", b"")
    recording = Recording(tmp_path / "new")
    assert [frame.id for frame in recording.frames()] == ["0", "10"]
    assert "what happened in between is not known" in recording.about.ended
    assert recording.folders == ()


def test_a_recording_whose_recorder_was_killed_says_so_and_has_what_had_come(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "new")
    show(recorder, "events.instances", encode_frame(0, "one", b""))
    recording = Recording(tmp_path / "new")
    assert recording.about.ended == "the recorder was not closed: its process ended first"
    assert [frame.id for frame in recording.frames()] == ["0"]
    recorder.close()
    recorder.close()
    assert Recording(tmp_path / "new").about.ended == ""


def test_what_cannot_be_written_ends_the_recording_and_not_the_client(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "new")
    show(recorder, "events.instances", b"")
    (tmp_path / "new" / "snapshot").touch()
    show(recorder, "domains", b"")
    show(recorder, "cells", b"")
    assert recorder.ended
    with pytest.raises(RecordingError, match=r"snapshot.* cannot be written: ") as exc:
        recorder.close()
    assert exc.value is recorder.error
    assert isinstance(exc.value.__cause__, OSError)


def test_what_cannot_be_read_is_not_recorded_without_secrets_and_is_with_them(tmp_path: Path) -> None:
    frame = b"id: 0\nevent: desired_lrp_created\ndata: c2VjcmV0\n\n"
    empty = b"id: 1\nevent: actual_lrp_instance_removed\ndata: \n\n"
    with Recorder(tmp_path / "without") as recorder:
        show(recorder, "events.instances", frame, empty)
    written = (tmp_path / "without" / "events.instances.sse").read_bytes()
    assert written == b"id: 0\nevent: desired_lrp_created\ndata: \n\n" + empty
    with Recorder(tmp_path / "with", secrets=True) as recorder:
        show(recorder, "events.instances", frame, b"id: \xff\n\n")
        show(recorder, "desired_lrps", b"\x07\xff")
    assert (tmp_path / "with" / "events.instances.sse").read_bytes() == frame + b"id: \xff\n\n"
    assert (tmp_path / "with" / "snapshot" / "desired_lrps.pb").read_bytes() == b"\x07\xff"


def test_a_list_that_cannot_be_read_is_not_recorded_without_secrets(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "without")
    show(recorder, "desired_lrps", encode.reply([b"\xff"]))
    with pytest.raises(RecordingError, match="cannot be recorded without secrets"):
        recorder.close()


def test_an_error_of_the_block_is_not_hidden_by_one_of_the_recorder(tmp_path: Path) -> None:
    def record() -> None:
        with Recorder(tmp_path / "new") as recorder:
            show(recorder, "desired_lrps", b"\x07")
            raise KeyError("the first")

    with pytest.raises(KeyError):
        record()


def test_what_goes_wrong_first_is_raised_at_the_end_of_the_block_and_by_each_closing(tmp_path: Path) -> None:
    path = tmp_path / "new"
    recorder = Recorder(path)

    def record() -> None:
        with recorder:
            show(recorder, "events.instances", b"")
            show(recorder, "desired_lrps", encode.reply([b"\xff"]))
            show(recorder, "domains", b"")
            # Closing meets the next trouble.
            (path / "about.part").mkdir()

    with pytest.raises(RecordingError, match="cannot be recorded without secrets") as raised:
        record()
    with pytest.raises(RecordingError) as again:
        recorder.close()
    assert raised.value is again.value is recorder.error
    assert "without secrets" in recorder.ended


def test_counts_are_of_events_records_and_bytes(tmp_path: Path) -> None:
    source = recorded("06-mixed")
    with Recorder(tmp_path / "new", secrets=True) as recorder:
        show_all(recorder, source)
        counts = recorder.counts
    assert counts.events == {"instances": 28, "groups": 26}
    lists = Recording(source).lists()
    assert counts.records["actual_lrps"] == len(lists.actual_lrps())
    assert set(counts.records) == set(LIST_NAMES)
    files = [file for file in (tmp_path / "new").rglob("*") if file.suffix in (".pb", ".sse")]
    assert counts.bytes == sum(file.stat().st_size for file in files)
