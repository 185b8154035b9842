"""The health of processes."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from operator import sub
from typing import Final

from msgspec import Struct

from lrpmirror.core.derived.view import InstanceView, Process, Share, Step
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


class Crash(Struct, frozen=True, gc=False):
    """The latest crash that the rows still record. `since` is the row's last write, in nanoseconds since 1970."""

    index: int
    count: int
    reason: str
    since: int


class ProcessHealth(Struct, frozen=True, kw_only=True, gc=False):
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


class _Note(Struct, frozen=True, order=True, gc=False):
    """A crash or a failed placement. The one of the row written last is shown; of two, the one of the first index."""

    since: int
    place: tuple[int, int]
    count: int
    text: str


class _Part(Struct, frozen=True, gc=False):
    """What one instance, or several, add to the counts of a process.

    `counts` are in the order of `_COUNTED`. `failed` and `crashed` are in order.
    """

    counts: tuple[int, ...]
    failed: tuple[_Note, ...] = ()
    crashed: tuple[_Note, ...] = ()
    desired: int | None = None


_COUNTED: Final = (
    *("running", "claimed", "unclaimed", "crashed", "evacuating", "suspect"),
    *("indexes below", "indexes beyond", "that run below", "that crashed below", "that were not placed below"),
    # How many sources contribute.
    "parts",
)

_RUNNING: Final = ActualLRPState.RUNNING
_ORDINARY: Final = Presence.ORDINARY
# Members of an enum are found by a slower way than other names.

_NONE: Final = _Part((0,) * len(_COUNTED))

_HEALTHY: Final = _Part((1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1))
"""What nearly every instance adds: an ordinary row that runs, at an index below the desired number."""

_WHOLE: Final = (*_NONE.counts[:-1], 1)
"""The counts of a process as a whole: a source that contributes."""

_STATES: Final = ("RUNNING", "CLAIMED", "UNCLAIMED", "CRASHED")


class _Wanted(Struct, frozen=True, gc=False):
    """The terms of a process: how many instances are desired, and its key as a tuple that all shares have."""

    keys: tuple[str]
    instances: int | None
    healthy: Share[str, _Part]


class Processes(InstanceView[str, _Part, ProcessHealth]):
    """Process guid → counts and health, for every process that has a desired LRP or rows."""

    reads_secrets = False
    reads = frozenset({"state", "presence", "since", "crash_count", "crash_reason", "placement_error"})

    def terms(self, process: Process, before: _Wanted | None) -> _Wanted:
        """Return how many instances are desired."""
        wanted = None if process.desired is None else process.desired.instances
        if before is not None and before.instances == wanted:
            return before
        keys = (process.guid,) if before is None else before.keys
        return _Wanted(keys, wanted, Share(keys, _HEALTHY))

    def whole(self, process_guid: str, terms: _Wanted) -> Sequence[Share[str, _Part]]:  # noqa: ARG002 - it is in the terms
        """Return the number of instances desired."""
        if terms.instances is None:
            return ()
        return (Share(terms.keys, _bare(_WHOLE, terms.instances)),)

    def instance(self, rows: tuple[ActualLRP, ...], terms: _Wanted) -> Sequence[Share[str, _Part]]:
        """Count the rows of an instance."""
        wanted, row = terms.instances or 0, rows[0]
        if (
            len(rows) == 1
            and row.state == _RUNNING
            and row.presence is _ORDINARY
            and row.index < wanted
            and not row.crash_count
            and not row.placement_error
        ):
            return (terms.healthy,)
        return (Share(terms.keys, _part(rows, wanted)),)

    def fold(self, state: _Part | None, steps: Sequence[Step[_Part]]) -> _Part | None:
        """Add new contributions, and subtract old ones."""
        now = state or _NONE
        failed, crashed, desired = now.failed, now.crashed, now.desired
        gone: list[tuple[int, ...]] = []
        come = [now.counts]
        for step in steps:
            before, after = step.before or _NONE, step.after or _NONE
            if step.index < 0:
                desired = after.desired
            if before is not _NONE:
                gone.append(before.counts)
            come.append(after.counts)
            # Of nearly all there are none, before and after.
            if before.failed is not after.failed:
                failed = _noted(failed, before.failed, after.failed)
            if before.crashed is not after.crashed:
                crashed = _noted(crashed, before.crashed, after.crashed)
        counts = tuple(map(sum, zip(*come, strict=True)))
        if gone:
            counts = tuple(map(sub, counts, map(sum, zip(*gone, strict=True))))
        if not counts[-1]:
            return None
        return _Part(counts, failed, crashed, desired) if failed or crashed else _bare(counts, desired)

    def value(self, key: str, state: _Part) -> ProcessHealth:  # noqa: ARG002 - the same for all
        """Return the counts as a ProcessHealth."""
        if not state.failed and not state.crashed:
            return _bare_value(state.counts, state.desired)
        return _value(state)


