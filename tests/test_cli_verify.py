"""`lrpmirror verify`: a mirror against fresh lists of a BBS that goes on living."""

from typing import Any

import pytest
from cli_query_support import lines_of, lists_of, on_a_terminal, scripted_bbs
from cli_support import simulated_bbs
from msgspec.structs import replace

from lrpmirror.cli import main
from lrpmirror.cli.commands.verify import _Held
from lrpmirror.core.rows.changes import Cause, Change
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, MetricTagValue

ROWS = "/v1/actual_lrps/list"
LRP = DesiredLRP(process_guid="p", domain="d", instances=2, epoch="d", tag_index=3, routes={"cf-router": b"[]"})
ROW = ActualLRP(
    process_guid="p",
    index=0,
    domain="d",
    instance_guid="i",
    cell_id="c",
    state=ActualLRPState.RUNNING,
    epoch="a",
    tag_index=4,
)
TAGS = {"k": MetricTagValue(static="v")}
OTHER = replace(ROW, index=1, epoch="b", instance_guid="j")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is on its way from a scripted BBS."""
    monkeypatch.setattr("lrpmirror.cli.commands.verify.GRACE", 0.02)


def verified(
    capfd: pytest.CaptureFixture[str], *states: tuple[list[ActualLRP], list[DesiredLRP]]
) -> tuple[int, list[Any]]:
    """Verify against a BBS that lists one state after the other, without an event."""
    listed = [lists_of(rows, lrps) for rows, lrps in states]
    lists = {path: tuple(one[path] for one in listed) for path in listed[0]}
    with scripted_bbs(lists) as bbs:
        status = main(["verify", "--seconds", "0.05", "--bbs-url", bbs.url])
    out, err = capfd.readouterr()
    assert err == ""
    return status, lines_of(out.encode())


def test_a_mirror_of_a_living_bbs_is_equal(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # Events and repairs are on their way here.
    monkeypatch.setattr("lrpmirror.cli.commands.verify.GRACE", 1.0)
    with simulated_bbs(steps=150, apps=8, cells=4) as bbs:
        assert main(["verify", "--seconds", "1.5", "--bbs-url", bbs.url]) == 0
    (summary,) = lines_of(capfd.readouterr().out.encode())
    assert summary["equal"] is True
    assert summary["actual_lrps"] > 8
    assert summary["revision"] > 20


def test_what_is_the_same_in_every_list_is_equal(capfd: pytest.CaptureFixture[str]) -> None:
    status, lines = verified(capfd, ([ROW, OTHER], [LRP]))
    assert status == 0
    assert lines == [{"equal": True, "differences": 0, "actual_lrps": 2, "desired_lrps": 1, "revision": 1}]


def test_what_only_one_list_has_otherwise_is_no_difference(capfd: pytest.CaptureFixture[str]) -> None:
    before = ([ROW], [LRP])
    lagging: tuple[list[ActualLRP], list[DesiredLRP]] = ([replace(ROW, tag_index=3)], [])
    assert verified(capfd, before, lagging, before)[0] == 0


def test_what_each_list_has_otherwise_but_only_once_is_no_difference(capfd: pytest.CaptureFixture[str]) -> None:
    assert verified(capfd, ([ROW, OTHER], [LRP]), ([ROW], [LRP]), ([OTHER], [LRP]))[0] == 0


def test_what_the_mirror_had_while_the_list_was_read_is_no_difference() -> None:
    newer = replace(ROW, tag_index=5)
    held: _Held[ActualLRP] = _Held()
    held.take(Change("a", ROW, newer, 7, Cause.EVENT))
    held.take(Change("b", OTHER, None, 8, Cause.EVENT))
    assert list(held.differing({"a": newer}, {"a": ROW, "b": OTHER})) == []
    assert [key for key, _ in held.differing({"a": newer, "b": OTHER}, {"a": replace(ROW, tag_index=6)})] == ["a"]


def test_what_two_lists_have_otherwise_is_a_difference_and_a_status(capfd: pytest.CaptureFixture[str]) -> None:
    newer = replace(ROW, tag_index=6, crash_count=1)
    status, lines = verified(capfd, ([ROW], [LRP]), ([newer], [LRP]))
    assert status == 4
    difference, summary = lines
    assert difference == {
        "kind": "actual_lrp",
        "process_guid": "p",
        "index": 0,
        "difference": "behind",
        "mirror": "a:4",
        "bbs": "a:6",
        "fields": ["tag_index", "crash_count"],
        "decisions": [],
    }
    assert (summary["equal"], summary["differences"]) == (False, 1)


def test_a_different_third_list_does_not_excuse_what_two_had(capfd: pytest.CaptureFixture[str]) -> None:
    states = [([ROW], [LRP]), ([], [LRP]), ([], [LRP]), ([ROW], [LRP])]
    assert verified(capfd, *states)[0] == 4


@pytest.mark.parametrize(
    ("before", "after", "notified"),
    [
        ([ROW], [ROW, OTHER], ("actual_lrp", "missing", None, "b:4", [])),
        ([ROW, OTHER], [ROW], ("actual_lrp", "extra", "b:4", None, [])),
        ([ROW], [replace(ROW, tag_index=2)], ("actual_lrp", "ahead", "a:4", "a:2", ["tag_index"])),
        ([ROW], [replace(ROW, metric_tags={"k": "v"})], ("actual_lrp", "content", "a:4", "a:4", ["metric_tags"])),
        ([LRP], [], ("desired_lrp", "extra", "d:3", None, [])),
        ([], [LRP], ("desired_lrp", "missing", None, "d:3", [])),
        (
            [LRP],
            [replace(LRP, epoch="e", tag_index=0)],
            ("desired_lrp", "replaced", "d:3", "e:0", ["epoch", "tag_index"]),
        ),
        ([LRP], [replace(LRP, metric_tags=TAGS)], ("desired_lrp", "content", "d:3", "d:3", ["metric_tags"])),
    ],
)
def test_differences_are_told_by_their_kind(
    before: list[Any], after: list[Any], notified: tuple[Any, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    rows = notified[0] == "actual_lrp"
    states = [(values, [LRP]) if rows else ([], values) for values in (before, after)]
    status, (line, _) = verified(capfd, *states)
    assert status == 4
    assert (line["kind"], line["difference"], line["mirror"], line["bbs"], line["fields"]) == notified
    assert ("index" in line) is rows


def test_a_server_without_parts_is_compared_with_whole_records(capfd: pytest.CaptureFixture[str]) -> None:
    with simulated_bbs() as bbs:
        bbs.call(lambda: setattr(bbs.served.app, "hidden", {"/v1/desired_lrp_routing_infos/list"}))
        assert main(["verify", "--seconds", "0.05", "--bbs-url", bbs.url]) == 0
    assert lines_of(capfd.readouterr().out.encode())[0]["equal"]


def test_the_group_stream_can_be_verified_too(capfd: pytest.CaptureFixture[str]) -> None:
    with simulated_bbs() as bbs:
        assert main(["verify", "--stream", "groups", "--seconds", "0.05", "--bbs-url", bbs.url]) == 0
    assert lines_of(capfd.readouterr().out.encode())[0]["equal"]


def test_a_terminal_is_shown_how_long_it_follows() -> None:
    with simulated_bbs() as bbs:
        status, shown = on_a_terminal("verify", "--seconds", "0.3", "--bbs-url", bbs.url)
    assert status == 0
    assert "following: 0 of 0 s, revision 1" in shown
    assert '{"equal":true' in shown
