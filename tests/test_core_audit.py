"""Audits: what a list on a living stream differs in, what explains it, and what is drift."""

import pytest
from core_support import (
    changed,
    claimed,
    created,
    desired,
    removed,
    running,
    synced,
    take_list,
    unclaimed,
)
from msgspec.structs import replace

from lrpmirror.core.explain.decisions import ListOutcome
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.lists.audit import EXAMINED, NAMED, Drift
from lrpmirror.core.lists.difference import KINDS
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import ConnectionFailed
from lrpmirror.events import (
    ActualLRPChanged,
    ActualLRPCrashed,
    ActualLRPCreated,
    ActualLRPRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP, Presence

GRACE = 5
TUNING = Tuning(audit_grace=GRACE)

Record = ActualLRP | DesiredLRP


def live(*records: Record) -> Session:
    """A live mirror with these records, whose stream brings what the test sends."""
    return synced(*records, tuning=TUNING)


def audit(session: Session, *records: Record, now: float = 100, meanwhile: tuple[Event, ...] = ()) -> None:
    """List everything: the server has these."""
    rows = [one for one in records if isinstance(one, ActualLRP)]
    lrps = [one for one in records if isinstance(one, DesiredLRP)]
    take_list(session, rows, lrps, now=now, meanwhile=meanwhile)


def judged(session: Session, now: float = 100) -> Drift | None:
    """Judge when it is time to."""
    wait = session.audit_wait(now)
    return None if wait is None else session.end_audit(now + wait)


def kinds(session: Session, now: float = 100) -> dict[str, int]:
    drift = judged(session, now)
    return {} if drift is None else dict(drift.kinds)


# What differs: what the mirror has, what is listed, and how that is called

PRESENCE = replace(running(), presence=Presence.SUSPECT)

DIFFERENCES: dict[str, tuple[list[Record], list[Record], str]] = {
    "a row that is not here": ([], [unclaimed()], "row missing"),
    "a row that is not there": ([unclaimed()], [], "row extra"),
    "a newer version of a row": ([unclaimed()], [claimed()], "row behind"),
    "another presence at the same version": ([running()], [PRESENCE], "row contents"),
    "a desired LRP that is not here": ([], [desired()], "desired missing"),
    "a desired LRP that is not there": ([desired()], [], "desired extra"),
    "a newer version of a desired LRP": ([desired("d", 0)], [desired("d", 1)], "desired behind"),
    "another record of a desired LRP": ([desired("d", 3)], [desired("e", 0)], "desired behind"),
    "another text at the same version": ([desired("d")], [replace(desired("d"), annotation="x")], "desired contents"),
    "a row without an epoch": ([], [unclaimed("")], "row missing"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_no_event_explains_is_drift_of_its_kind(name: str) -> None:
    mine, listed, kind = DIFFERENCES[name]
    session = live(*mine)

    audit(session, *listed)

    assert session.counts().drift == 0, "it is only a suspicion yet"
    assert session.audit_wait(101) == GRACE - 1
    assert kinds(session) == {kind: 1}
    assert session.counts().drift_kinds == {kind: 1}
    assert kind in KINDS
    assert session.audit_wait(200) is None
    assert session.freshness.phase is Phase.LIVE


def test_a_list_that_differs_in_nothing_leaves_nothing_to_judge() -> None:
    session = live(unclaimed(), desired())

    audit(session, unclaimed(), desired())

    assert session.audit_wait(100) is None


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_list_is_committed_at_once_whether_the_differences_get_explained_or_not(name: str) -> None:
    mine, listed, _ = DIFFERENCES[name]
    session = live(*mine)

    audit(session, *listed)

    assert session.knowledge.store.process("p") == tuple(one for one in listed if isinstance(one, ActualLRP))
    assert session.knowledge.store.desired("p") == next((one for one in listed if isinstance(one, DesiredLRP)), None)


def group(row: ActualLRP) -> ActualLRPGroup:
    return ActualLRPGroup(row, None)


EXPLAINED: list[tuple[list[Record], list[Record], Event]] = [
    ([], [unclaimed()], created(unclaimed())),
    ([], [claimed()], changed(unclaimed(), claimed())),
    ([], [unclaimed()], changed(unclaimed(), claimed())),
    ([], [unclaimed()], removed(unclaimed())),
    ([], [unclaimed()], ActualLRPCreated(group(unclaimed()))),
    ([], [unclaimed("")], created(unclaimed(""))),
    ([unclaimed()], [], removed(unclaimed())),
    ([unclaimed()], [], ActualLRPRemoved(group(unclaimed()))),
    ([running()], [], changed(running(), running("b", 0))),
    ([running()], [], ActualLRPChanged(group(running()), ActualLRPGroup(None, running("b", 0)))),
    ([unclaimed()], [claimed()], changed(unclaimed(), claimed())),
    ([unclaimed()], [claimed()], ActualLRPChanged(group(unclaimed()), group(claimed()))),
    ([running()], [PRESENCE], changed(running(), PRESENCE)),
    ([], [desired()], DesiredLRPCreated(desired())),
    ([desired("d", 0)], [desired("d", 1)], DesiredLRPChanged(desired("d", 0), desired("d", 1))),
    ([desired()], [], DesiredLRPRemoved(desired())),
]


@pytest.mark.parametrize(("mine", "listed", "event"), EXPLAINED, ids=range(len(EXPLAINED)))
def test_a_difference_that_an_event_explains_within_the_grace_time_is_no_drift(
    mine: list[Record], listed: list[Record], event: Event
) -> None:
    session = live(*mine)
    audit(session, *listed)

    session.events([event], 103)

    assert kinds(session) == {}
    assert session.counts().drift == 0


@pytest.mark.parametrize(("mine", "listed", "event"), EXPLAINED, ids=range(len(EXPLAINED)))
def test_a_difference_that_an_event_explained_while_the_list_was_read_is_no_drift(
    mine: list[Record], listed: list[Record], event: Event
) -> None:
    session = live(*mine)

    audit(session, *listed, meanwhile=(event,))

    assert kinds(session) == {}


UNEXPLAINED: list[tuple[list[Record], list[Record], Event]] = [
    ([], [claimed("a", 5)], created(claimed("a", 4))),
    ([], [unclaimed("a")], created(unclaimed("b"))),
    ([unclaimed("a", 3)], [], created(unclaimed("a", 3))),
    ([unclaimed("a", 3)], [], changed(unclaimed("a", 2), claimed("a", 3))),
    ([], [desired("d", 2)], DesiredLRPChanged(desired("d", 0), desired("d", 1))),
    ([desired("d", 3)], [desired("e", 0)], DesiredLRPRemoved(desired("d", 3))),
    ([unclaimed()], [claimed()], ActualLRPCrashed(process_guid="p")),
]


@pytest.mark.parametrize(("mine", "listed", "event"), UNEXPLAINED, ids=range(len(UNEXPLAINED)))
def test_an_event_of_an_older_version_or_another_record_explains_nothing(
    mine: list[Record], listed: list[Record], event: Event
) -> None:
    session = live(*mine)
    audit(session, *listed)

    session.events([event], 103)

    assert sum(kinds(session).values()) == 1


# What else explains a difference


def test_a_process_that_was_to_be_read_again_may_differ() -> None:
    session = live(unclaimed())
    session.events([created(unclaimed("odd", 3))], 1)
    assert RepairReason.AMBIGUOUS in session.repairs.reasons_of("p")

    audit(session, claimed("a", 7))

    assert judged(session) is None


@pytest.mark.parametrize(("record", "kind"), [(running("a", 9), ""), (desired("d", 9), "desired behind")])
def test_a_repair_of_rows_explains_nothing_about_the_desired_lrp(record: Record, kind: str) -> None:
    session = live(running(), desired())
    session.repairs.add("p", RepairReason.INCOMPLETE)

    audit(session, *(one for one in (running(), desired()) if type(one) is not type(record)), record)

    assert kinds(session) == ({kind: 1} if kind else {})


@pytest.mark.parametrize(("record", "kind"), [(running("a", 9), "row behind"), (desired("d", 9), "")])
def test_a_repair_of_the_desired_lrp_explains_nothing_about_rows(record: Record, kind: str) -> None:
    session = live(running(), desired())
    session.repairs.add("p", RepairReason.DESIRED)

    audit(session, *(one for one in (running(), desired()) if type(one) is not type(record)), record)

    assert kinds(session) == ({kind: 1} if kind else {})


def test_a_process_whose_repair_the_list_requested_may_differ() -> None:
    session = live(unclaimed())

    audit(session, claimed("b", 2), meanwhile=(created(unclaimed("odd", 3)),))

    assert judged(session) is None


def test_any_process_may_differ_after_repairs_were_dropped() -> None:
    session = synced(unclaimed(), tuning=Tuning(repair_limit=1))
    session.events([created(unclaimed(f"odd{n}", 3, process_guid=f"q{n}")) for n in range(3)], 1)

    audit(session, claimed("a", 7))
    assert judged(session) is None

    audit(session, claimed("a", 8))
    assert kinds(session) == {"row behind": 1}, "the next list begins anew"


@pytest.mark.parametrize(
    "listed",
    [replace(running(), internal_routes=("x",)), replace(running(), metric_tags={"a": "1"})],
    ids=["internal routes", "metric tags"],
)
def test_what_diffs_do_not_carry_may_differ(listed: ActualLRP) -> None:
    session = live(running(), desired())

    audit(session, listed, desired())

    assert judged(session) is None
    assert session.knowledge.store.process("p") == (listed,)


@pytest.mark.parametrize("end", ["lost", "held"])
def test_what_a_stream_did_not_live_to_explain_is_no_drift(end: str) -> None:
    session = synced(unclaimed(), tuning=Tuning(brake_rows=1))
    audit(session, claimed())
    if end == "lost":
        session.stream_lost(ConnectionFailed("cut"))
    else:
        audit(session, now=101)
        assert session.freshness.phase is Phase.STALE

    assert judged(session, 101) is None


def test_a_list_after_a_gap_is_no_audit() -> None:
    session = live(unclaimed())
    session.stream_lost(ConnectionFailed("cut"))
    session.stream_opened(50)

    audit(session, claimed())

    assert session.audit_wait(100) is None


# What comes of it


def drifting(session: Session, *versions: int) -> list[str]:
    """Audit again and again, with these versions of a row; say what each makes of the stream."""
    found = []
    for number, version in enumerate(versions):
        audit(session, unclaimed("a", version), now=100 * number)
        drift = judged(session, 100 * number)
        found.append("clean" if drift is None else "again" if drift.first else "replace" if drift.repeated else "known")
    return found


def test_drift_makes_the_stream_suspect_until_an_audit_finds_none() -> None:
    assert drifting(live(unclaimed("a", 0)), 1, 2, 2, 3, 4) == ["again", "replace", "clean", "again", "replace"]


def test_drift_that_goes_on_and_on_has_the_stream_replaced_ever_more_rarely() -> None:
    found = drifting(live(unclaimed("a", 0)), *range(1, 18))

    assert [number for number, what in enumerate(found, 1) if what == "replace"] == [2, 4, 8, 16]
    assert found.count("again") == 1


def test_differences_that_were_explained_clear_the_stream() -> None:
    session = live(unclaimed("a", 0))
    assert drifting(session, 1) == ["again"]
    audit(session, unclaimed("a", 2), now=200)
    session.events([created(unclaimed("a", 2))], 201)
    assert judged(session, 201) is None

    assert drifting(session, 3) == ["again"]


def test_a_stream_after_a_gap_is_not_suspect() -> None:
    session = live(unclaimed("a", 0))
    assert drifting(session, 1) == ["again"]
    session.stream_lost(ConnectionFailed("cut"))
    session.stream_opened(1000)
    audit(session, unclaimed("a", 1), now=1000)

    assert drifting(session, 2) == ["again"]


def test_what_was_found_by_the_list_that_a_new_stream_took_over_with_is_still_judged() -> None:
    session = live(unclaimed("a", 0))
    audit(session, unclaimed("a", 2), now=200)

    session.stream_replaced(201)

    assert kinds(session, 201) == {"row behind": 1}


def test_each_audit_is_judged_in_its_own_time() -> None:
    session = live(unclaimed("a", 0), unclaimed("b", 0, index=1))
    audit(session, unclaimed("a", 1), unclaimed("b", 0, index=1), now=100)
    audit(session, unclaimed("a", 1), unclaimed("b", 1, index=1), now=102)

    assert session.audit_wait(102) == GRACE - 2
    assert session.end_audit(104) is None
    first = session.end_audit(105)
    assert first is not None
    assert [one.epoch for one in first.differences] == ["a"]
    assert session.audit_wait(105) == 2
    second = session.end_audit(107)
    assert second is not None
    assert [one.epoch for one in second.differences] == ["b"]
    assert second.repeated


def test_what_two_audits_found_of_one_record_is_judged_when_the_second_is() -> None:
    session = live(unclaimed("a", 0))
    audit(session, unclaimed("a", 1), now=100)
    audit(session, unclaimed("a", 2), now=102)

    assert session.end_audit(105) is None
    session.events([created(unclaimed("a", 2))], 106)
    assert session.end_audit(107) is None
    assert session.audit_wait(107) is None


def test_an_audit_without_differences_does_not_clear_what_is_not_judged_yet() -> None:
    session = live(unclaimed("a", 0))
    audit(session, unclaimed("a", 1), now=100)

    audit(session, unclaimed("a", 1), now=102)

    assert kinds(session, 102) == {"row behind": 1}


def test_it_is_reported_once_with_keys_and_without_values() -> None:
    secret = replace(desired(), routes={"diego-ssh": b"SECRET"}, annotation="SECRET")
    session = live(unclaimed())

    audit(session, claimed(), secret)

    drift = judged(session)
    assert str(drift) == (
        "a list differed from what the events had led to, in 1 desired missing, 1 row behind: "
        "row behind p/0 (a:1); desired missing p (d:0)"
    )
    assert "SECRET" not in repr(drift)
    assert session.end_audit(200) is None


def test_many_differences_are_named_in_part() -> None:
    session = live()

    audit(session, *(unclaimed(f"e{n}", index=n) for n in range(NAMED + 3)))

    notified = str(judged(session))
    assert notified.startswith(
        f"a list differed from what the events had led to, in {NAMED + 3} row missing: row missing p"
    )
    assert notified.count("(e") == NAMED
    assert notified.endswith("; and 3 more")


def test_thousands_of_differences_are_counted_and_not_looked_at_one_by_one() -> None:
    session = live()

    audit(session, *(unclaimed(f"e{n}", index=n) for n in range(EXAMINED + 7)))

    assert kinds(session) == {"row missing": EXAMINED, "unexamined": 7}
    assert session.counts().drift == EXAMINED + 7


def test_it_is_among_the_decisions_about_a_process() -> None:
    session = live(unclaimed())
    audit(session, claimed("a", 1))
    judged(session)

    listed, drifted = session.knowledge.decisions.of("p")
    assert listed.outcome is ListOutcome.REPAIRED
    assert (drifted.outcome, drifted.at, drifted.index) == (ListOutcome.DRIFTED, 105, 0)
    assert drifted.why == "a list had it otherwise, and no event told of a:1 or a later version after it"
