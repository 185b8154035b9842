"""The store: every index is that of the rows after any writes, and every query is a full scan made fast."""

from itertools import chain, product

import pytest
from core_support import RUNNING, SUSPECT, claimed, desired, law, row, running, unclaimed
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lrpmirror.core.rows.changes import RowKey, row_key
from lrpmirror.core.rows.parts import FEW_MASK
from lrpmirror.core.rows.store import FEW, Store, matches
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, Presence

PROCESSES, CELLS, DOMAINS = ("p", "q"), ("", "cell-a", "cell-b"), ("apps", "tasks")

rows = st.builds(
    lambda process, epoch, instance, **fields: ActualLRP(
        process_guid=process,
        # An epoch belongs to one process for ever, and so does an instance.
        epoch=f"{process}-{epoch}" if epoch else "",
        instance_guid=f"{process}-{instance}" if instance else "",
        **fields,
    ),
    process=st.sampled_from(PROCESSES),
    epoch=st.sampled_from(["", "a", "b", "c"]),
    instance=st.sampled_from(["", "i", "j"]),
    index=st.integers(0, 1),
    presence=st.sampled_from([*Presence]),
    cell_id=st.sampled_from(CELLS),
    domain=st.sampled_from(DOMAINS),
    state=st.sampled_from([*ActualLRPState]),
    tag_index=st.integers(0, 3),
)

lrps = st.builds(
    desired,
    process_guid=st.sampled_from(["app-1", "app-2", "app", "b", "b-1", "\U0010ffff"]),
    domain=st.sampled_from(DOMAINS),
    tag_index=st.integers(0, 3),
)

writes = st.lists(st.tuples(st.sampled_from(["put", "put", "remove"]), rows), max_size=25)
desired_writes = st.lists(st.tuples(st.sampled_from(["put", "put", "remove"]), lrps), max_size=25)


@law(300)
@given(writes)
def test_after_any_writes_the_indexes_and_queries_are_those_of_the_rows(steps: list[tuple[str, ActualLRP]]) -> None:
    store = Store()
    plain: dict[RowKey, ActualLRP] = {}
    for what, one in steps:
        key = row_key(one)
        if what == "put":
            rivals = [other for k, other in plain.items() if k != key and _slot(other) == _slot(one)]
            stayed = key in plain and _slot(plain[key]) == _slot(one)
            assert store.put(key, store.get(key), one) == (bool(rivals) and not stayed)
            plain[key] = one
        elif key in plain:
            store.remove(key, plain.pop(key))
        store._check()

    assert len(store) == len(plain)
    assert sorted(map(str, chain.from_iterable(store.keys_by_cell()))) == sorted(map(str, plain))
    assert {key: store.get(key) for key in plain} == plain
    assert set(store.processes()) == {one.process_guid for one in plain.values()}
    assert sorted(chain.from_iterable(store.processes_by_domain())) == sorted(store.processes())
    for process in PROCESSES:
        of_process = [one for one in plain.values() if one.process_guid == process]
        found = store.process(process)
        # Whatever the order in which they came: of two that claim one slot, too.
        assert list(found) == sorted(of_process, key=lambda one: (one.index, one.presence, one.epoch))
        slots = [_slot(one) for one in of_process]
        assert store.has_rivals(process) == (len(set(slots)) < len(slots))
    for cell, state, domain in product((None, *CELLS), (None, *ActualLRPState), (None, *DOMAINS)):
        scan = [one for one in plain.values() if matches(one, cell, state, domain)]
        assert sorted(map(repr, store.select(cell_id=cell, state=state, domain=domain))) == sorted(map(repr, scan))
    for guid in {one.instance_guid for _, one in steps} | {"nobody"}:
        holders = [one for one in plain.values() if one.instance_guid == guid and guid]
        found_by_guid = store.instance(guid)
        assert found_by_guid in holders if holders else found_by_guid is None


