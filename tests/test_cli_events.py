"""`lrpmirror lrp-events`: what Diego's own tool printed, and what it says when the stream ends."""

from typing import Any

import pytest
from cli_query_support import (
    STREAMS,
    Reader,
    as_the_tool,
    interactive,
    printed,
    recorded_lists,
    recorded_streams,
    recording,
    scripted_bbs,
    wait_until,
)
from cli_support import simulated_bbs

from lrpmirror.cli import main
from lrpmirror.wire.proto import events_pb2

INSTANCES, GROUPS = STREAMS
GROUP_EVENTS = {"actual_lrp_created", "actual_lrp_changed", "actual_lrp_removed"}


def split(events: list[Any]) -> tuple[list[str], list[str]]:
    """The events of the instance stream and those of groups, each in its order."""
    return (
        [as_the_tool(event) for event in events if event["type"] not in GROUP_EVENTS],
        [as_the_tool(event) for event in events if event["type"] in GROUP_EVENTS],
    )


def received(*options: str, count: int) -> list[Any]:
    """What is printed of the recorded streams, which go on silently, until Ctrl-C."""
    found: list[Any] = []
    with scripted_bbs({}, recorded_streams()) as bbs:
        status = interactive(lambda out: found.extend(out.lines(count)), "lrp-events", *options, "--bbs-url", bbs.url)
        assert status == 0
    return found


def test_both_streams_print_as_the_tool_printed_them_each_in_its_order(capfd: pytest.CaptureFixture[str]) -> None:
    theirs = printed("lrp-events")
    ours = received(count=len(theirs))
    assert sorted(map(as_the_tool, ours)) == sorted(map(as_the_tool, theirs))
    assert split(ours) == split(theirs)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("option", ["--exclude-actual-lrp-groups", "-x"])
def test_without_groups_the_instance_stream_prints_as_the_tool_printed_it(option: str) -> None:
    theirs = printed("lrp-events-exclude-groups")
    assert list(map(as_the_tool, received(option, count=len(theirs)))) == list(map(as_the_tool, theirs))


def test_without_groups_their_stream_is_not_asked_for() -> None:
    with scripted_bbs({}, {INSTANCES: b""}, ends=True) as bbs:
        main(["lrp-events", "-x", "--bbs-url", bbs.url])
        assert [one.path for one in bbs.received] == [INSTANCES]


def test_the_cell_filter_is_the_bbss_own_on_both_streams() -> None:
    request = events_pb2.EventsByCellId(cell_id="cell-a").SerializeToString()
    body = (recording() / "events.instances.cell-a.sse").read_bytes()
    with scripted_bbs({}, {INSTANCES: body, GROUPS: b""}) as bbs:
        found: list[Any] = []
        interactive(lambda out: found.extend(out.lines(8)), "lrp-events", "--cell-id", "cell-a", "--bbs-url", bbs.url)
        assert {one.path: one.body for one in bbs.received} == {INSTANCES: request, GROUPS: request}
    wanted = {"desired_lrp_created", "desired_lrp_changed", "actual_lrp_instance_changed"}
    assert {event["type"] for event in found} == wanted


@pytest.mark.parametrize("options", [[], ["-x"]])
def test_a_stream_that_the_server_closes_is_an_error_after_what_came(
    options: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with scripted_bbs({}, recorded_streams(), ends=True) as bbs:
        assert main(["lrp-events", *options, "--bbs-url", bbs.url]) == 1
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == len(printed("lrp-events-exclude-groups" if options else "lrp-events"))
    assert err.startswith("lrpmirror lrp-events: ")
    assert "closed the stream" in err or "connection broke" in err
    assert err.count("\n") == 1


def test_what_the_other_stream_brings_just_after_one_has_ended_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_bbs({}, recorded_streams(), ends=True) as bbs:
        bbs.late[GROUPS] = 0.1
        assert main(["lrp-events", "--bbs-url", bbs.url]) == 1
    assert len(capfd.readouterr().out.splitlines()) == len(printed("lrp-events"))


def test_a_server_without_group_events_is_an_error_with_what_to_do(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_bbs(recorded_lists(), {INSTANCES: b""}) as bbs:
        assert main(["lrp-events", "--bbs-url", bbs.url]) == 1
    assert "it has no events of groups: give --exclude-actual-lrp-groups" in capfd.readouterr().err


def test_events_are_printed_while_they_happen() -> None:
    with simulated_bbs() as bbs:
        lrp = bbs.call(bbs.diego.desired_lrps)[0]

        def script(out: Reader) -> None:
            wait_until(lambda: bool(bbs.call(lambda: bbs.served.host.streams)))
            bbs.call(lambda: bbs.diego.update_desired(lrp.process_guid, annotation="new"))
            (event,) = out.lines(1)
            assert (event["type"], event["data"]["after"]["annotation"]) == ("desired_lrp_changed", "new")
            assert event["data"]["after"]["env"]

        assert interactive(script, "lrp-events", "-x", "--bbs-url", bbs.url) == 0
