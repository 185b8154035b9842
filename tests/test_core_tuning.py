"""The numbers of a mirror: which can be used, and how it is said of others."""

from math import inf, nan
from random import Random
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from lrpmirror.core.freshness.tuning import Tuning, checked
from lrpmirror.core.session import Session
from lrpmirror.errors import ConfigurationError


def tuned(name: str, value: Any) -> Tuning:
    return Tuning(**{name: value})


def test_the_defaults_can_be_used() -> None:
    assert checked(Tuning()) == Tuning()


@pytest.mark.parametrize("name", list(asdict(Tuning())))
@pytest.mark.parametrize("value", [-1, -1.0, nan, "5", None, True])
def test_what_is_no_number_that_can_be_used_is_refused_by_the_name_of_its_field(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"Tuning\.{name}={value!r} cannot be used: it must be "):
        Session(Tuning(**{name: value}), Random(0))


@pytest.mark.parametrize("name", [name for name, value in asdict(Tuning()).items() if isinstance(value, int)])
@pytest.mark.parametrize("value", [0, 1.5, inf])
def test_a_count_is_a_whole_number_of_at_least_one(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name}.*a whole number, at least 1"):
        checked(Tuning(**{name: value}))
    checked(Tuning(**{name: 1}))


@pytest.mark.parametrize(
    "name", ["resync_interval", "ping_interval", "idle_limit", "list_timeout", "repair_timeout", "ping_timeout"]
)
def test_an_interval_is_more_than_nothing(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        checked(Tuning(**{name: 0}))


@pytest.mark.parametrize("name", ["resync_interval", "ping_interval", "idle_limit", "list_timeout", "repair_timeout"])
def test_an_interval_can_be_for_ever(name: str) -> None:
    checked(tuned(name, inf))


@pytest.mark.parametrize("name", ["first_delay", "most_delay", "repair_delay", "audit_grace", "brake_wait"])
def test_a_delay_is_not_for_ever_and_can_be_none(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        checked(tuned(name, inf))
    checked(replace(tuned(name, 0), first_delay=0))


@pytest.mark.parametrize("share", [0, 0.0, 1.01, 2])
def test_a_share_is_more_than_nothing_and_at_most_all(share: float) -> None:
    with pytest.raises(ConfigurationError, match=r"brake_share.*more than 0 and at most 1"):
        checked(Tuning(brake_share=share))


def test_delays_grow() -> None:
    with pytest.raises(ConfigurationError, match=r"most_delay=1\.0 cannot be used: it must not be less than first"):
        checked(Tuning(first_delay=2.0, most_delay=1.0))
