"""`lrpmirror routes`: who serves which route, for programs and for people."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from cli_query_support import Reader, interactive, lines_of, on_a_terminal
from cli_support import Simulation, simulated_bbs

from lrpmirror.cli import main
from lrpmirror.cli.shared.output import table
from lrpmirror.cli.shared.view_json import VIEWS
from lrpmirror.core.derived.derive import Derivation, Process
from lrpmirror.model import ActualLRPState


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with simulated_bbs() as running_simulation:
        yield running_simulation


def notified(capfd: pytest.CaptureFixture[str], simulation: Simulation, *options: str) -> list[Any]:
    status = main(["routes", *options, "--bbs-url", simulation.url])
    out, err = capfd.readouterr()
    assert (status, err) == (0, "")
    return lines_of(out.encode())


def expected(simulation: Simulation, name: str) -> list[Any]:
    """What follows from the simulator's own state."""
    derivation = Derivation(VIEWS[name].make())
    diego = simulation.diego
    derivation.update(
        Process(lrp.process_guid, lrp, lrp, tuple(diego.actual_lrps(process_guid=lrp.process_guid)), domain_fresh=True)
        for lrp in diego.desired_lrps()
    )
    return list(VIEWS[name].objects(derivation.values))


@pytest.mark.parametrize(
    ("options", "name"), [([], "http-routes"), (["--tcp"], "tcp-routes"), (["--internal"], "internal-routes")]
)
def test_routes_are_those_of_the_view_as_json_lines(
    options: list[str], name: str, simulation: Simulation, capfd: pytest.CaptureFixture[str]
) -> None:
    routes = notified(capfd, simulation, *options)
    wanted = expected(simulation, name)
    assert [_sorted(route) for route in routes] == [_sorted(route) for route in wanted]
    assert routes
    assert all(route["endpoints"] for route in routes)


def _sorted(route: dict[str, Any]) -> dict[str, Any]:
    return {**route, "endpoints": sorted(route["endpoints"], key=lambda one: str(one["instance_guid"]))}


def test_a_host_is_the_same_in_any_case(simulation: Simulation, capfd: pytest.CaptureFixture[str]) -> None:
    assert notified(capfd, simulation, "App-1.EXAMPLE.com") == notified(capfd, simulation, "app-1.example.com")


def test_a_host_limits_them_to_its_name(simulation: Simulation, capfd: pytest.CaptureFixture[str]) -> None:
    (route,) = notified(capfd, simulation, "app-1.example.com")
    assert route["hostname"] == "app-1.example.com"


def test_an_internal_host_has_those_of_its_instances_too(
    simulation: Simulation, capfd: pytest.CaptureFixture[str]
) -> None:
    names = [route["hostname"] for route in notified(capfd, simulation, "--internal", "app-1.apps.internal")]
    assert names[0] == "0.app-1.apps.internal"
    assert names[-1] == "app-1.apps.internal"
    assert all(name.endswith("app-1.apps.internal") for name in names)


def test_a_tcp_route_is_named_by_its_port(simulation: Simulation, capfd: pytest.CaptureFixture[str]) -> None:
    (route,) = notified(capfd, simulation, "--tcp", "1024")
    assert (route["router_group_guid"], route["external_port"]) == ("rg-1", 1024)


def test_a_tcp_route_that_is_no_port_is_refused(simulation: Simulation, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", "--tcp", "example.com", "--bbs-url", simulation.url]) == 2
    assert "'example.com' is not an external port" in capfd.readouterr().err


def test_a_host_that_nothing_serves_is_a_status_and_a_line(
    simulation: Simulation, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["routes", "app-1.example", "--bbs-url", simulation.url]) == 1
    assert capfd.readouterr() == ("", "lrpmirror routes: nothing serves app-1.example among the http-routes\n")


def test_a_terminal_gets_a_table(simulation: Simulation) -> None:
    status, shown = on_a_terminal("routes", "app-1.example.com", "--bbs-url", simulation.url)
    assert status == 0
    head, first, *_ = shown.replace("\r\x1b[K", "").splitlines()
    assert head.split() == ["ROUTE", "ENDPOINT", "TLS", "PORT", "ZONE", "PROCESS", "INDEX", "NOTES"]
    assert first.startswith("app-1.example.com  10.0.0.")


def test_a_table_leaves_out_empty_columns_and_what_moves_the_cursor() -> None:
    lines = list(table(("A", "B", "C"), [("x", "", "1\x1b[2J"), ("long", "", "")]))
    assert lines == ["A     C", "x     1\N{REPLACEMENT CHARACTER}[2J", "long"]
    assert list(table(("A",), [])) == []


def test_watched_routes_change_when_an_instance_does(capfd: pytest.CaptureFixture[str]) -> None:
    with simulated_bbs() as bbs:
        diego = bbs.diego

        def script(out: Reader) -> None:
            (before,) = out.lines(1)
            guid = before["endpoints"][0]["process_guid"]
            others = [lrp.process_guid for lrp in bbs.call(diego.desired_lrps) if lrp.process_guid != guid]
            for process in (*others, guid):
                bbs.call(partial(diego.remove_desired, process))
            (change,) = out.lines(1)
            assert (change["change"], change["before"], change["after"]) == ("removed", before, None)

        assert any(row.state is ActualLRPState.RUNNING for row in diego.actual_lrps())
        assert interactive(script, "routes", "app-1.example.com", "--watch", "--bbs-url", bbs.url) == 0
    assert capfd.readouterr() == ("", "")
