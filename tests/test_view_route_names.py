"""What endpoints are called by, and the tags that each instance fills in."""

from collections.abc import Mapping
from typing import Any

from views_support import desired, process, running, value_of, values_of

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.model import DynamicValue, MetricTagValue
from lrpmirror.views import HTTPRoutes, InternalRoutes, TCPRoutes

# Host names are the same in any case


def test_the_host_of_a_route_is_in_lower_case_and_its_path_as_it_was() -> None:
    lrp = desired(http=["Shop.Example.COM", "Shop.Example.com/Path"])
    assert values_of(HTTPRoutes(), process(lrp, running())).keys() == {"shop.example.com", "shop.example.com/Path"}


def test_two_spellings_are_one_key() -> None:
    one, other = desired("p", http=["Shop.example.com"]), desired("q", http=["shop.EXAMPLE.com", "SHOP.example.com"])
    endpoints = value_of(HTTPRoutes(), process(one, running("p")), process(other, running("q")))
    assert [endpoint.process_guid for endpoint in endpoints] == ["p", "q"]


def test_so_it_is_with_internal_names() -> None:
    found = values_of(InternalRoutes(), process(desired(internal=["Shop.Internal", "shop.internal"]), running()))
    assert {name: len(endpoints) for name, endpoints in found.items()} == {"shop.internal": 1, "0.shop.internal": 1}


# Tags that each instance fills in


def tags_of(index: int = 0, **more: Any) -> Mapping[str, str]:
    tags = {"index": MetricTagValue(dynamic=DynamicValue.INDEX), "app": MetricTagValue("shop"), **more}
    (endpoint,) = value_of(HTTPRoutes(), process(desired("p", 9, http=["a"], metric_tags=tags), running(index=index)))
    filled: Mapping[str, str] = endpoint.tags
    return filled


def test_tags_are_a_read_only_mapping() -> None:
    tags = tags_of(7)
    assert tags == {"index": "7", "app": "shop"}
    assert (tags["index"], tags.get("app"), tags.get("none", "-")) == ("7", "shop", "-")
    assert ("app" in tags, "none" in tags, len(tags), list(tags)) == (True, False, 2, ["index", "app"])
    assert (dict(tags.items()), list(tags.keys()), list(tags.values())) == (tags, ["index", "app"], ["7", "shop"])
    assert repr(tags) == repr(dict(tags))
    assert isinstance(tags, Mapping)
    assert tags.__eq__(5) is NotImplemented


def test_tags_are_equal_by_what_they_are_filled_with() -> None:
    assert tags_of(1) == tags_of(1)
    assert hash(tags_of(1)) == hash(tags_of(1))
    assert tags_of(1) != tags_of(2)
    assert tags_of(1, more=MetricTagValue("x")) != tags_of(1)
    assert tags_of(1, app=MetricTagValue("shop", DynamicValue.INVALID)) == tags_of(1)


def test_a_change_of_evacuating_alone_is_no_change_of_a_tcp_route_either() -> None:
    tcp = [{"router_group_guid": "rg", "external_port": 1, "container_port": 8080}]
    derivation: Derivation[Any, Any, Any] = Derivation(TCPRoutes())
    derivation.update([process(desired(tcp=tcp), running())])
    assert derivation.update([process(desired(tcp=tcp), running(since=5))]) == []
    assert derivation.view.same(derivation.published(("rg", 1)), derivation.values["rg", 1])


def test_a_name_that_reads_like_that_of_an_instance_has_it_once() -> None:
    found = values_of(InternalRoutes(), process(desired(internal=["a", "0.a"]), running()))
    assert {name: len(endpoints) for name, endpoints in found.items()} == {"a": 1, "0.a": 1, "0.0.a": 1}