@law(300)
@given(st.lists(st.lists(rows, max_size=8), max_size=4))
def test_rows_that_are_added_together_are_indexed_as_if_they_were_put_one_by_one(
    batches: list[list[ActualLRP]],
) -> None:
    together, alone = Store(), Store()
    for batch in batches:
        before = {guid for guid in PROCESSES if together.has_rivals(guid)}
        rivals = together.add(batch)
        for one in batch:
            alone.put(row_key(one), alone.get(row_key(one)), one)
        together._check()

        assert {row_key(one): together.get(row_key(one)) for one in batch} == {
            row_key(one): alone.get(row_key(one)) for one in batch
        }
        assert {guid for guid in PROCESSES if together.has_rivals(guid)} - before <= set(rivals)
    assert [together.process(process) for process in PROCESSES] == [alone.process(process) for process in PROCESSES]


def test_rows_of_a_process_that_are_added_together_have_one_text_of_its_guid() -> None:
    texts = [str(b"process-1", "ascii") for _ in range(3)]
    assert texts[0] is not texts[1]
    store = Store()
    store.add([running(name, index=index, process_guid=texts[index]) for index, name in enumerate("abc")])

    assert len({id(one.process_guid) for one in store.process("process-1")}) == 1


@pytest.mark.parametrize("listed", [("a", "b"), ("b", "a"), ("x", "a", "b"), ("a", "x", "b"), ("a", "a", "b")])
def test_of_rows_that_are_added_together_two_that_claim_one_slot_are_reported(listed: tuple[str, ...]) -> None:
    slots = {"a": row("a", index=1), "b": row("b", index=1), "x": row("x", index=2)}
    store = Store()

    assert store.add([slots[name] for name in listed]) == ["p"]
    assert store.add([row("c", index=3)]) == []
    assert store.add([row("d", index=3)]) == ["p"]
    assert store.add([row("a", 2, index=2)]) == (["p"] if "x" in listed else [])


@law(300)
@given(desired_writes)
def test_after_any_writes_of_desired_lrps_the_queries_are_those_of_a_scan(steps: list[tuple[str, DesiredLRP]]) -> None:
    store = Store()
    plain: dict[str, DesiredLRP] = {}
    for what, lrp in steps:
        if what == "put":
            store.put_desired(lrp)
            plain[lrp.process_guid] = lrp
        elif lrp.process_guid in plain:
            store.remove_desired(lrp.process_guid)
            del plain[lrp.process_guid]
        store._check()

    assert store.desired_count() == len(plain)
    assert sorted(store.desired_guids()) == sorted(chain.from_iterable(store.desired_by_domain())) == sorted(plain)
    for app, domain in product((None, "", "app", "app-1", "b", "zzz"), (None, *DOMAINS)):
        scan = [
            lrp
            for guid, lrp in sorted(plain.items())
            if (app is None or guid.startswith(app)) and domain in (None, lrp.domain)
        ]
        found = list(store.select_desired(app_guid=app, domain=domain))
        assert (found if app is not None else sorted(found, key=lambda lrp: lrp.process_guid)) == scan


def _slot(one: ActualLRP) -> tuple[str, int, int]:
    return one.process_guid, one.index, one.presence


def put(store: Store, *some: ActualLRP) -> None:
    for one in some:
        store.put(row_key(one), None, one)


def test_the_rows_of_a_process_come_by_index_then_presence() -> None:
    store = Store()
    a, b, c, d = (
        unclaimed("a", index=10),
        running("b", index=2, presence=SUSPECT),
        unclaimed("c", index=2),
        unclaimed("d", index=0),
    )

    put(store, a, b, c, d)

    assert store.process("p") == (d, c, b, a)
    assert store.process("nobody") == ()


def test_a_row_that_changes_its_presence_takes_its_new_place() -> None:
    store = Store()
    put(store, running("a", 2), running("b", 0, presence=SUSPECT), unclaimed("c", index=1))

    store.put("a", store.get("a"), running("a", 2, presence=Presence.EVACUATING))

    assert [one.epoch for one in store.process("p")] == ["a", "b", "c"]
    store._check()


def test_a_row_is_found_among_many_of_its_process_also_beside_a_rival() -> None:
    store = Store()
    many = [running(f"e{index}", 0, index=index) for index in range(2 * FEW)]
    rival = running("rival", 0, index=FEW)
    put(store, *many, rival)

    for old in (many[FEW], rival, many[-1]):
        store.put(old.epoch, old, replace(old, tag_index=1))
        store._check()

    assert [one.tag_index for one in store.process("p")].count(1) == 3


