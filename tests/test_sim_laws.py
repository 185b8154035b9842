"""What holds of the simulated BBS after any sequence of writes."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from sim_support import NET, OTHER_NET, ROUTES, TAGS, A, B, C, Fold, carried, check_rows, drain, wanted

from lrpmirror.errors import RequestRefused
from lrpmirror.events import ActualLRPChanged, ActualLRPCreated, ActualLRPRemoved, Event
from lrpmirror.model import ActualLRP, ActualLRPGroup
from lrpmirror.sim import Diego, InstanceKey

Write = Callable[[Diego], object]

indexes = st.integers(0, 1)
instances = st.sampled_from([A, B, C])


def of_an_instance(name: str) -> st.SearchStrategy[Write]:
    return st.builds(lambda index, key: lambda bbs: getattr(bbs, name)("p", index, key), indexes, instances)


def reported(name: str) -> st.SearchStrategy[Write]:
    def write(index: int, key: InstanceKey, other: bool, routable: bool) -> Write:
        return lambda bbs: getattr(bbs, name)(
            "p",
            index,
            key,
            OTHER_NET if other else NET,
            domain="cf-apps",
            internal_routes=ROUTES,
            metric_tags=TAGS,
            routable=routable,
        )

    return st.builds(write, indexes, instances, st.booleans(), st.booleans())


in_place: st.SearchStrategy[Write] = st.one_of(
    of_an_instance("claim"),
    reported("start"),
    of_an_instance("crash"),
    of_an_instance("remove"),
    of_an_instance("evacuate_claimed"),
    reported("evacuate_running"),
    of_an_instance("evacuate_stopped"),
    of_an_instance("evacuate_crashed"),
    of_an_instance("remove_evacuating"),
    st.builds(lambda index: lambda bbs: bbs.fail("p", index, "no room"), indexes),
    st.builds(lambda index: lambda bbs: bbs.retire("p", index), indexes),
    st.just(lambda bbs: bbs.desire(wanted(instances=2))),
    st.builds(lambda count: lambda bbs: bbs.update_desired("p", instances=count), st.integers(0, 2)),
    st.just(lambda bbs: bbs.remove_desired("p")),
    st.builds(lambda seconds: lambda bbs: bbs.advance(seconds), st.sampled_from([1, 40, 400])),
)
of_cells: st.SearchStrategy[Write] = st.one_of(
    st.builds(lambda key: lambda bbs: bbs.lose_cell(key.cell_id), instances),
    st.builds(lambda key: lambda bbs: bbs.return_cell(key.cell_id), instances),
    st.just(lambda bbs: bbs.converge()),
)


def make_bbs() -> Diego:
    bbs = Diego(seed=3)
    for key in (A, B, C):
        bbs.add_cell(key.cell_id)
    bbs.upsert_domain("cf-apps")
    bbs.desire(wanted(instances=2))
    return bbs


def attempt(bbs: Diego, write: Write) -> None:
    """Do what a careless caller does; what is refused must leave no trace."""
    before = bbs.snapshot()
    try:
        write(bbs)
    except RequestRefused:
        assert bbs.snapshot() == before


@settings(deadline=None, max_examples=150)
@given(st.lists(st.one_of(in_place, of_cells), min_size=15, max_size=60))
def test_the_events_of_rows_in_order_give_the_rows(writes: list[Write]) -> None:
    bbs = make_bbs()
    fold, emitted = Fold(), bbs.subscribe("instances", limit=None)
    fold.rows = {each.epoch: each for each in bbs.actual_lrps()}
    for write in writes:
        attempt(bbs, write)
        for event in drain(emitted):
            fold.apply(event)
        check_rows(bbs)
        assert fold.settled() == carried(bbs.actual_lrps())


@settings(deadline=None, max_examples=100)
@given(st.lists(in_place, min_size=15, max_size=60))
def test_the_events_of_groups_in_order_give_the_groups_while_no_cell_is_lost(writes: list[Write]) -> None:
    bbs = make_bbs()
    slots, emitted = slots_of(bbs.actual_lrp_groups()), bbs.subscribe("groups", limit=None)
    for write in writes:
        attempt(bbs, write)
        for event in drain(emitted):
            apply_to_slots(slots, event)
        assert slots == slots_of(bbs.actual_lrp_groups())


@settings(deadline=None, max_examples=100)
@given(st.lists(st.one_of(in_place, of_cells), min_size=15, max_size=60))
def test_an_epoch_is_one_record_whose_index_only_grows(writes: list[Write]) -> None:
    bbs = make_bbs()
    gone: set[str] = set()
    versions: dict[str, int] = {}
    for write in writes:
        attempt(bbs, write)
        now = {each.epoch: each.tag_index for each in bbs.actual_lrps()}
        assert not gone & now.keys(), "an epoch came back"
        for epoch, index in now.items():
            assert index >= versions.get(epoch, 0)
        gone |= versions.keys() - now.keys()
        versions = now


@settings(deadline=None, max_examples=50)
@given(st.lists(st.one_of(in_place, of_cells), min_size=15, max_size=60))
def test_the_same_seed_and_writes_give_the_same_state(writes: list[Write]) -> None:
    one, other = make_bbs(), make_bbs()
    for write in writes:
        attempt(one, write)
        attempt(other, write)
    assert one.snapshot() == other.snapshot()


def slots_of(groups: list[ActualLRPGroup]) -> dict[tuple[int, str], ActualLRP]:
    return {
        (row.index, slot): row
        for group in groups
        for slot, row in (("instance", group.instance), ("evacuating", group.evacuating))
        if row is not None
    }


def apply_to_slots(slots: dict[tuple[int, str], ActualLRP], event: Event) -> None:
    match event:
        case ActualLRPCreated(actual_lrp_group=group) | ActualLRPChanged(after=group):
            slots |= slots_of([group])
        case ActualLRPRemoved(actual_lrp_group=group):
            for place, row in slots_of([group]).items():
                if slots[place].modification_tag == row.modification_tag:
                    del slots[place]
