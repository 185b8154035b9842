"""A list in progress: what the server listed, with the events since its request on top.

A list is as new as some moment between its request and its reply, so the events that arrive meanwhile are kept and
applied on top of the listed rows, by the same rules as on the mirror itself. The difference between the result and the
mirror is what the list changes. Readers see nothing of it until it is committed, as a whole.

A list can be of everything, or of some processes only (its scope), as for a repair. All of it is done in slices, since
a list can have a million rows. Rows that equal those of the mirror are shared with it, so a list that changes nothing
costs its dicts; one that changes much gets a store of its own, which replaces the mirror's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from lrpmirror.core.lists.compared import Compared
from lrpmirror.core.lists.deltas import DeltaTable, deltas_of, freeing
from lrpmirror.core.lists.initial import InitialSnapshot
from lrpmirror.core.lists.missing import find_missing
from lrpmirror.core.lists.removals import Removals
from lrpmirror.core.lists.rollback import OlderKey, OlderRecords, is_older
from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.lists.slices import SLICE, value_slices
from lrpmirror.core.lists.tables import ListTables
from lrpmirror.core.rows.change_set import DesiredDeltas, RowDeltas
from lrpmirror.core.rows.changes import Delta, RowKey, row_key
from lrpmirror.core.rows.dispatch import Reconciler, Tombstones
from lrpmirror.core.rows.freeing import collect_young, empty_in_slices
from lrpmirror.core.rows.reconcile import RepairReason
from lrpmirror.core.rows.store import Store
from lrpmirror.core.rows.tombstones import Tombstone
from lrpmirror.errors import LimitExceeded, LRPMirrorError
from lrpmirror.events import Event
from lrpmirror.model import ActualLRP, ActualLRPState, CellPresence, DesiredLRP
from lrpmirror.redaction import is_redacted_of

__all__ = ["PendingSnapshot"]

FEW = 1_000
"""Up to so many differences are written into the mirror's own store in one go, which takes a few milliseconds."""


