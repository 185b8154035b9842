"""What happens to rows: each kind of change as the events that a BBS sends for it, and a stream of many in a mix."""

from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.detail import Action, DesiredLRPDetail, EnvironmentVariable, RunAction
from lrpmirror.events import (
    ActualLRPChanged,
    ActualLRPCrashed,
    ActualLRPCreated,
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    ActualLRPRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.model import ActualLRP, ActualLRPGroup, ActualLRPState, DesiredLRP, PreferredAddress, Presence
from lrpmirror.wire import encode
from lrpmirror.wire.sse import encode_frame

__all__ = ["KINDS", "Encoded", "Story", "churn", "each_type", "encoded", "flips", "frames", "heavy", "mix"]

Encoded = tuple[str, bytes]
"""An event's type and its protobuf bytes."""


class Story(Struct, frozen=True):
    """One kind of change of one row: the row before it, the events in order, and the rows after it by epoch."""

    start: ActualLRP
    events: tuple[Event, ...]
    end: Mapping[str, ActualLRP | None]


def flips(of: Iterable[ActualLRP], number: int, seed: int = 2) -> list[ActualLRPInstanceChanged]:
    """Return that many events, in order: instances that are marked not routable, and routable again."""
    rng = Random(seed)
    now = list(of)
    events: list[ActualLRPInstanceChanged] = []
    for _ in range(number):
        at = rng.randrange(len(now))
        event = _flip(now[at])
        events.append(event)
        now[at] = event.after
    return events


def churn(of: Iterable[ActualLRP], number: int, seed: int = 3) -> list[Event]:
    """Return that many events, in order: mostly instances that are marked, and some that go, are placed and start."""
    rng = Random(seed)
    now = list(of)
    events: list[Event] = []
    while len(events) < number:
        at = rng.randrange(len(now))
        row = now[at]
        if row.state == ActualLRPState.UNCLAIMED:
            events += (claimed := _claimed(row), started := _started(claimed.after))
            now[at] = started.after
        elif rng.random() < 0.1:  # noqa: PLR2004 - the share of instances that go
            now[at] = _unclaimed(row, epoch=_guid(rng), tag_index=0)
            events += (ActualLRPInstanceRemoved(row), ActualLRPInstanceCreated(now[at]))
        else:
            events.append(event := _flip(row))
            now[at] = event.after
    return events[:number]


def mix(of: Iterable[ActualLRP], wanted: Iterable[DesiredLRP], number: int, seed: int = 4) -> list[Event]:
    """Return that many events of all ten types, in order: of some 842 bytes, and 18 % of them about desired LRPs.

    A fifth of the events of rows are sent as those of groups; half of the instances that go have crashed.
    """
    rng = Random(seed)
    row_events = iter(churn(of, number, seed))
    desired = [heavy(lrp, variables=9) for lrp in wanted]
    new: list[DesiredLRP] = []
    events: list[Event] = []
    while len(events) < number:
        if rng.random() < DESIRED_SHARE:
            events.append(_desired_event(rng, desired, new))
            continue
        event = next(row_events)
        if isinstance(event, ActualLRPInstanceRemoved) and rng.random() < CRASHED_SHARE:
            events.append(_crash_of(event.actual_lrp))
        events.append(_of_group(event) if rng.random() < GROUP_SHARE else event)
    return events[:number]


DESIRED_SHARE, GROUP_SHARE, CRASHED_SHARE = 0.186, 0.2, 0.5


def _desired_event(rng: Random, desired: list[DesiredLRP], new: list[DesiredLRP]) -> Event:
    """Scale one of the desired LRPs mostly, else add one whose process has no rows, or remove such a one."""
    kind = rng.random()
    if new and kind < DESIRED_SHARE:
        return DesiredLRPRemoved(new.pop(rng.randrange(len(new))))
    if kind < 2 * DESIRED_SHARE:
        new.append(
            replace(rng.choice(desired), process_guid=f"{_guid(rng)}-{_guid(rng)}", epoch=_guid(rng), tag_index=0)
        )
        return DesiredLRPCreated(new[-1])
    at = rng.randrange(len(desired))
    before = desired[at]
    desired[at] = replace(before, instances=before.instances % 9 + 1, tag_index=before.tag_index + 1)
    return DesiredLRPChanged(before, desired[at])


def _of_group(event: Event) -> Event:
    """Return the events of the group stream for this event of the instance stream."""
    match event:
        case ActualLRPInstanceChanged(before, after):
            return ActualLRPChanged(ActualLRPGroup(before), ActualLRPGroup(after))
        case ActualLRPInstanceCreated(row):
            return ActualLRPCreated(ActualLRPGroup(row))
        case ActualLRPInstanceRemoved(row):
            return ActualLRPRemoved(ActualLRPGroup(row))
        case _:
            return event


def _claim(row: ActualLRP) -> Story:
    start = _unclaimed(row, epoch=row.epoch, tag_index=row.tag_index)
    event = _changed(start, _net_cleared(row, ActualLRPState.CLAIMED))
    return Story(start, (event,), {row.epoch: event.after})


def _start(row: ActualLRP) -> Story:
    start = _net_cleared(row, ActualLRPState.CLAIMED)
    event = _changed(start, row)
    return Story(start, (event,), {row.epoch: event.after})


def _unclaim(row: ActualLRP) -> Story:
    after = _unclaimed(row, epoch=row.epoch, tag_index=row.tag_index + 1)
    events = (_crash_of(row), ActualLRPInstanceCreated(after), ActualLRPInstanceRemoved(row))
    return Story(row, events, {row.epoch: after})


def _evacuate(row: ActualLRP) -> Story:
    # Another epoch, by the same row each time.
    epoch = row.epoch[::-1]
    moved = replace(_diff(row), epoch=epoch, tag_index=0, presence=Presence.EVACUATING)
    left = _unclaimed(row, epoch=row.epoch, tag_index=row.tag_index + 1)
    events = (ActualLRPInstanceChanged(_diff(row), moved), ActualLRPInstanceCreated(left))
    return Story(row, events, {epoch: moved, row.epoch: left})


def _crash(row: ActualLRP) -> Story:
    gone = replace(_net_cleared(row, ActualLRPState.CRASHED), crash_count=1, crash_reason="exit status 1")
    event = _changed(row, gone)
    after = replace(event.after, instance_guid="", cell_id="")
    return Story(row, (_crash_of(row), event), {row.epoch: after})


def _remove(row: ActualLRP) -> Story:
    return Story(row, (ActualLRPInstanceRemoved(row),), {row.epoch: None})


def _mark(row: ActualLRP) -> Story:
    event = _flip(row)
    return Story(row, (event,), {row.epoch: event.after})


KINDS: Final[Mapping[str, Callable[[ActualLRP], Story]]] = {
    "claim": _claim,
    "start": _start,
    "unclaim": _unclaim,
    "evacuate": _evacuate,
    "crash": _crash,
    "removed": _remove,
    "routable": _mark,
}
"""The kinds of change, each as a function from a RUNNING row to its story."""


def each_type(row: ActualLRP, desired: DesiredLRP) -> list[Event]:
    """Return one event of each of the ten types and of a crash, about this row and this desired LRP."""
    after = _flip(row).after
    one, other = ActualLRPGroup(row), ActualLRPGroup(replace(row, routable=False, tag_index=row.tag_index + 1))
    more = replace(desired, instances=desired.instances + 1, tag_index=desired.tag_index + 1)
    return [
        ActualLRPInstanceChanged(_diff(row), after),
        ActualLRPInstanceCreated(row),
        ActualLRPInstanceRemoved(row),
        ActualLRPChanged(one, other),
        ActualLRPCreated(one),
        ActualLRPRemoved(one),
        _crash_of(row),
        DesiredLRPChanged(desired, more),
        DesiredLRPCreated(desired),
        DesiredLRPRemoved(desired),
    ]


def heavy(desired: DesiredLRP, *, variables: int = 80) -> DesiredLRP:
    """Return a desired LRP with what makes it some 8 KB on the wire: environment and action, which are not kept."""
    environment = tuple(EnvironmentVariable(f"VARIABLE_{at}", "x" * 60) for at in range(variables))
    launched = RunAction(path="/lifecycle/launcher", args=("app", "", "{}"), env=environment[:20], user="vcap")
    return replace(
        desired, detail=DesiredLRPDetail(environment_variables=environment, action=Action(run_action=launched))
    )


def encoded(events: Iterable[Event]) -> list[Encoded]:
    """Return events as their types and bytes."""
    return [(event.type, encode.event(event)) for event in events]


def frames(events: Iterable[Encoded]) -> list[bytes]:
    """Return events as the frames of one connection."""
    return [encode_frame(at, kind, payload) for at, (kind, payload) in enumerate(events)]


def _changed(before: ActualLRP, after: ActualLRP) -> ActualLRPInstanceChanged:
    return ActualLRPInstanceChanged(_diff(before), replace(_diff(after), tag_index=before.tag_index + 1))


def _flip(row: ActualLRP) -> ActualLRPInstanceChanged:
    return _changed(row, replace(row, routable=not row.routable, since=row.since + 1))


def _claimed(row: ActualLRP) -> ActualLRPInstanceChanged:
    return _changed(row, replace(row, state=ActualLRPState.CLAIMED, instance_guid=row.epoch[::-1], cell_id="cell-0001"))


def _started(row: ActualLRP) -> ActualLRPInstanceChanged:
    running = replace(row, state=ActualLRPState.RUNNING, address="10.0.100.110", routable=True, since=row.since + 1)
    return _changed(row, running)


def _crash_of(row: ActualLRP) -> ActualLRPCrashed:
    return ActualLRPCrashed(
        process_guid=row.process_guid,
        index=row.index,
        domain=row.domain,
        instance_guid=row.instance_guid,
        cell_id=row.cell_id,
        crash_count=1,
        crash_reason="exit status 1",
        since=row.since,
    )


def _diff(row: ActualLRP) -> ActualLRP:
    """Return a row as a diff carries it."""
    return replace(row, internal_routes=(), metric_tags={})


def _net_cleared(row: ActualLRP, state: ActualLRPState) -> ActualLRP:
    """Return a row that does not run, but has an instance."""
    return replace(
        row,
        state=state,
        address="",
        ports=(),
        instance_address="",
        preferred_address=PreferredAddress.UNKNOWN,
        routable=None,
        availability_zone="",
    )


def _unclaimed(row: ActualLRP, *, epoch: str, tag_index: int) -> ActualLRP:
    """Return the row that waits to be placed."""
    return ActualLRP(
        process_guid=row.process_guid,
        index=row.index,
        domain=row.domain,
        since=row.since + 1,
        epoch=epoch,
        tag_index=tag_index,
        routable=False,
    )


def _guid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128)))
