"""Groups from rows, by the server's rule: every pair of rows that one index can have."""

from itertools import permutations, product

import pytest
from core_support import CLAIMED, CRASHED, EVACUATING, ORDINARY, RUNNING, SUSPECT, UNCLAIMED, row

from lrpmirror.core.rows.groups import groups_of
from lrpmirror.model import ActualLRP, ActualLRPGroup, ActualLRPState, Presence

STATES = (UNCLAIMED, CLAIMED, RUNNING, CRASHED)


def one(state: ActualLRPState, presence: Presence, index: int = 0) -> ActualLRP:
    return row(f"{state}-{presence}-{index}", state=state, presence=presence, index=index)


def wins(ordinary: ActualLRPState, suspect: ActualLRPState) -> Presence:
    """The rule as it is written: the first sentence that applies."""
    if ordinary == RUNNING:
        return ORDINARY
    if suspect == RUNNING:
        return SUSPECT
    if suspect == CLAIMED:
        return SUSPECT
    return ORDINARY


@pytest.mark.parametrize(("ordinary", "suspect"), [*product(STATES, STATES)])
def test_of_an_ordinary_and_a_suspect_row_one_fills_the_instance_slot(
    ordinary: ActualLRPState, suspect: ActualLRPState
) -> None:
    rows = one(ordinary, ORDINARY), one(suspect, SUSPECT)
    winner = next(each for each in rows if each.presence is wins(ordinary, suspect))

    for order in permutations(rows):
        assert groups_of(order) == (ActualLRPGroup(winner),)


@pytest.mark.parametrize(("presence", "state"), [*product((ORDINARY, SUSPECT), STATES)])
def test_an_evacuating_row_has_a_slot_of_its_own(presence: Presence, state: ActualLRPState) -> None:
    other, leaving = one(state, presence), one(RUNNING, EVACUATING)

    assert groups_of([leaving, other]) == groups_of([other, leaving]) == (ActualLRPGroup(other, leaving),)


def test_all_three_rows_of_an_index() -> None:
    rows = one(CLAIMED, ORDINARY), one(RUNNING, EVACUATING), one(RUNNING, SUSPECT)

    assert groups_of(rows) == (ActualLRPGroup(rows[2], rows[1]),)


@pytest.mark.parametrize("presence", [ORDINARY, EVACUATING, SUSPECT])
def test_one_row_alone_is_a_group(presence: Presence) -> None:
    alone = one(RUNNING, presence)

    (group,) = groups_of([alone])

    assert group.resolve() is alone


def test_groups_come_by_index() -> None:
    rows = [one(RUNNING, ORDINARY, index) for index in (2, 0, 10, 1)]

    assert [group.resolve().index for group in groups_of(rows)] == [0, 1, 2, 10]


def test_no_rows_are_no_groups() -> None:
    assert groups_of([]) == ()


def test_states_that_a_newer_server_made_up_lose_against_what_runs() -> None:
    paused = one(ActualLRPState("PAUSED"), ORDINARY)
    suspect = one(RUNNING, SUSPECT)

    assert groups_of([paused, suspect]) == (ActualLRPGroup(suspect),)
