"""A session: its commits, the versions that it has seen, lists that fail and streams that end, tombstones."""

import pytest
from core_support import (
    LOST,
    Fold,
    changed,
    claimed,
    crashed,
    created,
    desired,
    fresh,
    list_with_domains,
    removed,
    running,
    settle,
    synced,
    take_list,
    unclaimed,
)

from lrpmirror.core.derived.dirty import dirtied_by
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.rows.change_set import ChangeSet
from lrpmirror.core.rows.changes import Cause, Commit, Delta
from lrpmirror.core.rows.reconcile import Outcome, RepairReason
from lrpmirror.core.rows.store import Store
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import LRPMirrorError, ServiceUnavailable
from lrpmirror.events import (
    ActualLRPCrashed,
    ActualLRPCreated,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
    UnknownEvent,
)
from lrpmirror.model import ActualLRPGroup, CellPresence, ModificationTag

# Commits


def test_each_event_that_changes_something_is_one_commit_and_revisions_grow_by_one() -> None:
    session = synced()
    fold = Fold()

    fold.take(
        session.events(
            [
                created(unclaimed()),
                created(unclaimed()),
                ActualLRPCrashed(process_guid="p"),
                UnknownEvent("something_new"),
                changed(unclaimed(), claimed()),
                DesiredLRPCreated(desired()),
                removed(claimed()),
            ],
            0,
        )
    )

    assert fold.revision == 4
    fold.agrees_with(session)


def test_what_changes_nothing_is_no_commit() -> None:
    session = synced(running(), desired())

    assert session.events([created(running()), DesiredLRPCreated(desired()), removed(claimed("x", 1))], 0) == []
    assert take_list(session, [running()], [desired()]) is None
    assert session.knowledge.revision == 1


def test_an_empty_server_is_synchronised_without_a_commit() -> None:
    session = fresh()
    session.stream_opened(0)

    assert take_list(session) is None
    assert session.freshness.phase is Phase.LIVE


def test_a_move_between_two_records_is_one_commit() -> None:
    session = synced(running())

    (commit,) = session.events([changed(running(), running("b", 0))], 0)

    assert commit.cause is Cause.EVENT
    assert [(delta.key, delta.before is None, delta.after is None) for delta in commit.actual_lrps] == [
        ("b", True, False),
        ("a", False, True),
    ]


def test_an_event_that_writes_a_row_twice_and_ends_where_it_began_is_no_commit() -> None:
    session = synced(running("", 2))
    other_and_back = ActualLRPGroup(running("", 3), running("", 2))

    assert session.events([ActualLRPCreated(other_and_back)], 0) == []
    assert session.knowledge.store.process("p") == (running("", 2),)


def test_what_is_written_twice_is_one_difference() -> None:
    change_set = ChangeSet(Store())
    change_set.put_desired(desired("d", 0))
    change_set.put_desired(desired("d", 1))
    first = unclaimed("a", 0)
    change_set.put("a", None, first)
    change_set.put("a", first, unclaimed("a", 1))

    assert change_set.close() == ((Delta("a", None, unclaimed("a", 1)),), (Delta("p", None, desired("d", 1)),))
    assert change_set.close() == ((), ())


def test_the_commits_of_one_read_are_those_of_its_events_one_by_one() -> None:
    events: list[Event] = [
        created(unclaimed("b", index=1)),
        created(unclaimed("b", index=1)),
        DesiredLRPRemoved(desired()),
        changed(running(), running("c", 0)),
        removed(unclaimed("b", index=1)),
    ]
    session, another = synced(running(), desired()), synced(running(), desired())

    commits = session.events(events, 0)
    one_by_one = [commit for event in events for commit in another.events([event], 0)]

    assert [commit.revision for commit in one_by_one] == [2, 3, 4, 5]
    assert session.knowledge.revision == another.knowledge.revision == 5
    assert commits[-1] == one_by_one[-1], "which is made before those before it"
    assert commits == one_by_one
    assert repr(commits) == repr(one_by_one)
    assert commits[1:3] == one_by_one[1:3]
    assert commits[0] is commits[0], "it is made once"
    assert commits.__eq__(4) is NotImplemented
    assert len(commits) == 4
    with pytest.raises(IndexError):
        commits[4]
    with pytest.raises(TypeError):
        hash(commits)


def test_the_processes_that_commits_touched() -> None:
    session = synced(unclaimed(), desired("e", process_guid="q"))
    list_with_domains(session)

    commits = [*session.events([created(unclaimed("b", process_guid="r")), DesiredLRPRemoved(desired("e"))], 0)]
    commits += session.events([DesiredLRPRemoved(desired("e", process_guid="q"))], 0)

    assert list(dirtied_by(commits)) == ["r", "q"]


