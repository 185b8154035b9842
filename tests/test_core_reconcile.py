"""What each event of the instance stream does to the rows: the protocol's table, row by row."""

from typing import Any

import pytest
from core_support import (
    APPLIED,
    CLAIMED,
    CRASHED,
    LEFT,
    NOTED,
    ORDINARY,
    RUNNING,
    SAME,
    STALE,
    SUSPECT,
    TOMBSTONED,
    UNCLAIMED,
    UNDECIDED,
    Bench,
    bare,
    changed,
    claimed,
    crashed,
    created,
    removed,
    running,
    unclaimed,
)
from msgspec.structs import replace

from lrpmirror.core.rows.reconcile import Outcome, RepairReason
from lrpmirror.events import ActualLRPChanged, ActualLRPCrashed, Event, UnknownEvent
from lrpmirror.model import ActualLRP, ActualLRPGroup, ActualLRPState, Presence

KEPT: dict[str, Any] = {"internal_routes": ("old.internal",), "metric_tags": {"source": "before"}}


# Ordinary lives


def test_a_row_is_created_claimed_started_and_removed() -> None:
    bench = Bench()
    notified: list[Event] = [
        created(unclaimed()),
        changed(unclaimed(), claimed()),
        changed(claimed(), running()),
        removed(running()),
    ]

    assert bench.apply(*notified[:3]) == [APPLIED] * 3
    assert bench.rows == [bare(running())]
    assert bench.apply(notified[3]) == [APPLIED]
    assert bench.rows == []
    assert bench.reasons == {RepairReason.INCOMPLETE}


@pytest.mark.parametrize("after", [claimed("a", 5), running("a", 5)], ids=["claim", "start"])
def test_a_diff_keeps_the_internal_routes_and_metric_tags_that_the_row_had(after: ActualLRP) -> None:
    bench = Bench(unclaimed("a", 4, **KEPT))

    bench.apply(changed(unclaimed("a", 4), after))

    assert bench.rows == [replace(after, **KEPT)]


def test_a_start_is_read_again_since_its_diff_carries_no_internal_routes() -> None:
    bench = Bench(claimed("a", 1))

    bench.apply(changed(claimed("a", 1), running("a", 2)))

    assert bench.repairs == [("p", RepairReason.INCOMPLETE)]


@pytest.mark.parametrize("news", [{"since": 7}, {"routable": False}, {"address": "10.0.0.2"}])
def test_a_start_of_what_runs_is_read_again_whatever_its_diff_shows(news: dict[str, Any]) -> None:
    bench = Bench(running("a", 2, **KEPT))

    bench.apply(changed(running("a", 2), running("a", 3, **news)))

    assert bench.rows == [replace(running("a", 3, **news), **KEPT)]
    assert bench.repairs == [("p", RepairReason.INCOMPLETE)]


def test_a_change_of_presence_is_no_start_and_needs_no_read() -> None:
    bench = Bench(running("a", 2, **KEPT))

    bench.apply(changed(running("a", 2), running("a", 2, presence=SUSPECT)))

    assert bench.rows == [running("a", 2, presence=SUSPECT, **KEPT)]
    assert bench.repairs == []


def test_a_diff_that_passes_over_a_version_is_read_again() -> None:
    bench = Bench(running("a", 2))

    bench.apply(changed(running("a", 3), running("a", 4, routable=False)))

    assert bench.rows == [running("a", 4, routable=False)]
    assert bench.repairs == [("p", RepairReason.INCOMPLETE)]


def test_a_placement_failure_names_no_instance_and_keeps_the_rest() -> None:
    bench = Bench(unclaimed("a", 0, **KEPT))
    failed = unclaimed("a", 1, placement_error="insufficient resources")

    bench.apply(changed(unclaimed("a", 0), failed))

    assert bench.rows == [replace(failed, **KEPT)]
    assert bench.repairs == []


def test_a_crash_for_the_record_changes_no_row() -> None:
    bench = Bench(running())

    assert bench.apply(ActualLRPCrashed(process_guid="p"), UnknownEvent("actual_lrp_dreamt")) == [NOTED, NOTED]
    assert bench.rows == [running()]


