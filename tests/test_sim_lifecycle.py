"""How the simulated BBS answers the writes of cells and of the auctioneer: one row of an index, ORDINARY."""

import pytest
from sim_support import NET, OTHER_NET, ROUTES, TAGS, A, B, diego, drain, row, run, types, wanted

from lrpmirror.errors import RequestRefused, ResourceNotFound
from lrpmirror.events import (
    ActualLRPChanged,
    ActualLRPCrashed,
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
)
from lrpmirror.model import ActualLRPState, Presence
from lrpmirror.sim import Diego, InstanceKey, StopRequest

NOBODY = InstanceKey()


@pytest.fixture
def bbs() -> Diego:
    made = diego()
    made.desire(wanted())
    return made


def test_claiming_an_unclaimed_row_gives_it_the_key_and_one_more_write(bbs: Diego) -> None:
    before = row(bbs)
    bbs.advance(5)
    bbs.claim("p", 0, A)
    after = row(bbs)
    assert (after.state, InstanceKey.of(after), after.tag_index) == (ActualLRPState.CLAIMED, A, 1)
    assert (after.epoch, after.since) == (before.epoch, bbs.now)


def test_claiming_again_with_the_same_key_changes_and_tells_nothing(bbs: Diego) -> None:
    bbs.claim("p", 0, A)
    emitted, before = bbs.subscribe("instances"), row(bbs)
    bbs.claim("p", 0, A)
    assert row(bbs) == before
    assert drain(emitted) == []


def test_claiming_a_running_row_takes_its_addresses_but_not_its_routes(bbs: Diego) -> None:
    run(bbs)
    bbs.claim("p", 0, A)
    after = row(bbs)
    assert (after.state, after.address, after.ports) == (ActualLRPState.CLAIMED, "", ())
    assert (after.internal_routes, after.metric_tags, after.routable) == (ROUTES, TAGS, True)


def test_claiming_clears_a_placement_error(bbs: Diego) -> None:
    bbs.fail("p", 0, "no room")
    bbs.claim("p", 0, A)
    assert row(bbs).placement_error == ""


def test_a_row_of_another_instance_cannot_be_claimed(bbs: Diego) -> None:
    bbs.claim("p", 0, A)
    with pytest.raises(RequestRefused) as refusal:
        bbs.claim("p", 0, B)
    assert refusal.value.type == "ActualLRPCannotBeClaimed"


def test_a_row_that_is_not_there_cannot_be_claimed(bbs: Diego) -> None:
    with pytest.raises(ResourceNotFound):
        bbs.claim("p", 7, A)


def test_a_claim_is_told_with_the_new_key_on_both_sides(bbs: Diego) -> None:
    emitted = bbs.subscribe("instances")
    bbs.claim("p", 0, A)
    (event,) = drain(emitted)
    assert isinstance(event, ActualLRPInstanceChanged)
    assert (event.before.state, event.after.state) == (ActualLRPState.UNCLAIMED, ActualLRPState.CLAIMED)
    assert InstanceKey.of(event.before) == InstanceKey.of(event.after) == A


def test_starting_where_there_is_no_row_makes_a_running_one() -> None:
    bbs = diego()
    emitted = bbs.subscribe("instances")
    made = run(bbs)
    assert (made.state, made.tag_index, made.address, made.routable) == (
        ActualLRPState.RUNNING,
        0,
        NET.address,
        True,
    )
    assert types(drain(emitted)) == ["created"]


@pytest.mark.parametrize("claimed_by", [NOBODY, A, B])
def test_a_row_unclaimed_or_claimed_by_anyone_can_be_started(bbs: Diego, claimed_by: InstanceKey) -> None:
    if claimed_by:
        bbs.claim("p", 0, claimed_by)
    bbs.start("p", 0, A, NET, internal_routes=ROUTES, metric_tags=TAGS)
    assert (row(bbs).state, InstanceKey.of(row(bbs))) == (ActualLRPState.RUNNING, A)


def test_the_older_start_makes_a_row_routable_and_leaves_its_zone_empty(bbs: Diego) -> None:
    bbs.start("p", 0, A, NET)
    assert (row(bbs).routable, row(bbs).availability_zone) == (True, "")


def test_starting_with_all_the_same_changes_and_tells_nothing(bbs: Diego) -> None:
    before = run(bbs)
    emitted = bbs.subscribe("instances")
    bbs.start("p", 0, A, NET, internal_routes=ROUTES, metric_tags=TAGS, availability_zone="z1")
    assert row(bbs) == before
    assert drain(emitted) == []


