"""Mutants: each is a mistake that the code could have, made while a program runs, and the law that has to see it.

A law that was never seen broken proves nothing. `python -m simulation --mutant NAME` tries the mirror with such a
bug; a test does so with each.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from math import inf
from typing import Any, Final
from unittest.mock import patch

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.client import _pipe
from lrpmirror.core import preparation
from lrpmirror.core.derived import derive, subscriptions
from lrpmirror.core.freshness.status import TRANSITIONS, Phase, Step
from lrpmirror.core.freshness.watchdog import Watch
from lrpmirror.core.knowledge import Knowledge
from lrpmirror.core.lists import rollback, snapshot
from lrpmirror.core.lists.deletion_guard import DeletionGuard
from lrpmirror.core.rows import desired, reconcile, store, tombstones
from lrpmirror.core.rows.changes import Cause, row_key
from lrpmirror.core.session import Session
from lrpmirror.mirror import _link
from lrpmirror.mirror._follower import Follower
from lrpmirror.mirror._mirror import Mirror
from lrpmirror.statefile import _format
from simulation import laws
from simulation import mutants_of_views as of_views
from simulation.plan import Machine

__all__ = ["MUTANTS", "Mutant", "mutated"]

Make = Callable[[Any], Any]
"""Makes the mutated attribute from the original one."""


class Mutant(Struct, frozen=True, kw_only=True):
    """A bug: what it is, where it is applied, and which laws catch it; `machines` are the trials that run that code."""

    what: str
    mutant: Callable[[], AbstractContextManager[Any]]
    laws: tuple[str, ...]
    machines: tuple[Machine, ...] = ("core", "shell")
    first: int = 0
    """A seed from which it is caught soon."""


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Apply a bug while the block lasts."""
    with MUTANTS[name].mutant():
        yield


def _put(owner: object, attribute: str, make: Make) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch.object(owner, attribute, make(getattr(owner, attribute)))


def _constant(value: object) -> Make:
    return lambda _: lambda *_args, **_kwargs: value


def _older_is_believed(changed: Any) -> Any:
    def believe(self: Any, event: Any) -> Any:
        key, stored = row_key(event.after), self._rows.get(event.after.epoch)
        if stored is not None and event.after.tag_index < stored.tag_index:
            return self._write(key, stored, event.after)
        return changed(self, event)

    return believe


def _routes_are_wiped(changed: Any) -> Any:
    def wipe(self: Any, event: Any) -> Any:
        after = event.after.as_stored()
        stored = self._rows.get(after.epoch)
        if stored is None or event.before.epoch != after.epoch or after.tag_index <= stored.tag_index:
            return changed(self, event)
        left = after.state in reconcile._WITHOUT_INSTANCE
        return self._write(after.epoch, stored, reconcile._without_instance(after) if left else after)

    return wipe


def _removal_forgets_nothing(add: Any) -> Any:
    def forget(self: Any, key: Any, row: Any, **more: Any) -> None:
        add(self, key, row, **more)
        self._tombstones.discard(key)

    return forget


def _last_change_is_not_published(publish: Any) -> Any:
    def forgetful(self: Any, deltas: Any, *rest: Any) -> None:
        publish(self, tuple(deltas)[:-1] or tuple(deltas), *rest)

    return forgetful


def _repairs_are_not_published(publish: Any) -> Any:
    def forgetful(self: Any, deltas: Any, revision: int, cause: Cause, at: float) -> None:
        if cause is not Cause.REPAIR:
            publish(self, deltas, revision, cause, at)

    return forgetful


def _older_desired_is_believed(written: Any) -> Any:
    def believe(self: Any, lrp: Any) -> Any:
        stored = self._lrps.desired(lrp.process_guid)
        if stored is not None and stored.epoch == lrp.epoch and lrp.tag_index < stored.tag_index:
            self._lrps.put_desired(lrp)
            return reconcile.Outcome.APPLIED
        return written(self, lrp)

    return believe


def _before_is_forgotten(delta: Any) -> Any:
    return lambda key, _before, after: delta(key, None, after)


