"""The deletion guard: which list is not believed at once, and when it is after all."""

from random import Random

import pytest
from core_support import Fold, created, desired, running, synced, take_list, unclaimed

from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.lists.deletion_guard import DeletionGuard, Size, size_after
from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.rows.changes import Commit, Delta, RowKey
from lrpmirror.core.session import Session, Tuning
from lrpmirror.errors import ConnectionFailed, ListNotBelieved
from lrpmirror.model import ActualLRP, DesiredLRP

TUNING = Tuning(brake_share=0.5, brake_rows=10, brake_wait=10)


@pytest.mark.parametrize(
    ("number", "removed", "held"),
    [(10, 6, True), (10, 5, False), (9, 9, False), (1000, 501, True), (1000, 500, False), (10, 10, True)],
)
def test_a_list_is_held_back_that_would_remove_more_than_the_share_of_enough(
    number: int, removed: int, held: bool
) -> None:
    for before, after in (
        (Size(number, 0, 0), Size(number - removed, 0, 0)),
        (Size(0, number, 0), Size(0, number - removed, 0)),
        (Size(0, 0, number), Size(0, 0, number - removed)),
    ):
        assert (DeletionGuard(TUNING).judge(before, after, 0) is not None) == held


def test_the_message_has_what_would_be_removed_and_what_it_waits_for() -> None:
    error = DeletionGuard(TUNING).judge(Size(10, 10, 40), Size(8, 8, 10), 0)

    assert str(error) == (
        "a list would remove 30 of 40 desired LRPs: it is not believed unless another one, 10 s later, would too "
        "(see Tuning.brake_share)"
    )


def test_a_second_list_that_agrees_after_the_wait_is_believed_and_one_before_it_is_not() -> None:
    deletion_guard = DeletionGuard(TUNING)
    assert deletion_guard.judge(Size(10, 0, 0), Size(0, 0, 0), 100) is not None
    assert (deletion_guard.holds, deletion_guard.wait(104)) == (True, 6)

    assert deletion_guard.judge(Size(10, 0, 0), Size(0, 0, 0), 109.9) is not None
    assert deletion_guard.wait(109.9) == pytest.approx(0.1)
    assert deletion_guard.wait(200) == 0
    assert deletion_guard.judge(Size(10, 0, 0), Size(0, 0, 0), 110) is None
    assert (deletion_guard.holds, deletion_guard.wait(110)) == (False, 0)


def test_a_list_that_comes_when_it_was_asked_for_is_late_enough_however_the_times_are_rounded() -> None:
    deletion_guard = DeletionGuard(Tuning(brake_wait=3.0))
    since = 15.774467022710263
    now = since + 3.0
    assert now - since < 3.0
    deletion_guard.judge(Size(100, 0, 0), Size(0, 0, 0), since)

    assert deletion_guard.wait(now) == 0
    assert deletion_guard.judge(Size(100, 0, 0), Size(0, 0, 0), now) is None


def test_a_second_list_that_is_fine_is_believed_at_once_and_the_next_bad_one_begins_anew() -> None:
    deletion_guard = DeletionGuard(TUNING)
    deletion_guard.judge(Size(10, 0, 0), Size(0, 0, 0), 100)

    assert deletion_guard.judge(Size(10, 0, 0), Size(9, 0, 0), 101) is None
    assert deletion_guard.judge(Size(10, 0, 0), Size(0, 0, 0), 200) is not None


def test_a_share_of_all_never_holds_anything_back() -> None:
    assert DeletionGuard(Tuning(brake_share=1.0)).judge(Size(1000, 1000, 1000), Size(0, 0, 0), 0) is None


# In a session

ROWS = [unclaimed(f"e{n}", process_guid=f"p{n}") for n in range(20)]
LRPS = [desired(f"d{n}", process_guid=f"p{n}") for n in range(20)]


def loaded() -> Session:
    return synced(*ROWS, *LRPS, tuning=TUNING)


def listed(session: Session, rows: list[ActualLRP], lrps: list[DesiredLRP], now: float) -> Commit | None:
    return take_list(session, rows, lrps, now=now)


@pytest.mark.parametrize(
    ("rows", "lrps"), [([], []), ([], LRPS), (ROWS, []), (ROWS[:9], LRPS), (ROWS, LRPS[:9])], ids=range(5)
)
def test_a_list_that_is_not_believed_changes_nothing_but_the_phase(
    rows: list[ActualLRP], lrps: list[DesiredLRP]
) -> None:
    session = loaded()

    assert listed(session, rows, lrps, now=50) is None

    status = session.status(51)
    assert status.phase is Phase.STALE
    assert isinstance(status.trouble, ListNotBelieved)
    assert status.last_error is status.trouble
    assert (status.actual_lrps, status.desired_lrps, status.revision) == (20, 20, 1)
    assert (status.synced_at, status.age, status.state_age) == (0, 1, 1)
    session.freshness.pinged(55)
    assert (session.status(56).age, session.status(56).state_age) == (1, 6), "whatever the server says"
    assert session.next_list(51) == 9
    assert session.counts().lists_held == 1
    assert session.counts().errors == {"ListNotBelieved": 1}


def test_a_second_list_that_agrees_is_committed() -> None:
    session = loaded()
    listed(session, [], [], now=50)

    commit = listed(session, [], [], now=60)

    assert commit is not None
    assert len(commit.actual_lrps) == len(commit.desired_lrps) == 20
    assert session.freshness.phase is Phase.LIVE
    assert session.freshness.trouble is None
    assert session.counts().lists == {"first": 1, "second": 1}
    assert session.counts().drift == 0


