"""Whole desired LRPs: their detail is read when it is asked for, and nothing else of them shows that."""

import pickle
from copy import copy
from unittest.mock import patch

import pytest
from hypothesis import given
from msgspec.structs import replace
from wire_support import full_desired_lrps

from lrpmirror.detail import DesiredLRPDetail, EnvironmentVariable
from lrpmirror.model import DesiredLRP, MetricTagValue
from lrpmirror.redaction import without_secrets
from lrpmirror.wire import decode, encode, json, lazydesired
from lrpmirror.wire.lazydesired import LazyDesiredLRP
from lrpmirror.wire.proto import diego_pb2

DETAIL = DesiredLRPDetail(
    environment_variables=(EnvironmentVariable("SECRET", "s3cret"),), privileged=True, image_username="hush"
)
WHOLE = DesiredLRP(
    process_guid="p",
    domain="d",
    instances=2,
    routes={"cf-router": b"[]", "diego-ssh": b'{"private_key":"s3cret"}'},
    metric_tags={"source_id": MetricTagValue("p")},
    epoch="e",
    tag_index=3,
    detail=DETAIL,
)


def lazy(desired: DesiredLRP = WHOLE) -> LazyDesiredLRP:
    read = decode.desired_lrp(encode.desired_lrp(desired), full=True)
    assert isinstance(read, LazyDesiredLRP)
    return read


def is_read(desired: LazyDesiredLRP) -> bool:
    return desired.memory.known is not None


@given(full_desired_lrps)
def test_it_is_the_desired_lrp_that_it_was(desired: DesiredLRP) -> None:
    read = lazy(desired)
    assert read == desired
    assert desired == read
    assert not read != desired  # noqa: SIM202 - the other operator
    assert hash(read) == hash(desired)
    assert repr(read) == repr(desired)
    assert read.detail == desired.detail
    assert read.detail is read.detail
    assert read.has_detail
    assert encode.desired_lrp(read) == encode.desired_lrp(desired)
    assert read.as_listed() == desired.as_listed()
    assert read.without_detail() == desired.without_detail()


def test_its_detail_is_read_only_when_it_is_asked_for() -> None:
    read = lazy()
    assert read.has_detail
    assert read == lazy()
    assert read != lazy(replace(WHOLE, tag_index=4))
    assert read != lazy(replace(WHOLE, instances=3))
    assert read != "p"
    assert encode.desired_lrp(read) == encode.desired_lrp(WHOLE)
    assert without_secrets(read).detail is None
    read.as_listed()
    assert not is_read(read)
    assert read.detail == DETAIL
    assert is_read(read)
    assert read == lazy(), "that it has been read is no difference"
    assert hash(read.memory) == hash(lazy().memory)


def test_two_details_that_differ_are_a_difference() -> None:
    other = replace(DETAIL, privileged=False)
    assert lazy() != lazy(replace(WHOLE, detail=other))
    assert lazy(replace(WHOLE, detail=other)) == replace(WHOLE, detail=other)


def test_records_whose_maps_came_in_another_order_are_equal_by_their_bytes() -> None:
    network = {f"key-{number}": "value" for number in range(20)}
    message = diego_pb2.DesiredLRP.FromString(encode.desired_lrp(WHOLE))
    other = diego_pb2.DesiredLRP.FromString(encode.desired_lrp(WHOLE))
    message.network.properties.update(network)
    other.network.properties.update(dict(reversed(network.items())))
    first = decode.desired_lrp(message.SerializeToString(), full=True)
    second = decode.desired_lrp(other.SerializeToString(), full=True)
    with patch.object(lazydesired, "read_detail", side_effect=AssertionError):
        assert first == second


def test_what_it_is_given_it_has() -> None:
    given_one = replace(lazy(), detail=None)
    assert (given_one.detail, given_one.has_detail) == (None, False)
    assert given_one == replace(WHOLE, detail=None)
    assert given_one.as_listed() == given_one
    changed = replace(lazy(), detail=replace(DETAIL, privileged=False), annotation="new")
    assert changed == replace(WHOLE, detail=replace(DETAIL, privileged=False), annotation="new")
    assert decode.desired_lrp(encode.desired_lrp(changed), full=True) == changed
    assert changed.as_listed() == replace(changed, detail=replace(DETAIL, privileged=False, metrics_guid="p"))
    kept = replace(lazy(), annotation="new")
    assert kept == replace(WHOLE, annotation="new")
    assert decode.desired_lrp(encode.desired_lrp(kept), full=True) == kept


def test_an_event_has_it_as_lists_have_it() -> None:
    listed = lazy(replace(WHOLE, detail=replace(DETAIL, metrics_guid="p")))
    assert lazy().as_listed() == listed
    assert listed.as_listed() is listed
    untagged = lazy(replace(WHOLE, metric_tags={}))
    assert untagged.as_listed() is untagged
    empty = lazy(replace(WHOLE, metric_tags={"source_id": MetricTagValue("")}))
    assert empty.as_listed() == empty


def test_it_is_copied_and_pickled_as_a_desired_lrp() -> None:
    assert copy(lazy()) == WHOLE
    twin = pickle.loads(pickle.dumps(lazy()))  # noqa: S301 - our own
    assert type(twin) is DesiredLRP
    assert twin == WHOLE


def test_without_secrets_nothing_of_them_is_left_in_memory() -> None:
    left = without_secrets(lazy())
    assert type(left) is DesiredLRP
    assert left.routes["diego-ssh"] == b"null"
    harmless = without_secrets(lazy(replace(WHOLE, routes={"cf-router": b"[]"})))
    assert (type(harmless), harmless.detail) == (DesiredLRP, None)


def test_what_a_newer_server_added_is_passed_on() -> None:
    record = encode.desired_lrp(WHOLE) + b"\xfa\x07\x05later"
    assert b"later" in encode.desired_lrp(decode.desired_lrp(record, full=True))


def test_its_json_is_that_of_the_whole_record() -> None:
    assert json.to_json(lazy()) == json.to_json(WHOLE)


@pytest.mark.parametrize("detail", [None, DETAIL])
def test_a_plain_one_says_whether_it_has_a_detail(detail: DesiredLRPDetail | None) -> None:
    plain = replace(WHOLE, detail=detail)
    assert plain.has_detail is (detail is not None)
    assert plain.without_detail() == replace(WHOLE, detail=None)
