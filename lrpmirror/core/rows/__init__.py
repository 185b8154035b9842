"""What an event does to the rows and desired LRPs.

In: events, and the records of lists. Out: the store, written through a change set, which is what a commit is made of;
and tombstones of what is gone. `reconcile` and `desired` decide, `store` keeps and indexes.
"""
