"""How processes are: the counts, and the one word, each by an example."""

from typing import Any

import pytest
from views_support import (
    CLAIMED,
    CRASHED,
    EVACUATING,
    SUSPECT,
    UNCLAIMED,
    desired,
    process,
    row,
    running,
    value_of,
    values_of,
)

from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP
from lrpmirror.views import Crash, Health, Processes, ProcessHealth


def health(lrp: DesiredLRP | None, *rows: ActualLRP, **fields: Any) -> ProcessHealth:
    value = value_of(Processes(), process(lrp, *rows, **fields))
    assert isinstance(value, ProcessHealth)
    return value


def crashed(index: int = 0, count: int = 3, **fields: Any) -> ActualLRP:
    return row(index=index, state=CRASHED, crash_count=count, crash_reason="exit 1", **fields)


def unplaceable(index: int = 0, **fields: Any) -> ActualLRP:
    return row(index=index, placement_error="insufficient resources", **fields)


# The word


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ((running(index=0), running(index=1)), Health.HEALTHY),
        ((running(index=0), running(index=1, presence=SUSPECT)), Health.HEALTHY),
        ((running(index=0), running(index=1, presence=EVACUATING), row(index=1)), Health.HEALTHY),
        ((running(index=0), running(index=1), crashed(5), unplaceable(6)), Health.HEALTHY),
        ((running(index=0), running(index=1, presence=EVACUATING), crashed(1)), Health.HEALTHY),
        ((running(index=0), crashed(1)), Health.CRASHING),
        ((crashed(0), crashed(1)), Health.CRASHING),
        ((crashed(0), unplaceable(1)), Health.CRASHING),
        ((running(index=0), unplaceable(1)), Health.UNPLACEABLE),
        ((unplaceable(0), row(index=1)), Health.UNPLACEABLE),
        ((row(index=0), row(index=1, state=CLAIMED)), Health.DOWN),
        ((), Health.DOWN),
        ((running(index=2),), Health.DOWN),
        ((row(index=0, state=ActualLRPState("PAUSED")),), Health.DOWN),
        ((running(index=0), row(index=1, state=CLAIMED)), Health.DEGRADED),
        ((running(index=0),), Health.DEGRADED),
        ((running(index=0), crashed(2)), Health.DEGRADED),
        ((running(index=0), running(index=0, presence=EVACUATING)), Health.DEGRADED),
        # What is wrong with the other row of an index that runs is not what is wrong with the process.
        ((running(index=0, presence=EVACUATING), crashed(0)), Health.DEGRADED),
        ((running(index=0, presence=SUSPECT), unplaceable(0)), Health.DEGRADED),
        ((running(index=0, presence=EVACUATING), crashed(0), unplaceable(1)), Health.UNPLACEABLE),
        ((running(index=0, presence=EVACUATING), unplaceable(0), crashed(1)), Health.CRASHING),
    ],
)
def test_the_word_of_a_process_of_which_two_instances_are_desired(rows: tuple[ActualLRP, ...], word: Health) -> None:
    assert health(desired(instances=2), *rows).health is word


def test_a_process_of_which_no_instance_is_desired_is_stopped_whatever_runs() -> None:
    assert health(desired(instances=0)).health is Health.STOPPED
    assert health(desired(instances=0), running(), crashed(1)).health is Health.STOPPED


def test_rows_without_desired_lrp_are_undesired_whatever_their_state() -> None:
    assert health(None, running()).health is Health.UNDESIRED
    assert health(None, crashed()).health is Health.UNDESIRED


def test_a_desired_lrp_that_a_list_did_not_have_is_not_there_though_its_routes_are() -> None:
    assert health(None, running(), routed=desired()).health is Health.UNDESIRED
    assert values_of(Processes(), process(None, routed=desired())) == {}


# The counts


def test_ordinary_rows_are_counted_by_state_and_the_others_by_presence() -> None:
    rows = (
        running(index=0),
        running(index=1),
        row(index=2, state=CLAIMED),
        row(index=3, state=UNCLAIMED),
        crashed(4),
        running(index=2, presence=EVACUATING),
        running(index=3, presence=SUSPECT),
        row(index=4, state=CLAIMED, presence=SUSPECT),
    )

    found = health(desired(instances=5), *rows)

    assert (found.desired, found.running, found.claimed, found.unclaimed, found.crashed) == (5, 2, 1, 1, 1)
    assert (found.evacuating, found.suspect) == (1, 2)
    assert (found.missing, found.extra) == (0, 0)


def test_missing_are_the_indexes_without_any_row_and_extra_those_beyond_the_desired_number() -> None:
    found = health(desired(instances=3), running(index=1), running(index=1, presence=EVACUATING), row(index=3))

    assert (found.missing, found.extra) == (2, 1)


def test_without_desired_lrp_every_index_is_extra() -> None:
    found = health(None, running(index=0), running(index=2), running(index=2, presence=EVACUATING))

    assert (found.desired, found.missing, found.extra) == (0, 0, 2)


# The latest of what went wrong


def test_the_placement_error_is_that_of_the_row_written_last() -> None:
    found = health(
        desired(instances=3),
        row(index=0, placement_error="old", since=1),
        row(index=1, placement_error="new", since=2),
        running(index=2, since=3),
    )

    assert found.placement_error == "new"


def test_the_last_crash_is_that_of_the_row_written_last_though_it_runs_again() -> None:
    found = health(
        desired(instances=2),
        crashed(0, count=3, since=1),
        running(index=1, crash_count=1, crash_reason="out of memory", since=2),
    )

    assert found.last_crash == Crash(index=1, count=1, reason="out of memory", since=2)


def test_without_crashes_and_placement_errors_there_are_none_in_the_value() -> None:
    assert health(desired(instances=1), running()) == ProcessHealth(health=Health.HEALTHY, desired=1, running=1)


def test_a_process_that_is_gone_has_no_value() -> None:
    assert values_of(Processes(), process(None, running()), process(desired("q"))).keys() == {"p", "q"}
