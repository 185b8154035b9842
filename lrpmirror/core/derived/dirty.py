"""Which parts of which processes views have to derive again."""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from lrpmirror.core.rows.changes import Commit, Delta, EventCommits, RowKey
from lrpmirror.model import ActualLRP, DesiredLRP

__all__ = ["ALL", "Dirty", "dirtied_by", "dirty_desired", "dirty_rows", "mark_row", "merge", "terms_of"]


class Replaced(Struct):
    """A row that another one has taken the place of, of an instance of which nothing else has changed."""

    before: ActualLRP
    after: ActualLRP
    differing: frozenset[str] | None = None
    """The names of the fields that differ; None: not found yet."""

    def compare(self) -> frozenset[str]:
        """Find the names of the fields that differ, for all views."""
        self.differing = self.before.differing(self.after)
        return self.differing


class Dirty(Struct):
    """What may have changed of a process: its terms (all that views read but its rows), and instances by index."""

    terms: bool
    indexes: set[int] | None
    """None: all of them."""
    replaced: dict[int, Replaced] = {}
    """What has changed of some of these: of the others it is not known."""


ALL: Final = Dirty(terms=True, indexes=None)


def dirtied_by(commits: Iterable[Commit]) -> dict[str, Dirty]:
    """Return what commits changed, by process guid, in order. O(what they changed)."""
    found: dict[str, Dirty] = {}
    # Those of single rows need not be made for it.
    for commit in commits.written if isinstance(commits, EventCommits) else commits:
        if isinstance(commit, Delta):
            _mark_rows(found, (commit,))
            continue
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
        known.replaced.pop(row.index, None)


def merge(into: dict[str, Dirty], dirty: Mapping[str, Dirty]) -> None:
    """Add `dirty` to `into`, without what is known of single rows: it is of another state. O(dirty)."""
    for guid, added in dirty.items():
        known = into.get(guid)
        if known is None:
            into[guid] = Dirty(added.terms, added.indexes)
        elif known.indexes is None or added.indexes is None:
            into[guid] = ALL
        else:
            into[guid] = Dirty(terms=known.terms or added.terms, indexes=known.indexes | added.indexes)


def _mark_rows(found: dict[str, Dirty], deltas: Iterable[Delta[RowKey, ActualLRP]]) -> None:
    for delta in deltas:
        before, after = delta.before, delta.after
        if before is None or after is None:
            mark_row(found, after or before)  # type: ignore[arg-type]  # one side is always there
        elif before.index != after.index or before.process_guid != after.process_guid:
            # Only a row without an epoch can change its process or index; then both places are dirty.
            mark_row(found, after)
            mark_row(found, before)
        else:
            _mark_replaced(found, before, after)


def _mark_replaced(found: dict[str, Dirty], before: ActualLRP, after: ActualLRP) -> None:
    guid, index = after.process_guid, after.index
    known = found.get(guid)
    if known is None:
        found[guid] = Dirty(terms=False, indexes={index}, replaced={index: Replaced(before, after)})
    elif known.indexes is not None and index not in known.indexes:
        known.indexes.add(index)
        known.replaced[index] = Replaced(before, after)
    else:
        mark_row(found, after)


def _mark_terms(found: dict[str, Dirty], guid: str) -> None:
    found.setdefault(guid, Dirty(terms=True, indexes=set())).terms = True
