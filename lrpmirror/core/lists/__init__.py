"""Lists: what the server has in full, or of some processes.

In: the records of a list, and the events since it was asked for. Out: what the state is to become, or why the list is
not believed; which processes are to be read again; and what an audit found that no event had told.
"""
