"""The living workload: it does everything, keeps the rules, and can be repeated."""

import pytest
from msgspec.structs import replace
from sim_support import Fold, carried, check_rows, drain, wanted

from lrpmirror.errors import ConfigurationError
from lrpmirror.model import ActualLRPState, Presence
from lrpmirror.sim import Autopilot, Diego, InstanceKey, Rates

QUIET = Rates(
    deploys=0,
    scalings=0,
    crashes=0,
    placement_failures=0,
    routable_changes=0,
    route_changes=0,
    evacuations=0,
    cell_losses=0,
)


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
    fold, emitted = Fold(), diego.subscribe("instances", limit=None)
    pilot = Autopilot(diego, seed=5)
    for _ in range(200):
        pilot.step()
        check_rows(diego)
        for event in drain(emitted):
            fold.apply(event)
    assert fold.settled() == carried(diego.actual_lrps())


def test_the_same_seed_lives_the_same_life() -> None:
    assert flown(200, seed=3)[0].snapshot() == flown(200, seed=3)[0].snapshot()
    assert flown(200, seed=3)[0].snapshot() != flown(200, seed=4)[0].snapshot()


def test_left_alone_everything_that_is_desired_runs() -> None:
    diego, _ = flown(60, rates=QUIET)
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


def test_its_size_is_chosen() -> None:
    diego = Diego(seed=1)
    pilot = Autopilot(diego, seed=1, apps=7, cells=3, instances=45, rates=QUIET)
    pilot.run(20)
    assert (len(diego.desired_lrps()), len(diego.cells())) == (7, 3)
    assert len(diego.actual_lrps()) == 45
    assert {each.instances for each in diego.desired_lrps()} == {6, 7}


def test_an_application_that_is_scaled_keeps_about_its_size() -> None:
    diego = Diego(seed=1)
    Autopilot(diego, seed=1, apps=10, instances=100, rates=replace(QUIET, scalings=1)).run(60)
    assert 60 < sum(each.instances for each in diego.desired_lrps()) < 140


def test_each_second_is_filled_up_to_so_many_events() -> None:
    diego = Diego(seed=1)
    pilot = Autopilot(diego, seed=1, instances=100, rates=replace(QUIET, crashes=2), events_per_second=50)
    pilot.run(15)
    emitted = diego.subscribe("instances", limit=None)
    for _ in range(20):
        pilot.step()
        assert len(drain(emitted)) == 50


def test_rates_alone_may_make_more_events_than_were_asked_for() -> None:
    diego = Diego(seed=1)
    pilot = Autopilot(diego, seed=1, instances=100, rates=replace(QUIET, crashes=10), events_per_second=1)
    pilot.run(15)
    emitted = diego.subscribe("instances", limit=None)
    pilot.step()
    assert len(drain(emitted)) > 10


def test_before_anything_runs_there_is_nothing_to_fill_a_second_with() -> None:
    diego = Diego()
    Autopilot(diego, instances=0, events_per_second=10).run(3)
    assert diego.actual_lrps() == []


def test_each_rate_makes_its_own_kind_of_thing_happen_about_so_often() -> None:
    for name, kind in [
        ("deploys", "deploy"),
        ("scalings", "scaling"),
        ("crashes", "crash"),
        ("routable_changes", "routable change"),
        ("route_changes", "route change"),
        ("evacuations", "evacuation"),
        ("cell_losses", "cell lost"),
    ]:
        diego = Diego(seed=2)
        pilot = Autopilot(diego, seed=2, apps=30, cells=20, rates=replace(QUIET, **{name: 0.5}))
        pilot.run(40)
        assert 8 < pilot.counts[kind] <= 30, name


