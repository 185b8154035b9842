"""What a mirror can say about why a process looks as it does."""

from random import Random

import pytest
from core_support import (
    changed,
    claimed,
    crashed,
    created,
    desired,
    removed,
    row,
    running,
    synced,
    take_list,
    unclaimed,
)
from msgspec.structs import replace

from lrpmirror.core.explain.decisions import LIST, MOST_LISTED, REPAIR, Decision, Decisions, ListOutcome
from lrpmirror.core.knowledge import Knowledge
from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.rows.reconcile import Outcome, RepairReason
from lrpmirror.core.session import Session, Tuning
from lrpmirror.events import (
    ActualLRPChanged,
    ActualLRPCrashed,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
    UnknownEvent,
)
from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP, ModificationTag, Presence

GUID = row().process_guid


def having(*listed: ActualLRP | DesiredLRP) -> Session:
    """A live session with these records, and a desired LRP, without which instances would need a repair."""
    return synced(desired("d", 1), *listed)


def notified(session: Session, *events: Event, at: float = 7.0) -> Decision:
    """Tell a session events, and return what it says of the last one."""
    session.events(events, at)
    return session.knowledge.decisions.of(GUID)[-1]


def test_an_applied_event_is_explained_by_the_version_that_it_overtakes() -> None:
    decision = notified(having(unclaimed("a", 0)), changed(unclaimed("a", 0), claimed("a", 1)))
    assert decision == Decision(
        7.0,
        "actual_lrp_instance_changed",
        Outcome.APPLIED,
        index=0,
        tag=ModificationTag("a", 1),
        stored=ModificationTag("a", 0),
    )
    assert decision.why == "a:1 is newer than a:0"


def test_a_new_record_is_explained_by_its_absence() -> None:
    assert notified(having(), created(unclaimed("a", 0))).why == "a:0 is of a record that was not there"


def test_a_change_of_presence_is_explained_as_what_makes_no_version() -> None:
    suspect = replace(running("a", 2), presence=Presence.SUSPECT)
    decision = notified(having(running("a", 2)), changed(running("a", 2), suspect))
    assert decision.why == "a:2 is the version at hand, with something that makes no version"


def test_a_stale_event_is_explained_by_the_version_at_hand() -> None:
    decision = notified(having(running("a", 5)), changed(unclaimed("a", 0), claimed("a", 1)))
    assert decision.outcome is Outcome.STALE
    assert decision.why == "a:1 is older than a:5, or of a record before it; to be read again: older"


def test_a_repeated_event_is_explained_as_known() -> None:
    decision = notified(having(), created(unclaimed("a", 0)), created(unclaimed("a", 0)))
    assert (decision.outcome, decision.why) == (Outcome.SAME, "a:0 is known: a:0 is at hand")


def test_an_event_of_a_record_that_is_gone_names_its_last_version() -> None:
    decision = notified(having(running("a", 2)), removed(running("a", 2)), changed(unclaimed("a", 0), claimed("a", 1)))
    assert decision.outcome is Outcome.TOMBSTONED
    assert decision.why == "a:1 is of a record that is gone (its last known version: 2); to be read again: older"
    assert str(decision.outcome) == "tombstoned"


def test_a_removal_is_explained_by_what_was_at_hand() -> None:
    assert notified(having(running("a", 2)), removed(running("a", 2))).why == "a:2 is gone; a:2 was at hand"


def test_an_instance_that_left_its_record_is_distinguished_from_a_removal() -> None:
    freed = unclaimed("a", 3)
    decision = notified(having(running("a", 2)), created(freed), removed(running("a", 2)))
    assert decision.why == "the instance of a:2 left; the record lives on, unclaimed, as a:3"


def test_an_undecided_event_has_the_reason_why_the_process_is_read_again() -> None:
    session = having(running("a", 2))
    decision = notified(session, created(unclaimed("a", 5)), removed(crashed("a", 3)))
    assert (decision.outcome, decision.repair_reasons) == (Outcome.UNDECIDED, (RepairReason.AMBIGUOUS,))
    assert decision.why == "a:3 cannot be decided: a:5 is at hand; to be read again: ambiguous"


def test_a_crash_event_is_noted_for_its_index() -> None:
    decision = notified(having(), ActualLRPCrashed(process_guid=GUID, index=3))
    assert (decision.outcome, decision.index, decision.tag) == (Outcome.NOTED, 3, None)
    assert decision.why == "it tells of no change of state"


def test_events_of_desired_lrps_are_explained_by_theirs() -> None:
    session = having()
    newer, other = desired("d", 2), desired("e", 0)
    assert notified(session, DesiredLRPChanged(desired("d", 1), newer)).why == "d:2 is newer than d:1"
    assert notified(session, DesiredLRPCreated(other)).why == "e:0 takes the place of d:2; to be read again: desired"
    gone = notified(session, DesiredLRPRemoved(other))
    assert gone.why == "e:0 is gone; e:0 was at hand"
    assert gone.index is None


def test_group_events_are_explained_by_the_row_in_the_slot_that_they_speak_of() -> None:
    before, after = ActualLRPGroup(instance=unclaimed("a", 0)), ActualLRPGroup(instance=claimed("a", 1))
    assert notified(having(unclaimed("a", 0)), ActualLRPChanged(before, after)).why == "a:1 is newer than a:0"


def test_an_event_of_an_empty_group_is_of_no_process() -> None:
    session = having(unclaimed("a", 0))
    session.events([ActualLRPChanged(ActualLRPGroup(instance=unclaimed("a", 0)), ActualLRPGroup())], 1.0)
    assert session.knowledge.decisions.of(GUID) == ()


