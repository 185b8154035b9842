"""The content of the status page, as one value: cells and their instances, processes with trouble first, rates."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from operator import itemgetter
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import asdict

from lrpmirror.mirror import Mirror, MirrorView
from lrpmirror.model import ActualLRP, ActualLRPState, Presence
from lrpmirror.serve.event_rates import EventRates, Second
from lrpmirror.serve.health import Readiness, readiness
from lrpmirror.server.slices import Slices
from lrpmirror.views import CellLoad, Health, ProcessHealth

T = TypeVar("T")
CellLoads = MirrorView[str, CellLoad]
Healths = MirrorView[str, ProcessHealth]

TROUBLED = 200  # how many processes are shown at most; those with the worst trouble first
CELLS = 2_000  # how many cells are shown at most, the first by name
BATCH: Final = 1_000  # how many candidates are gathered before those not among the first are dropped
LONGEST: Final = 300  # characters of a text that are shown at most

_WORST_FIRST: Final = (
    Health.DOWN,
    Health.CRASHING,
    Health.UNPLACEABLE,
    Health.DEGRADED,
    Health.UNDESIRED,
    Health.HEALTHY,
    Health.STOPPED,
)
SEVERITY = {health: rank for rank, health in enumerate(_WORST_FIRST)}  # the order in the list of processes


class CellModel(Struct, frozen=True):
    """A cell: a letter for each instance on it (see `letter`), and the share of its memory that is reserved."""

    cell_id: str
    zone: str
    present: bool
    instances: str
    memory_share: float | None


class ProcessModel(Struct, frozen=True):
    """A process, as a row of the table."""

    process_guid: str
    health: str
    desired: int
    running: int
    detail: str


class PageModel(Readiness, frozen=True, kw_only=True):
    """The content of the page at one moment."""

    listed_ago: float | None
    desired_lrps: int
    totals: dict[str, int]  # instances by letter
    cells: list[CellModel]
    more_cells: int  # how many cells are not shown
    waiting: str  # A letter for each instance that is on no cell
    health: dict[str, int]  # processes by health
    processes: list[ProcessModel]
    rates: tuple[Second, ...]


_LETTERS: Final = {
    ActualLRPState.RUNNING: "r",
    ActualLRPState.CLAIMED: "c",
    ActualLRPState.UNCLAIMED: "u",
    ActualLRPState.CRASHED: "x",
}


def letter(row: ActualLRP) -> str:
    """Return the letter that stands for an instance: by its presence where that is not ordinary, else by its state.

    `e`vacuating, `s`uspect; `r`unning, `c`laimed, `u`nclaimed, `x` for crashed; `?` for a state that is not known here.
    """
    if row.presence is Presence.EVACUATING:
        return "e"
    return "s" if row.presence is Presence.SUSPECT else _LETTERS.get(row.state, "?")


async def page_model_of(mirror: Mirror, cells: CellLoads, processes: Healths, event_rates: EventRates) -> PageModel:
    """Build the page model, in slices: O(rows + processes + cells)."""
    [page_model] = await Slices().take(_look(mirror, cells, processes, event_rates))
    return page_model


def _look(mirror: Mirror, cells: CellLoads, processes: Healths, event_rates: EventRates) -> Iterator[PageModel | None]:
    """Yield None at each step, and the page model at the end."""
    on_cells: dict[str, dict[str, int]] = {}
    for row in chain.from_iterable(mirror.rows_by_process()):
        letters = on_cells.setdefault(row.cell_id, {})
        one = letter(row)
        letters[one] = letters.get(one, 0) + 1
        yield None
    waiting = on_cells.pop("", {})
    shown: _FirstN[CellModel] = _FirstN(CELLS)
    totals = Counter(waiting)
    for cell_id in (*cells, *(gone for gone in on_cells if gone not in cells)):
        letters = on_cells.get(cell_id, {})
        totals.update(letters)
        shown.add(natural(cell_id), _cell(cell_id, cells.get(cell_id), letters))
        yield None
    healths: Counter[str] = Counter()
    troubled: _FirstN[tuple[str, ProcessHealth]] = _FirstN(TROUBLED)
    for guid in processes:
        value = processes.get(guid)
        if value is not None:
            healths[value.health] += 1
            troubled.add((SEVERITY[value.health], guid), (guid, value))
        yield None
    status = mirror.status
    yield PageModel(
        **asdict(readiness(status)),
        listed_ago=None if status.synced_at is None else status.at - status.synced_at,
        desired_lrps=status.desired_lrps,
        totals=dict(totals),
        cells=shown.found(),
        more_cells=shown.others,
        waiting=_spelt(waiting),
        health=dict(healths),
        processes=[
            ProcessModel(_short(guid), one.health.value, one.desired, one.running, _short(detail_of(one)))
            for guid, one in troubled.found()
        ],
        rates=event_rates.history(),
    )


class _FirstN(Generic[T]):
    """Keeps the first N of many items by their keys, without holding all of them."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._kept: list[tuple[Any, T]] = []
        self.others = 0  # how many items were not among the first

    def add(self, key: Any, one: T) -> None:
        self._kept.append((key, one))
        if len(self._kept) >= self._number + BATCH:
            self.found()

    def found(self) -> list[T]:
        """Return the first N so far. O(kept)."""
        self._kept.sort(key=itemgetter(0))
        self.others += len(self._kept[self._number :])
        del self._kept[self._number :]
        return [one for _, one in self._kept]


def _spelt(letters: dict[str, int]) -> str:
    return "".join(one * letters[one] for one in sorted(letters))


def _cell(cell_id: str, load: CellLoad | None, letters: dict[str, int]) -> CellModel:
    instances = _spelt(letters)
    if load is None:
        return CellModel(_short(cell_id), "", present=False, instances=instances, memory_share=None)
    share = load.memory_share
    rounded = None if share is None else round(share, 3)
    return CellModel(_short(cell_id), _short(load.zone), load.present, instances, rounded)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def detail_of(value: ProcessHealth) -> str:
    """Return what is shown of a process beyond its counts."""
    parts = [value.placement_error] if value.placement_error else []
    if value.last_crash is not None:
        reason = f": {value.last_crash.reason}" if value.last_crash.reason else ""
        times = "once" if value.last_crash.count == 1 else f"{value.last_crash.count} times"
        parts.append(f"index {value.last_crash.index} crashed {times}{reason}")
    counts = {"missing": value.missing, "too many": value.extra}
    counts |= {"evacuating": value.evacuating, "suspect": value.suspect}
    return "; ".join([*parts, *(f"{number} {word}" for word, number in counts.items() if number)])


def natural(name: str) -> tuple[str, int, str, str]:
    """Return a sort key that puts cell-2 before cell-10."""
    stem = name.rstrip("0123456789")
    # Never made a number: there is no end to how long one can be.
    digits = name[len(stem) :].lstrip("0")
    return stem, len(digits), digits, name
