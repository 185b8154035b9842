"""The session: its phases, its freshness, its commits, and what it asks for."""

from collections import deque
from collections.abc import Callable
from itertools import product
from random import Random

import pytest
from core_support import (
    Fold,
    changed,
    claimed,
    crashed,
    created,
    desired,
    removed,
    running,
    synced,
    take_list,
    unclaimed,
)

from lrpmirror.core.derived.dirty import dirtied_by
from lrpmirror.core.freshness.state import Freshness
from lrpmirror.core.freshness.status import TRANSITIONS, Phase, Status, Step
from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.rows.change_set import ChangeSet
from lrpmirror.core.rows.changes import Cause, Commit, Delta
from lrpmirror.core.rows.reconcile import Outcome, RepairReason
from lrpmirror.core.rows.store import Store
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import ConnectionFailed, LRPMirrorError, ServiceUnavailable
from lrpmirror.events import (
    ActualLRPCrashed,
    ActualLRPCreated,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
    SourceStatus,
    UnknownEvent,
)
from lrpmirror.model import ActualLRPGroup, CellPresence, DesiredLRP, ModificationTag

LOST = ConnectionFailed("the event stream ended")


def fresh(tuning: Tuning | None = None) -> Session:
    return Session(tuning or Tuning(), Random(0))


# Phases

Call = Callable[[Session], object]

CAUTIOUS = Tuning(brake_rows=1)
"""So that one row is enough for a list to be held back."""

CALLS: dict[str, Call] = {
    "restore": lambda session: session.restore(session.knowledge.export(), session.knowledge.export().indexed(), 0, 60),
    "open": lambda session: session.stream_opened(0),
    "lose": lambda session: session.stream_lost(LOST),
    "list": lambda session: take_list(session, [unclaimed("k")]),
    "hold": take_list,
    "repair": lambda session: take_list(session, scope=Scope(frozenset({"p"}), frozenset())),
    "fail a list": lambda session: session.list_failed(session.begin_list(0), LOST),
    "tell": lambda session: session.events([created(unclaimed())], 0),
    "lose the source": lambda session: session.freshness.source_reported(SourceStatus(1, "ConnectionFailed"), 0),
    "find the source": lambda session: session.freshness.source_reported(SourceStatus(1), 0),
    "close": Session.close,
}


def calls_of_a_shell(*, connected: bool, was_synced: bool, closed: bool) -> list[str]:
    """What a shell can do: lists and events need a stream, a repair needs a state to doubt, and it closes once.

    A list that is held back needs a state that it would remove.
    """
    if closed:
        return []
    if not connected:
        return ["open", "lose", "close"]
    calls = ["lose", "list", "fail a list", "tell", "lose the source", "find the source", "close"]
    return [*calls, *(["repair", "hold"] if was_synced else [])]


def test_the_table_of_transitions_is_total() -> None:
    assert TRANSITIONS.keys() == set(product(Phase, Step))


def test_a_step_that_cannot_happen_in_a_phase_is_a_mistake_of_the_callers() -> None:
    session = synced()
    session.close()

    with pytest.raises(AssertionError, match="closed cannot be told opened"):
        session.stream_opened(1)
    assert session.freshness.phase is Phase.CLOSED


def test_every_call_that_can_be_made_has_a_transition_and_every_transition_can_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: set[tuple[Phase, Step]] = set()
    step = Freshness._step

    def recorded(freshness: Freshness, what: Step) -> None:
        taken.add((freshness.phase, what))
        step(freshness, what)

    monkeypatch.setattr(Freshness, "_step", recorded)
    seen: set[tuple[Phase, bool, bool, bool, bool]] = set()
    ways: deque[tuple[str, ...]] = deque([(), ("restore",)])
    while ways:
        way = ways.popleft()
        session = fresh(CAUTIOUS)
        connected = False
        for call in way:
            CALLS[call](session)
            connected = call not in ("lose", "close") and (connected or call == "open")
        was_synced = session.freshness.synced_at is not None
        state = (
            session.freshness.phase,
            connected,
            was_synced,
            session.freshness._outdated,
            bool(session.freshness._source_trouble),
        )
        if state in seen:
            continue
        seen.add(state)
        closed = session.freshness.phase is Phase.CLOSED
        for call in calls_of_a_shell(connected=connected, was_synced=was_synced, closed=closed):
            ways.append((*way, call))

    assert {phase for phase, *_ in seen} == set(Phase)
    possible = {way for way, after in TRANSITIONS.items() if after is not None}
    assert taken == possible - {(Phase.CLOSED, Step.CLOSED)}, "closing twice is allowed"


