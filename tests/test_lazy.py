"""Rows from the wire are read in two steps, and nobody can tell."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import force_setattr, replace
from wire_support import rows

from lrpmirror.errors import MalformedRecord
from lrpmirror.events import ActualLRPCreated, ActualLRPInstanceChanged
from lrpmirror.model import ActualLRP, ActualLRPGroup, ActualLRPState, PortMapping, PreferredAddress, Presence
from lrpmirror.wire import decode, encode, lazy
from lrpmirror.wire.lazy import LazyActualLRP
from lrpmirror.wire.proto import diego_pb2

RUNNING = ActualLRP(
    process_guid="p",
    index=1,
    domain="d",
    instance_guid="i",
    cell_id="c",
    state=ActualLRPState.RUNNING,
    epoch="e",
    tag_index=3,
    address="10.0.0.1",
    since=7,
    internal_routes=("app.internal",),
    metric_tags={"org": "o", "app": "a", "space": "s"},
    routable=True,
)


def listed(row: ActualLRP) -> ActualLRP:
    """The row as it comes out of a list."""
    return decode.actual_lrp(encode.actual_lrp(row))


def diff(before: ActualLRP, after: ActualLRP) -> ActualLRPInstanceChanged:
    """The diff of two rows as it comes off the stream."""
    old, new = (replace(row, internal_routes=(), metric_tags={}) for row in (before, after))
    event = decode.event_payload(ActualLRPInstanceChanged.type, encode.event(ActualLRPInstanceChanged(old, new)))
    assert isinstance(event, ActualLRPInstanceChanged)
    return event


def record_with_tags_in_order(*names: str) -> bytes:
    """A record as a server writes it: the metric tags in the order of its map, which is another each time."""
    record = encode.actual_lrp(replace(RUNNING, metric_tags={}))
    return record + b"".join(diego_pb2.ActualLRP(metric_tags={name: "x"}).SerializeToString() for name in names)


@given(rows)
def test_a_lazy_row_is_the_row_of_its_record(row: ActualLRP) -> None:
    seen = listed(row)
    assert isinstance(seen, LazyActualLRP)
    assert all(getattr(seen, name) == getattr(row, name) for name in ActualLRP.__struct_fields__)
    assert seen == row
    assert row == seen
    assert hash(seen) == hash(row)
    fields = {name: getattr(seen, name) for name in ActualLRP.__struct_fields__}
    assert repr(seen) == repr(ActualLRP(**fields))
    assert dict(seen.__rich_repr__()) == fields


@given(rows, rows)
def test_lazy_rows_are_equal_where_the_rows_are(one: ActualLRP, other: ActualLRP) -> None:
    assert (listed(one) == listed(other)) is (one == other)
    assert (listed(one) == other) is (one == other)
    assert (listed(one) != listed(other)) is (one != other)
    assert (listed(one) != other) is (one != other)
    assert (one != listed(other)) is (one != other)


@given(rows)
def test_a_lazy_row_does_not_differ_from_itself(row: ActualLRP) -> None:
    assert not listed(row) != listed(row)  # noqa: SIM202 - != has a function of its own
    assert not listed(row) != row  # noqa: SIM202 - as above
    assert not row != listed(row)  # noqa: SIM202 - as above


@given(rows, rows, st.sampled_from(ActualLRP.__struct_fields__))
def test_a_lazy_row_differs_in_whatever_field_was_replaced(row: ActualLRP, other: ActualLRP, name: str) -> None:
    change = {name: getattr(other, name)}
    assert replace(listed(row), **change) == replace(row, **change)
    assert (replace(listed(row), **change) == listed(row)) is (replace(row, **change) == row)


ALL_DIFFERENT = ActualLRP(
    process_guid="p2",
    index=2,
    domain="d2",
    instance_guid="i2",
    cell_id="c2",
    address="10.0.0.2",
    ports=(PortMapping(container_port=8080, host_port=61000),),
    instance_address="10.255.0.2",
    preferred_address=PreferredAddress.INSTANCE,
    instance_ipv6_address="fd00::2",
    crash_count=2,
    crash_reason="exit 2",
    state=ActualLRPState.CLAIMED,
    placement_error="no room",
    since=8,
    presence=Presence.EVACUATING,
    internal_routes=("other.internal",),
    metric_tags={"org": "other"},
    routable=False,
    availability_zone="z2",
    epoch="e2",
    tag_index=4,
)
"""In every field another value than RUNNING."""


@pytest.mark.parametrize("name", ActualLRP.__struct_fields__)
def test_rows_whose_bytes_differ_in_one_field_differ(name: str) -> None:
    other = replace(RUNNING, **{name: getattr(ALL_DIFFERENT, name)})
    assert other != RUNNING
    for one, two in [(listed(RUNNING), listed(other)), (listed(RUNNING), other), (RUNNING, listed(other))]:
        assert one != two
        assert two != one
    assert not listed(RUNNING).is_confirmed_by(listed(other))


NOT_IN_A_DIFF = {"internal_routes", "metric_tags"}
SHARED_IN_A_DIFF = {"process_guid", "index", "domain", "instance_guid", "cell_id"}


@pytest.mark.parametrize(
    "name", [name for name in ActualLRP.__struct_fields__ if name not in NOT_IN_A_DIFF | SHARED_IN_A_DIFF]
)
def test_the_sides_of_a_diff_that_differ_in_one_field_differ_from_each_other_and_from_the_record(name: str) -> None:
    bare = replace(RUNNING, internal_routes=(), metric_tags={})
    after = replace(bare, **{name: getattr(ALL_DIFFERENT, name)})
    event = diff(bare, after)
    assert event.before != event.after
    assert (event.before, event.after) == (listed(bare), listed(after))
    assert event.after != listed(bare)
    assert not listed(bare).is_confirmed_by(event.after)


def test_a_lazy_row_is_nothing_else_than_a_row() -> None:
    nothing: object = "a row"
    assert listed(RUNNING) != nothing


def test_a_lazy_row_is_copied_and_pickled_as_a_row() -> None:
    seen = listed(RUNNING)
    assert copy.copy(seen) == RUNNING
    restored = pickle.loads(pickle.dumps(seen))  # noqa: S301 - its own
    assert type(restored) is ActualLRP
    assert restored == RUNNING


def test_the_rest_of_a_row_is_read_once() -> None:
    seen = listed(RUNNING)
    assert seen.ports is seen.ports
    assert seen.metric_tags is seen.metric_tags


BUT_ROUTES_AND_TAGS = [name for name in ActualLRP.__struct_fields__ if name not in {"internal_routes", "metric_tags"}]


def at_hand(row: ActualLRP) -> list[object]:
    return [getattr(row, name) for name in BUT_ROUTES_AND_TAGS]


@given(rows)
def test_a_decoded_row_has_all_fields_of_the_row_but_routes_and_tags(row: ActualLRP) -> None:
    seen = listed(row)
    for one in (seen, diff(row, row).after, row):
        decoded = one.decoded()
        assert type(decoded) is not LazyActualLRP
        assert at_hand(decoded) == at_hand(row)
        assert one.decoded() is decoded, "it is decoded once"
    assert (seen.internal_routes, seen.metric_tags) == (row.internal_routes, row.metric_tags)
    assert at_hand(seen.decoded()) == at_hand(row)


@pytest.mark.parametrize("name", BUT_ROUTES_AND_TAGS)
def test_a_decoded_row_has_the_values_that_the_row_was_given_since(name: str) -> None:
    seen = listed(RUNNING)
    seen.decoded()
    other = replace(seen, **{name: getattr(ALL_DIFFERENT, name)})
    assert at_hand(other.decoded()) == at_hand(other)
    assert getattr(other.decoded(), name) == getattr(ALL_DIFFERENT, name)


@pytest.mark.parametrize("name", BUT_ROUTES_AND_TAGS)
def test_rows_differ_in_the_fields_that_do(name: str) -> None:
    other = replace(RUNNING, **{name: getattr(ALL_DIFFERENT, name)}, internal_routes=())
    for one in (RUNNING, listed(RUNNING), diff(RUNNING, RUNNING).after):
        for two in (other, listed(other), replace(listed(RUNNING), **{name: getattr(ALL_DIFFERENT, name)})):
            assert one.differing(two) == two.differing(one) == {name}
    assert listed(RUNNING).differing(listed(RUNNING)) == frozenset()


def test_rows_whose_bytes_are_the_same_are_not_read_to_find_what_differs() -> None:
    one, other = listed(RUNNING), listed(replace(RUNNING, tag_index=9))
    assert one.differing(other) == {"tag_index"}
    assert isinstance(one, LazyActualLRP)
    assert one.memory.known is None


def test_routes_and_tags_are_read_when_they_are_asked_for() -> None:
    seen = listed(RUNNING)
    assert seen.address == RUNNING.address
    decoded = seen.decoded()
    assert seen.metric_tags == RUNNING.metric_tags
    assert seen.address is decoded.address, "the rest was read again"


@given(st.permutations([f"tag-{number}" for number in range(24)]))
def test_two_lists_of_a_row_with_its_tags_in_another_order_have_the_same_bytes(names: list[str]) -> None:
    one = decode.actual_lrp(record_with_tags_in_order(*sorted(names)))
    other = decode.actual_lrp(record_with_tags_in_order(*names))
    assert isinstance(one, LazyActualLRP)
    assert isinstance(other, LazyActualLRP)
    assert one.source == other.source
    assert one == other


def test_a_row_that_has_been_read_equals_one_that_has_not() -> None:
    read, unread = listed(RUNNING), listed(RUNNING)
    assert read.address == "10.0.0.1"
    assert read == unread
    assert isinstance(unread, LazyActualLRP)
    assert isinstance(read, LazyActualLRP)
    assert hash(read.memory) == hash(unread.memory), "they are equal, whether anything was read or not"
    assert unread.memory.known is None, "bytes that are equal were read to be compared"


def test_bytes_that_are_no_record_are_refused_at_once_and_not_when_they_are_read() -> None:
    record = encode.actual_lrp(RUNNING)
    with pytest.raises(MalformedRecord, match="actual LRP"):
        decode.actual_lrp(record[:-1])


@pytest.mark.parametrize("read", [False, True], ids=["unread", "read before"])
@given(stored=rows, after=rows)
def test_a_diff_carries_over_what_it_lacks(stored: ActualLRP, after: ActualLRP, read: bool) -> None:
    side = diff(stored, after).after
    if read:
        assert not side.internal_routes
    bare = replace(RUNNING, internal_routes=(), metric_tags={})
    for source in (
        stored,
        listed(stored),
        bare.carrying_over(stored),
        diff(bare, bare).after.carrying_over(listed(stored)),
    ):
        row = side.carrying_over(source)
        assert row.internal_routes == stored.internal_routes
        assert row.metric_tags == stored.metric_tags
        assert row.address == after.address


def test_a_diff_on_a_diff_carries_nothing_where_there_is_nothing() -> None:
    first = diff(RUNNING, replace(RUNNING, tag_index=4)).after
    second = diff(RUNNING, replace(RUNNING, tag_index=5)).after.carrying_over(first)
    assert second.internal_routes == ()
    assert second.metric_tags == {}


def test_a_row_whose_tags_were_replaced_hands_on_the_new_ones() -> None:
    stored = replace(listed(RUNNING), metric_tags={"new": "1"})
    assert diff(RUNNING, RUNNING).after.carrying_over(stored).metric_tags == {"new": "1"}
    stored = replace(listed(RUNNING), internal_routes=("new",))
    assert diff(RUNNING, RUNNING).after.carrying_over(stored).internal_routes == ("new",)


def test_an_equal_row_takes_over_the_others_bytes_and_stays_what_it_was() -> None:
    listed_row = listed(RUNNING)
    diffed = diff(RUNNING, RUNNING).after.carrying_over(listed_row)
    assert isinstance(diffed, LazyActualLRP)
    assert diffed.is_confirmed_by(listed_row)
    assert diffed == RUNNING
    unread = listed(RUNNING)
    assert diffed == unread
    assert isinstance(unread, LazyActualLRP)
    assert unread.memory.known is None, "the bytes were not taken over"


class Interrupted:
    """The memory of a row as a thread sees it that is interrupted right after it has found nothing there."""

    def __init__(self, whole: ActualLRP) -> None:
        self._whole = whole
        self._looks = 0

    @property
    def known(self) -> ActualLRP | None:
        self._looks += 1
        return None if self._looks == 1 else self._whole


def test_a_thread_that_reads_a_row_while_it_takes_over_others_bytes_never_reads_these_as_its_own() -> None:
    """It looked before the row was read, and goes on when the bytes are another's and the way to read them is not."""
    listed_row, torn = listed(RUNNING), diff(RUNNING, RUNNING).after
    assert isinstance(listed_row, LazyActualLRP)
    force_setattr(torn, "memory", Interrupted(RUNNING))
    force_setattr(torn, "source", listed_row.source)

    assert torn.address == "10.0.0.1"
    assert torn.since == RUNNING.since
    force_setattr(torn, "memory", Interrupted(RUNNING))
    assert torn.metric_tags == RUNNING.metric_tags


