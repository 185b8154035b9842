"""The mirror's machine: its state, its phases, and what each input does to them.

Inputs come from a shell that does the I/O: the stream was opened or lost, events arrived, a list settled. Each is one
call, which takes the time from the caller (in seconds, of any clock that does not go back) and returns the commits that
it made.

The order that makes a mirror converge is: subscribe, wait until the server has answered, begin a list, apply what was
listed and then every event since the subscription. The same on every reconnection. On the living stream a list is begun
at an interval, as an audit.
"""

from collections.abc import Iterable
from random import Random

from msgspec import Struct

from lrpmirror.core.backoff import Backoff
from lrpmirror.core.changes import Cause, Commit
from lrpmirror.core.decisions import Decision, Decisions, sight
from lrpmirror.core.derive import Process
from lrpmirror.core.dispatch import Graveyard, Reconciler, desired_guid_of
from lrpmirror.core.ledger import DesiredDeltas, Ledger, RowDeltas
from lrpmirror.core.reconcile import Doubt, Verdict
from lrpmirror.core.repairs import Repairs
from lrpmirror.core.retained import Retained
from lrpmirror.core.shadow import EVERYTHING, Scope, Shadow
from lrpmirror.core.status import TRANSITIONS, Phase, Status, Step
from lrpmirror.core.store import Store
from lrpmirror.core.tally import Counts, Tally
from lrpmirror.core.tombstones import Tombstone
from lrpmirror.core.witness import Witness
from lrpmirror.errors import LRPMirrorError
from lrpmirror.events import Event
from lrpmirror.model import ActualLRPState, CellPresence, ModificationTag

__all__ = ["Session", "Tuning"]

_RUNNING = ActualLRPState.RUNNING

_LIST_CAUSES = {Phase.SYNCING: "first", Phase.RESYNCING: "reconnect"}
"""Why a list of everything was read, by the phase in which it was."""


class Tuning(Struct, frozen=True, kw_only=True):
    """The numbers of a mirror. Times are in seconds."""

    resync_interval: float = 300.0
    """How long a list of everything is good for, on a living stream; each interval is drawn from 75 to 125 % of it."""
    first_delay: float = 0.5
    """The bound of the first delay before trying again; it doubles with each failure."""
    most_delay: float = 30.0
    """The bound that it does not exceed."""
    repair_delay: float = 0.5
    """How long doubts are gathered before the processes are read again."""
    repair_batch: int = 100
    """How many processes one repair reads at most."""
    repair_limit: int = 100_000
    """How many processes can be in doubt; the next list settles what is beyond."""
    tombstone_age: float = 900.0
    """How long a removed record is remembered."""
    tombstone_limit: int = 200_000
    """How many removed records are remembered."""
    in_flight_limit: int = 1_000_000
    """How many events may arrive while a list is read; beyond, the list is begun anew."""


