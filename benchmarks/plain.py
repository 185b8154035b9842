"""The plain way, as a programmer writes it who has a BBS's protobuf schema: whole messages to Structs, in one dict.

It knows neither versions that arrive late nor what a diff leaves out, keeps no index and has no subscribers.
"""

import base64
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from lrpmirror.wire.proto import diego_pb2, events_pb2, requests_pb2

__all__ = ["Desired", "Port", "Row", "apply", "change", "desired_of", "row_of", "table_of"]


class Port(Struct, frozen=True):
    """One port of an instance."""

    container_port: int
    host_port: int
    container_tls_proxy_port: int
    host_tls_proxy_port: int


class Row(Struct, frozen=True):
    """An actual LRP."""

    process_guid: str
    index: int
    domain: str
    instance_guid: str
    cell_id: str
    address: str
    ports: tuple[Port, ...]
    instance_address: str
    preferred_address: int
    crash_count: int
    crash_reason: str
    state: str
    placement_error: str
    since: int
    epoch: str
    tag_index: int
    presence: int
    internal_routes: tuple[str, ...]
    metric_tags: dict[str, str]
    routable: bool | None
    availability_zone: str


class Desired(Struct, frozen=True):
    """The scheduling part of a desired LRP."""

    process_guid: str
    domain: str
    log_guid: str
    annotation: str
    instances: int
    memory_mb: int
    disk_mb: int
    root_fs: str
    max_pids: int
    routes: dict[str, bytes]
    epoch: str
    tag_index: int


def desired_of(body: bytes) -> dict[str, Desired]:
    """Return a list's desired LRPs by process guid, in the same way."""
    reply = requests_pb2.DesiredLRPSchedulingInfosResponse.FromString(body)
    return {
        info.desired_lrp_key.process_guid: Desired(
            process_guid=info.desired_lrp_key.process_guid,
            domain=info.desired_lrp_key.domain,
            log_guid=info.desired_lrp_key.log_guid,
            annotation=info.annotation,
            instances=info.instances,
            memory_mb=info.desired_lrp_resource.memory_mb,
            disk_mb=info.desired_lrp_resource.disk_mb,
            root_fs=info.desired_lrp_resource.root_fs,
            max_pids=info.desired_lrp_resource.max_pids,
            routes=dict(info.routes.routes),
            epoch=info.modification_tag.epoch,
            tag_index=info.modification_tag.index,
        )
        for info in reply.desired_lrp_scheduling_infos
    }


def table_of(body: bytes) -> dict[str, Row]:
    """Return a list's rows by epoch: one parse of the whole body, one Struct for each row, one dict."""
    reply = requests_pb2.ActualLRPsResponse.FromString(body)
    return {row.epoch: row for row in map(row_of, reply.actual_lrps)}


def row_of(message: diego_pb2.ActualLRP) -> Row:
    """Return a row of a list, or of an event that carries a whole one."""
    return _row(
        message,
        message.actual_lrp_key,
        message.actual_lrp_instance_key,
        tuple(route.hostname for route in message.actual_lrp_internal_routes),
        dict(message.metric_tags),
    )


def change(kind: str, data: str | bytes) -> tuple[str, Row | Desired | None]:
    """Return the epoch and the row that an event tells of, or the process guid and the desired LRP.

    None where it is gone, and where there was nothing: of a crash the events around it tell.
    """
    payload = base64.b64decode(data)
    if kind == "actual_lrp_instance_changed":
        changed = events_pb2.ActualLRPInstanceChangedEvent.FromString(payload)
        row = _row(changed.after, changed.actual_lrp_key, changed.actual_lrp_instance_key, (), {})
        return row.epoch, row
    message = _EVENTS[kind].FromString(payload)
    if kind == "actual_lrp_crashed":
        return "", None
    if kind.startswith("desired_lrp"):
        lrp = _desired(message.after if kind.endswith("changed") else message.desired_lrp)
        return lrp.process_guid, None if kind.endswith("removed") else lrp
    if kind.startswith("actual_lrp_instance"):
        row = row_of(message.actual_lrp)
    else:
        row = row_of((message.after if kind.endswith("changed") else message.actual_lrp_group).instance)
    return row.epoch, None if kind.endswith("removed") else row


def apply(table: dict[str, Row | Desired], kind: str, data: str | bytes) -> None:
    """Apply an event to a table."""
    key, value = change(kind, data)
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


_EVENTS: Mapping[str, Any] = {
    "actual_lrp_instance_created": events_pb2.ActualLRPInstanceCreatedEvent,
    "actual_lrp_instance_removed": events_pb2.ActualLRPInstanceRemovedEvent,
    "actual_lrp_crashed": events_pb2.ActualLRPCrashedEvent,
    "actual_lrp_changed": events_pb2.ActualLRPChangedEvent,
    "actual_lrp_created": events_pb2.ActualLRPCreatedEvent,
    "actual_lrp_removed": events_pb2.ActualLRPRemovedEvent,
    "desired_lrp_changed": events_pb2.DesiredLRPChangedEvent,
    "desired_lrp_created": events_pb2.DesiredLRPCreatedEvent,
    "desired_lrp_removed": events_pb2.DesiredLRPRemovedEvent,
}


def _desired(message: diego_pb2.DesiredLRP) -> Desired:
    return Desired(
        process_guid=message.process_guid,
        domain=message.domain,
        log_guid=message.log_guid,
        annotation=message.annotation,
        instances=message.instances,
        memory_mb=message.memory_mb,
        disk_mb=message.disk_mb,
        root_fs=message.root_fs,
        max_pids=message.max_pids,
        routes=dict(message.routes.routes),
        epoch=message.modification_tag.epoch,
        tag_index=message.modification_tag.index,
    )


def _row(
    message: Any, key: Any, instance_key: Any, internal_routes: tuple[str, ...], metric_tags: Mapping[str, str]
) -> Row:
    net = message.actual_lrp_net_info
    return Row(
        process_guid=key.process_guid,
        index=key.index,
        domain=key.domain,
        instance_guid=instance_key.instance_guid,
        cell_id=instance_key.cell_id,
        address=net.address,
        ports=tuple(
            Port(port.container_port, port.host_port, port.container_tls_proxy_port, port.host_tls_proxy_port)
            for port in net.ports
        ),
        instance_address=net.instance_address,
        preferred_address=net.preferred_address,
        crash_count=message.crash_count,
        crash_reason=message.crash_reason,
        state=message.state,
        placement_error=message.placement_error,
        since=message.since,
        epoch=message.modification_tag.epoch,
        tag_index=message.modification_tag.index,
        presence=message.presence,
        internal_routes=internal_routes,
        metric_tags=dict(metric_tags),
        routable=message.routable if message.HasField("routable") else None,
        availability_zone=message.availability_zone,
    )
