"""What the tests of `lrpmirror.wire` share: the recordings, pieces of bytes, and any value of the model."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st
from msgspec.structs import replace

from lrpmirror import detail, events
from lrpmirror.detail import DesiredLRPDetail
from lrpmirror.errors import LRPMirrorError
from lrpmirror.frozen import frozen
from lrpmirror.model import (
    ActualLRP,
    ActualLRPGroup,
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
from lrpmirror.wire.lists import ReplySplitter
from lrpmirror.wire.proto import diego_pb2
from lrpmirror.wire.sse import EventStreamDecoder, Frame

_T = TypeVar("_T")

RECORDINGS: Final = Path(__file__).parents[2] / "shared" / "recordings"
YOUNGER: Final[tuple[tuple[str, object], ...]] = (
    ("instance_ipv6_address", None),
    ("update_strategy", None),
    ("annotations", {}),
)
"""Keys that are younger than the tool whose output was recorded; one with a value is old, and only that is new."""


def without_younger(item: Any) -> Any:
    """Return JSON without the keys that the recorded tool is too old for, at any depth."""
    if isinstance(item, dict):
        return {key: without_younger(inner) for key, inner in item.items() if not _younger(key, inner)}
    return [without_younger(inner) for inner in item] if isinstance(item, list) else item


def _younger(key: str, value: Any) -> bool:
    return any(key == name and (only is None or only == value) for name, only in YOUNGER)


LISTS: Final = (
    "actual_lrps",
    "actual_lrp_groups",
    "desired_lrps",
    "desired_lrp_scheduling_infos",
    "desired_lrp_routing_infos",
    "domains",
)


def recorded(pattern: str) -> list[Path]:
    """The recorded files that match, or a skipped test where there are no recordings."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings of a real BBS at {RECORDINGS}")
    found = sorted(RECORDINGS.glob(pattern))
    assert found, pattern
    return found


def recorded_frames() -> Iterator[Frame]:
    for path in recorded("*/*.sse"):
        yield from EventStreamDecoder().feed(path.read_bytes())


def recorded_records(name: str) -> Iterator[bytes]:
    for path in recorded(f"**/{name}.pb"):
        yield from ReplySplitter().feed(path.read_bytes())


def in_pieces(feed: Callable[[bytes], list[_T]], pieces: list[bytes]) -> list[_T] | tuple[str, str]:
    """Everything that the pieces give, or the kind and text of the documented error that they end in."""
    out = []
    try:
        for piece in pieces:
            out += feed(piece)
    except LRPMirrorError as exc:
        return type(exc).__name__, str(exc)
    return out


def cut(data: bytes, positions: list[int]) -> list[bytes]:
    """The pieces of `data` between positions, which are taken modulo its length."""
    at = sorted({position % (len(data) + 1) for position in positions} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(at)]


positions = st.lists(st.integers(0, 2**20), max_size=12)

TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_NAME: Final = TEXT.filter(bool)
_INT32 = st.integers(-(2**31), 2**31 - 1)
_UINT32 = st.integers(0, 2**32 - 1)
_INT64 = st.integers(-(2**63), 2**63 - 1)
_UINT64 = st.integers(0, 2**64 - 1)


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def _map(values: st.SearchStrategy[_T]) -> st.SearchStrategy[Mapping[str, _T]]:
    return st.dictionaries(TEXT, values, max_size=3).map(frozen)


def _tuple(values: st.SearchStrategy[_T]) -> st.SearchStrategy[tuple[_T, ...]]:
    return st.lists(values, max_size=3).map(tuple)


_COMMON: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "address": TEXT,
    "ports": _tuple(st.builds(PortMapping, _UINT32, _UINT32, _UINT32, _UINT32)),
    "instance_address": TEXT,
    "preferred_address": st.builds(PreferredAddress, st.sampled_from([0, 1, 2, 9, -1])),
    "instance_ipv6_address": TEXT,
    "crash_count": _INT32,
    "crash_reason": TEXT,
    "state": st.builds(ActualLRPState, st.sampled_from(["UNCLAIMED", "CLAIMED", "RUNNING", "CRASHED", "PAUSED", ""])),
    "placement_error": TEXT,
    "since": _INT64,
    "epoch": TEXT,
    "tag_index": _UINT32,
    "presence": st.builds(Presence, st.sampled_from([0, 1, 2, 7, -3])),
    "routable": st.none() | st.booleans(),
    "availability_zone": TEXT,
}
_KEY: Final = {"index": _INT32, "domain": TEXT, "instance_guid": TEXT, "cell_id": TEXT}