class Session:
    """What a mirror knows. One owner calls its methods; its store may be read from anywhere."""

    def __init__(self, tuning: Tuning, rng: Random) -> None:
        self.tuning = tuning
        self._rng = rng
        self._backoff = Backoff(rng, first=tuning.first_delay, most=tuning.most_delay)
        self._list_backoff = Backoff(rng, first=tuning.first_delay, most=tuning.most_delay)
        self._graves = Graveyard(limit=tuning.tombstone_limit, age=tuning.tombstone_age)
        self._shadow: Shadow | None = None
        self.repairs = Repairs(limit=tuning.repair_limit)
        self.phase = Phase.CONNECTING
        self.revision = 0
        self.synced_at: float | None = None
        self.alive_at: float | None = None
        self.last_error: LRPMirrorError | None = None
        self.cells: tuple[CellPresence, ...] = ()
        self._retained = Retained()
        self._asked: set[str] = set()
        self._verdicts: dict[tuple[str, Verdict], int] = {}
        self.witnesses: tuple[Witness, ...] = ()
        """Who sees every event and commit as it happens."""
        self._tally = Tally()
        self._decisions = Decisions()
        self._adopt(Store())

    # The stream

    def stream_opened(self, now: float) -> None:
        """Take note that the server answered the subscription: from here on no event is missed."""
        self._step(Step.OPENED)
        self._tally.streams += 1
        self.alive_at = now

    def stream_lost(self, error: LRPMirrorError) -> float:
        """Take note that the stream ended, or could not be opened; return how long to wait before the next try."""
        self.last_error = error
        self._tally.errors[type(error).__name__] += 1
        self._shadow = None
        self._step(Step.LOST)
        return self._backoff.failed()

    def close(self) -> None:
        """Take note that the mirror is closed."""
        self._shadow = None
        self._step(Step.CLOSED)

    def events(self, events: Iterable[Event], now: float) -> list[Commit]:
        """Apply events in the order in which they arrived; each that changes something makes one commit."""
        self.alive_at = now
        self._graves.advance(now)
        commits: list[Commit] = []
        shadow = self._shadow
        if self.synced_at is None:
            if shadow is not None:
                for event in events:
                    shadow.event(event)
            return commits
        # What each event needs is looked up once for all of them.
        ledger, apply, judged = self._ledger, self._reconciler.apply, self._decisions.judged
        store, graves, repairs = self.store, self._graves, self.repairs
        verdicts, retained, witnesses = self._verdicts, self._retained, self.witnesses
        for event in events:
            if shadow is not None:
                shadow.event(event)
            seen = sight(event, store, graves)
            verdict = apply(event)
            outcome = event.type, verdict
            verdicts[outcome] = verdicts.get(outcome, 0) + 1
            if seen is not None:
                judged(outcome, seen, now, repairs)
            released = self._release(event) if retained else ()
            commit = self._commit(released) if ledger or released else None
            if commit is not None:
                commits.append(commit)
            for witness in witnesses:
                witness.event(event, verdict, commit)
        return commits

    # Lists

    def begin_list(self, now: float, scope: Scope = EVERYTHING) -> Shadow:
        """Begin a list, just before it is asked for; from now on the events are brought on top of it.

        There is one list at a time: the one before, if it has not ended, is forgotten.
        """
        self._graves.advance(now)
        limit = self.tuning.in_flight_limit
        first = scope == EVERYTHING and self.synced_at is None
        self._shadow = Shadow(self.store, self._graves, scope, in_flight_limit=limit, first=first)
        return self._shadow

    def end_list(self, shadow: Shadow, now: float) -> Commit | None:
        """Commit a list that has settled; None where it brought nothing new. O(what it changes)."""
        everything = shadow.scope == EVERYTHING
        rows, desired = shadow.finish()
        if self.synced_at is not None:
            self._decisions.listed(shadow.scope, rows, desired, now)
        self._shadow = None
        self._take_doubts_of(shadow)
        if shadow.aside is not None:
            self._adopt(shadow.aside)
        else:
            self._write(rows, desired)
        self._bury(shadow, desired)
        self.alive_at = now
        why = _LIST_CAUSES.get(self.phase, "audit") if everything else "repair"
        self._tally.lists[why] += 1
        self._tally.drift += len(rows) + len(desired) if why == "audit" else 0
        commit = self._commit_list(shadow, rows, desired)
        # Last, so that whoever reads LIVE reads the new state, from whatever thread.
        if everything:
            self._synced(now)
        return commit

    def list_failed(self, shadow: Shadow, error: LRPMirrorError) -> float:
        """Take note that a list could not be had; return how long to wait before the next try."""
        self.last_error = error
        self._tally.errors[type(error).__name__] += 1
        self._shadow = None
        if shadow.scope != EVERYTHING:
            self.repairs.put_back(shadow.scope)
        return self._list_backoff.failed()

    def take_doubts(self) -> Scope | None:
        """Return what to read again, as the scope of a list; None where nothing is in doubt."""
        return self.repairs.take(self.tuning.repair_batch, has_rivals=self.store.has_rivals)

    def next_interval(self) -> float:
        """Return after how long the next list of everything is due."""
        return self.tuning.resync_interval * self._rng.uniform(0.75, 1.25)

    def tags(self, process_guid: str) -> list[ModificationTag]:
        """Return the modification tags of a process's desired LRP and rows. O(rows of the process)."""
        desired = self.store.desired(process_guid)
        rows = [row.modification_tag for row in self.store.process(process_guid)]
        return rows if desired is None else [desired.modification_tag, *rows]

    def has_seen(self, process_guid: str, tag: ModificationTag) -> bool:
        """Tell whether that version of a record, or a later one, has been here; also if it is gone.

        O(rows of the process).
        """
        grave = self._graves.rows.get(tag.epoch) or self._graves.desired.get(tag.epoch)
        # A record of which only the instance left lives on, and can be written again.
        if grave is not None and (grave.index >= tag.index or not grave.left):
            return True
        return any(one.epoch == tag.epoch and one.index >= tag.index for one in self.tags(process_guid))

    def explain(self, process_guid: str) -> tuple[Decision, ...]:
        """Return what became of the latest events about a process, the oldest first. O(decisions)."""
        return self._decisions.of(process_guid)

    def process(self, process_guid: str) -> Process:
        """Return a process as views see it. O(1)."""
        store = self.store
        desired, rows = store.desired(process_guid), store.process(process_guid)
        routed = desired or self._retained.get(process_guid)
        domain = routed.domain if routed is not None else rows[0].domain if rows else ""
        return Process(process_guid, desired, routed, rows, domain in store.domains)

    def process_guids(self) -> list[str]:
        """Return the guids of all processes that there is anything of. O(processes)."""
        guids = dict.fromkeys(self.store.processes())
        guids.update(dict.fromkeys(self.store.desired_guids()))
        guids.update(dict.fromkeys(self._retained.guids()))
        return list(guids)

    def status(self, now: float) -> Status:
        """Return how fresh the state is. O(1)."""
        return Status(
            phase=self.phase,
            revision=self.revision,
            at=now,
            synced_at=self.synced_at,
            alive_at=self.alive_at,
            last_error=self.last_error,
            actual_lrps=len(self.store),
            desired_lrps=self.store.desired_count(),
        )

    @property
    def verdicts(self) -> dict[str, int]:
        """How many events of each type had which verdict, as `TYPE VERDICT`. O(kinds of events)."""
        return {f"{kind} {verdict}": number for (kind, verdict), number in self._verdicts.items()}

    def counts(self) -> Counts:
        """Return what was counted so far; without the subscribers, who are not known here. O(kinds of events)."""
        return Counts(
            streams=self._tally.streams,
            events=self.verdicts,
            lists=dict(self._tally.lists),
            drift=self._tally.drift,
            commits=self._tally.commits,
            errors=dict(self._tally.errors),
            repairs_pending=len(self.repairs),
            repairs_dropped=self.repairs.dropped,
            tombstones=len(self._graves.rows) + len(self._graves.desired),
        )

    # Inside

    def _step(self, step: Step) -> None:
        self.phase = TRANSITIONS[self.phase, step]

    def _adopt(self, store: Store) -> None:
        self.store = store
        self._ledger = Ledger(store)
        self._reconciler = Reconciler(self._ledger, self._graves, self.repairs.add)

    def _commit(self, released: tuple[str, ...]) -> Commit | None:
        rows, desired = self._ledger.close()
        if not rows and not desired and not released:
            return None
        if self._shadow is not None:
            self._shadow.written(rows, desired)
        for delta in rows:
            row = delta.after
            if row is not None and row.state == _RUNNING:
                self._ask_for_desired(row.process_guid)
        self.revision += 1
        self._tally.event_commits += 1
        return Commit(
            revision=self.revision, cause=Cause.EVENT, actual_lrps=rows, desired_lrps=desired, released=released
        )

    def _ask_for_desired(self, process_guid: str) -> None:
        """Have the desired LRP read of a process that runs without one that is known; once, until the next list."""
        if self.store.desired(process_guid) is None and process_guid not in self._asked:
            self._asked.add(process_guid)
            self.repairs.add(process_guid, Doubt.DESIRED)

    def _take_doubts_of(self, shadow: Shadow) -> None:
        if shadow.scope == EVERYTHING:
            # It has judged the events since it was begun better than the mirror could, and seen what the older doubts
            # were about.
            self.repairs.clear()
            self._asked.clear()
        for guid, doubt in shadow.doubts:
            self.repairs.add(guid, doubt)

    def _commit_list(self, shadow: Shadow, rows: RowDeltas, desired: DesiredDeltas) -> Commit | None:
        domains, cells = self._take_domains(shadow), self._take_cells(shadow)
        released = self._retained.listed(desired, self.store.domains) if shadow.listed_desired else ()
        for guid in sorted(shadow.undesired):
            self._ask_for_desired(guid)
        if not rows and not desired and domains is None and cells is None and not released:
            return None
        self.revision += 1
        commit = Commit(
            revision=self.revision,
            cause=Cause.SNAPSHOT if shadow.scope == EVERYTHING else Cause.REPAIR,
            actual_lrps=rows,
            desired_lrps=desired,
            domains=domains,
            cells=cells,
            released=released,
        )
        self._tally.list_commits[commit.cause] += 1
        for witness in self.witnesses:
            witness.listed(commit)
        return commit

    def _synced(self, now: float) -> None:
        self.synced_at = now
        self._backoff.succeeded()
        self._list_backoff.succeeded()
        self._step(Step.SYNCED)

    def _release(self, event: Event) -> tuple[str, ...]:
        """Let go of a retained desired LRP that an event decides about."""
        guid = desired_guid_of(event)
        return self._retained.told(event, there=guid is not None and self.store.desired(guid) is not None)

    def _write(self, rows: RowDeltas, desired: DesiredDeltas) -> None:
        store = self.store
        for delta in rows:
            if delta.after is not None:
                if store.put(delta.key, delta.before, delta.after):
                    self.repairs.add(delta.after.process_guid, Doubt.RIVALS)
            elif delta.before is not None:
                store.remove(delta.key, delta.before)
        for lrp in desired:
            if lrp.after is None:
                store.remove_desired(lrp.key)
            else:
                store.put_desired(lrp.after)

    def _bury(self, shadow: Shadow, desired: DesiredDeltas) -> None:
        """Bury what the list did not have, and take from their graves the rows that it had."""
        graves = self._graves.rows
        for key in graves.keys():  # noqa: SIM118 - tombstones are no dict
            if shadow.listed(key):
                graves.discard(key)
        for key, row in shadow.removed.items():
            graves.bury(key, Tombstone(row.tag_index, row.instance_guid))
        for lrp in desired:
            if (
                lrp.before is not None
                and lrp.before.epoch
                and (lrp.after is None or lrp.after.epoch != lrp.before.epoch)
            ):
                self._graves.desired.bury(lrp.before.epoch, Tombstone(lrp.before.tag_index))
            if lrp.after is not None:
                self._graves.desired.discard(lrp.after.epoch)

    def _take_domains(self, shadow: Shadow) -> frozenset[str] | None:
        if shadow.domains is None or shadow.domains == self.store.domains:
            return None
        self.store.domains = shadow.domains
        return shadow.domains

    def _take_cells(self, shadow: Shadow) -> tuple[CellPresence, ...] | None:
        if shadow.cells is None or shadow.cells == self.cells:
            return None
        self.cells = shadow.cells
        return shadow.cells
