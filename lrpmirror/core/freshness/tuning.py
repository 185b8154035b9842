"""The numbers of a mirror: intervals, delays, limits."""

from collections.abc import Callable
from math import inf, isnan
from typing import Final

from msgspec import Struct

from lrpmirror.errors import ConfigurationError


class Tuning(Struct, frozen=True, kw_only=True):
    """The numbers of a mirror. Times are in seconds; `inf` for an interval means never."""

    resync_interval: float = 300.0
    """How long a list of everything is good for, on a living stream; each interval is drawn from 75 to 125 % of it."""
    first_delay: float = 0.5
    """The bound of the first delay before trying again; it doubles with each failure."""
    most_delay: float = 30.0
    """The largest bound that it doubles to."""

    ping_interval: float = 10.0
    """After how much silence of the stream the server is pinged on a second connection."""
    ping_timeout: float = 5.0
    """How long a ping may take."""
    ping_failures: int = 3
    """After how many failed pings in a row a silent stream is declared dead."""
    idle_limit: float = 300.0
    """After how much silence a stream is replaced, since pings do not prove that it still brings events."""
    renewal_interval: float = 60.0
    """How often to check whether the certificates on disk have changed, in which case the stream is replaced."""

    list_timeout: float = 600.0
    """How long a list of everything may take, all in all."""
    cells_timeout: float = 3.0
    """How long the list of cells may take, which comes from another service; after that the known cells stay."""
    list_limit: int = 5_000_000
    """How many records of a kind a list may have."""
    row_limit: int = 5_000_000
    """How many rows, and how many desired LRPs, the mirror may hold."""
    in_flight_limit: int = 1_000_000
    """How many events may arrive while a list is read; with more the list is restarted."""
    audit_grace: float = 5.0
    """How long an event may still be on its way whose write a list has already."""

    brake_share: float = 0.5
    """A list that would remove more than this share is not believed before a second one agrees; 1: all are."""
    brake_rows: int = 100
    """With fewer rows, processes or desired LRPs than this, a list is believed whatever share of them it removes."""
    brake_wait: float = 10.0
    """How long after the first list the second one is read."""

    rollback_wait: float = 5.0
    """How much later, and on another stream, a second list has to have older versions too for them to be believed."""
    probe_interval: float = 10.0
    """How often the process that changed last is read again: a server that was set back has it otherwise."""

    repair_delay: float = 0.5
    """How long processes that are to be read again are collected before the read."""
    repair_timeout: float = 60.0
    """How long such a read may take, all in all."""
    repair_batch: int = 1_000
    """How many processes one repair reads at most; fewer where they have over 2,000 rows."""
    repair_limit: int = 100_000
    """How many processes can wait for a repair; others are left to the next list."""
    tombstone_age: float = 900.0
    """How long a removed record is remembered."""
    tombstone_limit: int = 200_000
    """How many removed records are remembered."""
    state_interval: float = 60.0
    """How often the state file is written, if there is one and anything has changed."""
    state_patience: float = 10.0
    """How long closing waits for the state file to be written."""


Rule = tuple[Callable[[float], bool], str]

_POSITIVE: Final[Rule] = (lambda value: 0 < value < inf, "a positive number of seconds")
_INTERVAL: Final[Rule] = (lambda value: value > 0, "a positive number of seconds, or inf")
_DELAY: Final[Rule] = (lambda value: 0 <= value < inf, "a number of seconds, not negative")
_COUNT: Final[Rule] = (lambda value: value >= 1, "a whole number, at least 1")
_SHARE: Final[Rule] = (lambda value: 0 < value <= 1, "more than 0 and at most 1")

_RULES: Final[dict[str, Rule]] = {
    "resync_interval": _INTERVAL,
    "state_interval": _INTERVAL,
    "ping_interval": _INTERVAL,
    "probe_interval": _INTERVAL,
    "ping_timeout": _POSITIVE,
    "idle_limit": _INTERVAL,
    "renewal_interval": _INTERVAL,
    "list_timeout": _INTERVAL,
    "cells_timeout": _POSITIVE,
    "repair_timeout": _INTERVAL,
    "tombstone_age": _POSITIVE,
    "brake_share": _SHARE,
}
"""What a field has to be. Other fields are counts where their default is a whole number, else delays."""


def checked(tuning: Tuning) -> Tuning:
    """Return the tuning. Raises ConfigurationError that names the field which cannot be used and what it has to be.

    Called for every mirror, so that a bad number is found when the mirror is opened, not when it is first used.
    """
    defaults = Tuning()
    for name in Tuning.__struct_fields__:
        value, whole = getattr(tuning, name), isinstance(getattr(defaults, name), int)
        allowed, words = _RULES.get(name, _COUNT if whole else _DELAY)
        kinds = int if whole else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool) or isnan(value) or not allowed(value):
            raise ConfigurationError(f"Tuning.{name}={value!r} cannot be used: it must be {words}")
    if tuning.most_delay < tuning.first_delay:
        raise ConfigurationError(
            f"Tuning.most_delay={tuning.most_delay!r} cannot be used: it must not be less than "
            f"first_delay={tuning.first_delay!r}"
        )
    return tuning