class Log:
    """A observer that notes what it sees."""

    def __init__(self, session: Session) -> None:
        self.seen: list[tuple[object, ...]] = []
        self._session = session

    def event(self, event: Event, outcome: Outcome, commit: Commit | None) -> None:
        self.seen.append((event.type, outcome, commit and commit.revision, self._session.knowledge.revision))

    def listed(self, commit: Commit) -> None:
        self.seen.append((commit.cause, commit.revision))


def test_an_observer_sees_every_event_and_commit_while_the_state_is_just_that_after_it() -> None:
    session = synced(unclaimed())
    log = Log(session)
    session.observers = (log,)

    session.events([changed(unclaimed(), claimed()), changed(unclaimed(), claimed())], 0)
    take_list(session, [claimed("a", 2)])
    take_list(session, [claimed("a", 2)])

    assert log.seen == [
        ("actual_lrp_instance_changed", Outcome.APPLIED, 2, 2),
        ("actual_lrp_instance_changed", Outcome.SAME, None, 2),
        (Cause.SNAPSHOT, 3),
    ]


def test_what_was_counted() -> None:
    session = synced(unclaimed())
    session.events([changed(unclaimed(), claimed()), removed(unclaimed("x", process_guid="q"))], 0)
    take_list(session, [claimed("a", 2), unclaimed("b", index=1)])
    take_list(session, scope=Scope(frozenset({"q"}), frozenset()))
    session.list_failed(session.begin_list(0), ServiceUnavailable("503"))
    session.end_audit(9)
    session.stream_lost(LOST)
    session.stream_opened(0)
    take_list(session, [claimed("a", 2)])
    session.stream_replaced(1)
    session.freshness.ping_failed(LOST)

    counts = session.counts()

    assert counts.streams == 2
    assert counts.events == {"actual_lrp_instance_changed applied": 1, "actual_lrp_instance_removed tombstoned": 1}
    assert counts.lists == {"first": 1, "audit": 1, "repair": 1, "reconnect": 1}
    assert (counts.drift, counts.drift_kinds) == (2, {"row behind": 1, "row missing": 1})
    assert (counts.replacements, counts.lists_held) == (1, 0)
    assert counts.commits == {"event": 1, "snapshot": 3}
    assert counts.errors == {"ServiceUnavailable": 1, "ConnectionFailed": 2}
    assert counts.tombstones == 2
    assert (counts.repairs_pending, counts.repairs_dropped) == (0, 0)


# Versions


def test_a_version_has_been_seen_when_it_or_a_later_one_was_here() -> None:
    session = synced(claimed("a", 1), desired("d", 4))

    assert session.knowledge.tags("p") == [ModificationTag("d", 4), ModificationTag("a", 1)]
    assert session.knowledge.tags("nobody") == []
    assert session.knowledge.has_seen("p", ModificationTag("a", 1))
    assert session.knowledge.has_seen("p", ModificationTag("d", 3))
    assert not session.knowledge.has_seen("p", ModificationTag("a", 2))
    assert not session.knowledge.has_seen("p", ModificationTag("b", 0))


def test_a_version_of_a_record_that_is_gone_has_been_seen() -> None:
    session = synced(claimed("a", 1), desired("d", 4))
    session.events([removed(claimed("a", 1)), DesiredLRPRemoved(desired("d", 4))], 0)

    assert session.knowledge.has_seen("p", ModificationTag("a", 1))
    assert session.knowledge.has_seen("p", ModificationTag("d", 5))


def test_a_process_can_be_explained() -> None:
    session = synced(unclaimed())

    session.events([changed(unclaimed(), claimed())], 3)

    (decision,) = session.knowledge.decisions.of("p")
    assert (decision.at, decision.outcome, decision.tag) == (3, Outcome.APPLIED, ModificationTag("a", 1))
    assert session.knowledge.decisions.of("nobody") == ()


def test_events_before_the_first_list_wait_for_it() -> None:
    session = fresh()
    session.stream_opened(0)
    assert session.events([created(unclaimed("early"))], 0) == []

    commit = take_list(session, [], meanwhile=[created(unclaimed())])

    assert commit is not None
    assert session.knowledge.store.process("p") == (unclaimed(),)


def test_after_a_gap_events_go_to_the_old_state_until_the_lists_are_in() -> None:
    session = synced(unclaimed())
    session.stream_lost(LOST)
    session.stream_opened(1)

    assert session.events([changed(unclaimed(), claimed())], 1)
    assert session.knowledge.store.process("p") == (claimed(),)
    assert session.freshness.phase is Phase.RESYNCING