@lru_cache(maxsize=1024)
def _bare(counts: tuple[int, ...], desired: int | None) -> _Part:
    """Return a state without crashes and failed placements: nearly all processes share a few."""
    return _Part(counts, desired=desired)


@lru_cache(maxsize=1024)
def _bare_value(counts: tuple[int, ...], desired: int | None) -> ProcessHealth:
    return _value(_bare(counts, desired))


def _value(state: _Part) -> ProcessHealth:
    wanted = state.desired or 0
    running, claimed, unclaimed, crashed, evacuating, suspect, below, beyond, *_ = state.counts
    latest = state.crashed[-1] if state.crashed else None
    return ProcessHealth(
        health=_health(state),
        desired=wanted,
        running=running,
        claimed=claimed,
        unclaimed=unclaimed,
        crashed=crashed,
        evacuating=evacuating,
        suspect=suspect,
        missing=wanted - below,
        extra=beyond,
        placement_error=state.failed[-1].text if state.failed else "",
        last_crash=None if latest is None else Crash(-latest.place[0], latest.count, latest.text, latest.since),
    )


def _part(rows: tuple[ActualLRP, ...], wanted: int) -> _Part:
    index = rows[0].index
    states = [row.state for row in rows if row.presence is Presence.ORDINARY]
    presences = [row.presence for row in rows]
    below = index < wanted
    runs = any(row.state == ActualLRPState.RUNNING for row in rows)
    idle = below and not runs
    return _Part(
        (
            *(states.count(state) for state in _STATES),  # type: ignore[arg-type]  # they equal their texts
            presences.count(Presence.EVACUATING),
            presences.count(Presence.SUSPECT),
            int(below),
            int(not below),
            int(below and runs),
            int(idle and any(row.state == ActualLRPState.CRASHED for row in rows)),
            int(idle and any(row.placement_error for row in rows)),
            1,
        ),
        tuple(sorted(_note(row, 0, row.placement_error) for row in rows if row.placement_error)),
        tuple(sorted(_note(row, row.crash_count, row.crash_reason) for row in rows if row.crash_count)),
    )


def _note(row: ActualLRP, count: int, text: str) -> _Note:
    return _Note(row.since, (-row.index, -row.presence), count, text)


def _noted(notes: tuple[_Note, ...], gone: tuple[_Note, ...], come: tuple[_Note, ...]) -> tuple[_Note, ...]:
    """Return notes without `gone` and with `come`, in order."""
    if gone == come:
        return notes
    now = list(notes)
    for note in gone:
        del now[bisect_left(now, note)]
    for note in come:
        insort(now, note)
    return tuple(now)


def _health(state: _Part) -> Health:
    if state.desired is None:
        return Health.UNDESIRED
    if state.desired <= 0:
        return Health.STOPPED
    run, crashed, unplaced = state.counts[8:11]
    if run == state.desired:
        return Health.HEALTHY
    if crashed:
        return Health.CRASHING
    if unplaced:
        return Health.UNPLACEABLE
    return Health.DEGRADED if run else Health.DOWN
