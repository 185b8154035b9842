"""Freeing what is of no use any more, a slice a step: a quarter of a million rows at once would stall everybody."""

from collections.abc import Iterator
from typing import Any, Final

__all__ = ["emptied", "freed"]

KEYS: Final = 4_000
"""How many entries of a table one step removes."""

RECORDS: Final = 1_000
"""How many records one step frees, of a dozen objects each."""


def emptied(*tables: dict[Any, Any]) -> Iterator[None]:
    """Empty tables that nobody reads any more. O(KEYS) a step."""
    for table in tables:
        while table:
            for _ in range(min(KEYS, len(table))):
                table.popitem()
            yield


def freed(records: list[Any]) -> Iterator[None]:
    """Free records that nobody else holds. O(RECORDS) a step."""
    while records:
        del records[-RECORDS:]
        yield