def test_a_second_list_that_is_fine_is_committed_and_nothing_is_lost() -> None:
    session = loaded()
    listed(session, [], [], now=50)

    assert listed(session, ROWS, LRPS, now=51) is None
    assert session.freshness.phase is Phase.LIVE
    assert session.next_list(51) > 100


def test_events_go_on_being_applied_while_a_list_is_not_believed() -> None:
    session = loaded()
    listed(session, [], [], now=50)

    (commit,) = session.events([created(unclaimed("new"))], 51)

    assert commit.actual_lrps[0].key == "new"
    assert session.freshness.phase is Phase.STALE
    assert session.status(60).silence == 9


def test_the_deletion_guard_holds_over_a_lost_stream_and_judges_the_list_after_it() -> None:
    session = loaded()
    session.stream_lost(ConnectionFailed("fail-over"))
    session.stream_opened(40)

    listed(session, [], [], now=41)
    phases = [session.freshness.phase]
    session.stream_lost(ConnectionFailed("again"))
    session.stream_opened(45)
    phases.append(session.freshness.phase)
    listed(session, [], [], now=46)
    phases.append(session.freshness.phase)
    assert phases == [Phase.STALE, Phase.RESYNCING, Phase.STALE]
    assert len(session.knowledge.store) == 20

    assert listed(session, ROWS, LRPS, now=47) is None
    assert session.freshness.phase is Phase.LIVE


def test_the_deletion_guard_judges_the_first_list_after_a_warm_start() -> None:
    exported = loaded().knowledge.export()
    session = Session(TUNING, Random(0))
    session.restore(exported, exported.indexed(), now=100, age=60)
    session.stream_opened(101)

    assert listed(session, [], [], now=102) is None

    assert session.status(103).phase is Phase.STALE
    assert len(session.knowledge.store) == 20
    assert session.status(103).state_age == 63
    commit = listed(session, [], [], now=112)
    assert commit is not None
    assert session.freshness.phase is Phase.LIVE
    assert len(session.knowledge.store) == 0


def test_pending_repairs_stay_while_a_list_is_not_believed() -> None:
    session = loaded()
    session.events([created(unclaimed("odd", 3, process_guid="q"))], 1)

    listed(session, [], [], now=50)

    assert session.take_repairs() == Scope(frozenset({"q"}), frozenset())


def test_the_deletion_guard_is_not_for_repairs_nor_for_the_first_list() -> None:
    session = synced(*ROWS, tuning=TUNING)
    guids = frozenset(one.process_guid for one in ROWS)

    commit = take_list(session, scope=Scope(guids, frozenset()), now=1)

    assert commit is not None
    assert len(session.knowledge.store) == 0
    empty = synced(tuning=TUNING)
    assert empty.freshness.phase is Phase.LIVE


def test_a_list_with_many_differences_is_not_believed_either_and_leaves_no_trace() -> None:
    rows = [unclaimed(f"e{n}", process_guid=f"p{n}") for n in range(3000)]
    session = synced(*rows, tuning=TUNING)
    fold = Fold()

    fold.take([listed(session, [unclaimed("other")], [], now=50)])

    assert len(session.knowledge.store) == 3000
    assert fold.revision == 0
    session.knowledge.store._check()
    assert listed(session, rows, [], now=60) is None


# What is lost on balance


def test_what_was_replaced_is_not_lost() -> None:
    session = loaded()
    rows = [running(f"other{n}", process_guid=f"q{n}", instance=f"i{n}") for n in range(20)]
    lrps = [desired(f"o{n}", process_guid=f"q{n}") for n in range(20)]

    commit = listed(session, rows, lrps, now=50)

    assert commit is not None
    assert len(commit.actual_lrps) == len(commit.desired_lrps) == 40
    assert session.freshness.phase is Phase.LIVE


@pytest.mark.parametrize("cuts", [1, 5])
def test_rows_that_piled_up_while_the_mirror_was_not_live_are_not_lost(cuts: int) -> None:
    session = loaded()
    for cut in range(cuts):
        session.stream_lost(ConnectionFailed("cut"))
        session.stream_opened(10 + cut)
        new = [unclaimed(f"{cut} {n}", process_guid=f"r{cut}.{n}") for n in range(40)]
        session.events([created(one) for one in new], 10 + cut)

    assert listed(session, ROWS, LRPS, now=50) is not None
    assert session.freshness.phase is Phase.LIVE
    assert len(session.knowledge.store) == 20
    session.stream_lost(ConnectionFailed("cut"))
    session.stream_opened(60)
    session.events([created(one) for one in new], 61)
    assert listed(session, ROWS[:9], LRPS, now=62) is None, "but what was there before is"


def test_a_process_without_rows_is_lost_also_where_another_has_more() -> None:
    session = loaded()
    rows = [unclaimed(f"x{n}", process_guid="p0", index=n) for n in range(20)]

    assert listed(session, rows, LRPS, now=50) is None

    assert "19 of 20 processes" in str(session.freshness.trouble)


def test_the_size_after_a_list_is_what_the_store_has_then() -> None:
    two = unclaimed("b", process_guid="q"), unclaimed("c", process_guid="q", index=1)
    session = synced(running("a"), *two, desired())
    deltas: list[Delta[RowKey, ActualLRP]] = [
        Delta("a", running("a"), running("a", 3)),
        Delta("b", two[0], None),
        Delta("c", two[1], None),
        Delta("e", None, unclaimed("e", process_guid="r")),
    ]

    assert size_after(session.knowledge.store, deltas, [Delta("p", desired(), None)]) == Size(2, 2, 0)
    others = [Delta("q", None, desired()), Delta("p", desired(), desired())]
    assert size_after(session.knowledge.store, deltas[3:], others) == Size(4, 3, 2)