rows = st.builds(
    lambda guid, fields: ActualLRP(process_guid=guid, **fields),
    _NAME,
    _some(**_COMMON, **_KEY, internal_routes=_tuple(TEXT), metric_tags=_map(TEXT)),
)
groups = st.builds(ActualLRPGroup, st.none() | rows, st.none() | rows).filter(
    lambda group: group != ActualLRPGroup(None, None)
)
cells = st.builds(
    lambda cell_id, fields: CellPresence(cell_id=cell_id, **fields),
    _NAME,
    _some(
        rep_address=TEXT,
        zone=TEXT,
        capacity=st.none() | st.builds(CellCapacity, _INT32, _INT32, _INT32),
        rootfs_providers=_tuple(st.builds(Provider, TEXT, _tuple(TEXT))),
        placement_tags=_tuple(TEXT),
        optional_placement_tags=_tuple(TEXT),
        rep_url=TEXT,
        annotations=_map(TEXT),
    ),
)
ROUTES: Final = st.sampled_from(
    [b"", b"[]", b'[{"port":1}]', b"not json", b'"text"', b"\xff", b"[1", b"1e999", b"null"]
)
_SCHEDULING: Final = {
    "domain": TEXT,
    "log_guid": TEXT,
    "annotation": TEXT,
    "instances": _INT32,
    "memory_mb": _INT32,
    "disk_mb": _INT32,
    "root_fs": TEXT,
    "max_pids": _INT32,
    "routes": _map(ROUTES),
    "volume_drivers": _tuple(TEXT),
    "placement_tags": _tuple(TEXT),
    "epoch": TEXT,
    "tag_index": _UINT32,
}
_METRIC_TAGS: Final = _map(
    st.builds(MetricTagValue, TEXT, st.builds(DynamicValue, st.sampled_from([0, 1, 2, 5]))),
)
scheduling_infos = st.builds(lambda guid, fields: DesiredLRP(process_guid=guid, **fields), _NAME, _some(**_SCHEDULING))
desired_lrps = st.builds(
    lambda guid, fields: DesiredLRP(process_guid=guid, **fields),
    _NAME,
    _some(**_SCHEDULING, metric_tags=_METRIC_TAGS),
)

_NUMBERS: Final = {
    FieldDescriptor.CPPTYPE_INT32: _INT32,
    FieldDescriptor.CPPTYPE_UINT32: _UINT32,
    FieldDescriptor.CPPTYPE_INT64: _INT64,
    FieldDescriptor.CPPTYPE_UINT64: _UINT64,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_STRING: TEXT,
}
_ENUMS: Final = {
    "UpdateStrategy": detail.UpdateStrategy,
    "Type": detail.LayerType,
    "MediaType": detail.MediaType,
    "DigestAlgorithm": detail.DigestAlgorithm,
}


@st.composite
def _detail_of(draw: st.DrawFn, descriptor: Descriptor, kind: Callable[..., Any], depth: int) -> Any:
    """A Struct of `lrpmirror.detail` with some fields of its message set, as the schema allows."""
    attributes: frozenset[str] = frozenset(getattr(kind, "__struct_fields__", ()))
    names = {field.name: {"from": "from_"}.get(field.name, field.name) for field in descriptor.fields}
    possible = [
        field
        for field in descriptor.fields
        if names[field.name] in attributes and (depth > 0 or field.message_type is None)
    ]
    chosen = (
        draw(st.lists(st.sampled_from(possible), max_size=5, unique_by=lambda field: field.name)) if possible else []
    )
    return kind(**{names[field.name]: draw(_field_value(field, depth)) for field in chosen})


def _field_value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    values: st.SearchStrategy[Any]
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return _map(TEXT)
    if message is not None:
        values = _detail_of(message, getattr(detail, message.name), depth - 1)
    elif field.enum_type is not None:
        values = st.builds(_ENUMS[field.enum_type.name], st.sampled_from([0, 1, 2, 8]))
    else:
        values = _NUMBERS[field.cpp_type]
    return _tuple(values) if field.is_repeated else values


_DESIRED: Final[Any] = diego_pb2.DesiredLRP.DESCRIPTOR
details: st.SearchStrategy[DesiredLRPDetail] = _detail_of(_DESIRED, DesiredLRPDetail, 5)


def _with_detail(desired: DesiredLRP, detail: DesiredLRPDetail) -> DesiredLRP:
    return replace(desired, detail=detail, volume_drivers=tuple(mount.driver for mount in detail.volume_mounts))


full_desired_lrps = st.builds(_with_detail, desired_lrps, details)


def _changed(keys: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> events.ActualLRPInstanceChanged:
    row = partial(ActualLRP, **{"process_guid": "p", **keys})
    return events.ActualLRPInstanceChanged(row(**before), row(**after), "trace")


def any_event(desired: st.SearchStrategy[DesiredLRP]) -> st.SearchStrategy[events.Event]:
    """Any event as the wire can carry it: both sides of an instance's change have one key, and no routes or tags."""
    return st.one_of(
        st.builds(events.DesiredLRPCreated, desired, TEXT),
        st.builds(events.DesiredLRPChanged, desired, desired, TEXT),
        st.builds(events.DesiredLRPRemoved, desired, TEXT),
        st.builds(events.ActualLRPInstanceCreated, rows, TEXT),
        st.builds(_changed, _some(**_KEY), _some(**_COMMON), _some(**_COMMON)),
        st.builds(events.ActualLRPInstanceRemoved, rows, TEXT),
        st.builds(events.ActualLRPCreated, groups),
        st.builds(events.ActualLRPChanged, groups, groups),
        st.builds(events.ActualLRPRemoved, groups),
        st.builds(
            lambda guid, fields: events.ActualLRPCrashed(process_guid=guid, **fields),
            _NAME,
            _some(**_KEY, crash_count=_INT32, crash_reason=TEXT, since=_INT64),
        ),
        st.builds(events.UnknownEvent, st.just("task_created"), st.binary(max_size=9)),
    )
