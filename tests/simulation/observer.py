"""The observer of one mirror, which checks everything against the laws."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.rows.changes import Cause, Change, Commit, RowKey
from lrpmirror.core.rows.reconcile import Outcome
from lrpmirror.core.session import Session
from lrpmirror.events import Event
from lrpmirror.model import ActualLRP, DesiredLRP
from simulation import laws
from simulation.history import History

__all__ = ["Digest", "Fold", "LawObserver"]


class Digest:
    """What happened in a run, in one number: two runs that differ in anything that is shown have two."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)

    def add(self, *what: object) -> None:
        """Record something that happened."""
        self._hash.update(repr(what).encode())

    def hex(self) -> str:
        """Return the number."""
        return self._hash.hexdigest()


class LawObserver:
    """An observer of one mirror, from its beginning. It never raises: `check` does, at the next step.

    `honest` says that what is listed is always what the server has, `one_life` that its database is never set back:
    each version of a record is written once.
    """

    def __init__(
        self, session: Session, history: History, digest: Digest, *, honest: bool, one_life: bool = True
    ) -> None:
        self._honest = honest
        self._one_life = one_life
        self._session = session
        self._history = history
        self._digest = digest
        self._broken: list[laws.LawBroken] = []
        self._revision = session.knowledge.revision
        self._rows: dict[RowKey, ActualLRP] = laws.rows_of(session)
        self._desired: dict[str, DesiredLRP] = laws.desired_of(session)
        self._highest = {key: row.tag_index for key, row in self._rows.items()}
        self._looked_at: tuple[int, float | None] | None = None
        self._held = self._rolled_back = 0
        self._live_rows: int | None = None
        self.commits = 0
        self.states: dict[int, object] = {session.knowledge.revision: self.state()}
        """A digest of the state at each revision."""

    def state(self) -> object:
        """Return a digest of the present state."""
        return self._rows.copy(), {guid: (lrp.epoch, lrp.tag_index) for guid, lrp in self._desired.items()}

    def event(self, _event: Event, _outcome: Outcome, commit: Commit | None) -> None:
        """Check an event and its outcome."""
        if commit is not None:
            self._see(commit)

    def listed(self, commit: Commit) -> None:
        """Check the commit of a list."""
        self._see(commit)

    def check(self) -> None:
        """Raise the first broken law, if there is one."""
        if self._broken:
            raise self._broken[0]

    def settled(self, views: Iterable[tuple[str, Derivation[Any, Any, Any]]]) -> None:
        """Check the state against the laws, when no task has anything left to do."""
        session = self._session
        self.check()
        laws.live_means_that_lists_are_believed(session)
        if session.freshness.phase is Phase.LIVE:
            self._live_rows = len(self._rows)
        if self._honest:
            laws.honest_lists_are_not_doubted(session)
        if self._looked_at == (session.knowledge.revision, session.freshness.synced_at):
            return
        self._looked_at = session.knowledge.revision, session.freshness.synced_at
        laws.index_is_scan(session)
        laws.folded_changes_are_the_state("an observer, of rows", self._rows, laws.rows_of(session))
        laws.folded_changes_are_the_state("an observer, of desired LRPs", self._desired, laws.desired_of(session))
        processes = [session.knowledge.process(guid) for guid in session.knowledge.process_guids()]
        for name, derivation in views:
            laws.view_is_recomputation(name, derivation, processes, session.knowledge.cells)

    def _see(self, commit: Commit) -> None:
        self.commits += 1
        self._digest.add(commit.revision, commit.cause.value, *_outline(commit))
        try:
            laws.revisions_grow_by_one(self._revision, commit)
            laws.changes_begin_where_the_last_ended(self._rows, commit.actual_lrps)
            laws.changes_begin_where_the_last_ended(self._desired, commit.desired_lrps)
            laws.no_row_that_the_server_never_had(self._history, commit)
            laws.no_desired_that_the_server_never_had(self._history, commit)
            session = self._session
            counts = session.counts() if commit.cause is Cause.SNAPSHOT else None
            believed = 0 if counts is None else counts.rolled_back - self._rolled_back
            laws.versions_go_back_only_by_a_list_that_is_believed(session.freshness.phase, believed, commit)
            if self._one_life:
                laws.versions_have_one_content(commit)
            self._rolled_back += believed
            held = self._held if counts is None else counts.lists_held
            known, left = self._known(), len(self._rows) + _grown(commit)
            laws.one_list_does_not_take_everything(session.tuning, known, left, commit, held=held != self._held)
            self._held = held
            laws.events_bring_back_no_removed_record(self._highest, commit)
            if self._honest and commit.cause is not Cause.EVENT:
                laws.lists_withdraw_nothing_that_is_there(self._history.row_keys(), commit)
        except laws.LawBroken as broken:
            self._broken.append(broken)
        self._fold(commit)

    def _known(self) -> int:
        """Return how many rows there were when the mirror was last live, or there are, whichever is less."""
        if self._session.freshness.phase is Phase.LIVE or self._live_rows is None:
            return len(self._rows)
        return min(self._live_rows, len(self._rows))

    def _fold(self, commit: Commit) -> None:
        self._revision = commit.revision
        for delta in commit.actual_lrps:
            if delta.after is None:
                self._rows.pop(delta.key, None)
            else:
                self._rows[delta.key] = delta.after
                # A list has the last word: the server may have been set back.
                highest = self._highest.get(delta.key, -1) if commit.cause is Cause.EVENT else -1
                self._highest[delta.key] = max(delta.after.tag_index, highest)
        for lrp in commit.desired_lrps:
            if lrp.after is None:
                self._desired.pop(lrp.key, None)
            else:
                self._desired[lrp.key] = lrp.after
        self.states[commit.revision] = self.state()
        if self._session.freshness.phase is Phase.LIVE:
            self._live_rows = len(self._rows)


def _grown(commit: Commit) -> int:
    """Return how many rows more there are after a commit."""
    return sum((row.after is not None) - (row.before is not None) for row in commit.actual_lrps)


def _outline(commit: Commit) -> list[tuple[str, str, str]]:
    """Return what a commit does, without what has no order of its own: keys of a map, and steps of a list."""
    rows = [(str(one.key), _version(one.before), _version(one.after)) for one in commit.actual_lrps]
    lrps = [(one.key, _version(one.before), _version(one.after)) for one in commit.desired_lrps]
    return sorted(rows) + sorted(lrps)


def _version(record: ActualLRP | DesiredLRP | None) -> str:
    if record is None:
        return ""
    state = f" {record.state} {record.presence.name} {record.cell_id}" if isinstance(record, ActualLRP) else ""
    return f"{record.tag_index}{state}"


class Fold:
    """A subscriber that folds the changes, and reads nothing else."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.known: dict[Any, Any] = {}
        self.busy = False
        """Whether a change was taken since the last check."""

    def __call__(self, change: Change[Any, Any]) -> None:
        """Take a change."""
        laws.changes_begin_where_the_last_ended(self.known, [change])  # type: ignore[list-item]
        if change.after is None:
            del self.known[change.key]
        else:
            self.known[change.key] = change.after
