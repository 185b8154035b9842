"""Rows and desired LRPs, and how events change them.

In: events, and the records of lists. Out: the store, written through a change set, of which a commit is made; and
tombstones of what is gone. `reconcile` and `desired` decide, `store` stores and indexes.
"""
