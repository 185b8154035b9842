"""What may happen to events on their way, and what may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim_support import NET, OTHER_NET, A, diego, drain, run, types, wanted

from lrpmirror.errors import ConfigurationError
from lrpmirror.events import ActualLRPInstanceRemoved, Event, UnknownEvent, UnreadableEvent
from lrpmirror.sim import Diego, Faults, InstanceKey
from lrpmirror.sim.delivery import EventDelivery


def told_by(faults: Faults | None, operations: list[list[list[str]]]) -> list[str]:
    """Return the order of arrival of events that are named by words: operations, goroutines of each, events of each."""
    arrived: list[str] = []

    def deliver(event: Event) -> None:
        arrived.append(event.type)

    delivery = EventDelivery(deliver, faults)
    for goroutines in operations:
        delivery.send([[UnknownEvent(word) for word in words] for words in goroutines])
    delivery.settle()
    assert delivery.under_way == 0
    return arrived


def named(shape: list[list[int]]) -> list[list[list[str]]]:
    return [
        [[f"{operation}.{goroutine}.{number}" for number in range(count)] for goroutine, count in enumerate(counts)]
        for operation, counts in enumerate(shape)
    ]


shapes = st.lists(st.lists(st.integers(0, 4), max_size=4), max_size=8)
seeds = st.integers(0, 2**32)


@given(shapes)
def test_without_faults_everything_arrives_in_order(shape: list[list[int]]) -> None:
    operations = named(shape)
    flat = [word for goroutines in operations for words in goroutines for word in words]
    assert told_by(None, operations) == flat


@given(shapes, seeds, st.floats(0, 1))
def test_operations_race_but_each_goroutine_keeps_its_order(shape: list[list[int]], seed: int, delay: float) -> None:
    operations = named(shape)
    arrived = told_by(Faults(seed=seed, delay=delay), operations)
    for goroutines in operations:
        for words in goroutines:
            assert [word for word in arrived if word in words] == words
    assert len(arrived) == sum(sum(counts) for counts in shape)


@given(shapes, seeds)
def test_events_can_be_lost(shape: list[list[int]], seed: int) -> None:
    assert told_by(Faults(seed=seed, lose=1.0), named(shape)) == []


def test_events_can_arrive_once_more_and_later() -> None:
    arrived = told_by(Faults(seed=4, duplicate=0.5), named([[3], [3], [3]]))
    assert len(arrived) > 9
    assert len(set(arrived)) == 9


def test_later_events_can_overtake_earlier_ones() -> None:
    operations = named([[2]] * 10)
    in_order = told_by(None, operations)
    assert any(told_by(Faults(seed=seed), operations) != in_order for seed in range(5))


def test_the_same_seed_brings_the_same_order() -> None:
    operations = named([[2, 1]] * 10)
    faults = Faults(seed=9, duplicate=0.2, lose=0.2)
    assert told_by(faults, operations) == told_by(faults, operations)


@pytest.mark.parametrize("name", ["delay", "lose", "duplicate", "stale_removed", "empty_removed"])
def test_a_chance_is_between_nothing_and_certainty(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Faults(**{name: 1.5})  # type: ignore[arg-type]


def test_when_the_faults_change_what_is_under_way_arrives_first() -> None:
    bbs = diego(faults=Faults(delay=1.0))
    emitted = bbs.subscribe("instances")
    bbs.desire(wanted())
    assert drain(emitted) == []
    bbs.faults = None
    assert sorted(types(drain(emitted))) == ["created", "desired_lrp_created"]
    bbs.claim("p", 0, A)
    assert types(drain(emitted)) == ["changed"]


def test_in_a_convergence_each_single_event_races() -> None:
    def order(seed: int) -> tuple[str, ...]:
        bbs = diego(faults=Faults(seed=seed, delay=0))
        bbs.desire(wanted())
        run(bbs)
        bbs.lose_cell("cell-a")
        emitted = bbs.subscribe("instances")
        bbs.converge()
        bbs.settle()
        return tuple(types(drain(emitted)))

    assert {order(seed) for seed in range(20)} == {("changed", "created"), ("created", "changed")}


def test_within_one_write_events_do_not_race() -> None:
    for seed in range(20):
        bbs = diego(faults=Faults(seed=seed, delay=0))
        bbs.desire(wanted())
        run(bbs)
        emitted = bbs.subscribe("instances")
        bbs.crash("p", 0, A)
        bbs.settle()
        assert types(drain(emitted)) == ["crashed", "created", "removed"]


def test_a_removed_event_can_show_the_row_one_write_earlier() -> None:
    bbs = diego(faults=Faults(delay=0, stale_removed=1.0))
    before = run(bbs)
    bbs.start("p", 0, A, OTHER_NET)
    emitted = bbs.subscribe("instances")
    bbs.remove("p", 0, A)
    assert drain(emitted) == [ActualLRPInstanceRemoved(before)]


def test_a_removal_of_whatever_is_there_can_have_read_the_row_before_it_was_claimed() -> None:
    bbs = diego(faults=Faults(delay=0, stale_removed=1.0))
    bbs.desire(wanted())
    unclaimed = bbs.actual_lrps()[0]
    bbs.claim("p", 0, A)
    emitted = bbs.subscribe("instances")
    bbs.remove("p", 0)
    assert drain(emitted) == [ActualLRPInstanceRemoved(unclaimed)]


def test_a_removed_event_can_be_followed_by_an_empty_one() -> None:
    bbs = diego(faults=Faults(delay=0, empty_removed=1.0))
    before = run(bbs)
    instances, groups = bbs.subscribe("instances"), bbs.subscribe("groups")
    bbs.remove("p", 0, A)
    assert drain(instances) == [ActualLRPInstanceRemoved(before), UnreadableEvent("actual_lrp_instance_removed")]
    assert drain(groups)[1:] == [UnreadableEvent("actual_lrp_removed")]


def test_a_removed_event_never_shows_another_instance() -> None:
    bbs = diego(faults=Faults(delay=0, stale_removed=1.0))
    bbs.desire(wanted())
    bbs.start("p", 0, A, NET)
    running = bbs.actual_lrps()[0]
    emitted = bbs.subscribe("instances")
    bbs.remove("p", 0, A)
    assert drain(emitted) == [ActualLRPInstanceRemoved(running)]


def test_a_reader_of_one_cell_is_told_of_its_rows_and_of_every_desired_lrp() -> None:
    bbs = diego()
    emitted = bbs.subscribe("instances", "cell-a")
    groups = bbs.subscribe("groups", "cell-a")
    bbs.desire(wanted(instances=2))
    run(bbs, A, 0)
    run(bbs, InstanceKey("other", "cell-b"), 1)
    bbs.crash("p", 0, A)
    bbs.fail("p", 0, "no room")
    assert types(drain(emitted)) == ["desired_lrp_created", "changed", "changed", "crashed", "removed"]
    assert types(drain(groups)) == ["desired_lrp_created", "changed", "changed", "crashed", "changed"]


def test_a_reader_that_falls_behind_is_closed_and_forgotten() -> None:
    bbs = diego()
    emitted = bbs.subscribe("instances", limit=3)
    bbs.desire(wanted(instances=2))
    assert (len(emitted), emitted.closed) == (3, False)
    bbs.claim("p", 0, A)
    assert (len(emitted), emitted.closed, emitted.fell_behind) == (0, True, True)


def test_a_reader_that_leaves_has_not_fallen_behind() -> None:
    bbs = Diego()
    emitted = bbs.subscribe("instances")
    emitted.close()
    bbs.desire(wanted())
    assert (emitted.take(), emitted.fell_behind) == (None, False)