def test_a_row_that_is_not_lazy_has_no_bytes_to_take_over() -> None:
    listed_row = listed(RUNNING)
    assert isinstance(listed_row, LazyActualLRP)
    source = listed_row.source
    assert listed_row.is_confirmed_by(RUNNING)
    assert RUNNING.is_confirmed_by(listed_row)
    assert listed_row.source is source


@pytest.mark.parametrize("other", [replace(RUNNING, since=8_888), replace(RUNNING, tag_index=9)])
def test_a_row_is_not_confirmed_by_another_one(other: ActualLRP) -> None:
    for one in (RUNNING, listed(RUNNING), diff(RUNNING, RUNNING).after):
        before = replace(one)
        assert not one.is_confirmed_by(other)
        assert not one.is_confirmed_by(listed(other))
        assert one == before


def never_lazy(row: ActualLRP) -> ActualLRP:
    """The same row, made of values."""
    return ActualLRP(**{name: getattr(row, name) for name in ActualLRP.__struct_fields__})


@given(rows, rows)
def test_a_row_from_the_wire_is_encoded_unread_and_as_every_row_is(row: ActualLRP, later: ActualLRP) -> None:
    for seen in (listed(row), diff(row, later).after.carrying_over(listed(row))):
        record = encode.actual_lrp(seen)

        assert isinstance(seen, LazyActualLRP)
        assert record == encode.actual_lrp(never_lazy(seen))
        assert decode.actual_lrp(record) == seen


