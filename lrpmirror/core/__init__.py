"""The machine in the middle of the mirror: it takes inputs and returns effects and changes.

    reconcile      what an event does to the rows, and `desired` to the desired LRPs: identity, versions, tombstones
    store          the rows, the desired LRPs and their indexes; `change set` writes to it and remembers what changed
    snapshot         a list in progress: what the server listed, with the events since then on top; `scope`: what it is of
    opening        the first list, which lacks everything; `tables` are where a list is put, in `slices`
    session        which input leads to which effect; made of `knowledge`, the state, and `freshness`, how old it is
    status         the phases, and the table of what leads from one to the other
    watch          whether a silent stream is quiet or dead
    audit          what a list on a living stream differs in, and whether anything explains it
    deletion guard          which list is not believed before a second one agrees
    repairs        the processes that are to be read again
    image          the state as one value, which outlives the session
    decisions      what became of the latest events about each process, and why
    derive         views: state that follows from the processes; `views` are those that come with the library
    subscriptions  what each subscriber has not seen yet

Nothing here awaits, does I/O, reads a clock or logs: time comes in with each input, and everything is an ordinary call
that returns. So the whole machine can be driven by recordings and by seeded simulations.
"""
