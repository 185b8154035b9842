"""What a mirror remembers of what it did, for people and for monitoring.

In: each event with its outcome, each list with what it differed in. Out: the latest decisions about a process, and
counts.
"""
