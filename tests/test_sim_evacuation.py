"""How the simulated BBS lets a cell hand over its instances."""

import pytest
from sim_support import NET, OTHER_NET, ROUTES, TAGS, A, B, C, diego, drain, row, run, types, wanted

from lrpmirror.detail import DesiredLRPDetail, UpdateStrategy
from lrpmirror.errors import ResourceNotFound
from lrpmirror.events import ActualLRPInstanceChanged
from lrpmirror.model import ActualLRP, ActualLRPState, Presence
from lrpmirror.sim import Diego, InstanceKey, NetInfo


@pytest.fixture
def bbs() -> Diego:
    made = diego()
    made.desire(wanted())
    return made


def evacuating(bbs: Diego) -> ActualLRP | None:
    return bbs.row("p", 0, Presence.EVACUATING)


def make_suspect(bbs: Diego) -> None:
    run(bbs)
    bbs.lose_cell("cell-a")
    bbs.converge()


def test_a_running_instance_moves_to_a_new_row_and_frees_its_own(bbs: Diego) -> None:
    before = run(bbs)
    emitted, groups = bbs.subscribe("instances"), bbs.subscribe("groups")
    assert bbs.evacuate_running("p", 0, A) is True
    moved, freed = evacuating(bbs), row(bbs)
    assert moved is not None
    assert (moved.state, InstanceKey.of(moved), NetInfo.of(moved)) == (ActualLRPState.RUNNING, A, NET)
    assert (moved.internal_routes, moved.metric_tags, moved.tag_index) == (ROUTES, TAGS, 0)
    assert moved.epoch != before.epoch
    assert (freed.state, freed.epoch, freed.tag_index) == (ActualLRPState.UNCLAIMED, before.epoch, before.tag_index + 1)
    changed, created = drain(emitted)
    assert isinstance(changed, ActualLRPInstanceChanged)
    assert (changed.before.epoch, changed.after.epoch) == (before.epoch, moved.epoch)
    assert types([created]) == ["created"]
    assert types(drain(groups)) == ["created", "changed"]


def test_a_claimed_instance_that_says_it_runs_moves_as_running(bbs: Diego) -> None:
    bbs.claim("p", 0, A)
    assert bbs.evacuate_running("p", 0, A) is True
    moved = evacuating(bbs)
    assert moved is not None
    assert moved.state is ActualLRPState.RUNNING


def test_an_evacuating_row_does_not_carry_earlier_crashes(bbs: Diego) -> None:
    run(bbs)
    bbs.crash("p", 0, A, "oom")
    run(bbs)
    bbs.evacuate_running("p", 0, A)
    moved = evacuating(bbs)
    assert moved is not None
    assert (moved.crash_count, moved.crash_reason) == (0, "")
    assert (row(bbs).crash_count, row(bbs).crash_reason) == (1, "oom")


def test_asking_again_before_the_replacement_runs_changes_nothing(bbs: Diego) -> None:
    run(bbs)
    bbs.evacuate_running("p", 0, A)
    bbs.claim("p", 0, B)
    before, emitted = bbs.actual_lrps(), bbs.subscribe("instances")
    assert bbs.evacuate_running("p", 0, A) is True
    assert bbs.actual_lrps() == before
    assert drain(emitted) == []


def test_the_start_of_the_replacement_removes_the_evacuating_row(bbs: Diego) -> None:
    run(bbs)
    bbs.evacuate_running("p", 0, A)
    emitted = bbs.subscribe("instances")
    bbs.start("p", 0, B, OTHER_NET)
    assert types(drain(emitted)) == ["changed", "removed"]
    assert evacuating(bbs) is None
    assert bbs.evacuate_running("p", 0, A) is False


def test_without_any_row_the_container_is_not_kept() -> None:
    assert diego().evacuate_running("p", 0, A) is False


def test_once_the_desired_lrp_is_gone_the_evacuating_row_goes(bbs: Diego) -> None:
    run(bbs)
    bbs.evacuate_running("p", 0, A)
    bbs.remove_desired("p")
    assert bbs.evacuate_running("p", 0, A) is False
    assert bbs.actual_lrps() == []


def test_a_replacement_that_crashed_for_good_ends_the_evacuation(bbs: Diego) -> None:
    run(bbs)
    bbs.evacuate_running("p", 0, A)
    for _ in range(3):
        bbs.claim("p", 0, B)
        bbs.crash("p", 0, B)
    assert bbs.evacuate_running("p", 0, A) is False
    assert evacuating(bbs) is None


def test_an_instance_without_a_row_is_evacuated_as_it_says(bbs: Diego) -> None:
    assert bbs.evacuate_running("p", 0, A, NET, internal_routes=ROUTES, metric_tags=TAGS, routable=False) is True
    made = evacuating(bbs)
    assert made is not None
    assert (InstanceKey.of(made), NetInfo.of(made), made.routable, made.domain) == (A, NET, False, "cf-apps")


def test_there_is_room_for_one_evacuating_instance(bbs: Diego) -> None:
    run(bbs)
    bbs.evacuate_running("p", 0, A)
    assert bbs.evacuate_running("p", 0, C) is False


