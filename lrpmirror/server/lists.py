"""The requests that are answered with records: their bodies and filters, and how each reads them from the source."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from lrpmirror.errors import RequestRefused, ResourceNotFound
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.server.source import Source
from lrpmirror.wire import encode, text
from lrpmirror.wire.proto import requests_pb2 as pb

PING: Final = "/v1/ping"
"""The path of ping."""

T = TypeVar("T")
_M = TypeVar("_M", bound=Message)

READABLE: Final = 8192  # bytes of a body whose texts may be not UTF-8: to read those takes a microsecond a field
MOST_NAMES: Final = 10_000  # names of a filter; what a BBS takes is bounded by its database, at some ten thousands

Answer = Callable[[Source, bytes], Iterator[bytes | None]]
"""Makes the records of the reply from the source and the request's body, encoded one by one as they are taken.

None is a step without a record. The state is read before the first record. Raises RequestRefused or
ResourceNotFound from the first step, or whatever the source raises.
"""


def parse(kind: type[_M], body: bytes) -> _M:
    """Return the request; raise RequestRefused of type InvalidRequest for bytes of no such request."""
    try:
        return text.parse(kind, body) if len(body) <= READABLE else kind.FromString(body)
    except DecodeError as exc:
        raise RequestRefused("InvalidRequest", f"the body is not a {kind.DESCRIPTOR.name}") from exc


def unique(names: Collection[str], what: str) -> tuple[str, ...]:
    """Return each name once, in order. Raises RequestRefused of type InvalidRequest where there are too many."""
    if len(names) > MOST_NAMES:
        raise RequestRefused(
            "InvalidRequest", f"{len(names)} {what} are asked for, {MOST_NAMES} at most are answered at once"
        )
    return tuple(dict.fromkeys(names))


def begins_with(prefixes: Collection[str]) -> Callable[[str], bool]:
    """Return a test whether a text begins with any of these. O(their different lengths), however many they are."""
    known = frozenset(prefixes)
    lengths = sorted({len(prefix) for prefix in known})
    if len(lengths) == 1:
        length = lengths[0]
        return lambda text: text[:length] in known

    def test(text: str) -> bool:
        return any(text[:length] in known for length in lengths)

    return test


def row_filter(domain: str, cell_id: str, index: int | None) -> Callable[[ActualLRP], bool]:
    """Return the test of a request for rows; what is empty lets all pass."""

    def test(row: ActualLRP) -> bool:
        return (
            (not domain or row.domain == domain)
            and (not cell_id or row.cell_id == cell_id)
            and (index is None or row.index == index)
        )

    return test


def desired_filter(
    domain: str, process_guids: Collection[str], app_guids: Collection[str]
) -> Callable[[DesiredLRP], bool]:
    """Return the test of a request for desired LRPs; what is empty lets all pass. `app_guids` are prefixes."""
    wanted = frozenset(process_guids)
    is_of_app = begins_with(app_guids)

    def test(lrp: DesiredLRP) -> bool:
        guid = lrp.process_guid
        return (
            (not domain or lrp.domain == domain)
            and (not wanted or guid in wanted)
            and (not app_guids or is_of_app(guid))
        )

    return test


def _encoded(record: Callable[[T], bytes], found: Iterable[T | None]) -> Iterator[bytes | None]:
    for each in found:
        yield None if each is None else record(each)


def _domains(source: Source, _body: bytes) -> Iterator[bytes | None]:
    yield from _encoded(encode.domain, tuple(source.domains()))


def _cells(source: Source, _body: bytes) -> Iterator[bytes | None]:
    yield from _encoded(encode.cell_presence, source.cells())


def _actual_lrps(source: Source, body: bytes) -> Iterator[bytes | None]:
    asked = parse(pb.ActualLRPsRequest, body)
    index = asked.index if asked.HasField("index") else None
    yield from _encoded(encode.actual_lrp, source.actual_lrps(asked.domain, asked.cell_id, asked.process_guid, index))


def _actual_lrps_by_process_guids(source: Source, body: bytes) -> Iterator[bytes | None]:
    guids = unique(parse(pb.ActualLRPsByProcessGuidsRequest, body).process_guids, "process guids")
    yield from _encoded(encode.actual_lrp, source.actual_lrps_by_process_guids(guids))


def _groups(source: Source, body: bytes) -> Iterator[bytes | None]:
    asked = parse(pb.ActualLRPGroupsRequest, body)
    yield from _encoded(encode.actual_lrp_group, source.actual_lrp_groups(asked.domain, asked.cell_id))


def _groups_of_process(source: Source, body: bytes) -> Iterator[bytes | None]:
    asked = parse(pb.ActualLRPGroupsByProcessGuidRequest, body)
    yield from _encoded(encode.actual_lrp_group, source.actual_lrp_groups(process_guid=asked.process_guid))


def _group(source: Source, body: bytes) -> Iterator[bytes | None]:
    asked = parse(pb.ActualLRPGroupByProcessGuidAndIndexRequest, body)
    groups = source.actual_lrp_groups(process_guid=asked.process_guid, index=asked.index) if asked.process_guid else ()
    found = next((group for group in groups if group is not None), None)
    if found is None:
        raise ResourceNotFound("ResourceNotFound", f"no actual LRP {asked.process_guid}/{asked.index}")
    yield encode.actual_lrp_group(found)


def _desired(record: Callable[[DesiredLRP], bytes]) -> Answer:
    def answer(source: Source, body: bytes) -> Iterator[bytes | None]:
        asked = parse(pb.DesiredLRPsRequest, body)
        guids, apps = unique(asked.process_guids, "process guids"), unique(asked.app_guids, "app guids")
        yield from _encoded(record, source.desired_lrps(asked.domain, guids, apps))

    return answer


def _one_desired(record: Callable[[DesiredLRP], bytes]) -> Answer:
    def answer(source: Source, body: bytes) -> Iterator[bytes | None]:
        guid = parse(pb.DesiredLRPByProcessGuidRequest, body).process_guid
        lrps = source.desired_lrps(process_guids=(guid,)) if guid else ()
        found = next((lrp for lrp in lrps if lrp is not None), None)
        if found is None:
            raise ResourceNotFound("ResourceNotFound", f"no desired LRP {guid}")
        yield record(found)

    return answer


LISTS: Final[Mapping[str, Answer]] = {
    "/v1/domains/list": _domains,
    "/v1/cells/list.r1": _cells,
    "/v1/actual_lrps/list": _actual_lrps,
    "/v1/actual_lrps/list_by_process_guids": _actual_lrps_by_process_guids,
    "/v1/actual_lrp_groups/list": _groups,
    "/v1/actual_lrp_groups/list_by_process_guid": _groups_of_process,
    "/v1/actual_lrp_groups/get_by_process_guid_and_index": _group,
    "/v1/desired_lrps/list.r3": _desired(encode.desired_lrp),
    "/v1/desired_lrps/get_by_process_guid.r3": _one_desired(encode.desired_lrp),
    "/v1/desired_lrp_scheduling_infos/list": _desired(encode.scheduling_info),
    "/v1/desired_lrp_scheduling_infos/get_by_process_guid": _one_desired(encode.scheduling_info),
    "/v1/desired_lrp_routing_infos/list": _desired(encode.routing_info),
}
"""Every path that answers with records, all of them in field 2 of the reply."""
