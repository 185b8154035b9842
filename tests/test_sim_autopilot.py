"""The living workload: it does everything, keeps the rules, and can be repeated."""

import pytest
from sim_support import Fold, carried, drain

from lrpmirror.errors import ConfigurationError
from lrpmirror.model import ActualLRPState
from lrpmirror.sim import Autopilot, Diego, Rates


def flown(seconds: int, *, seed: int = 1, rates: Rates | None = None) -> tuple[Diego, Autopilot]:
    diego = Diego(seed=seed)
    pilot = Autopilot(diego, seed=seed, apps=12, cells=4, rates=rates)
    pilot.run(seconds)
    return diego, pilot


def test_in_a_quarter_of_an_hour_everything_has_happened() -> None:
    _, pilot = flown(900)
    for kind in (
        "deploy",
        "version removed",
        "scaling",
        "route change",
        "routable change",
        "claimed",
        "started",
        "stopped",
        "crash",
        "placement failure",
        "evacuation",
        "handed over",
        "cell lost",
        "cell returned",
    ):
        assert pilot.counts[kind] > 0, kind


def test_the_rows_stay_sound_and_the_events_tell_them() -> None:
    diego = Diego(seed=5)
    fold, told = Fold(), diego.subscribe("instances", limit=None)
    pilot = Autopilot(diego, seed=5)
    for _ in range(200):
        pilot.step()
        diego._check()
        for event in drain(told):
            fold.apply(event)
    assert fold.settled() == carried(diego.actual_lrps())


def test_the_same_seed_lives_the_same_life() -> None:
    assert flown(200, seed=3)[0].snapshot() == flown(200, seed=3)[0].snapshot()
    assert flown(200, seed=3)[0].snapshot() != flown(200, seed=4)[0].snapshot()


def test_left_alone_everything_that_is_desired_runs() -> None:
    quiet = Rates(
        deploys=0,
        scalings=0,
        crashes=0,
        placement_failures=0,
        routable_changes=0,
        route_changes=0,
        evacuations=0,
        cell_losses=0,
    )
    diego, _ = flown(60, rates=quiet)
    assert {row.state for row in diego.actual_lrps()} == {ActualLRPState.RUNNING}
    assert len(diego.actual_lrps()) == sum(each.instances for each in diego.desired_lrps())


def test_its_processes_look_like_those_of_a_cloud_foundry() -> None:
    diego, _ = flown(30)
    for desired in diego.desired_lrps():
        assert len(desired.process_guid) == 73
        assert desired.process_guid.startswith(desired.log_guid)
        assert {"cf-router", "internal-router", "diego-ssh"} <= desired.routes.keys()
        assert desired.detail is not None
    running = [row for row in diego.actual_lrps() if row.state is ActualLRPState.RUNNING]
    assert running
    assert all(row.ports and row.metric_tags["app_name"] and row.internal_routes for row in running)


def test_its_cells_are_spread_over_three_zones() -> None:
    diego = Diego()
    Autopilot(diego, cells=4)
    assert [cell.zone for cell in diego.cells()] == ["z1", "z2", "z3", "z1"]


@pytest.mark.parametrize("size", [{"apps": 0}, {"cells": 0}])
def test_there_is_no_life_without_applications_and_cells(size: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        Autopilot(Diego(), **size)  # type: ignore[arg-type]
