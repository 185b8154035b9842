"""Freeing what is no longer used, a slice a step: 250,000 rows at once would block the event loop."""

import gc
from collections.abc import Iterator
from typing import Any, Final

KEYS: Final = 1_000
"""How many entries of a table one step removes."""

RECORDS: Final = 250
"""How many records one step frees, of a dozen objects each."""


def empty_in_slices(*tables: dict[Any, Any]) -> Iterator[None]:
    """Empty tables that have no reader any more. O(KEYS) a step."""
    for table in tables:
        while table:
            for _ in range(min(KEYS, len(table))):
                table.popitem()
            yield


def free_records(records: list[Any]) -> Iterator[None]:
    """Free records that nothing else refers to. O(RECORDS) a step."""
    while records:
        del records[-RECORDS:]
        yield


def collect_young() -> None:
    """Run the garbage collector over what is young, and over what has survived that as often as it would by itself.

    Where this is called again and again it runs by itself no more: then all of that would wait for one long run.
    """
    # Always over the youngest alone, too: a tuple of tuples is nothing for the collector only from its second run on.
    gc.collect(0)
    if gc.get_count()[1] > gc.get_threshold()[1]:
        gc.collect(1)
