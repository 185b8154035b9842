"""The laws: what holds of a mirror whatever happens to it. Each is one function, which raises LawBroken.

The first are about one commit, and are checked with each. Then those about a moment when no task has anything left to
do. The last are about the end, when the faults are over.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, NoReturn, TypeVar

from msgspec.structs import replace

from lrpmirror.core.derived.derive import Derivation, Process
from lrpmirror.core.freshness.status import Phase, Status
from lrpmirror.core.rows.changes import Cause, Commit, Delta, RowKey, row_key
from lrpmirror.core.session import Session, Tuning
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP
from lrpmirror.redaction import without_secrets
from lrpmirror.sim import Snapshot
from simulation.history import History, bare

__all__ = [
    "LawBroken",
    "a_dropped_view_stays_as_it_is",
    "age_counts_from_the_last_byte",
    "changes_begin_where_the_last_ended",
    "dead_streams_are_noticed",
    "differences",
    "events_bring_back_no_removed_record",
    "folded_changes_are_the_state",
    "honest_lists_are_not_doubted",
    "index_is_scan",
    "lists_withdraw_nothing_that_is_there",
    "live_means_that_lists_are_believed",
    "live_means_that_there_is_a_stream",
    "no_desired_that_the_server_never_had",
    "no_row_that_the_server_never_had",
    "nothing_drifts_where_nothing_was_lost",
    "nothing_is_published_where_nothing_changes",
    "one_list_does_not_take_everything",
    "revisions_grow_by_one",
    "silence_counts_from_the_last_event",
    "silent_streams_are_replaced",
    "state_is_no_newer_than_the_last_byte",
    "the_end_is_the_servers_state",
    "versions_go_back_only_by_a_list_that_is_believed",
    "versions_have_one_content",
    "view_is_recomputation",
    "what_was_kept_was_known",
]

ROUNDING: Final = 1e-6

MILLISECOND: Final = 2e-3
"""The rounding error of ages and moments that are written in milliseconds."""

K = TypeVar("K")
V = TypeVar("V")


class LawBroken(AssertionError):  # noqa: N818 - what happened is the name
    """A law does not hold: its name, and what was seen."""

    def __init__(self, law: str, how: str) -> None:
        super().__init__(f"{law.replace('_', ' ')}: {how}")
        self.law = law
        self.how = how


def _broken(law: Callable[..., None], how: str) -> NoReturn:
    raise LawBroken(law.__name__, how)


# Of each commit


def revisions_grow_by_one(before: int, commit: Commit) -> None:
    """A subscriber can see by the revision that it has missed nothing."""
    if commit.revision != before + 1:
        _broken(revisions_grow_by_one, f"{commit.revision} after {before}")


def changes_begin_where_the_last_ended(known: Mapping[K, V], deltas: Iterable[Delta[Any, Any]]) -> None:
    """Folding the changes gives the state; and there is no step without a difference."""
    for delta in deltas:
        if known.get(delta.key) != delta.before and _redacted({0: known.get(delta.key)}) != _redacted(
            {0: delta.before}
        ):
            _broken(
                changes_begin_where_the_last_ended, f"{delta.key}: {delta.before}, known was {known.get(delta.key)}"
            )
        if delta.before == delta.after:
            _broken(changes_begin_where_the_last_ended, f"{delta.key}: a step that goes nowhere, {delta.after}")


def no_row_that_the_server_never_had(history: History, commit: Commit) -> None:
    """The identity, the version and the contents of a row that is shown were once the server's, all together."""
    for delta in commit.actual_lrps:
        if delta.after is not None and not history.had_row(delta.after):
            _broken(no_row_that_the_server_never_had, f"{commit.cause}: {delta.before} -> {delta.after}")


def no_desired_that_the_server_never_had(history: History, commit: Commit) -> None:
    """The same for desired LRPs."""
    for delta in commit.desired_lrps:
        if delta.after is not None and not history.had_desired(delta.after):
            _broken(no_desired_that_the_server_never_had, f"{commit.cause}: {delta.before} -> {delta.after}")


def versions_go_back_only_by_a_list_that_is_believed(phase: Phase, believed: int, commit: Commit) -> None:
    """A version that is shown is followed by an older one only where a second list had that too: the server went back.

    Until then the mirror does not say that it is live. `believed` is how many records the list took back. At an equal
    version only the presence can differ, and what the diffs do not carry; but for a list of such a server.
    """
    deltas: tuple[Delta[Any, Any], ...] = (*commit.actual_lrps, *commit.desired_lrps)
    backwards = [delta for delta in deltas if _goes_back(delta)]
    if backwards and (commit.cause is not Cause.SNAPSHOT or phase is Phase.LIVE or len(backwards) > believed):
        one = backwards[0]
        _broken(
            versions_go_back_only_by_a_list_that_is_believed, f"{commit.cause}, {phase}: {one.before} -> {one.after}"
        )


