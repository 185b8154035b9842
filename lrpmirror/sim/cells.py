"""The cells of the simulated workload: they claim, run and stop instances, leave, are lost and come back."""

import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from lrpmirror.errors import RequestRefused
from lrpmirror.model import ActualLRP, ActualLRPState, Presence
from lrpmirror.server.writes import InstanceKey
from lrpmirror.sim.diego import Diego
from lrpmirror.sim.state import StopRequest
from lrpmirror.sim.workload import App, instance_tags, internal_routes, net_info

PLACED: Final = 0.7  # the chance that a free row is claimed in a second
STARTED: Final = 0.6  # the chance that a claimed instance runs a second later
EVACUATION_TIMEOUT: Final = 90  # seconds after which a cell leaves, whether or not its instances run elsewhere

ZONES: Final = 3


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
            self._place(row)
        elif row.cell_id not in here or row.presence is Presence.SUSPECT:
            return False
        elif row.cell_id in self._leaving:
            self._hand_over(row)
        elif row.state is ActualLRPState.CLAIMED and self._rng.random() < STARTED:
            self._start(row)
        else:
            return False
        return True

    def _place(self, row: ActualLRP) -> None:
        cell_id = self._rng.choice(self._staying)
        self._diego.claim(row.process_guid, row.index, InstanceKey(self._diego.guid(), cell_id))
        self.counts["claimed"] += 1

    def _start(self, row: ActualLRP) -> None:
        self._containers[row.cell_id] += 1
        self._report(row, self._containers[row.cell_id], f"z{self._numbers[row.cell_id] % ZONES + 1}")
        self.counts["started"] += 1

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