def test_a_record_that_changes_its_process_is_found_by_domain_with_the_new_one() -> None:
    store = Store()
    put(store, running("a", 0), running("b", 0, index=1))

    old = store.get("a")
    store.put("a", old, running("a", 1, process_guid="q"))

    assert store.select(cell_id=None, state=None, domain="apps") == (
        running("b", 0, index=1),
        running("a", 1, process_guid="q"),
    )
    store._check()


def test_a_moving_instance_is_found_in_the_row_written_last_and_then_in_the_one_that_stays() -> None:
    store = Store()
    leaving = running("b", 0, presence=Presence.EVACUATING)
    put(store, running("a", 2), leaving)
    assert store.instance("i") == leaving

    store.remove("b", leaving)

    assert store.instance("i") == running("a", 2)
    store._check()


def test_an_instance_that_left_its_row_is_not_found_any_more() -> None:
    store = Store()
    put(store, running("a", 2))

    store.put("a", store.get("a"), unclaimed("a", 3))

    assert store.instance("i") is None


def test_rows_on_no_cell_are_found_by_the_empty_cell() -> None:
    store = Store()
    put(store, unclaimed("a"), claimed("b", index=1))

    assert store.select(cell_id="", state=None, domain=None) == (unclaimed("a"),)


def test_a_state_is_found_by_its_plain_name() -> None:
    store = Store()
    put(store, running("a"), unclaimed("b", index=1))

    assert store.select(cell_id=None, state="RUNNING", domain=None) == (running("a"),)
    assert store.select(cell_id=None, state=RUNNING, domain="elsewhere") == ()


def test_the_processes_of_an_app_are_a_prefix_range() -> None:
    store = Store()
    for guid in ("app-2", "app-1", "apple", "ap"):
        store.put_desired(desired(process_guid=guid))

    assert [lrp.process_guid for lrp in store.select_desired(app_guid="app-", domain=None)] == ["app-1", "app-2"]


def test_an_answer_does_not_change_when_the_store_does() -> None:
    store = Store()
    put(store, unclaimed("a"))
    answer = store.process("p"), store.select(cell_id=None, state=None, domain="apps")

    store.put("a", store.get("a"), claimed("a", 1))
    store.remove("a", claimed("a", 1))

    assert answer == ((unclaimed("a"),), (unclaimed("a"),))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda store: store._rows[hash("b") & FEW_MASK].update(b=store.get("a")),
        lambda store: store._rows[~hash("a") & FEW_MASK].update(a=store.get("a")),
        lambda store: store._by_cell.clear(),
        lambda store: store._by_domain.update(other={"a": None}),
        lambda store: store._by_state.clear(),
        lambda store: store._by_process.clear(),
        lambda store: store._by_process.update(p=tuple(reversed(store._by_process["p"]))),
        lambda store: store._by_process.update(p=(row("a"), *store._by_process["p"][1:])),
        lambda store: store._by_instance[hash("i") & FEW_MASK].clear(),
        lambda store: store._by_instance[hash("i") & FEW_MASK].update({"i": "b"}),
        lambda store: store._desired_guids.remove("p"),
        lambda store: store._desired.update(p=desired(process_guid="q")),
        lambda store: store._desired_by_domain.clear(),
    ],
)
def test_the_check_finds_an_index_that_is_not_that_of_the_rows(spoil: object) -> None:
    store = Store()
    put(store, running("a"), running("b", 2, "j", index=1), unclaimed("c", 2, index=2))
    store.put_desired(desired())
    store._check()

    assert callable(spoil)
    spoil(store)

    with pytest.raises(AssertionError):
        store._check()


def test_all_rows_come_process_by_process() -> None:
    store = Store()
    one, other, elsewhere = (
        replace(unclaimed("a", 0), index=1),
        replace(unclaimed("b", 0), index=0),
        unclaimed("c", 0, process_guid="q"),
    )
    for each in (one, other, elsewhere):
        store.put(row_key(each), None, each)
    assert store.rows_by_process() == [(other, one), (elsewhere,)]
