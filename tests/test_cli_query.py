"""The commands that ask a BBS as Diego's own tool does."""

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cli_query_support import (
    Reader,
    as_the_tool,
    interactive,
    lines_of,
    on_a_terminal,
    printed,
    recorded_lists,
    running,
    scripted_bbs,
    served_diego,
    wait_until,
)
from cli_support import Simulation, simulated_bbs, started
from client_support import Received
from patience import PATIENCE

from lrpmirror.cli import main
from lrpmirror.cli.commands.query import COMMANDS
from lrpmirror.sim import Diego, InstanceKey
from lrpmirror.wire import decode, encode, json
from lrpmirror.wire.lists import ReplySplitter
from lrpmirror.wire.proto import requests_pb2 as pb


@pytest.fixture(scope="module")
def recorded_bbs() -> Iterator[Any]:
    with scripted_bbs() as bbs:
        yield bbs


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with simulated_bbs() as running_simulation:
        yield running_simulation


P = "d0db355d-5b6a-51ae-833c-f43d01346f01-ec2720ae-7fb6-5445-818f-4521b285248d"
Q = "13a60162-80c8-5df9-afbf-c11d6ea48184-a1def13f-f3ec-5905-831d-846b45d852e1"
APP = 36


def asked(capfd: pytest.CaptureFixture[str], url: str, *arguments: str) -> list[Any]:
    """Run a query, which succeeds without a word on stderr; return its lines."""
    status = main([*arguments, "--bbs-url", url])
    out, err = capfd.readouterr()
    assert (status, err) == (0, "")
    return lines_of(out.encode())


# Against the recorded tool