def versions_have_one_content(commit: Commit) -> None:
    """At an equal version only the presence of a row can differ, and what the diffs do not carry."""
    for delta in commit.actual_lrps:
        before, after = delta.before, delta.after
        if before is None or after is None or not after.epoch or after.tag_index != before.tag_index:
            continue
        if before.epoch != after.epoch or bare(replace(after, presence=before.presence)) != bare(before):
            _broken(versions_have_one_content, f"{commit.cause}: {before} -> {after}")


def _goes_back(delta: Delta[Any, Any]) -> bool:
    before, after = delta.before, delta.after
    if before is None or after is None or not after.epoch or before.epoch != after.epoch:
        return False
    return bool(after.tag_index < before.tag_index)


def honest_lists_are_not_doubted(session: Session) -> None:
    """A list of a server that neither lags nor was set back is never older than what is known."""
    if session.guards.rollback.has_unconfirmed:
        _broken(honest_lists_are_not_doubted, str(session.freshness.trouble))


def events_bring_back_no_removed_record(highest: Mapping[RowKey, int], commit: Commit) -> None:
    """A late event of a record that is gone does not bring it back; only a list can, or a version never seen."""
    if commit.cause is not Cause.EVENT:
        return
    for delta in commit.actual_lrps:
        after = delta.after
        if delta.before is None and after is not None and after.epoch and after.tag_index <= highest.get(delta.key, -1):
            _broken(events_bring_back_no_removed_record, f"seen at {highest[delta.key]}, and now again: {after}")


def lists_withdraw_nothing_that_is_there(server: Collection[RowKey], commit: Commit) -> None:
    """A list of a server that does not lag or lie never takes away what the server still has."""
    if commit.cause is Cause.EVENT:
        return
    for delta in commit.actual_lrps:
        if delta.after is None and delta.key in server:
            _broken(lists_withdraw_nothing_that_is_there, f"{commit.cause}: {delta.before}")


def one_list_does_not_take_everything(tuning: Tuning, known: int, left: int, commit: Commit, *, held: bool) -> None:
    """A list that takes away a large share of the rows, on balance, is believed only after another one that was not.

    `known` is how many there were when the mirror was last live, `left` how many there are then; `held` is whether a
    list was held back since the one before.
    """
    gone = known - left
    if commit.cause is not Cause.SNAPSHOT or known < tuning.brake_rows or gone <= tuning.brake_share * known:
        return
    if not held:
        _broken(one_list_does_not_take_everything, f"{gone} of {known} rows went with one list")


def what_was_kept_was_known(lives: Iterable[Mapping[int, object]], revision: int, state: object) -> None:
    """A mirror that begins with a state file knows what one before it knew at that revision, no more and no less."""
    if all(life.get(revision) != state for life in lives):
        _broken(what_was_kept_was_known, f"at revision {revision} there was never {state}")


# Of each moment when no task has anything left to do


def index_is_scan(session: Session) -> None:
    """Every index has what a scan of all rows finds, and nothing else."""
    try:
        session.knowledge.store._check()
    except AssertionError as error:
        raise LawBroken(index_is_scan.__name__, str(error)) from error


def view_is_recomputation(
    view: str, derivation: Derivation[Any, Any, Any], processes: Iterable[Process], cells: Iterable[CellPresence]
) -> None:
    """A view that was kept up to date is what deriving it anew gives."""
    try:
        derivation._check(processes, cells)
    except AssertionError as error:
        raise LawBroken(view_is_recomputation.__name__, f"{view}: {error}") from error


def a_dropped_view_stays_as_it_is(view: str, then: Mapping[K, V], now: Mapping[K, V]) -> None:
    """A dropped view keeps the content that it had when it was dropped."""
    if then != now:
        _broken(a_dropped_view_stays_as_it_is, f"{view}: {_differing(now, then)}")


def folded_changes_are_the_state(who: str, known: Mapping[K, V], state: Mapping[K, V]) -> None:
    """A subscriber that only folds the changes has the state.

    Except for what a state file leaves out: the routes that may hold secrets come with the first list, unannounced.
    """
    if known != state and _redacted(known) != _redacted(state):
        _broken(folded_changes_are_the_state, f"{who}: {_differing(known, state)}")


def age_counts_from_the_last_byte(status: Status, last_byte: float) -> None:
    """A mirror's age counts from no later than the last byte that it received from the server."""
    age = status.age
    if age is not None and age < status.at - last_byte - ROUNDING:
        _broken(age_counts_from_the_last_byte, f"{age:g} s, and nothing has come for {status.at - last_byte:g} s")


def silence_counts_from_the_last_event(status: Status, last_byte: float) -> None:
    """Its silence counts from no later than the last byte of its stream."""
    if status.heard_at is not None and status.heard_at > last_byte + ROUNDING:
        _broken(silence_counts_from_the_last_event, f"heard at {status.heard_at:g} s, the last byte at {last_byte:g} s")


