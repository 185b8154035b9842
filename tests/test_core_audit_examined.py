"""When an audit examines what a list differs in: after the end of the list, and not within."""

from typing import Any

import pytest
from core_support import desired, running, synced, take_list

from lrpmirror.core.lists import audit as audits
from lrpmirror.core.rows.reconcile import RepairReason
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


def test_what_a_list_differs_in_is_examined_after_its_end_and_not_within(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[object] = []
    unexplained = audits._unexplained

    def noted(what: str, delta: Any, explained: Any) -> Any:
        looked_at.append(delta.key)
        return unexplained(what, delta, explained)

    monkeypatch.setattr(audits, "_unexplained", noted)
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
