"""What the tests of the simulated Diego and of the server share."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from lrpmirror.events import (
    ActualLRPCrashed,
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    Event,
)
from lrpmirror.model import EMPTY, ActualLRP, ActualLRPState, DesiredLRP, PortMapping, PreferredAddress, Presence
from lrpmirror.server import Subscription
from lrpmirror.sim import Diego, InstanceKey, NetInfo

RECORDINGS = Path(__file__).parents[2] / "shared" / "recordings"

A = InstanceKey("instance-a", "cell-a")
B = InstanceKey("instance-b", "cell-b")
C = InstanceKey("instance-c", "cell-c")

NET = NetInfo("10.0.1.1", (PortMapping(8080, 60000, 61001, 60001),), "10.255.0.1", PreferredAddress.HOST)
OTHER_NET = NetInfo("10.0.1.2", (PortMapping(8080, 60010, 61001, 60011),), "10.255.0.2", PreferredAddress.HOST)
ROUTES = ("app.apps.internal",)
TAGS = {"app_name": "a"}


def wanted(process_guid: str = "p", instances: int = 1, **fields: object) -> DesiredLRP:
    return replace(
        DesiredLRP(process_guid=process_guid, domain="cf-apps", root_fs="preloaded:x", instances=instances), **fields
    )


def diego(*cells: str, **options: object) -> Diego:
    made = Diego(seed=1, **options)  # type: ignore[arg-type]
    for cell in cells or ("cell-a", "cell-b", "cell-c"):
        made.add_cell(cell)
    made.upsert_domain("cf-apps")
    return made


def run(where: Diego, instance: InstanceKey = A, index: int = 0, net: NetInfo = NET) -> ActualLRP:
    """Let the instance run at that index of process p, from nothing or from an UNCLAIMED row."""
    if where.row("p", index) is not None:
        where.claim("p", index, instance)
    where.start(
        "p", index, instance, net, domain="cf-apps", internal_routes=ROUTES, metric_tags=TAGS, availability_zone="z1"
    )
    return row(where, index)


def row(where: Diego, index: int = 0) -> ActualLRP:
    found = where.row("p", index)
    assert found is not None
    return found


def drain(subscription: Subscription) -> list[Event]:
    return list(iter(subscription.take, None))


def types(events: Iterable[Event]) -> list[str]:
    return [event.type.removeprefix("actual_lrp_").removeprefix("instance_") for event in events]


def silent(emitted: ActualLRP) -> ActualLRP:
    """Return the row without what a `changed` of the instance stream does not carry."""
    return replace(emitted, internal_routes=(), metric_tags=EMPTY)


class Fold:
    """Rows as the instance stream tells them, in order: the epoch is the row, the index its version."""

    def __init__(self) -> None:
        self.rows: dict[str, ActualLRP] = {}

    def apply(self, event: Event) -> None:
        match event:
            case ActualLRPInstanceCreated(actual_lrp=made):
                self.rows[made.epoch] = made
            case ActualLRPInstanceChanged(before=before, after=after):
                if before.epoch != after.epoch:
                    self.rows.pop(before.epoch, None)
                self.rows[after.epoch] = after
            case ActualLRPInstanceRemoved(actual_lrp=gone):
                if self.rows[gone.epoch].tag_index == gone.tag_index:
                    del self.rows[gone.epoch]
            case ActualLRPCrashed():
                pass

    def settled(self) -> Mapping[str, ActualLRP]:
        """Return the rows by epoch, without what the events do not carry."""
        return {epoch: _carried(emitted) for epoch, emitted in self.rows.items()}


def carried(rows: Iterable[ActualLRP]) -> Mapping[str, ActualLRP]:
    """Return the server's rows by epoch, without what the events do not carry."""
    return {each.epoch: _carried(each) for each in rows}


def _carried(emitted: ActualLRP) -> ActualLRP:
    """Leave out what a `changed` omits, and the instance key of a CRASHED row, which is still the old one there."""
    if emitted.state == "CRASHED":
        emitted = replace(emitted, instance_guid="", cell_id="")
    return silent(emitted)


def recording(name: str) -> Path:
    folder = RECORDINGS / name
    if not folder.is_dir():
        pytest.skip(f"the recording {name} is not at {RECORDINGS}: only the real server's word is missing")
    return folder


def check_rows(bbs: Diego) -> None:
    """Each row has the right key, the holder its state demands, and its own epoch."""
    epochs: set[str] = set()
    for guid, rows in bbs._state.rows.items():
        assert rows, f"{guid}: an entry without rows"
        for key, row in rows.items():
            held = row.state in (ActualLRPState.CLAIMED, ActualLRPState.RUNNING)
            assert (row.process_guid, row.index, row.presence) == (guid, *key), f"{guid} {key}: filed wrongly"
            assert held == bool(InstanceKey.of(row)), f"{guid} {key}: {row.state}, by {row.instance_guid!r}"
            assert held or row.presence is Presence.ORDINARY, f"{guid} {key}: {row.state}"
            assert row.epoch not in epochs, f"{guid} {key}: the epoch {row.epoch} of another row"
            epochs.add(row.epoch)
