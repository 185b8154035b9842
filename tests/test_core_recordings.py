"""What a real BBS sent, applied in the order of arrival and in every other order that its goroutines permit."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from core_support import (
    Fold,
    answer_repairs,
    bare,
    by_key,
    delivery,
    law,
    recorded_desired,
    recorded_events,
    recorded_rows,
    recording,
    synced,
)
from hypothesis import given
from hypothesis import strategies as st

from lrpmirror.core.rows.changes import RowKey
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.session import Session
from lrpmirror.events import (
    ActualLRPCrashed,
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    Event,
)
from lrpmirror.model import ActualLRP, DesiredLRP

STEPS = {"01-lifecycle": 19, "02-crash": 19, "03-evacuation": 18, "06-mixed": 0, "07-routes": 10}

FOLDERS = [
    (name, start) for name, steps in STEPS.items() for start in ("snapshot", *(f"steps/{n:02}" for n in range(steps)))
]


def mirror_of(folder: Path, start: str) -> Session:
    return synced(*recorded_rows(folder / start), *recorded_desired(folder / start))


def state_of(session: Session) -> tuple[dict[RowKey, ActualLRP], dict[str, DesiredLRP]]:
    store = session.knowledge.store
    rows = by_key(store.select(cell_id=None, state=None, domain=None))
    return rows, {lrp.process_guid: lrp for lrp in store.select_desired(app_guid=None, domain=None)}


def expected(folder: Path) -> tuple[dict[RowKey, ActualLRP], dict[str, DesiredLRP]]:
    lrps = {lrp.process_guid: lrp for lrp in recorded_desired(folder / "expected")}
    return by_key(recorded_rows(folder / "expected")), lrps


def assert_equal_but_for_what_diffs_leave_out(session: Session, folder: Path) -> None:
    rows, lrps = state_of(session)
    expected_rows, expected_lrps = expected(folder)
    assert {key: bare(one) for key, one in rows.items()} == {key: bare(one) for key, one in expected_rows.items()}
    assert lrps == expected_lrps


def operations(events: list[Event]) -> Iterator[list[Event]]:
    """What is known to come from one operation, and so stays in order; everything else may pass anything."""
    group: list[Event] = []
    for event in events:
        if group and not _continues(group[-1], event):
            yield group
            group = []
        group.append(event)
    yield group


def _continues(last: Event, event: Event) -> bool:
    match last, event:
        case ActualLRPCrashed(), ActualLRPInstanceCreated() | ActualLRPInstanceChanged():
            return True
        case ActualLRPInstanceCreated(actual_lrp=made), ActualLRPInstanceRemoved(actual_lrp=left):
            return made.epoch == left.epoch
        case ActualLRPInstanceChanged(before=one, after=other), ActualLRPInstanceCreated(actual_lrp=made):
            return one.epoch != other.epoch and made.epoch == one.epoch
    return False


@pytest.mark.parametrize(("name", "start"), FOLDERS)
def test_lists_of_any_moment_and_all_events_in_order_give_the_last_lists_without_any_repair(
    name: str, start: str
) -> None:
    folder = recording(name)
    session = mirror_of(folder, start)

    session.events(recorded_events(folder), 0)

    session.knowledge.store._check()
    assert_equal_but_for_what_diffs_leave_out(session, folder)


@pytest.mark.parametrize(("name", "start"), FOLDERS)
def test_the_repairs_bring_what_diffs_leave_out(name: str, start: str) -> None:
    folder = recording(name)
    session = mirror_of(folder, start)
    session.events(recorded_events(folder), 0)

    answer_repairs(session, recorded_rows(folder / "expected"), recorded_desired(folder / "expected"))

    assert state_of(session) == expected(folder)


@pytest.mark.parametrize("name", STEPS)
def test_events_one_by_one_make_commits_that_fold_to_the_state(name: str) -> None:
    folder = recording(name)
    session = mirror_of(folder, "snapshot")
    fold = Fold()
    fold.rows, fold.lrps = state_of(session)
    fold.revision = session.knowledge.revision

    for event in recorded_events(folder):
        fold.take(session.events([event], 0))
        fold.agrees_with(session)


@law(250)
@given(
    start=st.sampled_from([each for each in FOLDERS if each[0] != "06-mixed"]),
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([1.0, 3.0, 10.0, 100.0]),
    doubled=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_any_permitted_order_with_doubles_gives_the_last_lists_after_the_repairs(
    start: tuple[str, str], seed: int, spread: float, doubled: float
) -> None:
    name, moment = start
    folder = recording(name)
    session = mirror_of(folder, moment)
    groups = list(operations(recorded_events(folder)))

    for event in delivery(groups, Random(seed), spread=spread, doubled=doubled):
        session.events([event], 0)
        session.knowledge.store._check()
    answer_repairs(session, recorded_rows(folder / "expected"), recorded_desired(folder / "expected"))

    assert state_of(session) == expected(folder)


@law(15)
@given(seed=st.integers(0, 2**32), spread=st.sampled_from([1.0, 3.0]))
def test_any_permitted_order_over_a_thousand_other_rows(seed: int, spread: float) -> None:
    folder = recording("06-mixed")
    session = mirror_of(folder, "snapshot")

    session.events(delivery(list(operations(recorded_events(folder))), Random(seed), spread=spread), 0)
    answer_repairs(session, recorded_rows(folder / "expected"), recorded_desired(folder / "expected"))

    session.knowledge.store._check()
    assert state_of(session) == expected(folder)


def test_eight_writers_at_once_in_order_need_no_repair() -> None:
    folder = recording("churn1")
    session = mirror_of(folder, "snapshot")

    session.events(recorded_events(folder), 0)

    session.knowledge.store._check()
    assert_equal_but_for_what_diffs_leave_out(session, folder)


@pytest.mark.parametrize("seed", range(5))
def test_eight_writers_at_once_with_neighbours_swapped(seed: int) -> None:
    folder = recording("churn1")
    session = mirror_of(folder, "snapshot")

    session.events(delivery(list(operations(recorded_events(folder))), Random(seed), spread=2.0), 0)
    answer_repairs(session, recorded_rows(folder / "expected"), recorded_desired(folder / "expected"))

    session.knowledge.store._check()
    assert state_of(session) == expected(folder)


@pytest.mark.parametrize("name", [*STEPS, "churn1"])
def test_the_group_stream_in_order_gives_the_last_lists_whole(name: str) -> None:
    folder = recording(name)
    session = mirror_of(folder, "snapshot")

    session.events(recorded_events(folder, "groups"), 0)

    session.knowledge.store._check()
    assert state_of(session) == expected(folder)


def test_sixteen_writers_at_once_leave_no_row_that_a_removed_said_was_gone() -> None:
    folder = recording("churn4")
    session = mirror_of(folder, "snapshot")

    session.events(recorded_events(folder), 0)

    session.knowledge.store._check()
    assert state_of(session)[0].keys() == expected(folder)[0].keys()
    answer_repairs(session, recorded_rows(folder / "expected"), recorded_desired(folder / "expected"))
    assert state_of(session) == expected(folder)


def test_an_instance_that_is_started_again_is_read_again_whatever_else_its_start_changed() -> None:
    folder = recording("10-start-again")
    session = mirror_of(folder, "snapshot")
    again = 0

    for event in recorded_events(folder):
        session.repairs.clear()
        session.events([event], 0)
        match event:
            case ActualLRPInstanceChanged(before=before, after=after) if before.state == after.state:
                again += 1
                assert session.repairs.reasons_of(after.process_guid) == (RepairReason.INCOMPLETE,)

    assert again == 2, "of one what a diff carries stayed, of the other not"