def test_a_side_of_a_diff_is_encoded_without_what_a_diff_leaves_out() -> None:
    event = diff(RUNNING, replace(RUNNING, since=9))

    for side, since in ((event.before, 7), (event.after, 9)):
        row = replace(RUNNING, since=since, internal_routes=(), metric_tags={})
        assert encode.actual_lrp(side) == encode.actual_lrp(row)


def test_to_encode_a_row_leaves_it_unread() -> None:
    for seen in (listed(RUNNING), diff(RUNNING, RUNNING).after.carrying_over(listed(RUNNING))):
        encode.actual_lrp(seen)

        assert isinstance(seen, LazyActualLRP)
        assert seen.memory.known is None


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_a_row_is_encoded_as_it_is_at_any_step_of_taking_over_what_a_list_has(taken: int) -> None:
    seen = diff(RUNNING, replace(RUNNING, since=9)).after.carrying_over(listed(RUNNING))
    of_list = listed(replace(RUNNING, since=9))
    assert seen == of_list

    # As `is_confirmed_by` does, which another thread can interrupt: the row was read in whole, to be compared.
    for field in ("source", "read", "carried")[:taken]:
        force_setattr(seen, field, getattr(of_list, field))

    assert encode.actual_lrp(seen) == encode.actual_lrp(of_list)