# Unclaim: the instance leaves, the row lives on


@pytest.mark.parametrize("before", [claimed("a", 4), running("a", 4)])
@pytest.mark.parametrize("state", [UNCLAIMED, CRASHED])
def test_an_unclaimed_or_crashed_row_names_no_instance_though_the_diff_to_it_does(
    before: ActualLRP, state: ActualLRPState
) -> None:
    """The keys of a diff are those of both its sides: a server that unclaims by a diff names who left."""
    bench = Bench(before)
    after = replace(before, state=state, tag_index=5)
    assert after.instance_guid
    assert after.cell_id

    assert bench.apply(changed(before, after)) == [APPLIED]
    (row,) = bench.rows
    assert (row.state, row.instance_guid, row.cell_id) == (state, "", "")
    assert bench.store.instance(before.instance_guid) is None


def test_the_removed_of_an_unclaim_does_not_remove_the_row_that_its_created_has_made() -> None:
    bench = Bench(running("a", 2))

    assert bench.apply(created(unclaimed("a", 3)), removed(running("a", 2))) == [APPLIED, LEFT]
    assert bench.rows == [unclaimed("a", 3)]
    assert bench.repairs == []


def test_an_unclaim_in_the_other_order_ends_in_the_same_row_and_is_read_again() -> None:
    bench = Bench(running("a", 2))

    assert bench.apply(removed(running("a", 2)), created(unclaimed("a", 3))) == [APPLIED, APPLIED]
    assert bench.rows == [unclaimed("a", 3)]
    assert bench.repairs == [("p", RepairReason.AMBIGUOUS)]


def test_an_unclaim_whose_row_has_been_claimed_since_is_ambiguous_and_changes_nothing() -> None:
    bench = Bench(claimed("a", 4, "j"))

    assert bench.apply(removed(running("a", 2))) == [UNDECIDED]
    assert bench.rows == [claimed("a", 4, "j")]
    assert bench.repairs == [("p", RepairReason.AMBIGUOUS)]


@pytest.mark.parametrize("now", [claimed("a", 4, "j"), running("a", 5, "j"), unclaimed("a", 4), crashed("a", 4)])
def test_a_removed_that_carries_an_unclaimed_row_means_the_record_in_whatever_version(now: ActualLRP) -> None:
    bench = Bench(now)

    assert bench.apply(removed(unclaimed("a", 3))) == [APPLIED]
    assert bench.rows == []
    assert bench.repairs == []
    assert bench.apply(changed(claimed("a", 4, "j"), running("a", 5, "j"))) in ([TOMBSTONED], [UNDECIDED])
    assert bench.rows == []


def test_a_later_version_of_a_removed_record_that_is_not_unclaimed_is_not_believed_but_read() -> None:
    bench = Bench(running("a", 2))

    assert bench.apply(removed(running("a", 2)), created(running("a", 4, "j"))) == [APPLIED, UNDECIDED]
    assert bench.apply(changed(claimed("a", 3, "j"), running("a", 4, "j"))) == [UNDECIDED]
    assert bench.rows == []


# Crashes


def test_a_crash_without_restart_clears_the_instance_key_that_the_diff_still_carries() -> None:
    bench = Bench(running("a", 2))

    bench.apply(changed(running("a", 2), crashed("a", 3)))

    assert bench.rows == [replace(crashed("a", 3), internal_routes=("app.internal",), metric_tags={"source": "i"})]
    assert bench.store.instance("i") is None


@pytest.mark.parametrize("field", ["crash_reason", "placement_error"])
@pytest.mark.parametrize(
    "notified",
    [
        lambda **text: changed(running("a", 2), crashed("a", 3, **text)),
        lambda **text: created(unclaimed("a", 3, **text)),
        lambda **text: ActualLRPChanged(ActualLRPGroup(running("a", 2)), ActualLRPGroup(crashed("a", 3, **text))),
    ],
    ids=["changed", "created", "group"],
)
def test_a_long_text_is_kept_as_the_server_stores_it(notified: Any, field: str) -> None:
    bench = Bench(running("a", 2))

    bench.apply(notified(**{field: "x" * 2000}))

    (row,) = bench.rows
    assert getattr(row, field) == "x" * 1013 + "(truncated)"
    assert row.instance_guid == ""
    assert bench.apply(notified(**{field: "x" * 2000})) == [SAME]


