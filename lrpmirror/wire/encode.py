"""The values of the model to protobuf bytes: the exact inverse of `lrpmirror.wire.decode`.

A BBS writes some fields even when they are empty (keys, net info, modification tag, routes); so does this module, so a
record that was decoded and encoded again has its first bytes, but for the order of map entries, which is that of their
keys. (Setting a field of a message, even to its default, makes that message present.) Every function raises
MalformedRecord for a value that its field cannot hold, such as an index beyond 32 bits.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, cast, get_args

from google.protobuf.message import EncodeError, Message
from msgspec.structs import fields

from lrpmirror.errors import MalformedRecord
from lrpmirror.events import ActualLRPCrashed, ActualLRPInstanceChanged, Event, UnknownEvent, UnreadableEvent
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.wire.lazy import fill_undecoded
from lrpmirror.wire.lazydesired import rest_of
from lrpmirror.wire.proto import diego_pb2, events_pb2, requests_pb2
from lrpmirror.wire.text import varint
from lrpmirror.wire.whole import fill_detail

_M = TypeVar("_M", bound=Message)
_V = TypeVar("_V")


def actual_lrp(row: ActualLRP) -> bytes:
    """Encode a row as a `models.ActualLRP`. Cost: about 7 µs for one from the wire, which is left unread; else 15."""
    return _bytes(_row, diego_pb2.ActualLRP(), row)


def actual_lrp_group(group: ActualLRPGroup) -> bytes:
    """Encode a `models.ActualLRPGroup`."""
    return _bytes(_group, diego_pb2.ActualLRPGroup(), group)


def desired_lrp(desired: DesiredLRP) -> bytes:
    """Encode a `models.DesiredLRP`, with its `detail` where there is one.

    The record has no volume drivers of its own: they are its volume mounts', which are those of `detail`, or without it
    one mount for each driver, with nothing else in it.
    """
    return _bytes(_desired, diego_pb2.DesiredLRP(), desired)


def scheduling_info(desired: DesiredLRP) -> bytes:
    """Encode the scheduling part as a `models.DesiredLRPSchedulingInfo`; it has no metric tags."""
    return _bytes(_scheduling_info, diego_pb2.DesiredLRPSchedulingInfo(), desired)


def routing_info(desired: DesiredLRP) -> bytes:
    """Encode the routing part: a `models.DesiredLRP` with key, instances, routes, metric tags and modification tag."""
    return _bytes(_routing_info, diego_pb2.DesiredLRP(), desired)


def cell_presence(cell: CellPresence) -> bytes:
    """Encode a `models.CellPresence`."""
    return _bytes(_cell, diego_pb2.CellPresence(), cell)


def domain(name: str) -> bytes:
    """Encode a domain's name."""
    try:
        return name.encode()
    except UnicodeEncodeError as exc:
        raise MalformedRecord("a domain's name is no text that UTF-8 can hold") from exc


def event(event: Event) -> bytes:
    """Encode an event's payload.

    An ActualLRPInstanceChanged carries one instance key for both sides: that of `after`, or of `before` where the write
    took it away, as a crash does. Its rows' internal routes and metric tags are not on the wire. An UnreadableEvent is
    no bytes, under its `name`.
    """
    if isinstance(event, UnknownEvent):
        return event.data
    if isinstance(event, UnreadableEvent):
        return b""
    kind = type(event)
    return _bytes(_OTHERS.get(kind, _records), EVENTS[kind](), event)


def event_name(event: Event) -> str:
    """Return the type that an event has on the wire."""
    return event.name if isinstance(event, UnreadableEvent) else event.type


def reply(records: Iterable[bytes], *, record_field: int = 2) -> bytes:
    """Return a reply's body with these records; it is empty for none, as a BBS's is.

    `record_field` is the field's number, 1 to 15. Cost: linear in the bytes.
    """
    tag = bytes([record_field << 3 | 2])
    return b"".join([part for record in records for part in (tag, varint(len(record)), record)])


def error_reply(type: str, message: str) -> bytes:  # noqa: A002 - the protocol's own name for it
    """Return a reply's body that holds an error; `type` as RequestRefused has it: a name, or a newer one's number."""
    return _bytes(_error_reply, requests_pb2.ActualLRPLifecycleResponse(), (type, message))


