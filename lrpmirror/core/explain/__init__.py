"""The mirror's record of its own decisions, for people and for monitoring.

In: each event with its outcome, each list with its differences. Out: the latest decisions about a process, and
counts.
"""
