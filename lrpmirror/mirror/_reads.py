"""The reads of a mirror: synchronous, without I/O, of frozen values."""

from collections.abc import Callable

from lrpmirror.core.explain.decisions import Decision
from lrpmirror.core.freshness.status import Status
from lrpmirror.core.rows.groups import groups_of
from lrpmirror.core.rows.store import matches
from lrpmirror.core.session import Session, Tuning
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP, ModificationTag


class Reads:
    """The queries of a mirror's state; `Mirror` and `MirrorThread` add waiting, subscriptions and views."""

    def __init__(self, session: Session, clock: Callable[[], float]) -> None:
        self._session = session
        self._clock = clock

    # Freshness

    @property
    def status(self) -> Status:
        """How fresh the state is: phase, age, last error. O(1)."""
        return self._session.status(self._clock())

    @property
    def revision(self) -> int:
        """The number of the last commit; 0 before the first. Later reads are as new or newer. O(1)."""
        return self._session.knowledge.revision

    @property
    def tuning(self) -> Tuning:
        """The intervals, delays and limits that the mirror was opened with. O(1)."""
        return self._session.tuning

    def check_fresh(self, max_age: float) -> None:
        """Raise NotFresh unless the state was known to be the server's at most `max_age` seconds ago. O(1).

        While LIVE that was at the last proof of life (see `Status`), of which there is one every `Tuning.ping_interval`
        at least, unless a callback keeps the thread of a `MirrorThread` busy. Else it was before the trouble, which is
        the cause of the error; so a state that has been stale for less than `max_age` passes. Before the first
        synchronisation nothing passes, except perhaps a state file's.

        Every query checks it where it is given a `max_age`.
        """
        self.status.check_fresh(max_age)

    # Actual LRPs

    # No keyword-only parameters: looking up their defaults would be a fifth of the cost.
    def actual_lrps(
        self,
        process_guid: str | None = None,
        cell_id: str | None = None,
        state: str | None = None,
        domain: str | None = None,
        max_age: float | None = None,
    ) -> tuple[ActualLRP, ...]:
        """Return the rows that match every filter given; all of them where none is.

        Of one process: by index, then presence, in O(1), and with further filters in O(rows of the process). Else
        the fewest of O(rows on the cell), O(rows of that state), if it is not RUNNING, and O(rows of the processes of
        that domain), in no promised order. `cell_id=""` finds the rows that are on no cell.
        """
        if process_guid is not None and cell_id is None and state is None and domain is None and max_age is None:
            # The dict's own method: another function would add a quarter of the cost. Called as a local variable,
            # since calling an attribute looks in the class first.
            rows_of = self._session.knowledge.store.rows_of
            return rows_of(process_guid, ())
        if max_age is not None:
            self.check_fresh(max_age)
        store = self._session.knowledge.store
        if process_guid is None:
            return store.select(cell_id=cell_id, state=state, domain=domain)
        return tuple(row for row in store.process(process_guid) if matches(row, cell_id, state, domain))

    def actual_lrp_groups(self, process_guid: str, *, max_age: float | None = None) -> tuple[ActualLRPGroup, ...]:
        """Return the groups of a process by index, by the server's rule. O(rows of the process)."""
        if max_age is not None:
            self.check_fresh(max_age)
        return groups_of(self._session.knowledge.store.process(process_guid))

    def rows_by_process(self) -> list[tuple[ActualLRP, ...]]:
        """Return all rows of one moment, a tuple for each process: a fraction of the cost of `actual_lrps()`."""
        return self._session.knowledge.store.rows_by_process()

    def instance(self, instance_guid: str, *, max_age: float | None = None) -> ActualLRP | None:
        """Return the row of an instance, or None. O(1).

        While an instance moves from one row to another, both can have it for a moment: then the one written last.
        """
        if max_age is not None:
            self.check_fresh(max_age)
        return self._session.knowledge.store.instance(instance_guid)

    # Desired LRPs, domains, cells

    def desired_lrp(self, process_guid: str, *, max_age: float | None = None) -> DesiredLRP | None:
        """Return the desired LRP of a process, or None. O(1)."""
        if max_age is not None:
            self.check_fresh(max_age)
        return self._session.knowledge.store.desired(process_guid)

    def desired_lrps(
        self, *, app_guid: str | None = None, domain: str | None = None, max_age: float | None = None
    ) -> tuple[DesiredLRP, ...]:
        """Return the desired LRPs that match every filter given; all of them where none is.

        `app_guid` is a prefix of process guids: those of an app begin with its guid. With it they come by process guid,
        in O(log desired LRPs + found); else in no promised order.
        """
        if max_age is not None:
            self.check_fresh(max_age)
        return self._session.knowledge.store.select_desired(app_guid=app_guid, domain=domain)

    def has_seen(self, process_guid: str, tag: ModificationTag) -> bool:
        """Return whether the mirror has seen that version of a record, or a later one. O(rows of the process)."""
        return self._session.knowledge.has_seen(process_guid, tag)

    @property
    def domains(self) -> frozenset[str]:
        """The domains that were fresh at the last list: their desired LRPs are complete. O(1)."""
        return self._session.knowledge.store.domains

    @property
    def cells(self) -> tuple[CellPresence, ...]:
        """The cells of the latest list that succeeded, by id; the BBS sends no events about them. O(1)."""
        return self._session.knowledge.cells

    def explain(self, process_guid: str) -> tuple[Decision, ...]:
        """Return the outcomes of the latest events about a process, and why, the oldest first; for diagnosis.

        Those among the latest 20,000 about all processes, and the last one before them; since the first
        synchronisation. What a list of many differences changed is among them some milliseconds after its commit.
        O(decisions kept): about a millisecond.
        """
        return self._session.knowledge.decisions.of(process_guid)
