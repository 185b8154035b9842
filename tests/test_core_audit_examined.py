"""When an audit examines what a list differs in: after the end of the list, and not within."""

from typing import Any

import pytest
from core_support import changed, created, desired, running, synced, take_list, unclaimed

from lrpmirror.core.explain.decisions import ListOutcome
from lrpmirror.core.lists import audit as audits
from lrpmirror.core.lists.slices import SLICE
from lrpmirror.core.rows.reconcile import Outcome, RepairReason
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import ConnectionFailed
from lrpmirror.model import ActualLRP

GRACE = 5


def live() -> Session:
    return synced(running("e"), tuning=Tuning(audit_grace=GRACE))


def kinds(session: Session) -> dict[str, int]:
    drift = None if session.audit_wait(100) is None else session.end_audit(100 + GRACE)
    return {} if drift is None else dict(drift.kinds)


def audit(session: Session, *rows: ActualLRP) -> None:
    take_list(session, rows, [desired(process_guid="q")], now=100)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The keys of the differences that were examined so far."""
    keys: list[object] = []
    unexplained = audits._unexplained

    def noted(what: str, delta: Any, explained: Any) -> Any:
        keys.append(delta.key)
        return unexplained(what, delta, explained)

    monkeypatch.setattr(audits, "_unexplained", noted)
    return keys


def test_what_a_list_differs_in_is_examined_after_its_end_and_not_within(looked_at: list[object]) -> None:
    session = live()
    session.repairs.add("p", RepairReason.AMBIGUOUS)
    audit(session, running("e", 3))
    assert looked_at == []

    assert kinds(session) == {"desired missing": 1}, "a repair that was pending then explains the row"
    assert looked_at == ["e", "q"]


def test_of_two_audits_in_a_row_each_is_examined() -> None:
    session = live()
    audit(session, running("e", 3))
    audit(session, running("e", 3), running("f", index=1))

    assert kinds(session) == {"row behind": 1, "row missing": 1, "desired missing": 1}


def test_an_audit_is_forgotten_with_its_stream_also_before_it_is_examined() -> None:
    session = live()
    audit(session, running("e", 3))

    session.stream_lost(ConnectionFailed("gone"))

    assert session.audit_wait(100) is None


def test_what_the_audit_before_differs_in_is_not_examined_within_the_next_list_either(looked_at: list[object]) -> None:
    session = live()
    audit(session, running("e", 3))
    audit(session, running("e", 4))
    assert looked_at == []

    assert len(list(session.record_list())) > 1
    assert looked_at == ["e", "q", "e"]


def test_many_differences_are_examined_in_slices(looked_at: list[object]) -> None:
    session = live()
    audit(session, *(running(f"e{n}", index=n) for n in range(3 * SLICE)))
    steps = session.record_list()

    next(steps)
    assert len(looked_at) == SLICE
    list(steps)
    assert len(looked_at) == 3 * SLICE + 2


@pytest.mark.parametrize("taken", [0, 1, 4])
def test_an_event_explains_a_difference_whether_it_has_been_examined_or_not(taken: int) -> None:
    session = live()
    audit(session, *(running(f"e{n}", index=n) for n in range(2 * SLICE)), running("e", 3))
    for _ in zip(range(taken), session.record_list(), strict=False):
        pass

    session.events([created(running("e1", index=1)), changed(running("e"), running("e", 3))], 101)

    assert kinds(session) == {"row missing": 2 * SLICE - 1, "desired missing": 1}


def test_an_event_of_before_a_list_explains_nothing_of_it() -> None:
    session = live()
    audit(session, running("e", 3))
    session.events([created(unclaimed("f", index=1))], 100)
    audit(session, running("e", 3), unclaimed("f", 5, index=1))

    assert kinds(session) == {"row behind": 2, "desired missing": 1}


def test_the_decisions_of_a_list_that_changed_much_follow_it_in_slices() -> None:
    session = live()
    audit(session, *(running(f"e{n}", index=n, process_guid=f"p{n}") for n in range(3 * SLICE)))
    assert not session.knowledge.decisions.of("p599")

    session.events([created(running("g", index=1, process_guid="p599"))], 101)
    list(session.record_list())

    outcomes = [decision.outcome for decision in session.knowledge.decisions.of("p599")]
    assert outcomes == [ListOutcome.REPAIRED, Outcome.APPLIED], "in the order in which it happened"


def test_an_audit_that_nothing_is_left_of_ends_no_row_of_drifts_while_another_is_to_be_judged() -> None:
    session = live()
    audit(session, running("e", 3))
    list(session.record_list())
    session.repairs.add("p", RepairReason.AMBIGUOUS)
    take_list(session, [running("e", 4)], [desired(process_guid="q")], now=101)
    list(session.record_list())

    assert kinds(session) == {"row behind": 1, "desired missing": 1}