def _bytes(fill: Callable[[_M, _V], None], message: _M, value: _V) -> bytes:
    try:
        fill(message, value)
        return message.SerializeToString(deterministic=True)
    except (ValueError, TypeError, EncodeError) as exc:
        raise MalformedRecord(f"a value cannot be written as {message.DESCRIPTOR.name}: {exc}") from exc


def _error_reply(message: requests_pb2.ActualLRPLifecycleResponse, error: tuple[str, str]) -> None:
    name, text = error
    number = name if name.lstrip("-").isdecimal() else diego_pb2.Error.Type.Value(name)
    message.error.type = cast("diego_pb2.Error.Type", int(number))
    message.error.message = text


def _row(message: diego_pb2.ActualLRP, row: ActualLRP) -> None:
    filled = fill_undecoded(message, row)
    _key(message.actual_lrp_key, row)
    _instance_key(message.actual_lrp_instance_key, row)
    _state(message, row)
    if filled:
        message.actual_lrp_net_info.SetInParent()
        return
    # With its fields at hand: a row from the wire looks up each of them.
    _rest(message, row.decoded())
    for hostname in row.internal_routes:
        message.actual_lrp_internal_routes.add(hostname=hostname)
    tags = message.metric_tags
    # `update` is a Python function, which takes a quarter of the time.
    for name, value in row.metric_tags.items():
        tags[name] = value


def _key(message: diego_pb2.ActualLRPKey, row: ActualLRP | ActualLRPCrashed) -> None:
    message.process_guid = row.process_guid
    message.index = row.index
    message.domain = row.domain


def _instance_key(message: diego_pb2.ActualLRPInstanceKey, row: ActualLRP | ActualLRPCrashed) -> None:
    message.instance_guid = row.instance_guid
    message.cell_id = row.cell_id


def _state(message: diego_pb2.ActualLRP | events_pb2.ActualLRPInfo, row: ActualLRP) -> None:
    """Set what decides about a row, in a record and in an instance event's info alike."""
    message.state = row.state
    _tag(message.modification_tag, row)
    message.presence = cast("diego_pb2.ActualLRP.Presence", row.presence)


def _rest(message: diego_pb2.ActualLRP | events_pb2.ActualLRPInfo, row: ActualLRP) -> None:
    """Set what else both have."""
    net = message.actual_lrp_net_info
    net.address = row.address
    for port in row.ports:
        net.ports.add(
            container_port=port.container_port,
            host_port=port.host_port,
            container_tls_proxy_port=port.container_tls_proxy_port,
            host_tls_proxy_port=port.host_tls_proxy_port,
        )
    net.instance_address = row.instance_address
    net.preferred_address = cast("diego_pb2.ActualLRPNetInfo.PreferredAddress", row.preferred_address)
    net.instance_ipv6_address = row.instance_ipv6_address
    message.crash_count = row.crash_count
    message.crash_reason = row.crash_reason
    message.placement_error = row.placement_error
    message.since = row.since
    if row.routable is not None:
        message.routable = row.routable
    message.availability_zone = row.availability_zone


def _tag(message: diego_pb2.ModificationTag, record: ActualLRP | DesiredLRP) -> None:
    message.epoch = record.epoch
    message.index = record.tag_index


def _group(message: diego_pb2.ActualLRPGroup, group: ActualLRPGroup) -> None:
    if group.instance is not None:
        _row(message.instance, group.instance)
    if group.evacuating is not None:
        _row(message.evacuating, group.evacuating)


def _desired(message: diego_pb2.DesiredLRP, desired: DesiredLRP) -> None:
    _routing_info(message, desired)
    message.annotation = desired.annotation
    message.memory_mb = desired.memory_mb
    message.disk_mb = desired.disk_mb
    message.root_fs = desired.root_fs
    message.max_pids = desired.max_pids
    message.placement_tags.extend(desired.placement_tags)
    rest = rest_of(desired)
    if rest is not None:
        message.MergeFromString(rest)
        return
    if desired.detail is not None:
        fill_detail(message, desired.detail)
        return
    for driver in desired.volume_drivers:
        message.volume_mounts.add(driver=driver)


