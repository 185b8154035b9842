"""A simulated workload: applications come, grow, crash and move, and cells run them, leave, are lost and come back."""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from math import ceil
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.errors import ConfigurationError, RequestRefused, ResourceNotFound
from lrpmirror.model import ActualLRP, ActualLRPState, Presence
from lrpmirror.server.streams import Subscription
from lrpmirror.server.writes import InstanceKey
from lrpmirror.sim.diego import Diego
from lrpmirror.sim.state import StopRequest
from lrpmirror.sim.workload import DOMAIN, App, desired_lrp, instance_tags, internal_routes, net_info, routes

PLACED: Final = 0.7  # the chance that a free row is claimed in a second
STARTED: Final = 0.6  # the chance that a claimed instance runs a second later
EVACUATION_TIMEOUT: Final = 90  # seconds after which a cell leaves, whether or not its instances run elsewhere

ZONES: Final = 3

CONVERGENCE: Final = 30  # seconds between two convergences, and between two upserts of the platform's domain
DOMAIN_TTL: Final = 120  # the time to live of the platform's domain, in seconds
PATIENCE: Final = 60  # seconds after which the version before is removed, whether or not the new one runs
LARGEST: Final = 8  # the most instances that an application is scaled to, where their number in all is not chosen


class SimulatedCells:
    """All cells of a deployment. `apps` maps process guids to their apps, and is read at each step."""

    def __init__(self, diego: Diego, rng: random.Random, cells: int, apps: Mapping[str, App]) -> None:
        self.counts: Counter[str] = Counter()
        self._diego = diego
        self._rng = rng
        self._apps = apps
        self._second = 0
        self._numbers: dict[str, int] = {}
        self._containers: Counter[str] = Counter()
        self._leaving: dict[str, int] = {}
        self._away: dict[str, int] = {}
        self._staying: list[str] = []
        for _ in range(cells):
            self._hire()

    def moves(self) -> Iterator[None]:
        """Let the cells work for one second, and yield after each write: others may write in between. Linear."""
        self._second += 1
        self._staying = self._who_stays()
        for request in self._diego.take_stop_requests():
            self._obey(request)
            yield
        here = {cell.cell_id for cell in self._diego.cells() if cell.cell_id in self._numbers}
        for row in self._diego.actual_lrps():
            if self._attend(row, here):
                yield
        self._see_off()
        for cell_id in [cell_id for cell_id, second in self._away.items() if second <= self._second]:
            del self._away[cell_id]
            self._diego.return_cell(cell_id)
            self.counts["cell returned"] += 1

    def runs(self, row: ActualLRP) -> bool:
        """Return whether one of these cells runs the row, which others may have filled instead."""
        return row.cell_id in self._numbers and row.process_guid in self._apps

    def start_again(self, row: ActualLRP, *, routable: bool) -> None:
        """Let the cell of a running instance report it again, routable or not."""
        self._report(row, self._rng.randrange(1000), row.availability_zone, routable=routable)

    def evacuate_one(self) -> bool:
        """Let one cell begin to leave, unless it would be the last; return whether one does."""
        staying = self._who_stays()
        if len(staying) > 1:
            self._leaving[self._rng.choice(staying)] = self._second
        return len(staying) > 1

    def lose_one(self) -> bool:
        """Lose one cell, unless it would be the last: it comes back, or is replaced. Return whether one is lost."""
        staying = self._who_stays()
        if len(staying) < 2:  # noqa: PLR2004 - one has to stay
            return False
        cell_id = self._rng.choice(staying)
        self._diego.lose_cell(cell_id)
        if self._rng.random() < 0.5:  # noqa: PLR2004 - a coin
            self._away[cell_id] = self._second + self._rng.randint(20, 120)
        else:
            self._hire()
        return True

    def _hire(self) -> None:
        number = len(self._numbers)
        cell_id = f"cell-{number}"
        self._numbers[cell_id] = number
        self._diego.add_cell(cell_id, zone=f"z{number % ZONES + 1}")

    def _who_stays(self) -> list[str]:
        ours = [cell.cell_id for cell in self._diego.cells() if cell.cell_id in self._numbers]
        return [cell_id for cell_id in ours if cell_id not in self._leaving]

    def _obey(self, request: StopRequest) -> None:
        if request.instance.cell_id not in {cell.cell_id for cell in self._diego.cells()}:
            return
        try:
            self._diego.remove(request.process_guid, request.index, request.instance)
            self.counts["stopped"] += 1
        except RequestRefused:
            self.counts["stopped in vain"] += 1

    def _attend(self, seen: ActualLRP, here: Collection[str]) -> bool:
        """Do a cell's next write about the row's present version; return whether there was one."""
        row = self._diego.row(seen.process_guid, seen.index, seen.presence)
        if row is None or row.process_guid not in self._apps:
            return False
        if row.presence is Presence.ORDINARY and row.state is ActualLRPState.UNCLAIMED:
            if not self._staying or self._rng.random() >= PLACED:
                return False
            cell_id = self._rng.choice(self._staying)
            self._diego.claim(row.process_guid, row.index, InstanceKey(self._diego.guid(), cell_id))
            self.counts["claimed"] += 1
        elif row.cell_id not in here or row.presence is Presence.SUSPECT:
            return False
        elif row.cell_id in self._leaving:
            self._hand_over(row)
        elif row.state is ActualLRPState.CLAIMED and self._rng.random() < STARTED:
            self._containers[row.cell_id] += 1
            self._report(row, self._containers[row.cell_id], f"z{self._numbers[row.cell_id] % ZONES + 1}")
            self.counts["started"] += 1
        else:
            return False
        return True

    def _report(self, row: ActualLRP, container: int, zone: str, *, routable: bool = True) -> None:
        app = self._apps[row.process_guid]
        self._diego.start(
            row.process_guid,
            row.index,
            InstanceKey.of(row),
            net_info(self._numbers[row.cell_id], container),
            internal_routes=internal_routes(app),
            metric_tags=instance_tags(app, row.index),
            routable=routable,
            availability_zone=zone,
        )

    def _hand_over(self, row: ActualLRP) -> None:
        key = InstanceKey.of(row)
        if row.state is ActualLRPState.CLAIMED:
            self._diego.evacuate_claimed(row.process_guid, row.index, key)
        elif row.presence is Presence.EVACUATING and self._second - self._leaving[row.cell_id] > EVACUATION_TIMEOUT:
            self._diego.remove_evacuating(row.process_guid, row.index, key)
        else:
            self._diego.evacuate_running(row.process_guid, row.index, key)
        self.counts["handed over"] += 1

    def _see_off(self) -> None:
        """Remove the leaving cells that are empty; after an update they come back."""
        for cell_id in [*self._leaving]:
            if not self._diego.actual_lrps(cell_id=cell_id):
                del self._leaving[cell_id]
                self._diego.lose_cell(cell_id)
                self._away[cell_id] = self._second + self._rng.randint(5, 30)


