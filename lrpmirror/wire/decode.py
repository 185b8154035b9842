"""Protobuf bytes to the values of the model.

Every function takes the bytes of one record, as `ReplySplitter` gives them, or one event's base64 text, as
`EventStreamDecoder` gives it, and raises MalformedRecord for bytes that are no such record; the message names the kind
of record, never its content. As protobuf has it, fields that the schema does not name are skipped, and a field in
another wire type than the schema's is one of them. A text that is not UTF-8 is no fault of its record: see `text`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from google.protobuf.message import DecodeError, Message
from msgspec.structs import replace

from lrpmirror.errors import MalformedRecord
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
    UnknownEvent,
    UnreadableEvent,
)
from lrpmirror.model import LONG_TEXT, ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP, stored_bytes
from lrpmirror.wire.lazy import eager, lazy_change, lazy_group, lazy_record, lazy_row
from lrpmirror.wire.lazydesired import lazy_desired
from lrpmirror.wire.proto import diego_pb2, events_pb2, hot_pb2
from lrpmirror.wire.text import from_utf8, rewritten
from lrpmirror.wire.values import cell_value, desired_value, readable_record, routing_value, scheduling_value, without

_M = TypeVar("_M", bound=Message)
_Texts = diego_pb2.ActualLRP | events_pb2.ActualLRPInfo

_CUT: Final = frozenset({"crash_reason", "placement_error"})
_LONGEST_NAME: Final = 200
"""Characters that are kept of the name of an event that is not known."""

_MAY_BE_LONG: Final = LONG_TEXT // 4
"""Characters that a text of so many bytes has at least."""


def actual_lrp(record: bytes) -> ActualLRP:
    """Decode a `models.ActualLRP`, in two steps: see `lazy`."""
    return lazy_record(record, "actual LRP")


def actual_lrp_group(record: bytes) -> ActualLRPGroup:
    """Decode a `models.ActualLRPGroup`; one with neither slot filled is malformed."""
    return lazy_group(_parse(diego_pb2.ActualLRPGroup, record, "actual LRP group"), "actual LRP group")


def desired_lrp(record: bytes, *, full: bool = False) -> DesiredLRP:
    """Decode a `models.DesiredLRP`, also one that holds the routing part only; `full`: with its `detail`.

    Cost: about 10 µs, and 40 more when a `detail` is asked for.
    """
    if full:
        return lazy_desired(_parse(diego_pb2.DesiredLRP, record, "desired LRP"), "desired LRP")
    return desired_value(_parse(hot_pb2.DesiredLRP, record, "desired LRP"), "desired LRP")


def scheduling_info(record: bytes) -> DesiredLRP:
    """Decode a `models.DesiredLRPSchedulingInfo`: a desired LRP without metric tags and without `detail`."""
    what = "scheduling info"
    return scheduling_value(_parse(diego_pb2.DesiredLRPSchedulingInfo, record, what), what)


def routing_info(record: bytes) -> DesiredLRP:
    """Decode a routing part, in a fifth less time than `desired_lrp` does: of the record nothing else is read."""
    return routing_value(_parse(hot_pb2.DesiredLRP, record, "routing info"), "routing info")


def cell_presence(record: bytes) -> CellPresence:
    """Decode a `models.CellPresence`."""
    return cell_value(_parse(diego_pb2.CellPresence, record, "cell presence"), "cell presence")


def domain(record: bytes) -> str:
    """Decode a domain's name, which is a record that is text."""
    return from_utf8(record)


def event(type: str, data: bytes, *, full: bool = False) -> Event:  # noqa: A002 - the protocol's own name for it
    """Decode an event from its name and its base64 text; `full`: desired LRPs with their `detail`.

    An event of a type that has no name here is an UnknownEvent with its undecoded payload: empty, where the text is not
    base64, since a newer server may send anything. Cost: about 10 µs for an event of one or two rows, without
    what `lazy` reads later; twice that for two rows on the group stream.
    """
    decoder = (_FULL_EVENTS if full else _EVENTS).get(type)
    if decoder is None:
        try:
            return _unknown(type, _payload(data, type))
        except MalformedRecord:
            return _unknown(type)
    return decoder(_payload(data, type))


def _unknown(type: str, payload: bytes = b"") -> UnknownEvent:  # noqa: A002 - as above
    # Events are counted by their names, which outlive them.
    return UnknownEvent(type if len(type) <= _LONGEST_NAME else type[:_LONGEST_NAME] + "…", payload)