def test_an_evacuation_that_takes_too_long_ends_with_what_still_evacuates_removed() -> None:
    """With the other cell lost nobody takes the instances over: after 90 seconds theirs removes them and leaves."""
    diego = Diego(seed=1)
    pilot = Autopilot(diego, seed=1, apps=3, cells=2, rates=QUIET)
    pilot.run(20)
    pilot._simulated_cells.evacuate_one()
    (goes,) = pilot._simulated_cells._leaving
    (other,) = (cell.cell_id for cell in diego.cells() if cell.cell_id != goes)
    instances = {row.instance_guid for row in diego.actual_lrps(cell_id=goes)}
    diego.lose_cell(other)
    pilot.run(90)
    left = diego.actual_lrps(cell_id=goes)
    assert {row.instance_guid for row in left} == instances
    assert {row.presence for row in left} == {Presence.EVACUATING}
    pilot.run(2)
    assert diego.actual_lrps(cell_id=goes) == []
    assert diego.cells() == ()


def test_what_is_not_its_own_it_leaves_alone() -> None:
    diego = Diego(seed=1)
    pilot = Autopilot(diego, seed=1, apps=3, cells=2, rates=replace(QUIET, crashes=5, routable_changes=5))
    diego.add_cell("cell-x")
    diego.desire(wanted("mine", 2))
    diego.start("mine", 0, InstanceKey("guest", "cell-x"), domain="cf-apps")
    mine = diego.actual_lrps(process_guid="mine")
    pilot.run(25)
    assert diego.actual_lrps(process_guid="mine") == mine
    assert [row.instance_guid for row in diego.actual_lrps(cell_id="cell-x")] == ["guest"]


def test_what_others_run_of_its_applications_is_theirs() -> None:
    diego = Diego(seed=1)
    pilot = Autopilot(diego, seed=1, apps=1, cells=1, instances=2, rates=QUIET, events_per_second=5)
    diego.add_cell("cell-x")
    guid = diego.desired_lrps()[0].process_guid
    diego.start(guid, 0, InstanceKey("guest-1", "cell-x"))
    diego.claim(guid, 1, InstanceKey("guest-2", "cell-x"))
    taken = diego.actual_lrps()
    pilot.run(5)
    assert diego.actual_lrps() == taken


def test_without_a_cell_that_stays_its_rows_wait() -> None:
    diego = Diego(seed=1)
    pilot = Autopilot(diego, seed=1, apps=1, cells=1, rates=QUIET)
    diego.lose_cell("cell-0")
    pilot.run(5)
    assert {row.state for row in diego.actual_lrps()} == {ActualLRPState.UNCLAIMED}


def test_its_last_cell_neither_leaves_nor_is_lost() -> None:
    diego = Diego(seed=1)
    pilot = Autopilot(diego, seed=1, cells=1, rates=replace(QUIET, evacuations=1, cell_losses=1))
    pilot.run(20)
    assert [cell.cell_id for cell in diego.cells()] == ["cell-0"]
    assert not pilot.counts["evacuation"] + pilot.counts["cell lost"]


def test_what_others_have_removed_it_does_not_miss() -> None:
    diego = Diego(seed=1)
    pilot = Autopilot(diego, seed=1, apps=2, rates=replace(QUIET, scalings=1, route_changes=1, deploys=0.2))
    for _ in range(100):
        pilot.step()
        for each in diego.desired_lrps()[1:]:
            diego.remove_desired(each.process_guid)
    assert pilot.counts["version removed"] < pilot.counts["deploy"]
    assert pilot.counts["scaling"] < 100


def test_others_may_write_between_its_moves() -> None:
    diego = Diego(seed=1)
    pilot = Autopilot(diego, seed=1, apps=4, cells=3, events_per_second=20)
    for _ in range(100):
        for number, _ in enumerate(pilot.moves()):
            rows = diego.actual_lrps()
            if rows and number % 3 == 0:
                gone = rows[number % len(rows)]
                if gone.presence is Presence.ORDINARY:
                    diego.remove(gone.process_guid, gone.index)
        check_rows(diego)


@pytest.mark.parametrize("size", [{"instances": -1}, {"events_per_second": -1}])
def test_a_size_is_not_negative(size: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="0 or more"):
        Autopilot(Diego(), **size)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [{"apps": 0}, {"cells": 0}])
def test_there_is_no_life_without_applications_and_cells(size: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        Autopilot(Diego(), **size)  # type: ignore[arg-type]