@pytest.mark.parametrize(
    "change",
    [{"presence": Presence.SUSPECT}, {"tag_index": 9}, {"cell_id": ""}, {"address": "10.0.0.2"}, {"metric_tags": {}}],
)
def test_a_row_from_the_wire_that_was_given_other_values_is_encoded_with_these(change: dict[str, object]) -> None:
    for seen in (listed(RUNNING), diff(RUNNING, RUNNING).after.carrying_over(listed(RUNNING))):
        assert decode.actual_lrp(encode.actual_lrp(replace(seen, **change))) == replace(RUNNING, **change)


def test_what_a_newer_server_adds_to_a_record_is_not_encoded() -> None:
    newer = decode.actual_lrp(encode.actual_lrp(RUNNING) + b"\xa2\x06\x01x")

    assert encode.actual_lrp(newer) == encode.actual_lrp(RUNNING)


def test_rows_share_the_texts_that_many_have_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (listed(replace(RUNNING, cell_id="shared", domain="shared", process_guid=guid)) for guid in "pq")
    assert one.cell_id is other.cell_id is one.domain

    monkeypatch.setattr(lazy, "_shared", lazy._Shared())
    monkeypatch.setattr(lazy, "MOST_SHARED", 3)
    for number in range(100):
        cell_id = f"cell-{number}"
        one, other = (listed(replace(RUNNING, cell_id=cell_id)) for _ in range(2))
        assert one.cell_id is other.cell_id, "those that there are now are shared, however many there were"
        assert len(lazy._shared) <= 3