class Rates(Struct, frozen=True, kw_only=True):
    """Rates of each kind of thing, per virtual second and over the whole deployment; 0 for never.

    `deploys`: an application gets a new version, which replaces the old one when it runs. `scalings`: one gets another
    number of instances. `crashes`: an instance crashes. `placement_failures`: no cell takes a free row.
    `routable_changes`: an instance becomes routable or ceases to be. `route_changes`: an application gets other host
    names. `evacuations`: a cell hands over its instances and leaves, to come back empty. `cell_losses`: a cell
    vanishes, and comes back or is replaced.
    """

    deploys: float = 0.1
    scalings: float = 0.2
    crashes: float = 0.3
    placement_failures: float = 0.1
    routable_changes: float = 0.2
    route_changes: float = 0.1
    evacuations: float = 0.02
    cell_losses: float = 0.01


class Autopilot:
    """Drives a Diego, one virtual second a step; reproducible by its seed and the Diego's.

    `apps` applications and `cells` cells are there at the start, the applications still to be placed. `instances` is
    about how many there are in all; None gives each application a few. `rates` says what happens how often.
    `events_per_second` fills every second up to that many events of the instance stream, with changes of routable.
    Others may write to the same Diego: their records are left alone. `counts` says what has happened so far, by kind.
    Raises ConfigurationError for an invalid size.
    """

    def __init__(
        self,
        diego: Diego,
        *,
        seed: int = 0,
        apps: int = 20,
        cells: int = 5,
        instances: int | None = None,
        events_per_second: float = 0.0,
        rates: Rates | None = None,
    ) -> None:
        if apps < 1 or cells < 1:
            raise ConfigurationError(f"Autopilot(apps={apps}, cells={cells}): give at least one of each")
        if (instances is not None and instances < 0) or events_per_second < 0:
            raise ConfigurationError(
                f"Autopilot(instances={instances}, events_per_second={events_per_second}): give 0 or more"
            )
        self._diego = diego
        self._rng = random.Random(seed)
        self._second = 0
        self._apps: list[App] = []
        self._processes: dict[str, App] = {}
        self._outgoing: list[tuple[int, App, App]] = []
        self._simulated_cells = SimulatedCells(diego, self._rng, cells, self._processes)
        self.counts = self._simulated_cells.counts  # how many times each kind of thing has happened
        self._largest = LARGEST if instances is None else 2 * ceil(instances / apps)
        self._events_per_second = events_per_second
        given = rates or Rates()
        self._happenings: list[tuple[float, str, Callable[[], bool]]] = [
            (given.deploys, "deploy", self._deploy),
            (given.scalings, "scaling", self._scale),
            (given.crashes, "crash", self._crash),
            (given.placement_failures, "placement failure", self._fail_placement),
            (given.routable_changes, "routable change", self._toggle_routable),
            (given.route_changes, "route change", self._change_routes),
            (given.evacuations, "evacuation", self._simulated_cells.evacuate_one),
            (given.cell_losses, "cell lost", self._simulated_cells.lose_one),
        ]
        diego.upsert_domain(DOMAIN, DOMAIN_TTL)
        for number in range(apps):
            count = self._rng.randint(1, 4) if instances is None else instances // apps + (number < instances % apps)
            self._apps.append(App(guid=diego.guid(), number=number, version=diego.guid(), instances=count))
            self._desire(self._apps[-1])
        self._emitted = diego.subscribe("instances", limit=None) if events_per_second else None

    def step(self) -> None:
        """Let one virtual second pass. Linear in rows."""
        for _ in self.moves():
            pass

    def moves(self) -> Iterator[None]:
        """Let one virtual second pass, yielding after each write, for a server that gives way between them."""
        self._diego.advance(1)
        self._second += 1
        yield from self._simulated_cells.moves()
        for rate, name, happen in self._happenings:
            for _ in range(int(rate) + (self._rng.random() < rate % 1)):
                if happen():
                    self.counts[name] += 1
                yield
        self._finish_deploys()
        if self._second % CONVERGENCE == 0:
            self._diego.upsert_domain(DOMAIN, DOMAIN_TTL)
            self._diego.converge()
        if self._emitted is not None:
            yield from self._fill_up(self._emitted)

    def run(self, seconds: int) -> None:
        """Take that many steps."""
        for _ in range(seconds):
            self.step()

    def _fill_up(self, emitted: Subscription) -> Iterator[None]:
        rows = list(filter(self._simulated_cells.runs, self._rows(Presence.ORDINARY, ActualLRPState.RUNNING)))
        missing = max(0, round(self._events_per_second) - len(emitted))
        for seen in self._rng.choices(rows, k=missing) if rows else ():
            row = self._diego.row(seen.process_guid, seen.index)
            if row is not None and InstanceKey.of(row) == InstanceKey.of(seen):
                self._simulated_cells.start_again(row, routable=not row.routable)
                self.counts["routable change"] += 1
                yield
        emitted.take_some(len(emitted))

    def _write(self, write: Callable[..., None], process_guid: str, **more: object) -> bool:
        """Write to a desired LRP, unless another client has removed it; return whether it was there."""
        try:
            write(process_guid, **more)
        except ResourceNotFound:
            return False
        return True

    def _desire(self, app: App) -> None:
        self._processes[app.process_guid] = app
        self._diego.desire(desired_lrp(app))

    def _become(self, place: int, app: App) -> None:
        self._apps[place] = self._processes[app.process_guid] = app

    def _rows(self, presence: Presence, state: ActualLRPState) -> list[ActualLRP]:
        rows = self._diego.actual_lrps()
        own = self._processes
        return [row for row in rows if row.presence is presence and row.state is state and row.process_guid in own]

    def _pick_row(self, presence: Presence, state: ActualLRPState) -> ActualLRP | None:
        rows = self._rows(presence, state)
        return self._rng.choice(rows) if rows else None

    def _deploy(self) -> bool:
        place = self._rng.randrange(len(self._apps))
        old = self._apps[place]
        if any(outgoing.guid == old.guid for _, outgoing, _ in self._outgoing):
            return False
        new = replace(old, version=self._diego.guid())
        self._apps[place] = new
        self._desire(new)
        self._outgoing.append((self._second, old, new))
        return True

    def _finish_deploys(self) -> None:
        waiting: list[tuple[int, App, App]] = []
        for begun, old, new in self._outgoing:
            rows = self._diego.actual_lrps(process_guid=new.process_guid)
            running = sum(row.state is ActualLRPState.RUNNING for row in rows)
            if running < new.instances and self._second - begun < PATIENCE:
                waiting.append((begun, old, new))
            elif self._write(self._diego.remove_desired, old.process_guid):
                self.counts["version removed"] += 1
        self._outgoing = waiting

    def _scale(self) -> bool:
        place = self._rng.randrange(len(self._apps))
        app = replace(self._apps[place], instances=self._rng.randint(0, self._largest))
        self._become(place, app)
        return self._write(self._diego.update_desired, app.process_guid, instances=app.instances)

    def _change_routes(self) -> bool:
        place = self._rng.randrange(len(self._apps))
        app = replace(self._apps[place], hosts=self._rng.randint(1, 3))
        self._become(place, app)
        update = self._diego.update_desired
        return self._write(update, app.process_guid, routes=routes(app), annotation=str(self._second))

    def _crash(self) -> bool:
        presence = Presence.SUSPECT if self._rng.random() < 0.1 else Presence.ORDINARY  # noqa: PLR2004 - now and then
        row = self._pick_row(presence, ActualLRPState.RUNNING)
        if row is None:
            return False
        self._diego.crash(row.process_guid, row.index, InstanceKey.of(row), "APP/PROC/WEB: Exited with status 137")
        return True

    def _fail_placement(self) -> bool:
        row = self._pick_row(Presence.ORDINARY, ActualLRPState.UNCLAIMED)
        if row is None:
            return False
        self._diego.fail(row.process_guid, row.index, "insufficient resources: memory")
        return True

    def _toggle_routable(self) -> bool:
        row = self._pick_row(Presence.ORDINARY, ActualLRPState.RUNNING)
        if row is None or not self._simulated_cells.runs(row):
            return False
        self._simulated_cells.start_again(row, routable=not row.routable)
        return True
