"""Probes: at an interval, the process that changed last is read again although no repair is pending for it.

A server whose database was set back announces nothing, and may keep its streams open. It differs from the mirror in
what was written last, so the process that changed last shows it. A change is probed one interval later, since a server
may answer from a copy that is some seconds behind.
"""

from lrpmirror.core.lists.scope import Scope
from lrpmirror.core.rows.changes import Commit


class Probes:
    """The process to probe. O(1) each, but for `is_lost`."""

    def __init__(self) -> None:
        self._latest: Commit | None = None
        self._due = ""
        self.scope: Scope | None = None
        """The latest probe; None: there was nothing to probe."""

    def changed(self, commit: Commit) -> None:
        """Record the last commit of events."""
        self._latest = commit

    def take(self) -> Scope | None:
        """Return what to read now, None where nothing has changed; the latest change is left to the next call."""
        self.scope = Scope(frozenset({self._due}), frozenset({self._due})) if self._due else None
        if self._latest is not None:
            self._due = _process_of(self._latest) or self._due
            self._latest = None
        return self.scope

    def is_probe(self, scope: Scope) -> bool:
        """Return whether a scope is that of the latest probe."""
        return scope is self.scope

    def is_lost(self, commit: Commit | None) -> bool:
        """Return whether a probe found something gone that no event had removed. O(what it changed)."""
        if commit is None:
            return False
        rows, lrps = commit.actual_lrps, commit.desired_lrps
        return any(row.after is None for row in rows) or any(lrp.after is None for lrp in lrps)


def _process_of(commit: Commit) -> str:
    for delta in commit.actual_lrps:
        row = delta.after or delta.before
        if row is not None:  # pragma: no branch - one side is always there
            return row.process_guid
    return next((delta.key for delta in commit.desired_lrps), "")
