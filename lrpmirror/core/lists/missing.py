"""Finding what a list lacks that the mirror has."""

from collections.abc import Iterator

from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.lists.slices import MANY, key_slices, slices
from lrpmirror.core.lists.tables import ListTables
from lrpmirror.core.rows.changes import RowKey, row_key
from lrpmirror.core.rows.store import Store


def find_missing(store: Store, tables: ListTables, scope: Scope) -> Iterator[None]:
    """Touch the keys that the mirror has and the list lacks, a slice a step."""
    parts: Iterator[list[RowKey]]
    if scope.rows is not None:
        parts = iter([[row_key(row) for guid in scope.rows for row in store.process(guid)]])
    elif _has_every_row(store, tables):
        parts = iter(())
    else:
        # By cell, since the garbage collector would traverse one list of all keys again and again. A row that is
        # written meanwhile may be missed here, but is touched by the write.
        parts = store.keys_by_cell()
    for keys in parts:
        for part in slices(keys, MANY):
            tables.touch(tables.lacked(part), ())
            yield
    of_desired = key_slices(store.desired_by_domain(), MANY) if scope.desired is None else slices(scope.desired, MANY)
    for guids in of_desired:
        tables.touch((), (guid for guid in guids if tables.desired(guid) is None))
        yield


def _has_every_row(store: Store, tables: ListTables) -> bool:
    """Return whether the list lacks none of the mirror's rows, found by counting, which saves the search.

    A row that only the list has was touched when it was listed or written, or removed from the mirror. O(touched).
    """
    known_of = store.get
    if len(tables.touched) > MANY:
        return False
    new = sum(known_of(key) is None for key in {*tables.touched})
    return tables.row_count() - new == len(store)
