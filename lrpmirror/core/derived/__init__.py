"""Derived state (views), and the changes that each subscriber has not been sent yet.

In: which instances and desired LRPs a commit has changed. Out: the values of views by key, kept up to date at the cost
of what changed, and for each subscriber what it has not seen yet.
"""