def event_payload(type: str, payload: bytes, *, full: bool = False) -> Event:  # noqa: A002 - as above
    """Decode an event from its name and its protobuf bytes, as `event` does from base64 text."""
    decoder = (_FULL_EVENTS if full else _EVENTS).get(type)
    return _unknown(type, payload) if decoder is None else decoder(payload)


def stream_event(type: str, data: bytes, *, full: bool = False) -> Event:  # noqa: A002 - as above
    """Decode an event of a stream, as `event` does, but return an UnreadableEvent where `event` would raise."""
    try:
        return event(type, data, full=full)
    except MalformedRecord as exc:
        return UnreadableEvent(type, len(data), str(exc) if data else "its data is empty")


def events(frames: Sequence[tuple[str, bytes]], *, full: bool = False) -> list[Event]:
    """Decode the events of a burst, each given as its name and its base64 text, as `stream_event` does one by one."""
    # One event, which is what most reads bring at a quiet time, is decoded sooner as it is.
    payloads = _payloads([text for _, text in frames]) if len(frames) > 1 else None
    if payloads is not None:
        decoders = _FULL_EVENTS if full else _EVENTS
        out: list[Event] = []
        try:
            for (name, _), payload in zip(frames, payloads, strict=True):
                decoder = decoders.get(name)
                out.append(_unknown(name, payload) if decoder is None else decoder(payload))
        except MalformedRecord:
            pass
        else:
            return out
    return [stream_event(name, text, full=full) for name, text in frames]


def is_base64(data: bytes) -> bool:
    """Return whether the data of an event is base64 text. O(bytes)."""
    return _payloads([data]) is not None


_decode_base64: Final = msgspec.json.Decoder(bytes).decode
_decode_base64_texts: Final = msgspec.json.Decoder(list[bytes]).decode


def _payloads(texts: list[bytes]) -> list[bytes] | None:
    """Decode many base64 texts, in a third of the time that one by one takes; None where one is not base64."""
    joined = b'","'.join(texts)
    if b"\\" in joined:
        return None
    try:
        payloads = _decode_base64_texts(b'["%b"]' % joined)
    except msgspec.MsgspecError:
        return None
    # A quotation mark in a text could only end in another number of strings.
    return payloads if len(payloads) == len(texts) else None


def _payload(data: bytes, what: str) -> bytes:
    # Read as a JSON string, because msgspec's base64 takes half the time of binascii's. JSON's escapes, which would
    # come with it, are no base64.
    try:
        return _decode_base64(b'"%b"' % (data if b"\\" not in data else b"\\"))
    except msgspec.MsgspecError as exc:
        raise MalformedRecord(f"the data of the event {what!r} is not base64") from exc


def _parse(kind: type[_M], record: bytes, what: str) -> _M:
    try:
        return kind.FromString(record)
    except DecodeError:
        return kind.FromString(readable_record(kind, record, what))


def _stored_payload(kind: type[Message], payload: bytes, row: _Texts) -> bytes | None:
    """Return an event's payload with long texts cut as the server stores them; None if that is the same.

    Of a row, which is one in the event, long texts are cut when it is stored, and not in the event of that write. They
    are cut by bytes: so it is done to the bytes that came, before they are made text.
    """
    if not _may_be_long(row):
        return None
    try:
        stored = rewritten(kind, payload, _cut)
    except DecodeError:
        # A field that the schema does not name, of a wire type that none has.
        return None
    return None if stored == payload else stored


def _may_be_long(row: _Texts) -> bool:
    return len(row.crash_reason) >= _MAY_BE_LONG or len(row.placement_error) >= _MAY_BE_LONG


def _cut(name: str, text: bytes) -> bytes:
    return stored_bytes(text) if name in _CUT else text


_CHANGED: Final = ActualLRPInstanceChanged.type
_parse_changed: Final = events_pb2.ActualLRPInstanceChangedEvent.FromString


def _row_created(payload: bytes) -> Event:
    what, kind = ActualLRPInstanceCreated.type, events_pb2.ActualLRPInstanceCreatedEvent
    message = _parse(kind, payload, what)
    row = lazy_row(message.actual_lrp, what)
    if len(payload) >= LONG_TEXT:
        stored = _stored_payload(kind, payload, message.actual_lrp)
        if stored is not None:
            row = replace(row, stored=lazy_row(_parse(kind, stored, what).actual_lrp, what))
    return ActualLRPInstanceCreated(row, message.trace_id)


def _row_removed(payload: bytes) -> Event:
    what = ActualLRPInstanceRemoved.type
    message = _parse(events_pb2.ActualLRPInstanceRemovedEvent, payload, what)
    return ActualLRPInstanceRemoved(lazy_row(message.actual_lrp, what), message.trace_id)


