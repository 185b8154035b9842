"""Lists: the server's full state, or that of some processes.

In: the records of a list, and the events since its request. Out: what the state is to become, or why the list is not
believed; which processes are to be read again; and what an audit found that no event explains.
"""