@pytest.mark.parametrize("command", ["actual-lrps", "desired-lrps", "desired-lrp-scheduling-infos", "domains", "cells"])
def test_recorded_lists_print_as_diegos_own_tool_printed_them(
    command: str, recorded_bbs: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    ours = [as_the_tool(value) for value in asked(capfd, recorded_bbs.url, command)]
    assert sorted(ours) == sorted(map(as_the_tool, printed(command)))


def test_recorded_groups_print_every_row_as_the_tool_printed_the_rows(
    recorded_bbs: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    groups = asked(capfd, recorded_bbs.url, "actual-lrp-groups")
    body = recorded_lists()["/v1/actual_lrp_groups/list"]
    assert groups == [json.to_json(decode.actual_lrp_group(record)) for record in ReplySplitter().feed(body)]
    rows = {as_the_tool(row) for group in groups for row in group.values() if row}
    assert rows <= set(map(as_the_tool, printed("actual-lrps")))
    assert len(rows) > 1000


ROW_FILTERS: list[tuple[list[str], dict[str, Any]]] = [
    (["--domain", "cf-apps"], {"domain": "cf-apps"}),
    (["--domain", "nowhere"], {"domain": "nowhere"}),
    (["-c", "cell-15"], {"cell_id": "cell-15"}),
    (["--process-guid", P], {"process_guid": P}),
    (["-i", "0"], {"index": 0}),
    (["-p", P, "--index", "1", "--domain", "cf-apps"], {"process_guid": P, "index": 1, "domain": "cf-apps"}),
]


@pytest.fixture(scope="module")
def recorded_state() -> Iterator[Simulation]:
    """A simulated BBS that has the recorded state, so that it filters by itself."""
    lists = recorded_lists()
    diego = Diego()
    diego.adopt(
        [decode.actual_lrp(record) for record in ReplySplitter().feed(lists["/v1/actual_lrps/list"])],
        [decode.desired_lrp(record, full=True) for record in ReplySplitter().feed(lists["/v1/desired_lrps/list.r3"])],
    )
    with served_diego(diego) as served:
        yield served


@pytest.mark.parametrize(("options", "wanted"), ROW_FILTERS)
def test_filtered_rows_are_those_of_the_tools_output_that_pass(
    options: list[str], wanted: dict[str, Any], recorded_state: Simulation, capfd: pytest.CaptureFixture[str]
) -> None:
    ours = [as_the_tool(row) for row in asked(capfd, recorded_state.url, "actual-lrps", *options)]
    theirs = [row for row in printed("actual-lrps") if all(row[key] == value for key, value in wanted.items())]
    assert bool(theirs) is ("nowhere" not in options)
    assert sorted(ours) == sorted(map(as_the_tool, theirs))


@pytest.mark.parametrize("command", ["desired-lrps", "desired-lrp-scheduling-infos"])
@pytest.mark.parametrize(
    ("options", "passes"),
    [
        (["-d", "cf-apps"], {P, Q}),
        (["-d", "nowhere"], set()),
        (["--process-guid", Q], {Q}),
        (["-p", Q, "-p", P], {P, Q}),
        (["--app-guid", P[:APP]], {P}),
        (["-a", P[:APP], "-a", Q[:APP], "--process-guid", Q], {Q}),
    ],
)
def test_filtered_desired_lrps_are_those_of_the_tools_output_that_pass(
    command: str,
    options: list[str],
    passes: set[str],
    recorded_state: Simulation,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ours = [as_the_tool(lrp) for lrp in asked(capfd, recorded_state.url, command, *options)]
    theirs = [lrp for lrp in printed(command) if lrp["process_guid"] in passes]
    assert len(theirs) == len(passes)
    assert sorted(ours) == sorted(map(as_the_tool, theirs))


def test_one_desired_lrp_prints_as_in_the_list(recorded_state: Simulation, capfd: pytest.CaptureFixture[str]) -> None:
    (ours,) = asked(capfd, recorded_state.url, "desired-lrp", Q)
    (theirs,) = [lrp for lrp in printed("desired-lrps") if lrp["process_guid"] == Q]
    assert as_the_tool(ours) == as_the_tool(theirs)


# What is asked


@pytest.mark.parametrize(
    ("arguments", "path", "request_"),
    [
        (
            ["actual-lrps", "-d", "d", "-c", "c", "-p", "p", "-i", "3"],
            "/v1/actual_lrps/list",
            pb.ActualLRPsRequest(domain="d", cell_id="c", process_guid="p", index=3),
        ),
        (["actual-lrps"], "/v1/actual_lrps/list", pb.ActualLRPsRequest()),
        (
            ["actual-lrp-groups", "-d", "d", "-c", "c"],
            "/v1/actual_lrp_groups/list",
            pb.ActualLRPGroupsRequest(domain="d", cell_id="c"),
        ),
        (
            ["desired-lrps", "-d", "d", "-p", "p", "-p", "q", "-a", "a", "-a", "b"],
            "/v1/desired_lrps/list.r3",
            pb.DesiredLRPsRequest(domain="d", process_guids=["p", "q"], app_guids=["a", "b"]),
        ),
        (
            ["desired-lrp-scheduling-infos", "-p", "p"],
            "/v1/desired_lrp_scheduling_infos/list",
            pb.DesiredLRPsRequest(process_guids=["p"]),
        ),
    ],
)
def test_the_filters_are_the_bbss_own(
    arguments: list[str], path: str, request_: Any, recorded_bbs: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    asked(capfd, recorded_bbs.url, *arguments)
    received: Received = recorded_bbs.received[-1]
    assert (received.path, received.body) == (path, request_.SerializeToString())


def test_groups_of_a_process_are_asked_for_by_process_and_index(
    simulation: Simulation, capfd: pytest.CaptureFixture[str]
) -> None:
    (guid, index), *_ = [(row.process_guid, row.index) for row in simulation.diego.actual_lrps() if row.index == 1]
    whole = asked(capfd, simulation.url, "actual-lrp-groups", "--process-guid", guid)
    assert whole == [json.to_json(group) for group in simulation.diego.actual_lrp_groups(process_guid=guid)]
    assert len(whole) > 1
    (one,) = asked(capfd, simulation.url, "actual-lrp-groups", "-p", guid, "-i", str(index))
    assert one in whole
    assert one["instance"]["index"] == index


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--index", "0"], "--index is of a process: give --process-guid too"),
        (["-p", "p", "-d", "d"], "cannot combine --process-guid with --domain or --cell-id"),
        (["-p", "p", "-c", "c", "--watch"], "cannot combine --process-guid with --domain or --cell-id"),
        (["--index", "-1"], "'-1' is not an index"),
        (["--index", "3000000000"], "'3000000000' is not an index"),
    ],
)
def test_filters_that_a_bbs_cannot_apply_are_refused_in_a_line(
    options: list[str], message: str, simulation: Simulation, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["actual-lrp-groups", *options, "--bbs-url", simulation.url]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_what_is_not_there_is_an_error_in_a_line(simulation: Simulation, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["desired-lrp", "nobody", "--bbs-url", simulation.url]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("lrpmirror desired-lrp: ")
    assert "no desired LRP nobody" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [*COMMANDS, "lrp-events", "routes", "verify", "explain"])
def test_a_bbs_that_is_not_there_is_an_error_at_once(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    process = ["p"] if command in ("desired-lrp", "explain") else []
    for more in ([], ["--watch"]) if command in COMMANDS and command != "desired-lrp" else ([],):
        assert main([command, *process, *more, "--bbs-url", "http://127.0.0.1:1"]) == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith(f"lrpmirror {command}: ")
        assert "is the BBS running" in err
        assert err.count("\n") == 1


# While it is read


def test_rows_are_printed_as_they_arrive() -> None:
    with scripted_bbs(pause=60) as bbs, running("actual-lrps", "--bbs-url", bbs.url) as command:
        first = command.lines(100)
        assert command.process.poll() is None
        assert command.interrupt() == (130, "")
    assert set(map(as_the_tool, first)) <= set(map(as_the_tool, printed("actual-lrps")))


def test_a_reply_that_breaks_off_is_an_error_after_what_came(capfd: pytest.CaptureFixture[str]) -> None:
    body = recorded_lists()["/v1/domains/list"][:-1]
    with scripted_bbs({"/v1/domains/list": body}) as bbs:
        assert main(["domains", "--bbs-url", bbs.url]) == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_a_reader_that_leaves_is_no_error_but_a_status() -> None:
    with scripted_bbs() as bbs:
        process = started("actual-lrps", "--bbs-url", bbs.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stderr.close()


def test_a_long_wait_shows_records_and_bytes_on_a_terminal() -> None:
    with scripted_bbs(pause=1.2) as bbs:
        status, shown = on_a_terminal("domains", "--bbs-url", bbs.url)
    assert status == 0
    assert "\r\x1b[Klisting: 0 records, 0 KiB" in shown
    assert shown.endswith('\r\x1b[K"other"\r\n"cf-apps"\r\n')


# Watching


def watching(bbs: Any, script: Callable[[Reader], None], command: str, *options: str) -> int:
    return interactive(script, command, "--watch", *options, "--bbs-url", bbs.url)


def test_watched_rows_are_first_the_whole_answer_then_a_line_a_change(capfd: pytest.CaptureFixture[str]) -> None:
    with simulated_bbs() as bbs:
        diego = bbs.diego

        def script(out: Reader) -> None:
            rows = bbs.call(diego.actual_lrps)
            assert sorted(map(as_the_tool, out.lines(len(rows)))) == sorted(as_the_tool(json.to_json(r)) for r in rows)
            (lrp, *_) = bbs.call(diego.desired_lrps)
            bbs.call(lambda: diego.update_desired(lrp.process_guid, instances=lrp.instances + 1))
            (added,) = out.lines(1)
            assert (added["change"], added["before"], added["cause"]) == ("added", None, "event")
            (row,) = [r for r in bbs.call(diego.actual_lrps) if r not in rows]
            assert added["after"] == json.to_json(row)
            bbs.call(lambda: diego.fail(row.process_guid, row.index, "no room"))
            (changed,) = out.lines(1)
            assert (changed["change"], changed["before"]) == ("changed", added["after"])
            assert changed["after"]["placement_error"] == "no room"
            bbs.call(lambda: diego.remove_desired(row.process_guid))
            removed = out.until(lambda line: line["change"] == "removed" and line["before"] == changed["after"])
            assert removed["after"] is None
            assert removed["revision"] > changed["revision"] > added["revision"]

        assert watching(bbs, script, "actual-lrps") == 0
    assert capfd.readouterr() == ("", "")


def test_a_watch_is_limited_by_the_filters() -> None:
    with simulated_bbs() as bbs:
        first, second, *_ = bbs.call(bbs.diego.desired_lrps)

        def script(out: Reader) -> None:
            assert [lrp["process_guid"] for lrp in out.lines(1)] == [second.process_guid]
            bbs.call(lambda: bbs.diego.update_desired(first.process_guid, annotation="not of interest"))
            bbs.call(lambda: bbs.diego.update_desired(second.process_guid, annotation="of interest"))
            (changed,) = out.lines(1)
            assert changed["after"]["annotation"] == "of interest"
            assert changed["after"].keys() == changed["before"].keys()

        watching(bbs, script, "desired-lrp-scheduling-infos", "-p", second.process_guid)


def test_watched_groups_are_those_of_the_filtered_rows_and_change_as_groups() -> None:
    with simulated_bbs() as bbs:
        diego = bbs.diego
        cell = next(row.cell_id for row in bbs.call(diego.actual_lrps) if row.cell_id)

        def script(out: Reader) -> None:
            groups = bbs.call(lambda: diego.actual_lrp_groups(cell_id=cell))
            wanted = sorted(map(as_the_tool, map(json.to_json, groups)))
            assert sorted(map(as_the_tool, out.lines(len(groups)))) == wanted
            row = groups[0].resolve()
            bbs.call(lambda: diego.crash(row.process_guid, row.index, InstanceKey.of(row), "exit 1"))
            change = out.until(lambda line: line["change"] == "removed")
            assert as_the_tool(change["before"]) == as_the_tool(json.to_json(groups[0]))

        watching(bbs, script, "actual-lrp-groups", "--cell-id", cell)


def test_watched_whole_desired_lrps_have_their_environment_on_both_sides() -> None:
    with simulated_bbs() as bbs:

        def script(out: Reader) -> None:
            lrps = bbs.call(bbs.diego.desired_lrps)
            wanted = sorted(as_the_tool(json.to_json(lrp)) for lrp in lrps)
            assert sorted(map(as_the_tool, out.lines(len(lrps)))) == wanted
            bbs.call(lambda: bbs.diego.update_desired(lrps[0].process_guid, annotation="new"))
            (change,) = out.lines(1)
            assert change["before"]["env"] == change["after"]["env"]
            assert change["after"]["env"]

        watching(bbs, script, "desired-lrps")


def test_a_watch_says_when_it_loses_touch_and_goes_on_with_what_it_missed(capfd: pytest.CaptureFixture[str]) -> None:
    with simulated_bbs() as bbs:
        lrps = bbs.call(bbs.diego.desired_lrps)

        def script(out: Reader) -> None:
            out.lines(len(lrps))
            bbs.call(bbs.served.host.cut)
            bbs.call(lambda: bbs.diego.update_desired(lrps[0].process_guid, annotation="missed"))
            (change,) = out.lines(1)
            assert change["after"]["annotation"] == "missed"
            assert change["cause"] == "snapshot"

        assert watching(bbs, script, "desired-lrp-scheduling-infos") == 0
    lost, back = capfd.readouterr().err.splitlines()
    assert lost.startswith("lrpmirror desired-lrp-scheduling-infos: note: not live: ")
    assert back == "lrpmirror desired-lrp-scheduling-infos: note: live again, with what was missed"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again soon."""
    monkeypatch.setattr("lrpmirror.cli.shared.following.POLL", 0.05)


@pytest.mark.usefixtures("quick")
def test_watched_domains_are_asked_for_again_and_again(capfd: pytest.CaptureFixture[str]) -> None:
    path = "/v1/domains/list"
    with scripted_bbs() as bbs:

        def script(out: Reader) -> None:
            assert sorted(out.lines(2)) == ["cf-apps", "other"]
            seen = bbs.answered[path]
            del bbs.lists[path]
            # The next answer may have been on its way already.
            wait_until(lambda: bbs.answered[path] >= seen + 2)
            bbs.lists[path] = encode.reply([encode.domain("cf-apps"), encode.domain("new")])
            changes = out.lines(2)
            assert {"change": "removed", "before": "other", "after": None} in changes
            assert {"change": "added", "before": None, "after": "new"} in changes

        assert watching(bbs, script, "domains") == 0
    lost, back = capfd.readouterr().err.splitlines()
    assert lost.startswith("lrpmirror domains: note: not live: ")
    assert back == "lrpmirror domains: note: live again, with what was missed"


@pytest.mark.usefixtures("quick")
def test_watched_cells_change_as_cells() -> None:
    path = "/v1/cells/list.r1"
    lists = recorded_lists()
    with scripted_bbs({**lists, path: b""}) as bbs:

        def script(out: Reader) -> None:
            wait_until(lambda: path in bbs.answered)
            bbs.lists[path] = lists[path]
            (change,) = out.lines(1)
            (cell,) = printed("cells")
            assert as_the_tool(change) == as_the_tool({"change": "added", "before": None, "after": cell})

        assert watching(bbs, script, "cells") == 0