def _every_list_is_a_revision(end_list: Any) -> Any:
    def noisy(self: Any, *args: Any) -> Any:
        commit = end_list(self, *args)
        self.knowledge.revision += commit is None
        return commit

    return noisy


def _lists_are_heard(end_list: Any) -> Any:
    def heard(self: Any, snapshot: Any, now: float) -> Any:
        self.freshness.heard_at = now
        return end_list(self, snapshot, now)

    return heard


def _removed_desired_stay(removed: Any) -> Any:
    del removed
    return lambda _self, _lrp: reconcile.Outcome.APPLIED


def _lists_lack_the_last_row(list_rows: Any) -> Any:
    def lossy(self: Any, rows: Any) -> None:
        list_rows(self, list(rows)[:-1])

    return lossy


def _failure_ends_listing(sync: Any) -> Any:
    async def once(self: Any) -> float | None:
        delay: float | None = await sync(self)
        # A list that was broken off with its stream is to be tried again at once; one that failed, after a delay.
        return delay if not delay else inf

    return once


def _presence_is_no_change(_: Any) -> Any:
    return lambda _self, stored, _before, after: (
        reconcile.Outcome.STALE if after.tag_index < stored.tag_index else reconcile.Outcome.SAME
    )


def _some_are_lost(events: Any) -> Any:
    def deaf(self: Any, arrived: Any, now: float) -> Any:
        kept = [event for event in arrived if hash(repr(event)) % 10 or not self.freshness.synced_at]
        return events(self, kept, now)

    return deaf


def _fields_are_merged(written: Any) -> Any:
    def merge(self: Any, lrp: Any) -> Any:
        stored = self._lrps.desired(lrp.process_guid)
        return written(self, lrp if stored is None else replace(lrp, instances=stored.instances))

    return merge


def _last_row_is_not_kept(exported: Any) -> Any:
    def forgetful(self: Any) -> Any:
        whole = exported(self)
        return replace(whole, actual_lrps=whole.actual_lrps[:-1])

    return forgetful


def _refusal_is_an_answer(ask: Any) -> Any:
    async def deaf(*bbs_and_timeout: Any) -> None:
        await ask(*bbs_and_timeout)

    return deaf


def _names(*broken: Callable[..., None]) -> tuple[str, ...]:
    return tuple(law.__name__ for law in broken)


_END = _names(laws.the_end_is_the_servers_state, laws.nothing_drifts_where_nothing_was_lost)

