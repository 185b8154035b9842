"""The machine in the middle of the mirror: it takes inputs and returns effects and changes.

Five rooms, in the order in which data passes through them; each knows only those above it:

    rows       what an event does to the rows and desired LRPs: versions, tombstones, the store and its indexes
    freshness  phases and status, when a silent stream is dead, how long to wait
    derived    views and subscriptions: state that follows from the processes, and who is notified of what
    lists      a list being read, how it is committed, which one is not believed, audits, repairs
    explain    the latest decisions, and counts

and above them what they are the parts of:

    session      which input leads to which effect
    knowledge    the state of a session, and what can be asked of it; `exported`: the same as one value that outlives it
    preparation  bringing views to what a list leads to, aside and in slices; `upcoming`: that state, by process

Nothing here awaits, does I/O, reads a clock or logs: time comes in with each input, and everything is an ordinary call
that returns. So the whole machine can be driven by recordings and by seeded simulations.
"""
