"""What a session knows of the server's state, and what can be asked of it."""

from lrpmirror.core.decisions import Decision, Decisions
from lrpmirror.core.derive import Process
from lrpmirror.core.dispatch import Graveyard, desired_guid_of
from lrpmirror.core.image import Image
from lrpmirror.core.retained import Retained
from lrpmirror.core.shadow import Shadow
from lrpmirror.core.store import Store
from lrpmirror.core.tuning import Tuning
from lrpmirror.events import Event
from lrpmirror.model import CellPresence, ModificationTag

__all__ = ["Knowledge"]


class Knowledge:
    """The part of a session that is the state, with what is remembered of what is gone."""

    def __init__(self, tuning: Tuning) -> None:
        self.store = Store()
        self.revision = 0
        self.cells: tuple[CellPresence, ...] = ()
        self._graves = Graveyard(limit=tuning.tombstone_limit, age=tuning.tombstone_age)
        self.retained = Retained(limit=tuning.row_limit)
        self._decisions = Decisions()

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
        """Return what became of the latest events about a process, the oldest first.

        O(decisions kept): about a millisecond.
        """
        return self._decisions.of(process_guid)

    def process(self, process_guid: str) -> Process:
        """Return a process as views see it. O(1)."""
        store = self.store
        desired, rows = store.desired(process_guid), store.process(process_guid)
        routed = desired or self.retained.get(process_guid)
        domain = routed.domain if routed is not None else rows[0].domain if rows else ""
        return Process(process_guid, desired, routed, rows, domain in store.domains)

    def process_guids(self) -> list[str]:
        """Return the guids of all processes that there is anything of. O(processes)."""
        guids = dict.fromkeys(self.store.processes())
        guids.update(dict.fromkeys(self.store.desired_guids()))
        guids.update(dict.fromkeys(self.retained.guids()))
        return list(guids)

    def image(self) -> Image:
        """Return the state as one value. O(rows), in a few uninterruptible steps of milliseconds."""
        store = self.store
        return Image(
            revision=self.revision,
            actual_lrps=store.select(cell_id=None, state=None, domain=None),
            desired_lrps=store.select_desired(app_guid=None, domain=None),
            retained=self.retained.lrps(),
            domains=store.domains,
            cells=self.cells,
        )

    # For the session

    def _release(self, event: Event) -> tuple[str, ...]:
        """Let go of a retained desired LRP that an event decides about."""
        guid = desired_guid_of(event)
        return self.retained.told(event, there=guid is not None and self.store.desired(guid) is not None)

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