MUTANTS: Final[Mapping[str, Mutant]] = {
    "no-tombstones": Mutant(
        what="a removed row leaves no tombstone, so a late event brings it back",
        mutant=_put(tombstones.TombstoneTable, "add", _constant(None)),
        laws=_names(laws.events_bring_back_no_removed_record),
        first=32,
    ),
    "older-versions-are-believed": Mutant(
        what="a late diff replaces a newer row",
        mutant=_put(reconcile.RowReconciler, "changed", _older_is_believed),
        laws=_names(laws.versions_go_back_only_by_a_list_that_is_believed),
        first=23,
    ),
    "lagging-lists-are-believed": Mutant(
        what="a list of a server that lags replaces newer records",
        mutant=_put(snapshot, "is_older", _constant(value=False)),
        laws=_names(laws.versions_go_back_only_by_a_list_that_is_believed),
        first=32,
    ),
    "older-lists-are-believed-at-once": Mutant(
        what="a list that is older needs no other one to agree",
        mutant=_put(rollback.OlderRecords, "confirms", _constant(value=True)),
        laws=_names(laws.versions_go_back_only_by_a_list_that_is_believed),
        first=32,
    ),
    "older-lists-are-never-believed": Mutant(
        what="a server that was set back is taken for one that lags for ever",
        mutant=_put(rollback.OlderRecords, "confirms", _constant(value=False)),
        laws=_names(laws.the_end_is_the_servers_state),
        first=32,
    ),
    "old-instance-keys-stay": Mutant(
        what="a crashed row keeps the instance that the diff still names",
        mutant=_put(reconcile, "_without_instance", lambda _: lambda row: row),
        laws=_names(laws.no_row_that_the_server_never_had),
        first=7,
    ),
    "lists-forget-events": Mutant(
        what="events that arrive while a list is read are not brought on top of it",
        mutant=_put(snapshot.PendingSnapshot, "event", _constant(None)),
        laws=_END + _names(laws.lists_withdraw_nothing_that_is_there, laws.honest_lists_are_not_doubted),
    ),
    "lists-lack-rows": Mutant(
        what="the last row of each piece of a list is lost",
        mutant=_put(snapshot.PendingSnapshot, "list_rows", _lists_lack_the_last_row),
        laws=_END + _names(laws.lists_withdraw_nothing_that_is_there),
    ),
    "indexes-are-not-cleared": Mutant(
        what="a row that leaves a cell, a state or a domain stays in that index",
        mutant=_put(store, "discard", _constant(None)),
        laws=_names(laws.index_is_scan),
    ),
    "goners-are-not-derived": Mutant(
        what="a process of which nothing is left keeps its contributions to the views",
        mutant=_put(derive.Derivation, "update", of_views.goners_are_not_derived),
        laws=_names(laws.view_is_recomputation),
    ),
    "dropped-views-go-on": Mutant(
        what="a view that was dropped while it was brought to a list turns with that list",
        mutant=_put(preparation.Preparation, "finish", of_views.all_are_kept),
        laws=_names(laws.a_dropped_view_stays_as_it_is),
    ),
    "late-views-miss-events": Mutant(
        what="what is committed while a view is made is not in it",
        mutant=_put(preparation.ViewBuild, "note", _constant(None)),
        laws=_names(laws.view_is_recomputation),
    ),
    "dropped-views-are-kept-up-to-date": Mutant(
        what="a mirror goes on updating a view that was dropped",
        mutant=_put(Mirror, "_forget", _constant(None)),
        laws=_names(laws.a_dropped_view_stays_as_it_is),
        machines=("shell",),
    ),
    "views-are-made-amid-lists": Mutant(
        what="a list is committed while a view is made",
        mutant=_put(Follower, "__init__", of_views.nothing_is_locked),
        laws=_names(laws.view_is_recomputation, laws.folded_changes_are_the_state),
        machines=("shell",),
    ),
    "prepared-views-miss-events": Mutant(
        what="what is committed while views are brought to a list is not in them",
        mutant=_put(preparation.Preparation, "note", _constant(None)),
        laws=_names(laws.view_is_recomputation),
        first=38,
    ),
    "last-change-is-not-published": Mutant(
        what="of several changes in one commit the last does not reach the subscribers",
        mutant=_put(subscriptions.Hub, "publish", _last_change_is_not_published),
        laws=_names(laws.folded_changes_are_the_state, laws.changes_begin_where_the_last_ended),
        machines=("shell",),
    ),
    "repairs-are-not-published": Mutant(
        what="what a read of single processes changes does not reach the subscribers",
        mutant=_put(subscriptions.Hub, "publish", _repairs_are_not_published),
        laws=_names(laws.folded_changes_are_the_state),
        machines=("shell",),
    ),
    "before-is-forgotten": Mutant(
        what="a change does not say what was there before",
        mutant=_put(store, "Delta", _before_is_forgotten),
        laws=_names(laws.changes_begin_where_the_last_ended),
    ),
    "every-list-is-a-revision": Mutant(
        what="a list that brings nothing new counts as a commit",
        mutant=_put(Session, "end_list", _every_list_is_a_revision),
        laws=_names(laws.revisions_grow_by_one, laws.nothing_is_published_where_nothing_changes),
    ),
    "a-lost-stream-is-live": Mutant(
        what="a mirror that has lost its stream still calls itself live",
        mutant=lambda: patch.dict(
            TRANSITIONS, {(Phase.LIVE, Step.LOST): Phase.LIVE, (Phase.LIVE, Step.OPENED): Phase.RESYNCING}
        ),
        laws=_names(laws.live_means_that_there_is_a_stream),
    ),
    "no-keep-alive": Mutant(
        what="the sockets do not ask whether the peer is still there",
        mutant=_put(_pipe, "KEEP_ALIVE", lambda _: ()),
        laws=_names(laws.dead_streams_are_noticed),
        machines=("shell",),
        first=13,
    ),
    "a-failed-list-is-the-last": Mutant(
        what="a list that fails is not tried again",
        mutant=_put(Follower, "_sync", _failure_ends_listing),
        laws=_END,
        machines=("shell",),
        first=5,
    ),
    "presence-is-no-change": Mutant(
        what="a change of presence at an equal version is dropped",
        mutant=_put(reconcile.RowReconciler, "_presence_changed", _presence_is_no_change),
        laws=_END,
        first=264,
    ),
    "routes-are-wiped": Mutant(
        what="a diff wipes what it does not carry, and nobody asks for it again",
        mutant=_put(reconcile.RowReconciler, "changed", _routes_are_wiped),
        laws=_END,
    ),
    "removed-desired-stay": Mutant(
        what="the removal of a desired LRP is ignored",
        mutant=_put(desired.DesiredReconciler, "removed", _removed_desired_stay),
        laws=_END,
    ),
    "older-desired-are-believed": Mutant(
        what="a late event replaces a newer desired LRP",
        mutant=_put(desired.DesiredReconciler, "written", _older_desired_is_believed),
        laws=_names(laws.versions_go_back_only_by_a_list_that_is_believed),
        machines=("shell",),
        first=79,
    ),
    "desired-fields-are-merged": Mutant(
        what="a newer desired LRP keeps the number of instances of the one before",
        mutant=_put(desired.DesiredReconciler, "written", _fields_are_merged),
        laws=_names(laws.no_desired_that_the_server_never_had),
    ),
    "events-are-lost": Mutant(
        what="one event of ten is lost between the stream and the rows",
        mutant=_put(Session, "events", _some_are_lost),
        laws=_END,
        first=7,
    ),
    "no-deletion-guard": Mutant(
        what="a list that takes everything away is believed at once",
        mutant=_put(DeletionGuard, "judge", _constant(None)),
        laws=_names(laws.one_list_does_not_take_everything),
        # What a plan removes is mostly replaced, which is no loss on balance: one plan in two hundred shows it.
        first=503,
    ),
    "live-behind-the-deletion-guard": Mutant(
        what="a mirror that does not believe the last list still calls itself live",
        mutant=lambda: patch.dict(
            TRANSITIONS, {(Phase.LIVE, Step.HELD): Phase.LIVE, (Phase.RESYNCING, Step.HELD): Phase.LIVE}
        ),
        laws=_names(laws.live_means_that_lists_are_believed),
        first=32,
    ),
    "silence-is-golden": Mutant(
        what="a stream that has been silent for long is not replaced",
        mutant=_put(Watch, "_idle_at", _constant(inf)),
        laws=_names(laws.silent_streams_are_replaced),
        machines=("shell",),
        first=43,
    ),
    "a-refusal-is-an-answer": Mutant(
        what="a ping that fails counts as a sign of life",
        mutant=_put(_link, "_ask", _refusal_is_an_answer),
        laws=_names(laws.age_counts_from_the_last_byte),
        machines=("shell",),
        first=67,
    ),
    "lists-are-heard-on-the-stream": Mutant(
        what="a list that is committed counts as something that the stream has brought",
        mutant=_put(Session, "end_list", _lists_are_heard),
        laws=_names(laws.silence_counts_from_the_last_event),
        machines=("shell",),
    ),
    "a-row-is-not-kept": Mutant(
        what="the state file lacks a row",
        mutant=_put(Knowledge, "export", _last_row_is_not_kept),
        laws=_names(laws.what_was_kept_was_known),
        machines=("shell",),
        first=19,
    ),
    "damage-is-believed": Mutant(
        what="a state file is read whether or not its checksum is right",
        mutant=_put(_format, "_compare_checksum", lambda _: lambda file, _size: file.seek(0)),
        laws=_names(laws.what_was_kept_was_known, laws.age_counts_from_the_last_byte),
        machines=("shell",),
        first=12,
    ),
    "no-repairs": Mutant(
        what="processes about which an event could not be decided are never read again",
        mutant=_put(Session, "take_repairs", _constant(None)),
        laws=_END,
    ),
}
"""Every bug, by its name."""
