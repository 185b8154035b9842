"""Any world for the laws of views: what can happen to a server, and what follows of it."""

from collections.abc import Mapping
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace
from views_support import desired, running

from lrpmirror.core.derived.derive import Derivation, Process, View
from lrpmirror.events import (
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, PortMapping, PreferredAddress, Presence


def laws(examples: int) -> settings:
    return settings(derandomize=True, deadline=None, max_examples=examples, database=None, print_blob=False)


class PutRow(Struct, frozen=True):
    guid: str
    index: int
    presence: Presence
    state: ActualLRPState
    port: int
    cell_id: str
    routable: bool | None
    preferred: PreferredAddress
    trouble: str


class TouchRow(Struct, frozen=True):
    """A write that changes nothing but when it was, which a router need not know."""

    guid: str
    index: int
    presence: Presence


class DropRow(Struct, frozen=True):
    guid: str
    index: int
    presence: Presence


class Desire(Struct, frozen=True):
    guid: str
    instances: int
    names: tuple[str, ...]
    domain: str


class Undesire(Struct, frozen=True):
    guid: str
    notified: bool
    """Whether an event says so, or only the next list."""


class List(Struct, frozen=True):
    domains: frozenset[str]
    cells: frozenset[str]


class Read(Struct, frozen=True):
    guid: str


guids = st.sampled_from(["p", "q", "r"])
few = st.integers(0, 2)
names = st.sampled_from(["a", "b", "c"])
slots = {"guid": st.sampled_from(["p", "p", "q", "r"]), "index": few, "presence": st.sampled_from(Presence)}
operations = st.one_of(
    st.builds(
        PutRow,
        **slots,
        state=st.sampled_from([ActualLRPState.RUNNING, ActualLRPState.RUNNING, *ActualLRPState]),
        port=few,
        cell_id=st.sampled_from(["one", "two"]),
        routable=st.sampled_from([True, None, False]),
        preferred=st.sampled_from(PreferredAddress),
        trouble=st.sampled_from(["", "", "trouble"]),
    ),
    st.builds(TouchRow, **slots),
    st.builds(DropRow, **slots),
    st.builds(
        Desire,
        guid=guids,
        instances=few,
        names=st.lists(names, max_size=2).map(tuple),
        domain=st.sampled_from(["apps", "tasks"]),
    ),
    st.builds(Undesire, guid=guids, notified=st.booleans()),
    st.builds(
        List,
        domains=st.frozensets(st.sampled_from(["apps", "tasks"])),
        cells=st.frozensets(st.sampled_from(["one", "two"])),
    ),
    st.builds(Read, guid=guids),
)


class World:
    """The rows and desired LRPs of a server, and the event that each operation makes it send."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int, Presence], ActualLRP] = {}
        self.lrps: dict[str, DesiredLRP] = {"p": desired("p", 3, http=["a"], internal=["a"], epoch="first")}
        self._made = 0

    def apply(self, operation: Any) -> Event | None:
        match operation:
            case PutRow(guid=guid, index=index, presence=presence):
                slot = (guid, index, presence)
                self.rows[slot] = self._row(operation, self.rows.get(slot))
                return ActualLRPInstanceCreated(self.rows[slot])
            case TouchRow(guid=guid, index=index, presence=presence):
                before = self.rows.get((guid, index, presence))
                return None if before is None else self._touch(before)
            case DropRow(guid=guid, index=index, presence=presence):
                row = self.rows.pop((guid, index, presence), None)
                return None if row is None else ActualLRPInstanceRemoved(row)
            case Desire(guid=guid):
                was = self.lrps.get(guid)
                self.lrps[guid] = now = self._desired(operation, was)
                return DesiredLRPCreated(now) if was is None else DesiredLRPChanged(was, now)
            case Undesire(guid=guid, notified=notified):
                lrp = self.lrps.pop(guid, None)
                return None if lrp is None or not notified else DesiredLRPRemoved(lrp)
        return None

    def _touch(self, row: ActualLRP) -> Event:
        self._made += 1
        touched = replace(row, tag_index=row.tag_index + 1, since=self._made)
        self.rows[row.process_guid, row.index, row.presence] = touched
        return ActualLRPInstanceCreated(touched)

    def _row(self, one: PutRow, before: ActualLRP | None) -> ActualLRP:
        self._made += 1
        return running(
            one.guid,
            one.index,
            presence=one.presence,
            state=one.state,
            # Instances keep their guid while they move from one presence to another.
            cell_id=one.cell_id,
            ports=(PortMapping(8080, one.port, 61443, 2 * one.port),),
            routable=one.routable,
            preferred_address=one.preferred,
            placement_error=one.trouble,
            crash_count=len(one.trouble),
            since=self._made,
            epoch=f"row-{self._made}" if before is None else before.epoch,
            tag_index=0 if before is None else before.tag_index + 1,
        )

    def _desired(self, one: Desire, before: DesiredLRP | None) -> DesiredLRP:
        self._made += 1
        return desired(
            one.guid,
            one.instances,
            http=one.names,
            tcp=[{"router_group_guid": "rg", "external_port": 1, "container_port": 8080} for _ in one.names],
            internal=one.names,
            memory_mb=10 * one.instances,
            domain=one.domain,
            epoch=f"desired-{self._made}" if before is None else before.epoch,
            tag_index=0 if before is None else before.tag_index + 1,
        )


def published(derivation: Derivation[Any, Any, Any]) -> dict[Any, Any]:
    return {key: derivation.published(key) for key in derivation.values}


def put(table: dict[Any, Any], key: Any, value: Any) -> None:
    if value is None:
        table.pop(key)
    else:
        table[key] = value


class ByFreshness(View[tuple[str, bool], int, int]):
    """How many processes of each domain, by whether it is fresh."""

    follows_domains = True

    def derive(self, process: Process) -> Mapping[tuple[str, bool], int]:
        domain = process.routed.domain if process.routed is not None else process.rows[0].domain
        return {(domain, process.domain_fresh): 1}

    def combine(self, key: tuple[str, bool], contributions: Mapping[str, int]) -> int:  # noqa: ARG002
        return sum(contributions.values())