@pytest.mark.parametrize(
    ("way", "phase"),
    [
        ([], Phase.CONNECTING),
        (["lose", "lose"], Phase.CONNECTING),
        (["open"], Phase.SYNCING),
        (["open", "fail a list"], Phase.SYNCING),
        (["open", "lose"], Phase.CONNECTING),
        (["open", "list"], Phase.LIVE),
        (["open", "list", "list", "repair"], Phase.LIVE),
        (["open", "list", "lose"], Phase.STALE),
        (["open", "list", "lose", "lose"], Phase.STALE),
        (["open", "list", "lose", "open"], Phase.RESYNCING),
        (["open", "list", "lose", "open", "repair"], Phase.RESYNCING),
        (["open", "list", "lose", "open", "lose"], Phase.STALE),
        (["open", "list", "lose", "open", "list"], Phase.LIVE),
        (["open", "list", "hold"], Phase.STALE),
        (["open", "list", "hold", "tell", "fail a list", "hold"], Phase.STALE),
        (["open", "list", "hold", "list"], Phase.LIVE),
        (["open", "list", "hold", "lose", "open", "hold"], Phase.STALE),
        (["open", "list", "lose", "open", "hold"], Phase.STALE),
        (["open", "list", "lose the source"], Phase.STALE),
        (["open", "list", "lose the source", "list"], Phase.STALE),
        (["open", "list", "lose the source", "list", "find the source"], Phase.LIVE),
        (["open", "list", "lose the source", "lose the source", "tell", "find the source"], Phase.LIVE),
        (["open", "list", "lose the source", "hold", "find the source"], Phase.STALE),
        (["open", "list", "hold", "lose the source", "find the source"], Phase.STALE),
        (["open", "list", "lose the source", "lose", "open", "list"], Phase.LIVE),
        (["open", "lose the source"], Phase.SYNCING),
        (["open", "lose the source", "list"], Phase.STALE),
        (["open", "lose the source", "list", "find the source"], Phase.LIVE),
        (["open", "lose the source", "find the source", "list"], Phase.LIVE),
        (["open", "list", "lose", "open", "lose the source", "list", "find the source"], Phase.LIVE),
        (["open", "list", "close", "find the source", "lose the source"], Phase.CLOSED),
        (["open", "list", "close", "close"], Phase.CLOSED),
        (["restore"], Phase.STALE),
        (["restore", "lose"], Phase.STALE),
        (["restore", "open"], Phase.RESYNCING),
        (["restore", "open", "tell", "fail a list"], Phase.RESYNCING),
        (["restore", "open", "lose"], Phase.STALE),
        (["restore", "open", "list"], Phase.LIVE),
        (["restore", "close"], Phase.CLOSED),
    ],
)
def test_the_phase_says_what_the_state_is_worth(way: list[str], phase: Phase) -> None:
    session = fresh(CAUTIOUS)
    for call in way:
        CALLS[call](session)

    assert session.freshness.phase is phase
    assert session.status(0).phase is phase
    assert session.status(0).live == (phase is Phase.LIVE)


# Freshness


def test_before_any_sign_of_life_there_is_no_age() -> None:
    assert fresh().status(5).age is None
    assert fresh().status(5).synced_at is None


def test_the_age_is_that_of_the_last_sign_of_life() -> None:
    session = fresh()
    session.stream_opened(10)
    assert session.status(13).age == 3

    take_list(session, [unclaimed()], [desired()], now=20)
    session.events([UnknownEvent("something_new")], 24)

    assert session.status(25) == Status(
        phase=Phase.LIVE,
        revision=1,
        at=25,
        synced_at=20,
        alive_at=24,
        heard_at=24,
        current_at=24,
        trouble=None,
        last_error=None,
        actual_lrps=1,
        desired_lrps=1,
    )
    assert session.status(25).age == 1


def test_a_repair_is_a_sign_of_life_but_no_synchronisation() -> None:
    session = synced()

    take_list(session, scope=Scope(frozenset({"p"}), frozenset()), now=7)

    assert session.freshness.synced_at == 0
    assert session.freshness.alive_at == 7