def test_fresh_domains_and_cells_are_committed_when_they_change() -> None:
    session = synced()
    cells = (CellPresence(cell_id="cell-a"),)

    def listed() -> Commit | None:
        snapshot = session.begin_list(0)
        snapshot.domains, snapshot.cells = frozenset({"apps"}), cells
        settle(snapshot)
        return session.end_list(snapshot, 0)

    commit = listed()

    assert commit is not None
    assert commit.domains == frozenset({"apps"})
    assert commit.cells == cells
    assert session.knowledge.store.domains == {"apps"}
    assert session.knowledge.cells == cells
    assert listed() is None
    take_list(session)
    assert session.knowledge.cells == cells, "cells that could not be had stay as they were"


def test_outcomes_are_counted_by_type_of_event() -> None:
    session = synced(unclaimed())

    session.events([created(unclaimed()), created(unclaimed()), UnknownEvent("new")], 0)

    assert session.counts().events == {"actual_lrp_instance_created same": 2, "new noted": 1}


# Lists that fail, streams that end


def test_a_list_that_was_overtaken_by_a_lost_stream_takes_no_more_events() -> None:
    session = synced(unclaimed())
    snapshot = session.begin_list(0)
    session.stream_lost(LOST)
    session.stream_opened(1)

    session.events([changed(unclaimed(), claimed())], 1)

    assert not snapshot._in_flight


def test_what_a_failed_repair_wanted_is_read_later() -> None:
    session = synced()
    scope = Scope(frozenset({"p"}), frozenset({"q"}))
    snapshot = session.begin_list(0, scope)

    error = ServiceUnavailable("503")
    delay = session.list_failed(snapshot, error)

    assert 0 <= delay <= session.tuning.first_delay
    assert session.freshness.last_error is error
    assert session.take_repairs() == scope


def test_a_failed_list_of_everything_leaves_the_repairs_as_they_were() -> None:
    session = synced(running("a", 2))
    session.events([changed(running("a", 2), crashed("a", 3)), changed(crashed("a", 3), running("a", 4, "j"))], 0)
    before = dict(session.repairs._reasons)

    session.list_failed(session.begin_list(0), ServiceUnavailable("503"))

    assert session.repairs._reasons == before == {"p": (RepairReason.DESIRED, RepairReason.INCOMPLETE)}


def test_a_list_of_everything_settles_all_repairs() -> None:
    session = synced(desired())
    session.events([created(unclaimed("a", 3))], 0)
    assert len(session.repairs) == 1

    take_list(session, [unclaimed("a", 3)], [desired()])

    assert session.take_repairs() is None


def test_repairs_are_read_in_batches() -> None:
    session = synced(tuning=Tuning(repair_batch=2))
    session.events([created(unclaimed(f"e{n}", 1, process_guid=f"p{n}")) for n in range(3)], 0)

    sizes = [len(scope.rows or ()) for scope in iter(session.take_repairs, None)]

    assert sizes == [2, 1]


# Tombstones, by the clock of the caller


def test_a_removed_record_is_remembered_for_a_bounded_time() -> None:
    session = synced(tuning=Tuning(tombstone_age=60))
    session.events([created(unclaimed()), removed(unclaimed())], 0)

    assert session.events([created(unclaimed())], 60) == []
    assert session.events([created(unclaimed())], 61) != []


def test_a_removed_record_is_remembered_among_a_bounded_number() -> None:
    session = synced(tuning=Tuning(tombstone_limit=1))
    session.events([removed(unclaimed("a")), removed(unclaimed("b"))], 0)

    assert session.events([created(unclaimed("b"))], 0) == []
    assert session.events([created(unclaimed("a"))], 0) != []


def test_a_process_knows_whether_its_domain_is_fresh() -> None:
    session = synced(unclaimed())
    assert not session.knowledge.process("p").domain_fresh

    snapshot = session.begin_list(0)
    snapshot.domains = frozenset({"apps"})
    snapshot.list_rows([unclaimed()])
    settle(snapshot)
    session.end_list(snapshot, 0)

    assert session.knowledge.process("p").domain_fresh
    assert not session.knowledge.process("nobody").domain_fresh


def test_an_error_of_the_list_of_cells_is_reported_until_one_succeeds_and_the_known_cells_stay() -> None:
    session = fresh()
    session.stream_opened(0)
    cells = (CellPresence(cell_id="cell-1"),)

    def listed(cells: tuple[CellPresence, ...] | None, error: LRPMirrorError | None, now: float) -> None:
        snapshot = session.begin_list(now)
        snapshot.cells, snapshot.cells_error = cells, error
        snapshot.answered_at = None if error is None else now - 0.5
        settle(snapshot)
        session.end_list(snapshot, now)

    listed(cells, None, 1)
    listed(None, LOST, 2)
    assert session.freshness.alive_at == 1.5, "whoever keeps the cells is not the BBS"
    assert (session.knowledge.cells, session.freshness.trouble, session.freshness.last_error) == (cells, LOST, LOST)
    assert session.freshness.phase is Phase.LIVE
    listed((), None, 3)
    assert (session.knowledge.cells, session.freshness.trouble) == ((), None)
