"""How processes are."""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

from lrpmirror.core.derive import Process, View
from lrpmirror.model import ActualLRP, ActualLRPState, Presence

__all__ = ["Crash", "Health", "ProcessHealth", "Processes"]


class Health(StrEnum):
    """One word for a process. The first that holds, in this order."""

    UNDESIRED = "undesired"
    """It has rows and no desired LRP: it is being stopped, or its desired LRP is not known yet."""
    STOPPED = "stopped"
    """No instance is desired."""
    HEALTHY = "healthy"
    """Each index below the desired number has a RUNNING row, whatever its presence."""
    CRASHING = "crashing"
    """An index that does not run has crashed and waits for its restart."""
    UNPLACEABLE = "unplaceable"
    """An index that does not run could not be placed on any cell."""
    DOWN = "down"
    """No index runs."""
    DEGRADED = "degraded"
    """Some indexes run and some do not yet."""


class Crash(Struct, frozen=True):
    """The latest crash that the rows still tell of. `since` is in nanoseconds since 1970, of the row's last write."""

    index: int
    count: int
    reason: str
    since: int


class ProcessHealth(Struct, frozen=True, kw_only=True):
    """The instances of one process, counted.

    `running`, `claimed`, `unclaimed` and `crashed` count its ORDINARY rows by state; `evacuating` and `suspect` the
    rows of those presences. `missing` are the indexes below the desired number that have no row; `extra` the indexes at
    or above it that have.
    """

    health: Health
    desired: int = 0
    running: int = 0
    claimed: int = 0
    unclaimed: int = 0
    crashed: int = 0
    evacuating: int = 0
    suspect: int = 0
    missing: int = 0
    extra: int = 0
    placement_error: str = ""
    """That of the row written last among those that have one."""
    last_crash: Crash | None = None


class Processes(View[str, ProcessHealth, ProcessHealth]):
    """Process guid → counts and health, for every process that has a desired LRP or rows."""

    reads_secrets = False

    def derive(self, process: Process) -> Mapping[str, ProcessHealth]:
        """Count the instances of a process."""
        rows, desired = process.rows, process.desired
        wanted = 0 if desired is None else desired.instances
        if desired is None and not rows:
            return {}
        states = Counter(row.state.value for row in rows if row.presence is Presence.ORDINARY)
        presences = Counter(row.presence for row in rows)
        indexes = {row.index for row in rows}
        below = sum(index < wanted for index in indexes)
        failed = max((row for row in rows if row.placement_error), key=_since, default=None)
        crashed = max((row for row in rows if row.crash_count), key=_since, default=None)
        value = ProcessHealth(
            health=Health.UNDESIRED if desired is None else _health(rows, wanted),
            desired=wanted,
            running=states[ActualLRPState.RUNNING],
            claimed=states[ActualLRPState.CLAIMED],
            unclaimed=states[ActualLRPState.UNCLAIMED],
            crashed=states[ActualLRPState.CRASHED],
            evacuating=presences[Presence.EVACUATING],
            suspect=presences[Presence.SUSPECT],
            missing=wanted - below,
            extra=len(indexes) - below,
            placement_error="" if failed is None else failed.placement_error,
            last_crash=None
            if crashed is None
            else Crash(crashed.index, crashed.crash_count, crashed.crash_reason, crashed.since),
        )
        return {process.guid: value}

    def combine(self, key: str, contributions: Mapping[str, ProcessHealth]) -> ProcessHealth:
        """Return the process's own contribution."""
        return contributions[key]


def _since(row: ActualLRP) -> int:
    return row.since


def _health(rows: Iterable[ActualLRP], wanted: int) -> Health:
    if wanted <= 0:
        return Health.STOPPED
    below = [row for row in rows if row.index < wanted]
    runs = {row.index for row in below if row.state == ActualLRPState.RUNNING}
    if len(runs) == wanted:
        return Health.HEALTHY
    idle = [row for row in below if row.index not in runs]
    if any(row.state == ActualLRPState.CRASHED for row in idle):
        return Health.CRASHING
    if any(row.placement_error for row in idle):
        return Health.UNPLACEABLE
    return Health.DEGRADED if runs else Health.DOWN