def test_starting_with_another_address_is_a_write(bbs: Diego) -> None:
    before = run(bbs)
    bbs.start("p", 0, A, OTHER_NET, internal_routes=ROUTES, metric_tags=TAGS, availability_zone="z1")
    assert (row(bbs).address, row(bbs).tag_index) == (OTHER_NET.address, before.tag_index + 1)


def test_a_row_that_runs_elsewhere_cannot_be_started(bbs: Diego) -> None:
    run(bbs)
    with pytest.raises(RequestRefused) as refusal:
        bbs.start("p", 0, B, NET)
    assert refusal.value.type == "ActualLRPCannotBeStarted"


def test_a_row_cannot_be_started_in_another_domain(bbs: Diego) -> None:
    with pytest.raises(RequestRefused) as refusal:
        bbs.start("p", 0, A, NET, domain="elsewhere")
    assert refusal.value.type == "ActualLRPCannotBeStarted"


def test_a_first_crash_frees_the_row_in_its_epoch_and_keeps_what_was_reported(bbs: Diego) -> None:
    before = run(bbs)
    emitted, groups = bbs.subscribe("instances"), bbs.subscribe("groups")
    bbs.crash("p", 0, A, "x" * 2000)
    after = row(bbs)
    assert (after.state, InstanceKey.of(after), after.address) == (ActualLRPState.UNCLAIMED, NOBODY, "")
    assert (after.epoch, after.tag_index) == (before.epoch, before.tag_index + 1)
    assert (after.crash_count, after.crash_reason) == (1, "x" * 1013 + "(truncated)")
    assert (after.routable, after.internal_routes, after.metric_tags) == (True, ROUTES, TAGS)
    assert types(drain(emitted)) == ["crashed", "created", "removed"]
    assert types(drain(groups)) == ["crashed", "changed"]


def test_a_long_text_is_in_full_in_the_events_of_its_write_and_in_no_other(bbs: Diego) -> None:
    run(bbs)
    instances, groups = bbs.subscribe("instances"), bbs.subscribe("groups")
    bbs.crash("p", 0, A, "x" * 1012 + "é" * 100)
    bbs.claim("p", 0, A)
    crashed, created, _, claimed = drain(instances)
    slot_crashed, slot_written, slot_claimed = drain(groups)
    full, stored = "x" * 1012 + "é" * 100, "x" * 1012 + "\ufffd(truncated)"
    assert isinstance(crashed, ActualLRPCrashed)
    assert isinstance(created, ActualLRPInstanceCreated)
    assert isinstance(claimed, ActualLRPInstanceChanged)
    assert isinstance(slot_written, ActualLRPChanged)
    assert isinstance(slot_claimed, ActualLRPChanged)
    assert slot_crashed == crashed
    assert (crashed.crash_reason, created.actual_lrp.crash_reason) == (full, full)
    assert slot_written.after.resolve().crash_reason == full
    assert {claimed.before.crash_reason, claimed.after.crash_reason, row(bbs).crash_reason} == {stored}
    assert slot_claimed.before.resolve().crash_reason == stored


def test_the_crash_is_told_of_the_old_instance(bbs: Diego) -> None:
    before = run(bbs)
    emitted = bbs.subscribe("instances")
    bbs.crash("p", 0, A, "oom")
    crashed, created, removed = drain(emitted)
    assert crashed == ActualLRPCrashed(
        process_guid="p",
        domain="cf-apps",
        instance_guid=A.instance_guid,
        cell_id=A.cell_id,
        crash_count=1,
        crash_reason="oom",
        since=bbs.now,
    )
    assert created.actual_lrp == row(bbs)  # type: ignore[union-attr]
    assert removed == ActualLRPInstanceRemoved(before)


def test_the_third_crash_leaves_the_row_crashed_and_is_told_with_the_old_key(bbs: Diego) -> None:
    for _ in range(2):
        run(bbs)
        bbs.crash("p", 0, A)
    run(bbs)
    emitted = bbs.subscribe("instances")
    bbs.crash("p", 0, A)
    assert (row(bbs).state, InstanceKey.of(row(bbs))) == (ActualLRPState.CRASHED, NOBODY)
    crashed, changed = drain(emitted)
    assert types([crashed, changed]) == ["crashed", "changed"]
    assert isinstance(changed, ActualLRPInstanceChanged)
    assert (changed.after.state, InstanceKey.of(changed.after)) == (ActualLRPState.CRASHED, A)


