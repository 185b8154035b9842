"""Which row of an index a group shows, and which one it stands for."""

import pytest

from lrpmirror.model import ActualLRP, ActualLRPState, Presence
from lrpmirror.sim import group_of_rows, groups_of_rows


def made(presence: str, state: str, index: int = 0) -> ActualLRP:
    return ActualLRP(process_guid="p", index=index, presence=Presence[presence], state=ActualLRPState(state))


@pytest.mark.parametrize(
    ("ordinary", "suspect", "shown"),
    [
        ("RUNNING", "RUNNING", "ORDINARY"),
        ("RUNNING", "CLAIMED", "ORDINARY"),
        ("CLAIMED", "RUNNING", "SUSPECT"),
        ("CLAIMED", "CLAIMED", "SUSPECT"),
        ("UNCLAIMED", "RUNNING", "SUSPECT"),
        ("UNCLAIMED", "CLAIMED", "SUSPECT"),
        ("CRASHED", "RUNNING", "SUSPECT"),
        ("CLAIMED", "CRASHED", "ORDINARY"),
        ("UNCLAIMED", "", "ORDINARY"),
        ("", "CLAIMED", "SUSPECT"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_instance_slot_shows_the_stronger_row(ordinary: str, suspect: str, shown: str, turned: bool) -> None:
    rows = [made(presence, state) for presence, state in (("ORDINARY", ordinary), ("SUSPECT", suspect)) if state]
    group = group_of_rows(reversed(rows) if turned else rows)
    assert group.instance is not None
    assert group.instance.presence.name == shown
    assert group.evacuating is None


def test_an_evacuating_row_has_a_slot_of_its_own() -> None:
    ordinary, evacuating = made("ORDINARY", "CLAIMED"), made("EVACUATING", "RUNNING")
    group = group_of_rows([evacuating, ordinary])
    assert (group.instance, group.evacuating) == (ordinary, evacuating)
    assert group.resolve() is evacuating


def test_rows_are_grouped_by_process_and_index() -> None:
    rows = [made("ORDINARY", "RUNNING", 1), made("ORDINARY", "RUNNING", 0), made("EVACUATING", "RUNNING", 1)]
    assert [(group.resolve().index, group.evacuating is not None) for group in groups_of_rows(rows)] == [
        (1, True),
        (0, False),
    ]