def state_is_no_newer_than_the_last_byte(status: Status, last_byte: float) -> None:
    """A state read through a relay is no newer than the last byte that any publisher received from the server."""
    if status.current_at is not None and status.current_at > last_byte + MILLISECOND:
        _broken(
            state_is_no_newer_than_the_last_byte,
            f"current at {status.current_at:g} s, the last byte came at {last_byte:g} s",
        )


def live_means_that_lists_are_believed(session: Session) -> None:
    """A mirror that holds a list back, since it would take too much or is older, is not live."""
    if session.freshness.phase is Phase.LIVE and (
        session.guards.deletion_guard.holds or session.guards.rollback.has_unconfirmed
    ):
        _broken(live_means_that_lists_are_believed, "it says live, and does not believe the last list")


def live_means_that_there_is_a_stream(phase: Phase, streams: Collection[object]) -> None:
    """A mirror that knows its stream dead is never live."""
    if phase is Phase.LIVE and not streams:
        _broken(live_means_that_there_is_a_stream, "it says live, and has no stream")


def dead_streams_are_noticed(phase: Phase, gone_for: float, bound: float) -> None:
    """A peer that vanished is noticed in time."""
    if phase is Phase.LIVE and gone_for > bound:
        _broken(
            dead_streams_are_noticed, f"it says live {gone_for:g} s after its last stream was lost, not {bound:g} s"
        )


def silent_streams_are_replaced(silent_for: float, bound: float) -> None:
    """A stream on which nothing can come any more, from a server that is there, is replaced in time."""
    if silent_for > bound:
        _broken(silent_streams_are_replaced, f"nothing can have come for {silent_for:g} s, not {bound:g} s")


# Of the end


def the_end_is_the_servers_state(
    session: Session, phase: Phase, server: Snapshot, within: float, *, notified: bool = False
) -> None:
    """When the faults are over the mirror is live and has the server's state, within a bounded time.

    With `notified` only what the stream carries is compared: domains and cells are in the lists alone.
    """
    if phase is not Phase.LIVE:
        _broken(
            the_end_is_the_servers_state, f"{phase} {within:g} s after the last fault; {session.freshness.last_error!r}"
        )
    found = differences(session, server, notified=notified)
    if found:
        _broken(the_end_is_the_servers_state, f"{within:g} s after the last fault: {'; '.join(found)}")


def nothing_drifts_where_nothing_was_lost(kinds: Mapping[str, int]) -> None:
    """Where no event is lost, an audit finds no difference that it cannot explain."""
    if kinds:
        _broken(nothing_drifts_where_nothing_was_lost, ", ".join(f"{number} {kind}" for kind, number in kinds.items()))


def nothing_is_published_where_nothing_changes(before: int, after: int) -> None:
    """A list without differences publishes nothing."""
    if before != after:
        _broken(nothing_is_published_where_nothing_changes, f"revision {after} after {before}")


def differences(session: Session, server: Snapshot, *, notified: bool = False) -> list[str]:
    """Return the differences of a mirror from the server, in all that it keeps, or only in what the stream carries."""
    store = session.knowledge.store
    rows = {row_key(row): row for row in store.select(cell_id=None, state=None, domain=None)}
    found = _differing(rows, {row_key(row): row for row in server.actual_lrps})
    lrps = {lrp.process_guid: replace(lrp, detail=None) for lrp in server.desired_lrps}
    found += _differing({lrp.process_guid: lrp for lrp in store.select_desired(app_guid=None, domain=None)}, lrps)
    if notified:
        return found
    if store.domains != frozenset(server.domains):
        found.append(f"domains: {set(store.domains)} instead of {set(server.domains)}")
    cells = {cell.cell_id: cell for cell in session.knowledge.cells}
    return found + _differing(cells, {cell.cell_id: cell for cell in server.cells})


def _redacted(state: Mapping[Any, Any]) -> Mapping[Any, Any]:
    return {key: without_secrets(one) if isinstance(one, DesiredLRP) else one for key, one in state.items()}


def _differing(mine: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> list[str]:
    keys = sorted(mine.keys() | theirs.keys(), key=str)
    return [f"{key}: {mine.get(key)} instead of {theirs.get(key)}" for key in keys if mine.get(key) != theirs.get(key)]


def rows_of(session: Session) -> dict[RowKey, ActualLRP]:
    """Return the rows of a mirror, by their identity."""
    return {row_key(row): row for row in session.knowledge.store.select(cell_id=None, state=None, domain=None)}


def desired_of(session: Session) -> dict[str, DesiredLRP]:
    """Return the desired LRPs of a mirror, by process guid."""
    return {lrp.process_guid: lrp for lrp in session.knowledge.store.select_desired(app_guid=None, domain=None)}