def test_an_instance_that_ran_for_over_five_minutes_counts_its_crashes_anew(bbs: Diego) -> None:
    for seconds, count in [(1, 1), (1, 2), (301, 1)]:
        run(bbs)
        bbs.advance(seconds)
        bbs.crash("p", 0, A)
        assert row(bbs).crash_count == count


def test_only_the_instance_that_has_the_row_can_crash(bbs: Diego) -> None:
    run(bbs)
    with pytest.raises(RequestRefused) as refusal:
        bbs.crash("p", 0, B)
    assert refusal.value.type == "ActualLRPCannotBeCrashed"
    with pytest.raises(ResourceNotFound):
        bbs.crash("p", 1, A)


def test_a_placement_failure_is_a_write_without_a_key(bbs: Diego) -> None:
    emitted = bbs.subscribe("instances")
    bbs.fail("p", 0, "y" * 2000)
    assert (row(bbs).placement_error, row(bbs).tag_index) == ("y" * 1013 + "(truncated)", 1)
    (event,) = drain(emitted)
    assert isinstance(event, ActualLRPInstanceChanged)
    assert event.after.placement_error == "y" * 2000
    assert InstanceKey.of(event.after) == NOBODY


def test_only_an_unclaimed_row_can_fail_to_be_placed(bbs: Diego) -> None:
    bbs.claim("p", 0, A)
    with pytest.raises(RequestRefused) as refusal:
        bbs.fail("p", 0, "no room")
    assert refusal.value.type == "ActualLRPCannotBeFailed"


def test_a_row_is_removed_by_its_instance_or_by_anyone_who_names_none(bbs: Diego) -> None:
    run(bbs)
    with pytest.raises(ResourceNotFound):
        bbs.remove("p", 0, B)
    emitted = bbs.subscribe("instances")
    bbs.remove("p", 0, A)
    assert types(drain(emitted)) == ["removed"]
    with pytest.raises(ResourceNotFound):
        bbs.remove("p", 0)


def test_a_new_row_at_the_place_of_a_removed_one_is_in_a_new_epoch(bbs: Diego) -> None:
    before = run(bbs)
    bbs.remove("p", 0, A)
    assert run(bbs, B).epoch != before.epoch


def test_retiring_asks_the_cell_of_a_held_row_and_leaves_the_row(bbs: Diego) -> None:
    held = run(bbs)
    bbs.retire("p", 0)
    assert bbs.take_stop_requests() == (StopRequest("p", 0, A),)
    assert bbs.take_stop_requests() == ()
    assert row(bbs) == held


def test_retiring_removes_a_row_that_nobody_holds_or_whose_cell_is_unknown(bbs: Diego) -> None:
    bbs.retire("p", 0)
    assert bbs.actual_lrps() == []
    run(bbs, InstanceKey("i", "no-such-cell"))
    bbs.retire("p", 0)
    assert bbs.actual_lrps() == []
    with pytest.raises(ResourceNotFound):
        bbs.retire("p", 0)


@pytest.mark.parametrize("report", ["claim", "start"])
def test_the_instance_of_a_suspect_row_is_ignored(bbs: Diego, report: str) -> None:
    run(bbs)
    bbs.lose_cell("cell-a")
    bbs.converge()
    before = bbs.actual_lrps()
    getattr(bbs, report)("p", 0, A)
    assert bbs.actual_lrps() == before


def test_the_start_of_a_replacement_removes_the_suspect_row(bbs: Diego) -> None:
    run(bbs)
    bbs.lose_cell("cell-a")
    bbs.converge()
    bbs.claim("p", 0, B)
    emitted, groups = bbs.subscribe("instances"), bbs.subscribe("groups")
    bbs.start("p", 0, B, NET)
    assert bbs.row("p", 0, Presence.SUSPECT) is None
    assert types(drain(emitted)) == ["changed", "removed"]
    assert types(drain(groups)) == ["created", "removed"]


def test_a_crash_of_a_suspect_instance_removes_its_row_and_is_not_announced(bbs: Diego) -> None:
    run(bbs)
    bbs.lose_cell("cell-a")
    bbs.converge()
    emitted = bbs.subscribe("instances")
    bbs.crash("p", 0, A)
    assert bbs.row("p", 0, Presence.SUSPECT) is None
    assert types(drain(emitted)) == ["removed"]


def test_the_trace_id_of_the_time_is_carried_by_the_events(bbs: Diego) -> None:
    emitted = bbs.subscribe("instances")
    bbs.trace_id = "request-1"
    bbs.claim("p", 0, A)
    assert [event.trace_id for event in drain(emitted)] == ["request-1"]  # type: ignore[union-attr]
