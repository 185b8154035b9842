"""What the simulated BBS puts right by itself."""

import pytest
from sim_support import A, B, check_rows, diego, drain, row, run, types, wanted

from lrpmirror.events import ActualLRPInstanceChanged, ActualLRPInstanceCreated
from lrpmirror.model import ActualLRP, ActualLRPState, CellPresence, Presence
from lrpmirror.sim import Diego, InstanceKey, StopRequest


@pytest.fixture
def bbs() -> Diego:
    made = diego()
    made.desire(wanted())
    return made


def suspect(bbs: Diego, instance: InstanceKey = A) -> None:
    run(bbs, instance)
    bbs.lose_cell(instance.cell_id)
    bbs.converge()


def presences(bbs: Diego) -> list[Presence]:
    return sorted(each.presence for each in bbs.actual_lrps())


def test_a_missing_row_is_made(bbs: Diego) -> None:
    bbs.remove("p", 0)
    bbs.converge()
    assert row(bbs).state is ActualLRPState.UNCLAIMED


def test_a_surplus_row_is_stopped_in_a_fresh_domain_only() -> None:
    bbs = diego()
    run(bbs)
    bbs.upsert_domain("cf-apps", ttl=10)
    bbs.advance(11)
    bbs.converge()
    assert bbs.take_stop_requests() == ()
    bbs.upsert_domain("cf-apps")
    bbs.converge()
    assert bbs.take_stop_requests() == (StopRequest("p", 0, A),)


def test_a_row_beyond_the_desired_number_is_stopped(bbs: Diego) -> None:
    run(bbs, A, 0)
    run(bbs, B, 1)
    bbs.converge()
    assert bbs.take_stop_requests() == (StopRequest("p", 1, B),)


def crash_times(bbs: Diego, times: int) -> None:
    for _ in range(times):
        while row(bbs).state is ActualLRPState.CRASHED:
            bbs.advance(16 * 60)
            bbs.converge()
        bbs.claim("p", 0, A)
        bbs.crash("p", 0, A)


@pytest.mark.parametrize(("crashes", "seconds"), [(3, 30), (4, 60), (5, 120), (8, 960), (20, 960)])
def test_a_crashed_row_is_freed_when_its_back_off_is_over(bbs: Diego, crashes: int, seconds: int) -> None:
    crash_times(bbs, crashes)
    bbs.advance(seconds - 1)
    bbs.converge()
    assert row(bbs).state is ActualLRPState.CRASHED
    bbs.advance(1)
    emitted = bbs.subscribe("instances")
    bbs.converge()
    assert (row(bbs).state, row(bbs).crash_count) == (ActualLRPState.UNCLAIMED, crashes)
    assert types(drain(emitted)) == ["created", "removed"]


def test_after_two_hundred_crashes_a_row_stays_crashed(bbs: Diego) -> None:
    crash_times(bbs, 200)
    bbs.advance(100_000)
    bbs.converge()
    assert row(bbs).state is ActualLRPState.CRASHED


def test_a_row_of_a_lost_cell_becomes_suspect_with_its_tag_and_gets_a_replacement(bbs: Diego) -> None:
    before = run(bbs)
    bbs.lose_cell("cell-a")
    emitted, groups = bbs.subscribe("instances"), bbs.subscribe("groups")
    bbs.converge()
    found = bbs.row("p", 0, Presence.SUSPECT)
    assert found is not None
    assert (found.modification_tag, found.since, InstanceKey.of(found)) == (before.modification_tag, before.since, A)
    assert (row(bbs).state, row(bbs).tag_index) == (ActualLRPState.UNCLAIMED, 0)
    changed, created = drain(emitted)
    assert isinstance(changed, ActualLRPInstanceChanged)
    assert (changed.before.presence, changed.after.presence) == (Presence.ORDINARY, Presence.SUSPECT)
    assert created == ActualLRPInstanceCreated(row(bbs))
    assert drain(groups) == []


