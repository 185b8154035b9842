import gc
from collections.abc import Mapping

import pytest

from lrpmirror.frozen import frozen
from lrpmirror.model import EMPTY


def test_it_is_a_mapping_that_reads_like_its_dict() -> None:
    tags = frozen({"app": "a", "org": "o"})
    assert isinstance(tags, Mapping)
    assert (tags["app"], tags.get("org"), tags.get("space"), tags.get("space", "-")) == ("a", "o", None, "-")
    assert (list(tags), len(tags), "app" in tags, "space" in tags) == (["app", "org"], 2, True, False)
    assert dict(tags) == {**tags} == dict(tags.items()) == dict(zip(tags.keys(), tags.values(), strict=True))
    assert repr(tags) == "{'app': 'a', 'org': 'o'}"
    with pytest.raises(KeyError):
        tags["space"]


def test_it_equals_any_mapping_with_the_same_items_and_hashes_by_them() -> None:
    tags = frozen({"app": "a", "org": "o"})
    assert tags == frozen({"org": "o", "app": "a"}) == {"app": "a", "org": "o"}
    assert tags != {"app": "a"}
    assert tags.__eq__("app") is NotImplemented
    assert hash(tags) == hash(frozen({"org": "o", "app": "a"}))


def test_it_cannot_be_changed() -> None:
    tags = frozen({"app": "a"})
    with pytest.raises(TypeError):
        tags["app"] = "b"  # type: ignore[index]
    with pytest.raises(AttributeError):
        tags.update({})  # type: ignore[attr-defined]


def test_the_garbage_collector_does_not_look_at_it() -> None:
    assert not gc.is_tracked(frozen({"app": "a"}))
    assert not gc.is_tracked(EMPTY)