def _row_changed(payload: bytes) -> ActualLRPInstanceChanged:
    source = payload
    try:
        message = _parse_changed(payload)
    except DecodeError:
        # The rows keep it to read the rest of it later, so it has to be one that can be read.
        source = readable_record(events_pb2.ActualLRPInstanceChangedEvent, payload, _CHANGED)
        message = _parse_changed(source)
    before, after = lazy_change(source, message, _CHANGED)
    if len(payload) >= LONG_TEXT:
        stored = _stored_payload(events_pb2.ActualLRPInstanceChangedEvent, payload, message.after)
        if stored is not None:
            after = replace(after, stored=_row_changed(stored).after)
    return ActualLRPInstanceChanged(before, after, message.trace_id)


def _group_created(payload: bytes) -> Event:
    what = ActualLRPCreated.type
    message = _parse(events_pb2.ActualLRPCreatedEvent, payload, what)
    return ActualLRPCreated(_group(message.actual_lrp_group, payload, what))


def _group_changed(payload: bytes) -> Event:
    what = ActualLRPChanged.type
    message = _parse(events_pb2.ActualLRPChangedEvent, payload, what)
    return ActualLRPChanged(_group(message.before, payload, what), _group(message.after, payload, what))


def _group_removed(payload: bytes) -> Event:
    what = ActualLRPRemoved.type
    message = _parse(events_pb2.ActualLRPRemovedEvent, payload, what)
    return ActualLRPRemoved(_group(message.actual_lrp_group, payload, what))


def _group(message: diego_pb2.ActualLRPGroup, payload: bytes, what: str) -> ActualLRPGroup:
    """Return the group of an event; its rows are read at once only where the stored row may differ from the event's."""
    long = len(payload) >= LONG_TEXT and (_may_be_long(message.instance) or _may_be_long(message.evacuating))
    group = lazy_group(message, what)
    return ActualLRPGroup(eager(group.instance), eager(group.evacuating)) if long else group


def _crashed(payload: bytes) -> Event:
    what = ActualLRPCrashed.type
    message = _parse(events_pb2.ActualLRPCrashedEvent, payload, what)
    key, instance_key = message.actual_lrp_key, message.actual_lrp_instance_key
    if not key.process_guid:
        raise without(what, "process guid")
    return ActualLRPCrashed(
        process_guid=key.process_guid,
        index=key.index,
        domain=key.domain,
        instance_guid=instance_key.instance_guid,
        cell_id=instance_key.cell_id,
        crash_count=message.crash_count,
        crash_reason=message.crash_reason,
        since=message.since,
    )


def _desired_events(messages: Any, value: Callable[[Any, str], DesiredLRP]) -> dict[str, Callable[[bytes], Event]]:
    """Return what decodes events of desired LRPs: their messages are a module's, and `value` makes what is in them."""
    of_created, of_removed = messages.DesiredLRPCreatedEvent, messages.DesiredLRPRemovedEvent
    of_changed = messages.DesiredLRPChangedEvent

    def created(payload: bytes) -> Event:
        message = _parse(of_created, payload, DesiredLRPCreated.type)
        return DesiredLRPCreated(value(message.desired_lrp, DesiredLRPCreated.type), message.trace_id)

    def changed(payload: bytes) -> Event:
        message, what = _parse(of_changed, payload, DesiredLRPChanged.type), DesiredLRPChanged.type
        return DesiredLRPChanged(value(message.before, what), value(message.after, what), message.trace_id)

    def removed(payload: bytes) -> Event:
        message = _parse(of_removed, payload, DesiredLRPRemoved.type)
        return DesiredLRPRemoved(value(message.desired_lrp, DesiredLRPRemoved.type), message.trace_id)

    return {DesiredLRPCreated.type: created, DesiredLRPChanged.type: changed, DesiredLRPRemoved.type: removed}


_EVENTS: Final[Mapping[str, Callable[[bytes], Event]]] = {
    ActualLRPInstanceCreated.type: _row_created,
    ActualLRPInstanceChanged.type: _row_changed,
    ActualLRPInstanceRemoved.type: _row_removed,
    ActualLRPCreated.type: _group_created,
    ActualLRPChanged.type: _group_changed,
    ActualLRPRemoved.type: _group_removed,
    ActualLRPCrashed.type: _crashed,
    **_desired_events(hot_pb2, desired_value),
}
_FULL_EVENTS: Final[Mapping[str, Callable[[bytes], Event]]] = {**_EVENTS, **_desired_events(events_pb2, lazy_desired)}
