"""Rows and events to measure with: shaped like Cloud Foundry's, of any number, the same for the same seed."""

import base64
from collections.abc import Iterator
from random import Random
from uuid import UUID

from msgspec.structs import replace

from lrpmirror.events import ActualLRPInstanceChanged, Event
from lrpmirror.model import ActualLRP, ActualLRPState, PortMapping, PreferredAddress
from lrpmirror.wire import encode

__all__ = ["changes", "frames", "rows"]

INSTANCES = 4
"""How many instances each process has."""

CELLS = 1_000


def rows(number: int, seed: int = 1) -> Iterator[ActualLRP]:
    """Return that many RUNNING rows, four of each process, spread over a thousand cells."""
    rng = Random(seed)
    for at in range(number):
        index = at % INSTANCES
        if index == 0:
            app, version = _guid(rng), _guid(rng)
        cell = rng.randrange(CELLS)
        port = 61_000 + rng.randrange(4_000)
        yield ActualLRP(
            process_guid=f"{app}-{version}",
            index=index,
            domain="cf-apps",
            instance_guid=_guid(rng),
            cell_id=f"cell-{cell}",
            address=f"10.0.{cell >> 8}.{cell & 255}",
            ports=(PortMapping(8080, port, 61001, port + 1), PortMapping(2222, port + 2, 61002, port + 3)),
            instance_address=f"10.255.{cell >> 8}.{cell & 255}",
            preferred_address=PreferredAddress.HOST,
            state=ActualLRPState.RUNNING,
            since=1_795_000_000_000_000_000 + at,
            epoch=_guid(rng),
            tag_index=2,
            internal_routes=("app.apps.internal",),
            metric_tags={"app_name": "a", "org": "o", "space": "s"},
            routable=True,
            availability_zone="z1",
        )


def changes(of: list[ActualLRP], number: int, seed: int = 2) -> list[Event]:
    """Return that many events in order: instances that are marked not routable, and routable again."""
    rng = Random(seed)
    now = list(of)
    events: list[Event] = []
    for _ in range(number):
        at = rng.randrange(len(now))
        before = now[at]
        after = replace(before, routable=not before.routable, tag_index=before.tag_index + 1, since=before.since + 1)
        now[at] = after
        events.append(ActualLRPInstanceChanged(_diff(before), _diff(after)))
    return events


def frames(events: list[Event]) -> list[tuple[str, bytes]]:
    """Return the type and the base64 text of each event, as they come out of a stream's frames."""
    return [(event.type, base64.b64encode(encode.event(event))) for event in events]


def _diff(row: ActualLRP) -> ActualLRP:
    return replace(row, internal_routes=(), metric_tags={})


def _guid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128)))