def test_long_texts_are_not_kept_beyond_their_rows() -> None:
    one, other = (listed(replace(RUNNING, cell_id="c" * 101, domain="d" * 101)) for _ in range(2))
    assert (one.cell_id, one.domain) == ("c" * 101, "d" * 101)
    assert one.cell_id is not other.cell_id
    assert max(map(len, lazy._shared)) <= lazy.LONGEST_SHARED


def of_group(row: ActualLRP, *, evacuating: bool) -> ActualLRP | None:
    """Return the row of a group's event, as it is decoded."""
    group = ActualLRPGroup(None, row) if evacuating else ActualLRPGroup(row)
    event = decode.event_payload(ActualLRPCreated.type, encode.event(ActualLRPCreated(group)))
    assert isinstance(event, ActualLRPCreated)
    return event.actual_lrp_group.evacuating if evacuating else event.actual_lrp_group.instance


@given(rows, st.booleans())
def test_a_row_of_a_groups_event_is_decoded_in_two_steps_too(row: ActualLRP, evacuating: bool) -> None:
    decoded = of_group(row, evacuating=evacuating)

    assert decoded == row
    assert type(decoded) is LazyActualLRP
    # What a diff does not carry is taken from it as from a record.
    bare = replace(row, internal_routes=(), metric_tags={})
    assert bare.carrying_over(decoded) == row


@pytest.mark.parametrize("evacuating", [False, True])
@pytest.mark.parametrize("field", ["crash_reason", "placement_error"])
def test_a_row_of_a_groups_event_is_stored_with_its_long_text_cut(field: str, evacuating: bool) -> None:
    row = replace(RUNNING, **{field: "é" * 600})
    decoded = of_group(row, evacuating=evacuating)

    assert decoded == row
    assert decoded is not None
    assert decoded.as_stored() == row.as_stored() != row