def test_the_last_error_stays_readable_after_it_was_overcome() -> None:
    session = synced()
    session.stream_lost(LOST)
    assert session.status(0).last_error is LOST

    session.stream_opened(1)
    take_list(session, now=1)

    assert session.status(1).last_error is LOST


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


def test_the_processes_that_commits_touched() -> None:
    session = synced(unclaimed(), desired("e", process_guid="q"))
    list_with_domains(session)

    commits = session.events([created(unclaimed("b", process_guid="r")), DesiredLRPRemoved(desired("e"))], 0)
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

    (decision,) = session.knowledge.explain("p")
    assert (decision.at, decision.outcome, decision.tag) == (3, Outcome.APPLIED, ModificationTag("a", 1))
    assert session.knowledge.explain("nobody") == ()


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
        for _ in snapshot.settle():
            pass
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

    assert session.outcomes == {"actual_lrp_instance_created same": 2, "new noted": 1}


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


def test_a_failed_list_of_everything_leaves_the_doubts_as_they_were() -> None:
    session = synced(running("a", 2))
    session.events([changed(running("a", 2), crashed("a", 3)), changed(crashed("a", 3), running("a", 4, "j"))], 0)
    before = dict(session.repairs._reasons)

    session.list_failed(session.begin_list(0), ServiceUnavailable("503"))

    assert session.repairs._reasons == before == {"p": (RepairReason.DESIRED, RepairReason.INCOMPLETE)}


def test_a_list_of_everything_settles_all_doubts() -> None:
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


# Delays


class Most(Random):
    """Draws the upper bound, which so can be seen."""

    def uniform(self, _a: float, b: float) -> float:
        return b


def test_the_stream_is_tried_again_ever_later_until_one_has_lived() -> None:
    session = Session(Tuning(first_delay=1, most_delay=4), Most())

    assert [session.stream_lost(LOST) for _ in range(4)] == [1, 2, 4, 4]
    session.stream_opened(0)
    assert session.stream_lost(LOST) == 4, "a stream that opens but is of no use is no success"
    session.stream_opened(0)
    take_list(session, now=3)
    session.freshness.pinged(7)
    assert session.stream_lost(LOST) == 4, "it has not lived for longer than the delay before it"
    session.stream_opened(10)
    take_list(session, now=20)
    session.freshness.pinged(29)
    assert session.stream_lost(LOST) == 4, "nor for longer than its list took"
    session.stream_opened(30)
    take_list(session, now=33)
    take_list(session, now=36)
    session.freshness.pinged(38)
    assert [session.stream_lost(LOST) for _ in range(2)] == [1, 2], "counted once"


def test_a_stream_that_took_over_has_to_prove_itself_too() -> None:
    session = Session(Tuning(first_delay=1, most_delay=4), Most())
    session.stream_opened(0)
    take_list(session, now=1)
    assert session.stream_lost(LOST) == 1
    session.stream_opened(10)
    take_list(session, now=100)
    session.stream_replaced(100)
    assert session.stream_lost(LOST) == 2


def test_lists_are_tried_again_ever_later_until_one_of_everything_succeeds() -> None:
    session = Session(Tuning(first_delay=1, most_delay=4), Most())
    session.stream_opened(0)

    assert [session.list_failed(session.begin_list(0), LOST) for _ in range(3)] == [1, 2, 4]
    take_list(session)
    assert session.list_failed(session.begin_list(0), LOST) == 1


def test_the_next_list_is_due_at_an_interval_with_jitter() -> None:
    session = fresh(Tuning(resync_interval=100))

    due = [session.next_interval() for _ in range(200)]

    assert 75 <= min(due) < 80
    assert 120 < max(due) <= 125


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


# The desired LRP of what runs


def test_an_instance_that_runs_without_a_known_desired_lrp_has_it_read_once() -> None:
    session = synced()
    session.events([created(running("a", 0))], 0)
    assert session.take_repairs() == Scope(frozenset(), frozenset({"p"}))

    session.events([changed(running("a", 0), running("a", 1, routable=False))], 0)
    assert session.take_repairs() == Scope(frozenset({"p"}), frozenset()), "its rows, since it was started again"

    take_list(session, [running("a", 1, routable=False)])
    session.events([changed(running("a", 1), running("a", 2, address="10.0.0.9"))], 0)
    assert session.take_repairs() == Scope(frozenset({"p"}), frozenset({"p"})), "the next list begins anew"


