"""The simulated Diego: a BBS's state, its writes, its lists and its streams, in virtual time and without I/O."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from itertools import chain
from typing import Any, Concatenate, ParamSpec

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.errors import RequestRefused
from lrpmirror.events import ActualLRPInstanceRemoved, ActualLRPRemoved, Event
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP, Presence
from lrpmirror.server.lists import desired_filter, row_filter
from lrpmirror.server.streams import LIMIT, EncodedEvent, StreamKind, Subscription
from lrpmirror.server.writes import InstanceKey
from lrpmirror.sim import desired, lifecycle
from lrpmirror.sim.delivery import EventDelivery, Faults
from lrpmirror.sim.lifecycle import Evacuation
from lrpmirror.sim.state import SECOND, START, Backup, State, StopRequest
from lrpmirror.sim.transitions import Emission, groups_of_rows
from lrpmirror.sim.workload import cell_presence

P = ParamSpec("P")


class Snapshot(Struct, frozen=True):
    """All lists of one moment."""

    actual_lrps: tuple[ActualLRP, ...]
    actual_lrp_groups: tuple[ActualLRPGroup, ...]
    desired_lrps: tuple[DesiredLRP, ...]
    domains: tuple[str, ...]
    cells: tuple[CellPresence, ...]


def _sending(rule: Callable[Concatenate[State, P], Sequence[Emission]]) -> Callable[Concatenate["Diego", P], None]:
    """Return the method that follows a rule and sends what it emits."""

    @wraps(rule)
    def write(self: "Diego", /, *args: P.args, **kwargs: P.kwargs) -> None:
        self._emit(rule(self._state, *args, **kwargs))

    return write


def _answering(rule: Callable[Concatenate[State, P], Evacuation]) -> Callable[Concatenate["Diego", P], bool]:
    """Return the method that follows a rule of evacuations, and returns whether the cell keeps the container."""

    @wraps(rule)
    def write(self: "Diego", /, *args: P.args, **kwargs: P.kwargs) -> bool:
        outcome = rule(self._state, *args, **kwargs)
        self._emit(outcome.emissions)
        return outcome.keep_container

    return write


class Diego:
    """A simulated BBS with its cells' registry. Synchronous, deterministic by its seed, for one thread.

    Writes carry the names of the BBS's own calls and raise RequestRefused or ResourceNotFound with its error types.
    What they cause is sent to the subscriptions before they return, or later and in another order if there are
    `faults`. The clock stands still until `advance` moves it; `now` is nanoseconds since 1970. A cell finds requests to
    stop instances in `take_stop_requests`; a row stays until the cell removes it. It is a `lrpmirror.server.Source`,
    each list in one piece, and a `lrpmirror.server.Writer`.
    """

    def __init__(self, *, seed: int = 0, now: int = START, faults: Faults | None = None) -> None:
        self._state = State(seed, now)
        self._lost_cells: dict[str, CellPresence] = {}
        self._subscriptions: dict[StreamKind, list[Subscription]] = {"instances": [], "groups": []}
        self._instances = EventDelivery(lambda event: self._publish("instances", event), None)
        self._groups = EventDelivery(lambda event: self._publish("groups", event), None)
        self.faults = faults
        self._rng = self._state.random
        self.trace_id = ""  # the trace id of the events of the next writes; empty for none

    # ------------------------------------------------------------------ time

    @property
    def now(self) -> int:
        """The virtual time, in nanoseconds since 1970."""
        return self._state.now

    def advance(self, seconds: float) -> None:
        """Let time pass. Nothing else happens: call `converge` for a convergence."""
        self._state.now += round(seconds * SECOND)

    def guid(self) -> str:
        """Return a new guid, by the seed: for processes and instances that are as reproducible as the rest."""
        return self._state.guid()

    # ------------------------------------------------------------------ faults

    @property
    def faults(self) -> Faults | None:
        """What may go wrong between a write and its readers; when it is changed, events under way arrive first."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self._faults = faults
        self._instances.change(faults)
        self._groups.change(None if faults is None else replace(faults, seed=faults.seed + 1))

    def backup(self) -> Backup:
        """Return what is in the database now, for `restore`. Linear in rows and desired LRPs."""
        return self._state.backup()

    def restore(self, backup: Backup) -> None:
        """Go back to what was in the database then, as after a restore, or a fail-over that lost transactions.

        No event tells of it, and the streams stay open: cut them as such a server would. Events under way still arrive
        (see `forget_events`). The cells are not in the database. Linear.
        """
        self._state.restore(backup)

    # ---------------------------------------------------------------- writes

    desire = _sending(desired.desire)
    update_desired = _sending(desired.update_desired)
    remove_desired = _sending(desired.remove_desired)

    def upsert_domain(self, domain: str, ttl: int = 0) -> None:
        """Make the domain fresh for `ttl` seconds, 0 for ever. Raises RequestRefused: InvalidRequest for no name."""
        if not domain:
            raise RequestRefused("InvalidRequest", "Invalid field: domain")
        self._state.domains[domain] = self._state.now + ttl * SECOND if ttl else None

    claim = _sending(lifecycle.claim)
    start = _sending(lifecycle.start)
    crash = _sending(lifecycle.crash)
    fail = _sending(lifecycle.fail)

    def remove(self, process_guid: str, index: int, instance: InstanceKey | None = None) -> None:
        """Remove a row, if it is that instance's. Raises ResourceNotFound."""
        seen: ActualLRP | None = None
        if self._faults is not None and self._rng.random() < self._faults.stale_removed:
            seen = self._state.earlier(process_guid, index, unclaimed=instance is None)
        emitted = lifecycle.remove(self._state, process_guid, index, instance)
        if seen is not None:
            # The `removed` events, which are all of a removal, show the row as it was read: in an older version.
            row, group = ActualLRPInstanceRemoved(seen), ActualLRPRemoved(ActualLRPGroup(seen, None))
            emitted = [Emission((row,) * len(each.instances), (group,) * len(each.groups)) for each in emitted]
        self._emit(emitted)

    retire = _sending(lifecycle.retire)
    evacuate_claimed = _answering(lifecycle.evacuate_claimed)
    evacuate_running = _answering(lifecycle.evacuate_running)
    evacuate_stopped = _answering(lifecycle.evacuate_stopped)
    evacuate_crashed = _answering(lifecycle.evacuate_crashed)
    remove_evacuating = _sending(lifecycle.remove_evacuating)
    converge = _sending(desired.converge)

    # ----------------------------------------------------------------- cells

    def add_cell(self, cell: str | CellPresence, *, zone: str = "z1") -> None:
        """Register a cell, by its id with made-up properties or as given."""
        if isinstance(cell, str):
            cell = cell_presence(cell, zone=zone, number=len(self._state.cells) + 1)
        self._state.cells[cell.cell_id] = cell

    def lose_cell(self, cell_id: str) -> None:
        """Let a cell vanish from the registry; the next convergence notices. A cell that is not there stays so."""
        cell = self._state.cells.pop(cell_id, None)
        if cell is not None:
            self._lost_cells[cell_id] = cell

    def return_cell(self, cell_id: str) -> None:
        """Let a lost cell appear again as it was; the next convergence notices."""
        cell = self._lost_cells.pop(cell_id, None)
        if cell is not None:
            self._state.cells[cell_id] = cell

    def take_stop_requests(self) -> tuple[StopRequest, ...]:
        """Return the stop requests to cells since the last call, and forget them."""
        asked = tuple(self._state.stop_requests)
        self._state.stop_requests.clear()
        return asked

    # ------------------------------------------------------------ events

    def subscribe(self, kind: StreamKind, cell_id: str = "", *, limit: int | None = LIMIT) -> Subscription:
        """Return a subscription from now on, to one of the two streams; `limit` None for one that never overflows."""
        subscription = Subscription(kind, cell_id, limit=limit)
        self._subscriptions[kind].append(subscription)
        return subscription

    def settle(self) -> None:
        """Deliver every event that is still under way. Only with faults can there be any."""
        self._instances.settle()
        self._groups.settle()

    def forget_events(self) -> int:
        """Lose every event under way, as a server does that dies before it sends them; return how many they were."""
        return self._instances.forget() + self._groups.forget()

    def on_write(self, see: Callable[[ActualLRP | DesiredLRP], None]) -> None:
        """Call `see` with every version of every record as it is written, for tests that judge a mirror."""
        self._state.on_write = see

    # ---------------------------------------------------------------- lists

    def domains(self) -> tuple[str, ...]:
        """Return the fresh domains."""
        return tuple(filter(self._state.is_fresh, self._state.domains))

    def cells(self) -> tuple[CellPresence, ...]:
        """Return the registered cells."""
        return tuple(self._state.cells.values())

    def actual_lrps(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> list[ActualLRP]:
        """Return the rows that pass all filters, an empty one letting all pass. Linear, but by process if given."""
        known = self._state.rows
        per_process = [known.get(process_guid, {})] if process_guid else known.values()
        rows = chain.from_iterable(map(dict[Any, ActualLRP].values, per_process))
        filtered = domain or cell_id or index is not None
        return list(filter(row_filter(domain, cell_id, index), rows) if filtered else rows)

    def actual_lrps_by_process_guids(self, process_guids: Sequence[str]) -> list[ActualLRP]:
        """Return the rows of these processes."""
        known = self._state.rows
        return [row for guid in dict.fromkeys(process_guids) for row in known.get(guid, {}).values()]

    def actual_lrp_groups(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> list[ActualLRPGroup]:
        """Return the groups of the rows that pass the filters; a filter by cell can show a part of a group."""
        return groups_of_rows(self.actual_lrps(domain, cell_id, process_guid, index))

    def desired_lrps(
        self, domain: str = "", process_guids: Sequence[str] = (), app_guids: Sequence[str] = ()
    ) -> list[DesiredLRP]:
        """Return the desired LRPs that pass all filters, an empty one letting all pass. `app_guids` are prefixes."""
        lrps = list(self._state.desired.values())
        if not domain and not process_guids and not app_guids:
            return lrps
        return list(filter(desired_filter(domain, process_guids, app_guids), lrps))

    def snapshot(self) -> Snapshot:
        """Return all lists as of now."""
        return Snapshot(
            tuple(self.actual_lrps()),
            tuple(self.actual_lrp_groups()),
            tuple(self.desired_lrps()),
            self.domains(),
            self.cells(),
        )

    def row(self, process_guid: str, index: int, presence: Presence = Presence.ORDINARY) -> ActualLRP | None:
        """Return one row, if there is one."""
        return self._state.row(process_guid, index, presence)

    def adopt(self, rows: Iterable[ActualLRP] = (), desired_lrps: Iterable[DesiredLRP] = ()) -> None:
        """Store records as they are, without an event: for a state from before the simulation."""
        for row in rows:
            self._state.put(row)
        for each in desired_lrps:
            self._state.put_desired(each)

    # -------------------------------------------------------------- internal

    def _emit(self, emitted: Sequence[Emission]) -> None:
        self._instances.send([[*map(self._traced, each.instances)] for each in emitted])
        self._groups.send([[*map(self._traced, each.groups)] for each in emitted])

    def _traced(self, event: Event) -> Event:
        # Now, and not when it is delivered: with faults that can be under another write.
        return replace(event, trace_id=self.trace_id) if self.trace_id and hasattr(event, "trace_id") else event

    def _publish(self, kind: StreamKind, event: Event) -> None:
        readers = self._subscriptions[kind]
        emitted = EncodedEvent(event)
        for reader in readers:
            reader.add(emitted)
        if any(reader.closed for reader in readers):
            self._subscriptions[kind] = [reader for reader in readers if not reader.closed]