def test_a_replacement_that_is_evacuated_while_claimed_takes_the_evacuating_row(bbs: Diego) -> None:
    run(bbs)
    bbs.evacuate_running("p", 0, A)
    first = evacuating(bbs)
    bbs.claim("p", 0, B)
    assert bbs.evacuate_running("p", 0, B) is True
    second = evacuating(bbs)
    assert first is not None
    assert second is not None
    assert (second.epoch, second.tag_index, InstanceKey.of(second)) == (first.epoch, first.tag_index + 1, B)


def test_a_suspect_instance_moves_and_its_row_goes(bbs: Diego) -> None:
    make_suspect(bbs)
    emitted = bbs.subscribe("instances")
    assert bbs.evacuate_running("p", 0, A) is True
    assert {each.presence for each in bbs.actual_lrps()} == {Presence.EVACUATING, Presence.ORDINARY}
    assert types(drain(emitted)) == ["changed"]


def test_recreating_frees_the_row_only_when_all_instances_run() -> None:
    bbs = diego()
    bbs.desire(wanted(instances=2, detail=DesiredLRPDetail(update_strategy=UpdateStrategy.RECREATE)))
    run(bbs, A, 0)
    assert bbs.evacuate_running("p", 0, A) is True
    run(bbs, B, 1)
    assert bbs.evacuate_running("p", 0, A) is False
    assert row(bbs).state is ActualLRPState.UNCLAIMED
    assert evacuating(bbs) is None


def test_recreating_never_leaves_a_row_that_is_not_ordinary() -> None:
    bbs = diego()
    bbs.desire(wanted(detail=DesiredLRPDetail(update_strategy=UpdateStrategy.RECREATE)))
    assert bbs.evacuate_running("p", 0, A) is False
    make_suspect(bbs)
    assert bbs.evacuate_running("p", 0, A) is False
    assert [each.presence for each in bbs.actual_lrps()] == [Presence.ORDINARY]


@pytest.mark.parametrize("strategy", UpdateStrategy)
def test_a_row_that_nobody_holds_is_not_evacuated_by_nobody(strategy: UpdateStrategy) -> None:
    bbs = diego()
    bbs.desire(wanted(detail=DesiredLRPDetail(update_strategy=strategy)))
    before = bbs.snapshot()
    assert bbs.evacuate_running("p", 0, InstanceKey()) is False
    assert bbs.snapshot() == before


def test_a_claimed_row_is_given_back(bbs: Diego) -> None:
    bbs.claim("p", 0, A)
    emitted = bbs.subscribe("instances")
    assert bbs.evacuate_claimed("p", 0, A) is False
    assert row(bbs).state is ActualLRPState.UNCLAIMED
    assert types(drain(emitted)) == ["created", "removed"]


def test_a_stopped_instance_loses_its_row(bbs: Diego) -> None:
    run(bbs)
    assert bbs.evacuate_stopped("p", 0, A) is False
    assert bbs.actual_lrps() == []


def test_a_crash_during_evacuation_is_counted_but_not_announced(bbs: Diego) -> None:
    run(bbs)
    emitted = bbs.subscribe("instances")
    assert bbs.evacuate_crashed("p", 0, A, "oom") is False
    assert (row(bbs).state, row(bbs).crash_count) == (ActualLRPState.UNCLAIMED, 1)
    assert types(drain(emitted)) == ["created", "removed"]


def test_a_third_crash_during_evacuation_is_announced(bbs: Diego) -> None:
    for _ in range(2):
        run(bbs)
        bbs.crash("p", 0, A)
    run(bbs)
    emitted = bbs.subscribe("instances")
    bbs.evacuate_crashed("p", 0, A)
    assert types(drain(emitted)) == ["crashed", "changed"]


@pytest.mark.parametrize("end", ["evacuate_claimed", "evacuate_stopped", "evacuate_crashed", "remove_evacuating"])
def test_an_evacuating_row_goes_however_its_instance_ends(bbs: Diego, end: str) -> None:
    run(bbs)
    bbs.evacuate_running("p", 0, A)
    getattr(bbs, end)("p", 0, A)
    assert [each.presence for each in bbs.actual_lrps()] == [Presence.ORDINARY]


@pytest.mark.parametrize("end", ["evacuate_claimed", "evacuate_stopped", "evacuate_crashed"])
def test_a_suspect_row_goes_however_its_instance_ends(bbs: Diego, end: str) -> None:
    make_suspect(bbs)
    getattr(bbs, end)("p", 0, A)
    assert [each.presence for each in bbs.actual_lrps()] == [Presence.ORDINARY]


@pytest.mark.parametrize("call", ["evacuate_claimed", "evacuate_stopped", "evacuate_crashed", "remove_evacuating"])
def test_an_instance_that_is_not_known_is_not_found(bbs: Diego, call: str) -> None:
    run(bbs)
    with pytest.raises(ResourceNotFound):
        getattr(bbs, call)("p", 0, B)


def test_a_row_that_is_not_evacuating_is_not_removed_as_such(bbs: Diego) -> None:
    run(bbs)
    with pytest.raises(ResourceNotFound):
        bbs.remove_evacuating("p", 0, A)
