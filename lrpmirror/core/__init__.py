"""The mirror's state machine: it takes inputs and returns commits and what to do next.

Five packages, in the order in which data passes through them; each imports only those above it:

    rows       how events change rows and desired LRPs: versions, tombstones, the store and its indexes
    freshness  phases and status, deciding that a silent stream is dead, back-off, tuning
    derived    views and subscriptions: state that follows from the processes, and its changes for each subscriber
    lists      a list in progress, committing it, guards against wrong lists, audits, repairs
    explain    the latest decisions, and counters

and above them the modules that use them:

    session      the state machine itself: what each input does
    knowledge    the state of a session, and the queries on it; the same as a value that can outlive it
    preparation  preparing views for a list, aside and in slices; `upcoming`: the state that it leads to, by process

Nothing here awaits, does I/O, reads a clock or logs: the caller passes the time with each input, and everything is an
ordinary call. So all of it can be driven by recordings and by seeded simulations.
"""
