"""Which parts of which processes views have to derive again."""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from lrpmirror.core.rows.changes import Commit, Delta, RowKey
from lrpmirror.model import ActualLRP, DesiredLRP

__all__ = ["ALL", "Dirty", "dirtied_by", "dirty_desired", "dirty_rows", "mark_row", "merge", "terms_of"]


class Dirty(Struct):
    """What may have changed of a process: its terms (all that views read but its rows), and instances by index."""

    terms: bool
    indexes: set[int] | None
    """None: all of them."""


ALL: Final = Dirty(terms=True, indexes=None)


def dirtied_by(commits: Iterable[Commit]) -> dict[str, Dirty]:
    """Return what commits changed, by process guid, in order. O(what they changed)."""
    found: dict[str, Dirty] = {}
    for commit in commits:
        _mark_rows(found, commit.actual_lrps)
        for lrp in commit.desired_lrps:
            _mark_terms(found, lrp.key)
        for guid in commit.released:
            _mark_terms(found, guid)
    return found


def dirty_rows(deltas: Iterable[Delta[RowKey, ActualLRP]]) -> dict[str, Dirty]:
    """Return what deltas of rows change, by process guid. O(deltas)."""
    found: dict[str, Dirty] = {}
    _mark_rows(found, deltas)
    return found


def dirty_desired(deltas: Iterable[Delta[str, DesiredLRP]]) -> dict[str, Dirty]:
    """Return what deltas of desired LRPs change, by process guid. O(deltas)."""
    return terms_of(delta.key for delta in deltas)


def terms_of(process_guids: Iterable[str]) -> dict[str, Dirty]:
    """Return processes as dirty in their terms, not in their rows. O(processes)."""
    return {guid: Dirty(terms=True, indexes=set()) for guid in process_guids}


def mark_row(found: dict[str, Dirty], row: ActualLRP) -> None:
    """Mark the instance of a row as dirty. O(1)."""
    known = found.get(row.process_guid)
    if known is None:
        found[row.process_guid] = Dirty(terms=False, indexes={row.index})
    elif known.indexes is not None:  # pragma: no branch - it is where everything is
        known.indexes.add(row.index)


def merge(into: dict[str, Dirty], dirty: Mapping[str, Dirty]) -> None:
    """Add `dirty` to `into`. O(dirty)."""
    for guid, added in dirty.items():
        known = into.get(guid)
        if known is None:
            into[guid] = added
        elif known.indexes is None or added.indexes is None:
            into[guid] = ALL
        else:
            into[guid] = Dirty(terms=known.terms or added.terms, indexes=known.indexes | added.indexes)


def _mark_rows(found: dict[str, Dirty], deltas: Iterable[Delta[RowKey, ActualLRP]]) -> None:
    for delta in deltas:
        before, after = delta.before, delta.after
        if after is not None:
            mark_row(found, after)
        # Only a row without an epoch can change its process or index; then both places are dirty.
        if before is not None and (
            after is None or before.index != after.index or before.process_guid != after.process_guid
        ):
            mark_row(found, before)


def _mark_terms(found: dict[str, Dirty], guid: str) -> None:
    found.setdefault(guid, Dirty(terms=True, indexes=set())).terms = True
