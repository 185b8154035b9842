"""Decoding each type of event, beside the least that any way has to do (base64 and a parse) and beside the plain way.

What is decoded only when it is read has to be paid by who reads it, so one way reads every attribute of what comes out.
"""

import base64
from collections.abc import Callable, Iterator
from functools import partial

from google.protobuf.message import Message

from benchmarks import plain
from benchmarks.data import desired, fingerprint, rows
from benchmarks.harness import Report, Run, Target, compare
from benchmarks.workload import each_type, encoded, heavy
from lrpmirror.events import Event
from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP
from lrpmirror.wire import decode
from lrpmirror.wire.proto import events_pb2

SIZE, SMOKE = 5_000, 50
"""Events of each type."""

TARGETS: tuple[Target, ...] = ()

Encoded = list[tuple[str, bytes]]

_MESSAGES: dict[str, type[Message]] = {
    "actual_lrp_instance_changed": events_pb2.ActualLRPInstanceChangedEvent,
    "actual_lrp_instance_created": events_pb2.ActualLRPInstanceCreatedEvent,
    "actual_lrp_instance_removed": events_pb2.ActualLRPInstanceRemovedEvent,
    "actual_lrp_changed": events_pb2.ActualLRPChangedEvent,
    "actual_lrp_created": events_pb2.ActualLRPCreatedEvent,
    "actual_lrp_removed": events_pb2.ActualLRPRemovedEvent,
    "actual_lrp_crashed": events_pb2.ActualLRPCrashedEvent,
    "desired_lrp_changed": events_pb2.DesiredLRPChangedEvent,
    "desired_lrp_created": events_pb2.DesiredLRPCreatedEvent,
    "desired_lrp_removed": events_pb2.DesiredLRPRemovedEvent,
}
_PLAIN = {"actual_lrp_instance_changed", "actual_lrp_instance_created", "actual_lrp_instance_removed"}


def run(size: int, rounds: int) -> Iterator[Report]:
    """Decode events of each type."""
    by_type: dict[str, Encoded] = {}
    some = rows(size)
    for row, lrp in zip(some, map(heavy, desired(some)), strict=False):
        for kind, payload in encoded(each_type(row, lrp)):
            by_type.setdefault(kind, []).append((kind, base64.b64encode(payload)))
    for kind, events in by_type.items():
        texts = (events * 4)[:size]
        ways: dict[str, Callable[[], Run]] = {"base64 and parse": partial(_parsed, _MESSAGES[kind], texts)}
        if kind in _PLAIN:
            ways["the plain way, one side"] = partial(_plain, texts)
        ways["decoded"] = partial(_decoded, texts)
        ways["decoded, and all read"] = partial(_read, texts)
        yield compare(f"decode {kind}", size, ways, rounds=rounds)


def _parsed(message: type[Message], events: Encoded) -> Run:
    parse = message.FromString
    with (run := Run(len(events))):
        for _, data in events:
            parse(base64.b64decode(data))
    return run


def _plain(events: Encoded) -> Run:
    with (run := Run(len(events))):
        for kind, data in events:
            plain.change(kind, data)
    return run


def _decoded(events: Encoded) -> Run:
    with (run := Run(len(events))):
        for kind, data in events:
            decode.event(kind, data)
    run.answer = _attributes_of([decode.event(kind, data) for kind, data in events[:100]])
    return run


def _read(events: Encoded) -> Run:
    with (run := Run(len(events))):
        for kind, data in events:
            _values_of(decode.event(kind, data))
    run.answer = _attributes_of([decode.event(kind, data) for kind, data in events[:100]])
    return run


def _values_of(event: Event) -> None:
    """Read every attribute of an event's rows and desired LRPs."""
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, ActualLRPGroup):
            value = value.instance
        if isinstance(value, ActualLRP):
            for attribute in ActualLRP.__struct_fields__:
                getattr(value, attribute)
        elif isinstance(value, DesiredLRP):
            for attribute in DesiredLRP.__struct_fields__:
                getattr(value, attribute)


def _attributes_of(events: list[Event]) -> list[object]:
    """Return what the events say, by attributes and in a form that does not depend on how they are kept."""
    values: list[object] = []
    for event in events:
        for name in event.__struct_fields__:
            value = getattr(event, name)
            if isinstance(value, ActualLRPGroup):
                value = value.resolve()
            if isinstance(value, ActualLRP):
                value = (fingerprint(value), value.internal_routes, sorted(value.metric_tags.items()))
            elif isinstance(value, DesiredLRP):
                value = (value.process_guid, value.instances, sorted(value.routes.items()), value.tag_index)
            values.append((event.type, name, value))
    return values