def _routing_info(message: diego_pb2.DesiredLRP, desired: DesiredLRP) -> None:
    message.process_guid = desired.process_guid
    message.domain = desired.domain
    message.log_guid = desired.log_guid
    message.instances = desired.instances
    _routes(message.routes, desired)
    _tag(message.modification_tag, desired)
    for name, value in desired.metric_tags.items():
        target = message.metric_tags[name]
        target.static = value.static
        target.dynamic = cast("diego_pb2.MetricTagValue.DynamicValue", value.dynamic)


def _routes(message: diego_pb2.ProtoRoutes, desired: DesiredLRP) -> None:
    message.SetInParent()
    message.routes.update(desired.routes)


def _scheduling_info(message: diego_pb2.DesiredLRPSchedulingInfo, desired: DesiredLRP) -> None:
    key = message.desired_lrp_key
    key.process_guid = desired.process_guid
    key.domain = desired.domain
    key.log_guid = desired.log_guid
    message.annotation = desired.annotation
    message.instances = desired.instances
    resource = message.desired_lrp_resource
    resource.memory_mb = desired.memory_mb
    resource.disk_mb = desired.disk_mb
    resource.root_fs = desired.root_fs
    resource.max_pids = desired.max_pids
    _routes(message.routes, desired)
    _tag(message.modification_tag, desired)
    message.volume_placement.SetInParent()
    message.volume_placement.driver_names.extend(desired.volume_drivers)
    message.placement_tags.extend(desired.placement_tags)


def _cell(message: diego_pb2.CellPresence, cell: CellPresence) -> None:
    message.cell_id = cell.cell_id
    message.rep_address = cell.rep_address
    message.zone = cell.zone
    if cell.capacity is not None:
        capacity = message.capacity
        capacity.memory_mb = cell.capacity.memory_mb
        capacity.disk_mb = cell.capacity.disk_mb
        capacity.containers = cell.capacity.containers
    for provider in cell.rootfs_providers:
        message.rootfs_providers.add(name=provider.name, properties=provider.properties)
    message.placement_tags.extend(cell.placement_tags)
    message.optional_placement_tags.extend(cell.optional_placement_tags)
    message.rep_url = cell.rep_url
    message.annotations.update(cell.annotations)


def _row_changed(message: events_pb2.ActualLRPInstanceChangedEvent, event: ActualLRPInstanceChanged) -> None:
    before, after = event.before, event.after
    _key(message.actual_lrp_key, after)
    _instance_key(message.actual_lrp_instance_key, after if after.instance_guid or after.cell_id else before)
    for info, row in ((message.before, before), (message.after, after)):
        _state(info, row)
        _rest(info, row)
    message.trace_id = event.trace_id


def _crashed(message: events_pb2.ActualLRPCrashedEvent, event: ActualLRPCrashed) -> None:
    _key(message.actual_lrp_key, event)
    _instance_key(message.actual_lrp_instance_key, event)
    message.crash_count = event.crash_count
    message.crash_reason = event.crash_reason
    message.since = event.since


def _records(message: Any, event: Any) -> None:
    """Fill the message of an event that is one or two whole records, of either stream."""
    kind = type(event)
    for name, fill in _RECORDS[kind]:
        fill(getattr(message, name), getattr(event, name))
    if kind in _TRACED:
        message.trace_id = event.trace_id


EVENTS: Final[Mapping[type[Event], type[Message]]] = {
    kind: getattr(events_pb2, f"{kind.__name__}Event")
    for kind in get_args(Event)
    if kind not in {UnknownEvent, UnreadableEvent}
}
"""The message of each event that has one: it has the event's name."""

_KINDS: Final[Mapping[Any, Callable[[Any, Any], None]]] = {
    ActualLRP: _row,
    ActualLRPGroup: _group,
    DesiredLRP: _desired,
}
_RECORDS: Final = {
    kind: [(field.name, _KINDS[field.type]) for field in fields(kind) if field.type in _KINDS] for kind in EVENTS
}
_TRACED: Final = frozenset(kind for kind in EVENTS if "trace_id" in kind.__struct_fields__)
_OTHERS: Final[Mapping[type[Event], Callable[[Any, Any], None]]] = {
    ActualLRPInstanceChanged: _row_changed,
    ActualLRPCrashed: _crashed,
}