def test_the_restart_of_a_crashed_row_names_no_instance_and_is_read_again() -> None:
    bench = Bench(crashed("a", 3))

    assert bench.apply(created(unclaimed("a", 4)), removed(crashed("a", 3))) == [APPLIED, LEFT]
    assert bench.rows == [unclaimed("a", 4)]
    assert bench.repairs == [("p", RepairReason.AMBIGUOUS)]


@pytest.mark.parametrize("now", [unclaimed("a", 6), crashed("a", 6)])
def test_the_late_removed_of_a_restart_does_not_remove_what_the_row_became(now: ActualLRP) -> None:
    bench = Bench(now)

    assert bench.apply(removed(crashed("a", 3))) == [UNDECIDED]
    assert bench.rows == [now]


def test_a_crashed_row_that_is_retired_is_removed() -> None:
    bench = Bench(crashed("a", 3))

    assert bench.apply(removed(crashed("a", 3))) == [APPLIED]
    assert bench.rows == []
    assert bench.repairs == []


# Stop


def test_a_removal_read_before_the_last_write_removes_the_row_of_the_same_instance() -> None:
    bench = Bench(running("a", 5))

    assert bench.apply(removed(running("a", 3))) == [APPLIED]
    assert bench.rows == []
    assert bench.repairs == []


def test_a_removal_of_an_unclaimed_version_removes_the_unclaimed_row() -> None:
    bench = Bench(unclaimed("a", 3, placement_error="full"))

    assert bench.apply(removed(unclaimed("a", 2))) == [APPLIED]
    assert bench.rows == []


def test_a_removed_record_is_not_brought_back_by_events_that_were_overtaken() -> None:
    bench = Bench(claimed("a", 1))

    outcomes = bench.apply(
        removed(running("a", 4)),
        changed(claimed("a", 1), running("a", 2)),
        changed(running("a", 2), running("a", 4)),
        created(unclaimed("a", 0)),
        removed(running("a", 2)),
    )

    assert outcomes == [APPLIED, TOMBSTONED, TOMBSTONED, TOMBSTONED, SAME]
    assert bench.rows == []
    assert bench.repairs == []


def test_a_removal_of_a_record_never_seen_is_remembered() -> None:
    bench = Bench()

    assert bench.apply(removed(running("a", 2)), created(unclaimed("a", 0))) == [TOMBSTONED, TOMBSTONED]
    assert bench.rows == []


# Late, double, never seen


@pytest.mark.parametrize(
    "event",
    [created(running("a", 2)), changed(claimed("a", 1), running("a", 2))],
    ids=["created", "changed"],
)
def test_an_event_twice_is_known_already(event: Event) -> None:
    bench = Bench(running("a", 2))

    assert bench.apply(event, event) == [SAME, SAME]
    assert bench.repairs == []


@pytest.mark.parametrize("event", [created(unclaimed("a", 0)), changed(unclaimed("a", 0), claimed("a", 1))])
def test_an_event_behind_a_newer_one_is_stale(event: Event) -> None:
    bench = Bench(running("a", 2))

    assert bench.apply(event) == [STALE]
    assert bench.rows == [running("a", 2)]


def test_a_diff_of_a_row_never_seen_is_shown_and_read() -> None:
    bench = Bench()

    assert bench.apply(changed(claimed("a", 1), running("a", 2))) == [APPLIED]
    assert bench.rows == [bare(running("a", 2))]
    assert bench.repairs == [("p", RepairReason.AMBIGUOUS)]


