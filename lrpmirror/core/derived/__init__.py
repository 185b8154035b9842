"""State that follows from the processes, and who is notified of its changes.

In: which instances and desired LRPs a commit has changed. Out: the values of views by key, kept up to date at the cost
of what changed, and for each subscriber what it has not seen yet.
"""