class PendingSnapshot:
    """The server's state, by a list and the events since its request; not committed yet."""

    def __init__(
        self,
        store: Store,
        tombstones: Tombstones,
        scope: Scope = EVERYTHING,
        *,
        older: OlderRecords,
        in_flight_limit: int,
        list_limit: int,
        unsynced: bool = False,
        restored: bool = False,
    ) -> None:
        self._store = store
        self.scope = scope
        self.cells: tuple[CellPresence, ...] | None = None
        self.cells_error: LRPMirrorError | None = None
        """Why there are no cells; they come from another service."""
        self.answered_at: float | None = None
        """When its last answer had come; that of the BBS itself where the cells failed. None: when it is committed."""
        self.domains: frozenset[str] | None = None
        # Not for a synchronised mirror that is empty: events are written to its store while the list is read.
        self._initial = InitialSnapshot() if unsynced and not restored and scope == EVERYTHING else None
        self._tables = ListTables() if self._initial is None else self._initial.tables
        self.tombstones: Final = tombstones.copy()
        """The mirror's tombstones, and those of events since the list was begun."""
        self.repairs: dict[tuple[str, RepairReason], None] = {}
        """The repairs to request once this is committed."""
        # No bound method: that would make a reference cycle, and everything listed would wait for the collector.
        repairs = self.repairs
        self._reconciler = Reconciler(
            self._tables, self.tombstones, lambda guid, reason: repairs.setdefault((guid, reason), None)
        )
        self._in_flight: list[Event] = []
        self._in_flight_limit = in_flight_limit
        self.list_limit = list_limit
        """How many records of a kind the list may have."""
        self._listing = True
        self._untagged: dict[str, DesiredLRP] = {}
        self._rows = DeltaTable[RowKey, ActualLRP]()
        self._desired = DeltaTable[str, DesiredLRP]()
        self._free_deltas: Sequence[Callable[[], Iterator[None]]] = ()
        # A mirror without a committed list gets the tombstones of its first.
        self.removals: Final = Removals(self.tombstones if unsynced else tombstones)
        self.undesired: dict[str, None] = {}
        """The processes that get a RUNNING row by this list and have no desired LRP."""
        self.older: Final = older
        """Records that were listed in an older version than the mirror's, or although an event had removed them."""
        # The mirror's desired LRPs may come from a state file, which lacks secrets.
        self._redacted = restored
        self.completed: dict[str, DesiredLRP] = {}
        """Desired LRPs of which the mirror has the same version without secrets: writing them is no change."""
        self.aside: Store | None = None
        """The store that is to replace the mirror's, where much has changed."""
        self.compared: Final = Compared()
        """What has been compared, for the preparation of views."""

    # What comes in

    def list_rows(self, rows: Iterable[ActualLRP]) -> None:
        """Add listed rows, whatever tombstones they have. O(rows).

        Except for one that an event had removed in that version: see `lrpmirror.core.lists.rollback`. Raises
        LimitExceeded, as the other methods that add records do.
        """
        if self._initial is not None:
            for guid in self._initial.list_rows(rows, self.tombstones.rows):
                self._ask_repair(guid, RepairReason.RIVALS)
            rows = ()
        tables, known_of = self._tables, self._store.get
        tombstones = self.tombstones.rows if len(self.tombstones.rows) else None
        for row in rows:
            key = row.epoch or row_key(row)
            if tombstones is not None and (tombstone := tombstones.get(key)) is not None:
                if self._stays_removed(tombstone, key, row):
                    continue
                tombstones.discard(key)
            known = known_of(key)
            if known is not None and known.is_confirmed_by(row):
                row = known  # noqa: PLW2901 - of two equal rows the mirror's is shared
            else:
                tables.touched.add(key)
            tables.place(key, row)
        self.check_count("rows", tables.row_count())

    def list_desired(self, lrps: Iterable[DesiredLRP]) -> None:
        """Add listed desired LRPs. O(lrps)."""
        for lrp in lrps:
            self._untagged.pop(lrp.process_guid, None)
            self._place_desired(lrp)
        self.check_count("desired LRPs", self._tables.desired_count())

    def list_scheduling_parts(self, parts: Iterable[DesiredLRP]) -> None:
        """Add the scheduling part of desired LRPs, which wait for their metric tags. O(parts)."""
        self._untagged.update((part.process_guid, part) for part in parts)
        self.check_count("desired LRPs", len(self._untagged))

    def list_metric_tags(self, parts: Iterable[DesiredLRP]) -> None:
        """Add the metric tags of desired LRPs, which only their routing part has. O(parts).

        The two parts are listed one after the other. Where a desired LRP was written in between, its event is on its
        way and carries the whole record; in case that the event was lost, the process is read again.
        """
        for part in parts:
            lrp = self._untagged.pop(part.process_guid, None) or self._tables.desired(part.process_guid)
            if lrp is None:
                continue
            if lrp.epoch == part.epoch:
                if lrp.tag_index != part.tag_index:
                    self._ask_repair(lrp.process_guid, RepairReason.DESIRED)
                if part.metric_tags:
                    lrp = replace(lrp, metric_tags=part.metric_tags)
            self._place_desired(lrp)

    def event(self, event: Event) -> None:
        """Add an event that arrived after the request; it is applied once the list is complete."""
        if not self.scope.admits(event):
            return
        if self._listing:
            # One event beyond the limit is enough to show that it is exceeded.
            if len(self._in_flight) <= self._in_flight_limit:
                self._in_flight.append(event)
        else:
            self._reconciler.apply(event)

    def written(self, rows: RowDeltas, desired: DesiredDeltas) -> None:
        """Record what was written to the mirror meanwhile: those keys have to be compared again."""
        self._tables.touch((delta.key for delta in rows), (delta.key for delta in desired))

    def check_count(self, what: str, number: int) -> None:
        """Raise LimitExceeded when a list has more records than it may have."""
        if number > self.list_limit:
            raise LimitExceeded(
                f"the server listed more than {self.list_limit} {what}; the mirror stays as it is (see list_limit and "
                "row_limit in Tuning, if there can be so many)"
            )

    def check_limit(self) -> None:
        """Raise LimitExceeded when more events have arrived than may be kept; then the list has to be restarted."""
        if len(self._in_flight) > self._in_flight_limit:
            raise LimitExceeded(
                f"more than {self._in_flight_limit} events arrived while the server was listing; it is begun anew "
                "(see in_flight_limit if this repeats)"
            )

    # What comes out

    def settle(self) -> Iterator[None]:
        """Apply the events on top of the list and find where the mirror differs, a slice a step."""
        for parts in value_slices(self._untagged.copy(), SLICE):
            self._keep_tags(parts)
            yield
        self._untagged.clear()
        done = 0
        # More may arrive at each step; they queue until none is left, so that the order is kept.
        while done < len(self._in_flight):
            events = self._in_flight[done : done + SLICE]
            for event in events:
                self._reconciler.apply(event)
            done += len(events)
            yield
        self._in_flight = []
        self._listing = False
        if self._initial is not None:
            yield from self._initial.find(self.undesired)
            yield from self._compare_all()
            self.aside = self._initial.tables.store
            return
        yield from find_missing(self._store, self._tables, self.scope)
        yield from self._compare_all()
        yield from self.removals.scan(self._tables)
        if self.scope == EVERYTHING and len(self._rows) + len(self._desired) + len(self.completed) > FEW:
            yield from self._build_aside()
            yield from self._compare_all()

    @property
    def first(self) -> bool:
        """Whether the mirror has no state yet."""
        return self._initial is not None

    @property
    def listed_desired(self) -> bool:
        """Whether desired LRPs are in the scope."""
        return self.scope.desired is None or bool(self.scope.desired)

    def write_tombstones(self, tombstones: Tombstones) -> None:
        """Add and discard the tombstones of what the list removed and brought back: see `Removals.write`."""
        self.removals.write(tombstones, self._tables)

    def finish(self) -> tuple[RowDeltas, DesiredDeltas]:
        """Return the deltas that are to be written to the mirror, once settled; `aside` has them already.

        O(what was touched since the last step of `settle`).
        """
        tables = self._tables
        while tables.touched:
            self._compare(tables.touched.take(SLICE))
        while tables.touched_desired:
            self._compare_desired(tables.touched_desired.take(SLICE))
        if self.aside is not None:
            self.aside.domains = self._store.domains
        rows, desired = deltas_of(self._rows), deltas_of(self._desired)
        self._free_deltas = [free for free in (freeing(rows), freeing(desired)) if free is not None]
        return (rows, desired) if self._initial is None else self._initial.deltas(rows, desired)

    # What it leads to, once it has settled

    @property
    def judges_retained(self) -> bool:
        """Whether it decides which desired LRPs stay retained."""
        return self.listed_desired and not self.first

    def difference_count(self) -> int:
        """Return how many records differ, or may differ. O(1)."""
        return len(self._rows) + len(self._desired) + len(self.completed) + self.touched_count()

    def process(self, guid: str) -> tuple[ActualLRP, ...]:
        """Return the rows that a process will have. O(rows of the process), or O(1) where there is a store aside."""
        if self.aside is not None:
            return self.aside.process(guid)
        return self.compared.rows(self._store, self._rows.values(), guid)

    def desired(self, guid: str) -> DesiredLRP | None:
        """Return the desired LRP that a process will have. O(1)."""
        return (self._tables if self.scope.has_desired(guid) else self._store).desired(guid)

    def compare_touched(self, few: int = 0) -> Iterator[None]:
        """Compare what has been touched until now, in slices, where that is more than `few`."""
        for keys in self._tables.touched.drained(few):
            self._compare(keys)
            yield
        for guids in self._tables.touched_desired.drained(few):
            self._compare_desired(guids)
            yield

    def touched_count(self) -> int:
        """Return how many touched keys have not been compared. O(1)."""
        return len(self._tables.touched) + len(self._tables.touched_desired)

    def free_in_slices(self) -> Iterator[None]:
        """Free what was listed and what it replaced, a slice a step, once it is committed or has failed."""
        self._in_flight = []
        yield from self.compared.free_in_slices()
        yield from self._tables.free_in_slices()
        deltas = [free() for free in self._free_deltas]
        if not deltas:
            deltas = [self._rows.free_in_slices(), self._desired.free_in_slices()]
        self._rows, self._desired = DeltaTable(), DeltaTable()
        for steps in (*deltas, empty_in_slices(self.completed), self.removals.free_in_slices()):
            yield from steps
        if self.aside is not None and self._initial is None:
            # One of the two is the mirror's, which stays as it is.
            stores, self._store, self.aside = [self._store, self.aside], Store(), None
            while stores:
                yield from stores.pop().free_in_slices()

    def _keep_tags(self, parts: Sequence[DesiredLRP]) -> None:
        """Use the mirror's metric tags for scheduling parts that got no routing part.

        The two parts can come from different servers, of which one lags. That does not mean that the tags are gone, so
        the process is read again.
        """
        for part in parts:
            known = self._store.desired(part.process_guid)
            self._ask_repair(part.process_guid, RepairReason.DESIRED)
            if known is not None and known.modification_tag == part.modification_tag:
                part = replace(part, metric_tags=known.metric_tags)  # noqa: PLW2901 - the same, with its tags
            self._place_desired(part)

    def _place_desired(self, lrp: DesiredLRP) -> None:
        """Add a listed desired LRP, and discard its tombstone; of two equal ones the mirror's is shared."""
        known = self._store.desired(lrp.process_guid)
        if known == lrp and known is not None:
            lrp = known
        elif (tombstone := self.tombstones.desired.get(lrp.epoch)) and self._stays_removed(
            tombstone, (lrp.process_guid,), lrp
        ):
            if known is not None:
                self._tables.place_desired(known)
            return
        elif self._initial is None:
            self._tables.touched_desired.add(lrp.process_guid)
        self._tables.place_desired(lrp)
        self.tombstones.desired.discard(lrp.epoch)

    def _stays_removed(self, tombstone: Tombstone, key: OlderKey, record: ActualLRP | DesiredLRP) -> bool:
        """Return whether a listed record stays removed: an event removed it, and no second list confirms its return.

        The first list of a mirror is believed as it is.
        """
        was_removed = bool(record.epoch) and self._initial is None and tombstone.covers(record.tag_index)
        return was_removed and not self.older.believes_return(key, record)

    def _ask_repair(self, process_guid: str, reason: RepairReason) -> None:
        self.repairs[process_guid, reason] = None

    def _compare_all(self) -> Iterator[None]:
        while len(self._tables.touched) > SLICE or len(self._tables.touched_desired) > SLICE:
            yield from self.compare_touched(SLICE)

    def _compare(self, touched: Mapping[RowKey, ActualLRP | None]) -> None:
        tables = self._tables
        if self._initial is not None:
            self._initial.rewritten.update(touched)
        believed, found = self.older.believed, []
        for key, removed in touched.items():
            if believed:
                # An event may have changed it since.
                believed.pop(key, None)
            before, after = self._store.get(key), tables.get(key)
            record = after or before
            self.compared.row(before, after, removed)
            lacked = None
            if record is None or before == after or not self.scope.has_row_of(record.process_guid):
                self._rows.discard(key)
            elif (
                before is not None
                and after is not None
                and is_older(after, before)
                and not self.older.believes(key, after, before)
            ):
                # The mirror's row stays until another list confirms that the server was set back.
                tables.place(key, before)
                self._rows.discard(key)
            else:
                found.append(delta := Delta(key, before, after))
                self._add_difference(delta)
                lacked = before if after is None else None
            self.removals.row(key, lacked)
            self._write_aside(key)
        self.compared.differ(found)

    def _add_difference(self, delta: Delta[RowKey, ActualLRP]) -> None:
        self._rows.put(delta)
        row = delta.after
        if row is not None and row.state == ActualLRPState.RUNNING and self._tables.desired(row.process_guid) is None:
            self.undesired[row.process_guid] = None

    def _compare_desired(self, guids: Iterable[str]) -> None:
        tables = self._tables
        if self._initial is not None:
            self._initial.rewritten_desired.update(guids)
        believed, found = self.older.believed, []
        for guid in guids:
            if believed:
                believed.pop((guid,), None)
            before, after = self._store.desired(guid), tables.desired(guid)
            self.completed.pop(guid, None)
            self.removals.desired(guid, None, None)
            if before == after or not self.scope.has_desired(guid):
                self._desired.discard(guid)
            elif self._redacted and before is not None and after is not None and is_redacted_of(before, after):
                self._desired.discard(guid)
                self.completed[guid] = after
            elif (
                before is not None
                and after is not None
                and is_older(after, before)
                and not self.older.believes((guid,), after, before)
            ):
                tables.place_desired(before)
                self._desired.discard(guid)
            else:
                found.append(delta := Delta(guid, before, after))
                self._desired.put(delta)
                self.removals.desired(guid, before, after)
            self._write_aside_desired(guid)
        self.compared.desired(guids, found)

    def _build_aside(self) -> Iterator[None]:
        """Index everything in a new store beside the mirror's.

        What is touched meanwhile is written there when it is compared.
        """
        aside = Store()
        for keys in self._tables.keys_in_slices(SLICE):
            for guid in aside.add(filter(None, map(self._tables.get, keys))):
                self._ask_repair(guid, RepairReason.RIVALS)
            # What is made here makes the collector run next to never, and when it does, it goes through all of it.
            collect_young()
            yield
        for guids in self._tables.desired_in_slices(SLICE):
            for lrp in filter(None, map(self._tables.desired, guids)):
                aside.put_desired(lrp)
            yield
        self.aside = aside

    def _write_aside(self, key: RowKey) -> None:
        if self.aside is None or self._initial is not None:
            return
        old, row = self.aside.get(key), self._tables.get(key)
        if row is not None:
            if self.aside.put(key, old, row):
                self._ask_repair(row.process_guid, RepairReason.RIVALS)
        elif old is not None:
            self.aside.remove(key, old)

    def _write_aside_desired(self, guid: str) -> None:
        if self.aside is None or self._initial is not None:
            return
        lrp = self._tables.desired(guid)
        if lrp is not None:
            self.aside.put_desired(lrp)
        elif self.aside.desired(guid) is not None:
            self.aside.remove_desired(guid)
