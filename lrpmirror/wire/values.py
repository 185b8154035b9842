"""Protobuf messages to the values of the model, in straight lines: each attribute of a message is read once.

The some thirty reads that a row takes cost more than its parsing. Empty values and enum members are shared.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from lrpmirror.errors import MalformedRecord
from lrpmirror.frozen import frozen
from lrpmirror.model import (
    EMPTY,
    ActualLRPState,
    CellCapacity,
    CellPresence,
    DesiredLRP,
    DynamicValue,
    MetricTagValue,
    PortMapping,
    PreferredAddress,
    Presence,
    Provider,
)
from lrpmirror.wire.proto import diego_pb2, events_pb2, hot_pb2
from lrpmirror.wire.text import readable

_E = TypeVar("_E", bound=Enum)
_V = TypeVar("_V")
_Desired = diego_pb2.DesiredLRP | hot_pb2.DesiredLRP


class _EnumMembers(dict[Any, _E]):
    """An enum's members by value, for one dict access each; values that have no name are made anew, and not kept."""

    def __init__(self, kind: type[_E]) -> None:
        super().__init__((member.value, member) for member in kind)
        self._kind = kind

    def __missing__(self, value: object) -> _E:
        return self._kind(value)


STATES: Final = _EnumMembers(ActualLRPState)
PRESENCES: Final = _EnumMembers(Presence)
_PREFERRED: Final = _EnumMembers(PreferredAddress)
_DYNAMIC: Final = _EnumMembers(DynamicValue)
_NO_ROUTES: Final[Mapping[str, bytes]] = frozen({})
_NO_TAGS: Final[Mapping[str, MetricTagValue]] = frozen({})


def routes_and_tags(message: diego_pb2.ActualLRP) -> dict[str, Any]:
    """Return the fields of a row that no side of a changed event has."""
    tags = message.metric_tags
    routes = message.actual_lrp_internal_routes
    return {
        "internal_routes": tuple([route.hostname for route in routes]) if routes else (),
        "metric_tags": _mapping(tags) if tags else EMPTY,
    }


def rest_of_side(info: events_pb2.ActualLRPInfo | diego_pb2.ActualLRP | hot_pb2.ActualLRP) -> tuple[Any, ...]:
    """Return what a side of a diff has of a row beyond keys, state, tag and presence, in an ActualLRP's order."""
    net = info.actual_lrp_net_info
    return (
        net.address,
        tuple(
            [
                PortMapping(
                    port.container_port, port.host_port, port.container_tls_proxy_port, port.host_tls_proxy_port
                )
                for port in net.ports
            ]
        ),
        net.instance_address,
        _PREFERRED[net.preferred_address],
        net.instance_ipv6_address,
        info.crash_count,
        info.crash_reason,
        info.placement_error,
        info.since,
        info.routable if info.HasField("routable") else None,
        info.availability_zone,
    )


def _mapping(given: Mapping[str, _V]) -> Mapping[str, _V]:
    # Half the time of dict(given), which does not know that a protobuf map is one.
    return frozen({key: given[key] for key in given})


def _routes(routes: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return _mapping(routes) if routes else _NO_ROUTES


def _metric_tags(tags: Mapping[str, diego_pb2.MetricTagValue]) -> Mapping[str, MetricTagValue]:
    found = {}
    # A quarter sooner than by items(), which is a Python function of protobuf's maps.
    for name in tags:
        tag = tags[name]
        found[name] = MetricTagValue(tag.static, _DYNAMIC[tag.dynamic])
    return frozen(found)


def desired_value(message: _Desired, what: str, make: Callable[..., DesiredLRP] = DesiredLRP) -> DesiredLRP:
    """Return the desired LRP of a record, or of the part of a record that `hot.proto` names.

    `make` is called with its fields when all of them have been read.
    """
    process_guid = message.process_guid
    if not process_guid:
        raise without(what, "process guid")
    tag = message.modification_tag
    tags = message.metric_tags
    mounts = message.volume_mounts
    return make(
        process_guid=process_guid,
        domain=message.domain,
        log_guid=message.log_guid,
        annotation=message.annotation,
        instances=message.instances,
        memory_mb=message.memory_mb,
        disk_mb=message.disk_mb,
        root_fs=message.root_fs,
        max_pids=message.max_pids,
        routes=_routes(message.routes.routes),
        volume_drivers=tuple([mount.driver for mount in mounts]) if mounts else (),
        placement_tags=tuple(message.placement_tags),
        metric_tags=_metric_tags(tags) if tags else _NO_TAGS,
        epoch=tag.epoch,
        tag_index=tag.index,
    )


def routing_value(message: hot_pb2.DesiredLRP, what: str) -> DesiredLRP:
    """Return the desired LRP of a routing info, of which nothing else is set."""
    process_guid = message.process_guid
    if not process_guid:
        raise without(what, "process guid")
    tag = message.modification_tag
    tags = message.metric_tags
    return DesiredLRP(
        process_guid=process_guid,
        domain=message.domain,
        log_guid=message.log_guid,
        instances=message.instances,
        routes=_routes(message.routes.routes),
        metric_tags=_metric_tags(tags) if tags else _NO_TAGS,
        epoch=tag.epoch,
        tag_index=tag.index,
    )


def scheduling_value(message: diego_pb2.DesiredLRPSchedulingInfo, what: str) -> DesiredLRP:
    """Return the desired LRP of a scheduling info, without what such an info lacks."""
    key = message.desired_lrp_key
    process_guid = key.process_guid
    if not process_guid:
        raise without(what, "process guid")
    resource = message.desired_lrp_resource
    tag = message.modification_tag
    return DesiredLRP(
        process_guid=process_guid,
        domain=key.domain,
        log_guid=key.log_guid,
        annotation=message.annotation,
        instances=message.instances,
        memory_mb=resource.memory_mb,
        disk_mb=resource.disk_mb,
        root_fs=resource.root_fs,
        max_pids=resource.max_pids,
        routes=_routes(message.routes.routes),
        volume_drivers=tuple(message.volume_placement.driver_names),
        placement_tags=tuple(message.placement_tags),
        epoch=tag.epoch,
        tag_index=tag.index,
    )


def cell_value(message: diego_pb2.CellPresence, what: str) -> CellPresence:
    """Return a cell."""
    if not message.cell_id:
        raise without(what, "cell id")
    capacity = None
    if message.HasField("capacity"):
        given = message.capacity
        capacity = CellCapacity(given.memory_mb, given.disk_mb, given.containers)
    annotations = message.annotations
    return CellPresence(
        cell_id=message.cell_id,
        rep_address=message.rep_address,
        zone=message.zone,
        capacity=capacity,
        rootfs_providers=tuple([Provider(p.name, tuple(p.properties)) for p in message.rootfs_providers]),
        placement_tags=tuple(message.placement_tags),
        optional_placement_tags=tuple(message.optional_placement_tags),
        rep_url=message.rep_url,
        annotations=_mapping(annotations) if annotations else EMPTY,
    )


def without(what: str, missing: str) -> MalformedRecord:
    """Return the error for a record of the kind `what` that lacks what every such record has."""
    return MalformedRecord(f"a record of the kind {what!r} has no {missing}")


def readable_record(kind: type[Message], record: bytes, what: str) -> bytes:
    """Return a record that cannot be parsed as one that can, where only its texts are not UTF-8.

    Raises MalformedRecord where anything else is wrong: then it is no record of the kind `what`.
    """
    try:
        return readable(kind, record)
    except DecodeError as exc:
        raise MalformedRecord(f"{len(record)} bytes are no protobuf record of the kind {what!r}") from exc