def test_a_later_version_of_a_record_never_seen_is_shown_and_read_but_a_new_record_is_not() -> None:
    bench = Bench()

    bench.apply(created(unclaimed("a", 0)), created(running("b", 0, process_guid="q")))
    assert bench.repairs == []
    bench.apply(created(unclaimed("c", 1, index=1)))
    assert bench.repairs == [("p", RepairReason.AMBIGUOUS)]


# Old records, and what newer servers make up


def test_rows_without_an_epoch_are_known_by_their_slot_and_always_believed() -> None:
    bench = Bench()

    assert bench.apply(created(running("", 9)), created(running("", 3, routable=False))) == [APPLIED, APPLIED]
    assert bench.rows == [running("", 3, routable=False)]
    assert bench.apply(removed(running("", 1))) == [APPLIED]
    assert bench.rows == []
    assert bench.apply(created(running("", 1))) == [APPLIED], "there is no version that a tombstone could compare"


def test_a_diff_without_an_epoch_moves_the_row_to_its_new_slot_with_what_it_had() -> None:
    bench = Bench(running("", 0))

    bench.apply(changed(running("", 0), running("", 0, presence=SUSPECT)))
    assert bench.rows == [running("", 0, presence=SUSPECT)]

    bench.apply(changed(running("", 0, presence=SUSPECT), running("", 0, presence=SUSPECT, routable=False)))
    assert bench.rows == [running("", 0, presence=SUSPECT, routable=False)]


def test_a_diff_without_an_epoch_of_a_row_never_seen_makes_it() -> None:
    bench = Bench()

    bench.apply(changed(claimed("", 0), running("", 0)))

    assert bench.rows == [bare(running("", 0))]


def test_a_diff_that_gives_an_old_record_its_epoch_is_a_record_never_seen() -> None:
    bench = Bench()

    assert bench.apply(changed(claimed("", 0), running("a", 1))) == [APPLIED]
    assert bench.rows == [bare(running("a", 1))]


def test_unknown_states_and_presences_are_kept_as_they_are() -> None:
    bench = Bench(running("a", 2))
    paused = running("a", 3, state=ActualLRPState("PAUSED"), presence=Presence(7))

    assert bench.apply(changed(running("a", 2), paused)) == [APPLIED]
    assert bench.rows == [paused]
    assert bench.store.select(cell_id=None, state="PAUSED", domain=None) == (paused,)


def test_an_event_of_one_process_requests_no_repair_of_another() -> None:
    bench = Bench(running("a", 5, process_guid="q"))

    bench.apply(removed(running("a", 2, "j", process_guid="q")))

    assert bench.repairs == [("q", RepairReason.AMBIGUOUS)]


def test_a_claim_from_running_keeps_the_row() -> None:
    bench = Bench(running("a", 2))

    bench.apply(changed(running("a", 2), replace(running("a", 3), state=CLAIMED, address="")))

    assert [one.state for one in bench.rows] == [CLAIMED]
    assert bench.rows[0].presence is ORDINARY
    assert bench.rows[0].state is not RUNNING


# A version that is known with other contents: the server was set back and has written it again


@pytest.mark.parametrize(
    "event",
    [
        changed(unclaimed("a", 0), claimed("a", 1, "j")),
        changed(claimed("a", 1, "j"), replace(claimed("a", 1, "j"), presence=SUSPECT)),
        created(claimed("a", 1, "j")),
    ],
)
def test_a_known_version_with_other_contents_is_read_again_and_not_mixed(event: Event) -> None:
    bench = Bench(claimed("a", 1))

    assert bench.apply(event) == [Outcome.UNDECIDED]
    assert bench.rows == [claimed("a", 1)]
    assert bench.reasons == {RepairReason.AMBIGUOUS}


@pytest.mark.parametrize(
    "event",
    [
        changed(claimed("a", 1), running("a", 2)),
        changed(running("a", 2), replace(running("a", 2), presence=SUSPECT)),
        created(replace(running("a", 2), internal_routes=("other",), metric_tags={})),
    ],
)
def test_what_diffs_do_not_carry_and_the_presence_are_no_other_contents(event: Event) -> None:
    bench = Bench(running("a", 2))

    assert bench.apply(event) != [Outcome.UNDECIDED]