def test_a_replacement_on_a_lost_cell_is_freed_instead(bbs: Diego) -> None:
    suspect(bbs)
    bbs.claim("p", 0, B)
    bbs.lose_cell("cell-b")
    bbs.converge()
    assert presences(bbs) == [Presence.ORDINARY, Presence.SUSPECT]
    assert row(bbs).state is ActualLRPState.UNCLAIMED


def test_a_suspect_row_of_a_cell_that_is_back_is_ordinary_again_and_its_replacement_goes(bbs: Diego) -> None:
    suspect(bbs)
    before, replacement = bbs.row("p", 0, Presence.SUSPECT), row(bbs)
    bbs.return_cell("cell-a")
    emitted, groups = bbs.subscribe("instances"), bbs.subscribe("groups")
    bbs.converge()
    assert before is not None
    assert presences(bbs) == [Presence.ORDINARY]
    assert row(bbs).modification_tag == before.modification_tag
    changed, removed = drain(emitted)
    assert types([changed, removed]) == ["changed", "removed"]
    assert removed.actual_lrp == replacement  # type: ignore[union-attr]
    assert types(drain(groups)) == ["removed"]


def test_a_suspect_row_beside_a_running_one_is_removed() -> None:
    bbs = diego()
    bbs.desire(wanted())
    suspect(bbs)
    lost = bbs.row("p", 0, Presence.SUSPECT)
    bbs.start("p", 0, B)
    assert lost is not None
    bbs.adopt([lost])
    bbs.converge()
    assert presences(bbs) == [Presence.ORDINARY]


def test_a_suspect_row_alone_is_not_a_missing_one(bbs: Diego) -> None:
    suspect(bbs)
    bbs.remove("p", 0)
    bbs.converge()
    assert presences(bbs) == [Presence.SUSPECT]


def test_a_suspect_row_alone_is_ordinary_again_when_its_cell_is_back(bbs: Diego) -> None:
    suspect(bbs)
    bbs.remove("p", 0)
    bbs.return_cell("cell-a")
    bbs.converge()
    assert presences(bbs) == [Presence.ORDINARY]


def test_a_cell_that_was_not_there_is_neither_lost_nor_found(bbs: Diego) -> None:
    before = bbs.cells()
    bbs.lose_cell("no-such-cell")
    bbs.return_cell("no-such-cell")
    assert bbs.cells() == before


def test_an_evacuating_row_of_a_lost_cell_is_removed(bbs: Diego) -> None:
    run(bbs)
    bbs.evacuate_running("p", 0, A)
    bbs.lose_cell("cell-a")
    emitted, groups = bbs.subscribe("instances"), bbs.subscribe("groups")
    bbs.converge()
    assert presences(bbs) == [Presence.ORDINARY]
    assert types(drain(emitted)) == types(drain(groups)) == ["removed"]


def test_a_round_over_a_sound_state_tells_nothing(bbs: Diego) -> None:
    run(bbs)
    emitted, before = bbs.subscribe("instances"), bbs.snapshot()
    bbs.converge()
    assert drain(emitted) == []
    assert bbs.snapshot() == before


def test_a_cell_is_registered_as_it_is_given() -> None:
    bbs = Diego()
    cell = CellPresence(cell_id="mine", zone="z9")
    bbs.add_cell(cell)
    assert bbs.cells() == (cell,)


def test_a_state_that_was_there_before_is_taken_in_as_it_is() -> None:
    bbs = Diego()
    emitted = bbs.subscribe("instances")
    row = ActualLRP(process_guid="p", domain="d", epoch="e", tag_index=7)
    bbs.adopt([row], [wanted(epoch="f", tag_index=3)])
    assert (bbs.actual_lrps(), bbs.desired_lrps()) == ([row], [wanted(epoch="f", tag_index=3)])
    assert emitted.take() is None


def test_a_state_that_cannot_be_is_noticed() -> None:
    bbs = Diego()
    bbs.adopt([ActualLRP(process_guid="p", domain="d", epoch="e", state=ActualLRPState.RUNNING)])
    with pytest.raises(AssertionError, match="RUNNING"):
        check_rows(bbs)
