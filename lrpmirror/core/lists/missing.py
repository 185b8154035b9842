"""What a list lacks that the mirror has."""

from collections.abc import Iterator

from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.lists.slices import MANY, slices
from lrpmirror.core.lists.tables import ListTables
from lrpmirror.core.rows.changes import RowKey, row_key
from lrpmirror.core.rows.store import Store

__all__ = ["find_missing"]


def find_missing(store: Store, tables: ListTables, scope: Scope) -> Iterator[None]:
    """Have compared what the mirror has and the list does not, one slice a step."""
    parts: Iterator[list[RowKey]]
    if scope.rows is not None:
        parts = iter([[row_key(row) for guid in scope.rows for row in store.process(guid)]])
    elif _has_every_row(store, tables):
        parts = iter(())
    else:
        # One list of all would be looked at by the garbage collector, again and again. What is written meanwhile,
        # and could be missed, is touched by that.
        parts = store.keys_by_cell()
    for keys in parts:
        for some in slices(keys, MANY):
            tables.touch(tables.lacked(some), ())
            yield
    for guids in slices(store.desired_guids() if scope.desired is None else [*scope.desired], MANY):
        tables.touch((), (guid for guid in guids if tables.desired(guid) is None))
        yield


def _has_every_row(store: Store, tables: ListTables) -> bool:
    """Return whether none of the mirror's rows is missing, as far as counting tells, which saves the search for it.

    What is here and not there was touched: when it was listed or written here, or removed there. O(touched).
    """
    known_of = store.get
    if len(tables.touched) > MANY:
        return False
    new = sum(known_of(key) is None for key in tables.touched)
    return tables.row_count() - new == len(store)