def test_an_instance_that_moved_is_explained_by_the_record_that_it_moved_to() -> None:
    session = having(running("a", 2))
    decision = notified(session, changed(running("a", 2), running("b", 1, presence=Presence.EVACUATING)))
    assert (decision.tag, decision.stored) == (ModificationTag("b", 1), None)
    decision = notified(session, changed(running("a", 2), running("b", 1)))
    assert (decision.outcome, decision.tag, decision.stored) == (
        Outcome.SAME,
        ModificationTag("b", 1),
        ModificationTag("b", 1),
    )


def test_a_move_to_a_known_record_is_explained_by_that_although_only_the_other_one_was_written() -> None:
    session = having(running("a", 2), running("b", 1))
    decision = notified(session, changed(running("a", 2), running("b", 1)))
    assert session.knowledge.store.get("a") is None
    assert (decision.tag, decision.stored) == (ModificationTag("b", 1), ModificationTag("b", 1))


def test_a_record_without_epoch_is_named_so() -> None:
    decision = notified(having(), created(unclaimed("", 0)))
    assert decision.why == "a record without epoch:0 is of a record that was not there"


def test_an_unknown_event_is_of_no_process() -> None:
    session = having(running("a", 2))
    session.events([UnknownEvent("later")], 1.0)
    assert session.knowledge.decisions.of(GUID) == ()


def test_before_the_first_list_there_is_nothing_to_explain() -> None:
    session = Session(Tuning(), Random(0))
    session.stream_opened(0)
    session.events([created(unclaimed("a", 0))], 1.0)
    take_list(session, [unclaimed("a", 0)])
    assert session.knowledge.decisions.of(GUID) == ()


def test_a_repair_is_recorded_with_both_versions() -> None:
    session = having(running("a", 2))
    take_list(session, [running("a", 4)], scope=Scope(frozenset({GUID}), frozenset()), now=9)
    (decision,) = session.knowledge.decisions.of(GUID)
    assert (decision.at, decision.type, decision.outcome, decision.index) == (9, REPAIR, ListOutcome.REPAIRED, 0)
    assert decision.why == "a read of the process had a:4; a:2 was at hand"


def test_a_repair_of_the_same_version_is_recorded_as_one_of_contents() -> None:
    session = having(running("a", 2))
    tagged = replace(running("a", 2), metric_tags={"k": "v"})
    take_list(session, [tagged], scope=Scope(frozenset({GUID}), frozenset()))
    assert session.knowledge.decisions.of(GUID)[-1].why.startswith("a read of the process had a:2 with other contents")


def test_a_repair_that_found_nothing_is_recorded_too() -> None:
    session = having(running("a", 2))
    scope = Scope(frozenset({GUID}), frozenset({GUID}))
    take_list(session, [running("a", 2)], [desired("d", 1)], scope=scope)
    (decision,) = session.knowledge.decisions.of(GUID)
    assert (decision.outcome, decision.why) == (ListOutcome.CONFIRMED, "it was read again, and is as it was")


def test_what_a_later_list_of_everything_found_is_recorded() -> None:
    session = having(running("a", 2))
    take_list(session, [], [])
    rows, lrp = session.knowledge.decisions.of(GUID)
    assert (rows.type, rows.tag, rows.stored) == (LIST, None, ModificationTag("a", 2))
    assert (lrp.index, lrp.why) == (None, "a list had nothing; d:1 was at hand")


def test_a_list_that_differs_in_everything_is_not_broken_down() -> None:
    session = having()
    take_list(session, [row(f"e{number}", index=number) for number in range(MOST_LISTED + 1)])
    assert session.knowledge.decisions.of(GUID) == ()


@pytest.mark.parametrize("kept", [1, 3])
def test_the_latest_decisions_are_kept_and_of_those_before_the_last_of_each_process(kept: int) -> None:
    decisions = Decisions(kept=kept)
    judge(decisions, created(unclaimed("b", 0, process_guid="other")), at=0)
    for number in range(1, 6):
        judge(decisions, created(unclaimed("a", number)), at=number)
    assert [decision.at for decision in decisions.of(GUID)] == [float(number) for number in range(5 - kept, 6)]
    assert [decision.at for decision in decisions.of("other")] == [0.0]
    assert len(decisions) == kept + 2


def test_a_few_processes_that_flap_do_not_push_out_the_last_of_all_others() -> None:
    decisions = Decisions(kept=10)
    for guid in ("p", "q", "r"):
        judge(decisions, created(unclaimed("a", 0, process_guid=guid)))
    for number in range(1000):
        judge(decisions, created(unclaimed("f", number, process_guid="flaps")))
    assert [len(decisions.of(guid)) for guid in ("p", "q", "r", "flaps")] == [1, 1, 1, 11]


def test_of_processes_with_only_their_last_decision_left_the_oldest_are_forgotten() -> None:
    decisions = Decisions(kept=1, processes=2)
    for guid in ("p", "q", "r", "s", "t", "u"):
        judge(decisions, created(unclaimed("a", 0, process_guid=guid)))
    assert [len(decisions.of(guid)) for guid in ("p", "q", "r", "s", "t", "u")] == [0, 0, 1, 1, 1, 1]


def judge(decisions: Decisions, event: Event, at: float = 0) -> None:
    """Have an event noted that has written nothing."""
    decisions.judged(event, event.type, Outcome.SAME, (), float(at), (), Knowledge(Tuning()))
    decisions.trim()