def test_an_instance_that_runs_with_its_desired_lrp_has_nothing_read() -> None:
    session = synced(desired())

    session.events([created(running("a", 0)), ActualLRPCreated(ActualLRPGroup(running("b", 0, index=1)))], 0)

    assert session.take_repairs() is None


# Desired LRPs that nobody vouched for


def list_with_domains(session: Session, *domains: str, lrps: tuple[DesiredLRP, ...] = ()) -> Commit | None:
    snapshot = session.begin_list(0)
    snapshot.domains = frozenset(domains)
    snapshot.list_desired(lrps)
    for _ in snapshot.settle():
        pass
    return session.end_list(snapshot, 0)


def test_a_desired_lrp_missing_from_a_list_is_retained_while_its_domain_is_not_fresh() -> None:
    session = synced(desired())

    list_with_domains(session)

    assert session.knowledge.store.desired("p") is None
    assert session.knowledge.process("p").desired is None
    assert session.knowledge.process("p").routed == desired()
    assert "p" in session.knowledge.process_guids()


def test_a_retained_desired_lrp_is_released_by_a_list_whose_domains_are_fresh() -> None:
    session = synced(desired())
    list_with_domains(session)

    commit = list_with_domains(session, "apps")

    assert commit is not None
    assert commit.released == ("p",)
    assert session.knowledge.process("p").routed is None


def test_a_desired_lrp_missing_from_a_list_of_a_fresh_domain_is_not_retained() -> None:
    session = synced(desired())

    list_with_domains(session, "apps")

    assert session.knowledge.process("p").routed is None
    assert session.knowledge.process_guids() == []


def test_an_event_decides_about_a_retained_desired_lrp() -> None:
    session = synced(desired())
    list_with_domains(session)

    (commit,) = session.events([DesiredLRPRemoved(desired())], 0)

    assert commit.released == ("p",)
    assert session.knowledge.process("p").routed is None


def test_a_desired_lrp_that_is_back_is_retained_no_longer() -> None:
    session = synced(desired())
    list_with_domains(session)

    list_with_domains(session, lrps=(desired(),))

    assert session.knowledge.process("p").routed == desired()
    assert session.events([DesiredLRPRemoved(desired())], 0)
    assert session.knowledge.process("p").routed is None


def test_a_retained_desired_lrp_is_not_touched_by_events_of_others() -> None:
    session = synced(desired())
    list_with_domains(session)

    session.events([created(unclaimed()), DesiredLRPCreated(desired("e", process_guid="q"))], 0)

    assert session.knowledge.process("p").routed == desired()


def test_a_process_knows_whether_its_domain_is_fresh() -> None:
    session = synced(unclaimed())
    assert not session.knowledge.process("p").domain_fresh

    snapshot = session.begin_list(0)
    snapshot.domains = frozenset({"apps"})
    snapshot.list_rows([unclaimed()])
    for _ in snapshot.settle():
        pass
    session.end_list(snapshot, 0)

    assert session.knowledge.process("p").domain_fresh
    assert not session.knowledge.process("nobody").domain_fresh


def test_cells_that_could_not_be_listed_are_told_until_they_could_and_those_known_stay() -> None:
    session = fresh()
    session.stream_opened(0)
    cells = (CellPresence(cell_id="cell-1"),)

    def listed(cells: tuple[CellPresence, ...] | None, error: LRPMirrorError | None, now: float) -> None:
        snapshot = session.begin_list(now)
        snapshot.cells, snapshot.cells_error = cells, error
        snapshot.answered_at = None if error is None else now - 0.5
        for _ in snapshot.settle():
            pass
        session.end_list(snapshot, now)

    listed(cells, None, 1)
    listed(None, LOST, 2)
    assert session.freshness.alive_at == 1.5, "whoever keeps the cells is not the BBS"
    assert (session.knowledge.cells, session.freshness.trouble, session.freshness.last_error) == (cells, LOST, LOST)
    assert session.freshness.phase is Phase.LIVE
    listed((), None, 3)
    assert (session.knowledge.cells, session.freshness.trouble) == ((), None)
