"""What the tests of a server that was set back share: lists in older versions, and what is known before."""

from collections.abc import Sequence

from core_support import changed, claimed, desired, removed, running, settle, synced, unclaimed

from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.rows.changes import Commit
from lrpmirror.core.session import Session, Tuning
from lrpmirror.events import DesiredLRPCreated, DesiredLRPRemoved, Event
from lrpmirror.model import ActualLRP, DesiredLRP

Record = ActualLRP | DesiredLRP

WAIT = Tuning().rollback_wait


def listed(
    session: Session,
    *records: Record,
    at: float,
    opened_at: float = 0,
    meanwhile: Sequence[Event] = (),
    scope: Scope = EVERYTHING,
) -> Commit | None:
    """List these, on a stream that was opened then."""
    snapshot = session.begin_list(at, scope, opened_at=opened_at)
    if meanwhile:
        session.events(meanwhile, at)
    snapshot.list_rows([one for one in records if isinstance(one, ActualLRP)])
    snapshot.list_desired([one for one in records if isinstance(one, DesiredLRP)])
    settle(snapshot)
    commit = session.end_list(snapshot, at)
    session.knowledge.store._check()
    return commit


def state(session: Session) -> list[Record]:
    store = session.knowledge.store
    rows = store.select(cell_id=None, state=None, domain=None)
    return [*sorted(rows, key=lambda row: row.epoch), *store.select_desired(app_guid=None, domain=None)]


def phase(session: Session) -> Phase:
    return session.status(0).phase


def set_back(session: Session, *records: Record, meanwhile: Sequence[Event] = ()) -> Commit | None:
    """List these twice, as it takes for them to be believed."""
    assert listed(session, *records, at=100) is None
    return listed(session, *records, at=100 + WAIT, opened_at=101, meanwhile=meanwhile)


OLDER: dict[str, tuple[list[Record], list[Event], list[Record]]] = {
    "an older row": ([running("a", 7)], [], [claimed("a", 1)]),
    "an older desired LRP": ([desired("d", 7)], [], [desired("d", 1)]),
    "a row that was removed": ([running("a", 2)], [removed(running("a", 2))], [running("a", 2)]),
    "an older version of a row that was removed": ([running("a", 2)], [removed(running("a", 2))], [claimed("a", 1)]),
    "a desired LRP that was removed": ([desired("d", 1)], [DesiredLRPRemoved(desired("d", 1))], [desired("d", 1)]),
    "a desired LRP in whose place is another": (
        [desired("d", 1)],
        [DesiredLRPRemoved(desired("d", 1)), DesiredLRPCreated(desired("e"))],
        [desired("d", 1)],
    ),
    "a row from which the instance has moved": (
        [running("a", 2)],
        [changed(running("a", 2), running("b", 0))],
        [running("a", 2)],
    ),
    "an older row beside one that never was": ([running("a", 7), claimed("b", 1, "j", index=1)], [], [claimed("a", 1)]),
    "an older row beside one that is newer": (
        [running("a", 7), unclaimed("b", index=1)],
        [],
        [claimed("a", 1), claimed("b", 1, "j", index=1)],
    ),
}


def knowing(name: str) -> tuple[Session, list[Record]]:
    known, events, older = OLDER[name]
    session = synced(*known)
    session.events(events, 50)
    return session, older
