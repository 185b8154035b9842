"""What of which processes views have to derive again."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from lrpmirror.core.changes import Commit

__all__ = ["ALL", "Dirty", "dirtied_by", "terms_of"]


class Dirty(Struct):
    """What of a process may have changed: what views look at beside its rows, and the instances of some indexes."""

    terms: bool
    indexes: set[int] | None
    """None: all of them."""


ALL: Final = Dirty(terms=True, indexes=None)


def dirtied_by(commits: Iterable[Commit]) -> dict[str, Dirty]:
    """Return what commits have changed of which processes, by process guid, in order. O(what they changed)."""
    found: dict[str, Dirty] = {}
    for commit in commits:
        for row in commit.actual_lrps:
            # A row can change its place only in theory, where it has no epoch; then both are dirty.
            for side in (row.before, row.after):
                if side is not None:
                    one = found.get(side.process_guid)
                    if one is None:
                        found[side.process_guid] = Dirty(terms=False, indexes={side.index})
                    elif one.indexes is not None:  # pragma: no branch - here it is always a set
                        one.indexes.add(side.index)
        for guid in (*(lrp.key for lrp in commit.desired_lrps), *commit.released):
            found.setdefault(guid, Dirty(terms=True, indexes=set())).terms = True
    return found


def terms_of(process_guids: Iterable[str]) -> dict[str, Dirty]:
    """Return that of some processes all may have changed but the rows. O(processes)."""
    return {guid: Dirty(terms=True, indexes=set()) for guid in process_guids}
