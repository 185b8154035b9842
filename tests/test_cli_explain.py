"""`lrpmirror explain`: the rows of a process, and what became of its latest events."""

from typing import Any

import pytest
from cli_query_support import STREAMS, Reader, interactive, lines_of, lists_of, on_a_terminal, scripted_bbs, wait_until
from cli_support import simulated_bbs
from core_support import changed, claimed, created, desired, running, unclaimed
from msgspec.structs import replace

from lrpmirror.cli import main
from lrpmirror.wire import json

STREAM, _ = STREAMS
ROWS = "/v1/actual_lrps/list"
GUID = unclaimed().process_guid
SSH = replace(desired("d", 1), routes={"cf-router": b"[]", "diego-ssh": b'{"private_key":"secret"}'})


def test_each_of_the_latest_events_is_told_with_its_outcome_and_why() -> None:
    first, placed, runs = unclaimed("a", 0), claimed("a", 1), running("a", 2)
    with scripted_bbs(lists_of([first], [SSH])) as bbs:

        def read_again() -> None:
            """Have another process read again: then a synchronised mirror has heard all that was told before."""
            reads = bbs.answered[ROWS]
            bbs.tell(STREAM, created(unclaimed(f"x{reads}", 7, process_guid="other")))
            wait_until(lambda: bbs.answered[ROWS] > reads)

        def script(_: Reader) -> None:
            wait_until(lambda: ROWS in bbs.answered)
            read_again()
            bbs.lists |= lists_of([replace(runs, internal_routes=("late",))], [SSH])
            bbs.tell(STREAM, changed(first, placed), changed(placed, runs), changed(first, placed))
            # The second read begins when what the first one found has been taken.
            read_again()
            read_again()

        lines: list[Any] = []
        options = ("--seconds", "30", "--bbs-url", bbs.url)
        assert interactive(script, "explain", GUID, *options, rest=lines) == 0
    lrp, row, *decisions = lines
    assert lrp["desired_lrp"]["process_guid"] == GUID
    assert row["actual_lrp"]["modification_tag"] == {"epoch": "a", "index": 2}
    notified = [line["decision"] for line in decisions]
    assert [decision["verdict"] for decision in notified] == ["applied", "applied", "stale", "repaired"]
    tags = [(decision["tag"], decision["stored"]) for decision in notified]
    assert tags == [("a:1", "a:0"), ("a:2", "a:1"), ("a:1", "a:2"), ("a:2", "a:2")]
    assert notified[1]["why"] == "a:2 is newer than a:1; to be read again: incomplete"
    assert notified[2]["why"].startswith("a:1 is older than a:2")
    assert notified[3]["why"].startswith("a read of the process had a:2 with other contents")
    assert all(0 <= decision["seconds_ago"] < 30 for decision in notified)


def test_nothing_known_is_a_status_and_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    with simulated_bbs() as bbs:
        assert main(["explain", "nobody", "--seconds", "0.05", "--bbs-url", bbs.url]) == 1
    assert capfd.readouterr() == ("", "lrpmirror explain: nothing is known of a process nobody\n")


def test_what_holds_secrets_among_the_routes_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_bbs(lists_of([running("a", 2)], [SSH])) as bbs:
        assert main(["explain", GUID, "--seconds", "0.05", "--bbs-url", bbs.url]) == 0
    lrp, row = lines_of(capfd.readouterr().out.encode())
    assert lrp["desired_lrp"]["routes"] == {"cf-router": []}
    assert row == {"actual_lrp": json.to_json(running("a", 2))}


def test_a_terminal_gets_text() -> None:
    with simulated_bbs() as bbs:
        lrp = bbs.call(bbs.diego.desired_lrps)[0]
        status, shown = on_a_terminal("explain", lrp.process_guid, "--seconds", "0.3", "--bbs-url", bbs.url)
    assert status == 0
    lines = shown.replace("\r\x1b[K", "").splitlines()
    wanted = f"Desired: {lrp.instances} instances of 256 MB in the domain cf-apps, routes for cf-router, "
    assert any(wanted in line for line in lines)
    assert any(line.startswith("INDEX  PRESENCE  STATE    CELL") for line in lines)
    assert lines[-1] == "No event about it came."
