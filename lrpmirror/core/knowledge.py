"""The server's state as a session knows it, and the queries on it."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from lrpmirror.core.derived.derive import Process
from lrpmirror.core.explain.decisions import Decisions
from lrpmirror.core.freshness.tuning import Tuning
from lrpmirror.core.lists.retained import Retained
from lrpmirror.core.lists.slices import MANY, key_slices, slices
from lrpmirror.core.lists.snapshot import PendingSnapshot
from lrpmirror.core.rows.changes import row_key
from lrpmirror.core.rows.dispatch import Tombstones, desired_guid_of
from lrpmirror.core.rows.store import Store
from lrpmirror.events import Event
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP, ModificationTag

__all__ = ["ExportedState", "Knowledge", "guids_in_parts"]


class ExportedState(Struct, frozen=True, kw_only=True):
    """The state of a mirror at one revision, which can outlive it. Rows and desired LRPs are in no promised order.

    Tombstones are not part of it: a mirror that is restored from it applies no event until it has read a list.
    """

    revision: int
    actual_lrps: tuple[ActualLRP, ...]
    desired_lrps: tuple[DesiredLRP, ...]
    retained: tuple[DesiredLRP, ...]
    """The desired LRPs that a list lacked while their domain was not fresh; see `core.lists.retained`."""
    domains: frozenset[str]
    cells: tuple[CellPresence, ...]

    def indexed(self) -> Store:
        """Index it: return it as a store. O(rows) without a pause, so call it in a thread of its own."""
        store = Store()
        for row in self.actual_lrps:
            key = row_key(row)
            # A state file can have a row twice.
            store.put(key, store.get(key), row)
        for lrp in self.desired_lrps:
            store.put_desired(lrp)
        store.domains = self.domains
        return store


class Knowledge:
    """The state of a session, with the tombstones and retained desired LRPs of what is gone."""

    def __init__(self, tuning: Tuning) -> None:
        self.store = Store()
        self.revision = 0
        self.cells: tuple[CellPresence, ...] = ()
        self.tombstones = Tombstones(limit=tuning.tombstone_limit, age=tuning.tombstone_age)
        self.retained = Retained(limit=tuning.row_limit)
        self.decisions = Decisions()

    def tags(self, process_guid: str) -> list[ModificationTag]:
        """Return the modification tags of a process's desired LRP and rows. O(rows of the process)."""
        desired = self.store.desired(process_guid)
        rows = [row.modification_tag for row in self.store.process(process_guid)]
        return rows if desired is None else [desired.modification_tag, *rows]

    def has_seen(self, process_guid: str, tag: ModificationTag) -> bool:
        """Return whether that version of a record, or a later one, was seen; also of one that is gone. O(its rows)."""
        tombstone = self.tombstones.rows.get(tag.epoch) or self.tombstones.desired.get(tag.epoch)
        # A record that only its instance left lives on, and can be written again.
        if tombstone is not None and (tombstone.index >= tag.index or not tombstone.left):
            return True
        return any(known.epoch == tag.epoch and known.index >= tag.index for known in self.tags(process_guid))

    def process(self, process_guid: str) -> Process:
        """Return a process as views see it. O(1)."""
        store = self.store
        desired, rows = store.desired(process_guid), store.process(process_guid)
        routed = desired or self.retained.get(process_guid)
        domain = routed.domain if routed is not None else rows[0].domain if rows else ""
        return Process(process_guid, desired, routed, rows, domain in store.domains)

    def process_guids(self) -> list[str]:
        """Return the guids of all processes that have a desired LRP, a retained one, or rows. O(processes)."""
        guids = dict.fromkeys(self.store.processes())
        guids.update(dict.fromkeys(self.store.desired_guids()))
        guids.update(dict.fromkeys(self.retained.guids()))
        return list(guids)

    def guids_in_parts(self, size: int) -> Iterator[Sequence[str]]:
        """Return the same in parts of at most so many, each O(size) or O(MANY), while events are applied in between.

        A process that appears meanwhile can be missing, one that goes can be there.
        """
        yield from guids_in_parts(self.store, size)
        yield from slices(self.retained.guids(), size)

    def export(self) -> ExportedState:
        """Return the state as one value. O(rows), in a few uninterruptible steps of milliseconds."""
        store = self.store
        return ExportedState(
            revision=self.revision,
            actual_lrps=store.select(cell_id=None, state=None, domain=None),
            desired_lrps=store.select_desired(app_guid=None, domain=None),
            retained=self.retained.lrps(),
            domains=store.domains,
            cells=self.cells,
        )

    # For the session

    def restore(self, exported: ExportedState) -> None:
        """Restore all of an exported state but its store. O(retained)."""
        self.retained.restore(exported.retained)
        self.cells = exported.cells
        self.revision = exported.revision

    def release(self, event: Event) -> tuple[str, ...]:
        """Release the retained desired LRP that an event decides about; return the guid of its process, if any."""
        guid = desired_guid_of(event)
        return self.retained.apply_event(event, there=guid is not None and self.store.desired(guid) is not None)

    def take_domains_and_cells(
        self, snapshot: PendingSnapshot
    ) -> tuple[frozenset[str] | None, tuple[CellPresence, ...] | None]:
        """Write the fresh domains and the cells of a list; return both, each None where it was listed as it was."""
        domains = None if snapshot.domains == self.store.domains else snapshot.domains
        cells = None if snapshot.cells == self.cells else snapshot.cells
        if domains is not None:
            self.store.domains = domains
        if cells is not None:
            self.cells = cells
        return domains, cells


def guids_in_parts(store: Store, size: int) -> Iterator[Sequence[str]]:
    """Return the processes of a store that have rows or a desired LRP, as `Knowledge.guids_in_parts` does."""
    yield from key_slices(store.processes_by_domain(), size)
    for guids in key_slices(store.desired_by_domain(), MANY):
        # Nearly all of these have rows: looking for the others is a step of its own.
        yield []
        yield from slices([guid for guid in guids if not store.process(guid)], size)
