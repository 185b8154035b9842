"""The state that the server side reads, and the requests for it: their bodies and filters, and what answers each."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message
from msgspec import Struct

from lrpmirror.errors import RequestRefused, ResourceNotFound
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.server.streams import StreamKind, Subscription
from lrpmirror.wire import encode, text
from lrpmirror.wire.proto import requests_pb2 as pb

PING: Final = "/v1/ping"  # the path of ping

_M = TypeVar("_M", bound=Message)

READABLE: Final = 8192  # bytes of a body whose texts may be not UTF-8: to read those takes a microsecond a field
MOST_NAMES: Final = 10_000  # names of a filter; what a BBS takes is bounded by its database, at some ten thousands


class Source(Protocol):
    """State that can be listed and followed: of a simulation, or of a mirror.

    Every method is synchronous and answers from memory; filters that are empty let everything pass, several are met
    together. What is returned can be found while it is walked: with little work at each step, None at a step that has
    found nothing yet, and all of it from the moment of the first step. A method may raise an error of the BBSError
    tree: RequestRefused and ResourceNotFound are answered in the reply's error field, UnknownPath as a 404, any other
    as a 503.
    """

    def domains(self) -> Iterable[str]:
        """Return the fresh domains."""

    def cells(self) -> Iterable[CellPresence]:
        """Return the cells that are there."""

    def actual_lrps(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> Iterable[ActualLRP | None]:
        """Return the rows."""

    def actual_lrps_by_process_guids(self, process_guids: Sequence[str]) -> Iterable[ActualLRP | None]:
        """Return the rows of these processes."""

    def actual_lrp_groups(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> Iterable[ActualLRPGroup | None]:
        """Return the groups of the rows that pass the filters."""

    def desired_lrps(
        self, domain: str = "", process_guids: Sequence[str] = (), app_guids: Sequence[str] = ()
    ) -> Iterable[DesiredLRP | None]:
        """Return the desired LRPs; `app_guids` are prefixes of process guids."""

    def subscribe(self, kind: StreamKind, cell_id: str = "") -> Subscription:
        """Return a subscription to what happens from now on; the reader closes it."""


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


class Answer(Struct, frozen=True):
    """One path: how its records are encoded, the method of the source that finds them, and the kind of its request.

    The request's fields are the method's filters. `missing` says what is not there where one record is asked for.
    """

    record: Callable[[Any], bytes]
    method: str
    request: type[Message] = Message  # which has no filters
    missing: str = ""

    def __call__(self, source: Source, body: bytes) -> Iterator[bytes | None]:
        """Yield the records of the reply, encoded one by one as they are taken; None is a step without a record.

        The state is read before the first record. Raises RequestRefused or ResourceNotFound from the first step, or
        whatever the source raises.
        """
        filters = {} if self.request is Message else _filters(parse(self.request, body))
        # An empty guid would let all pass.
        named = not self.missing or filters.get("process_guid", True)
        found: Iterable[Any] = getattr(source, self.method)(**filters) if named else ()
        if self.missing:
            one = next((each for each in found if each is not None), None)
            if one is None:
                raise ResourceNotFound("ResourceNotFound", self.missing.format(**filters))
            found = (one,)
        for each in found:
            yield None if each is None else self.record(each)


def _filters(asked: Any) -> dict[str, Any]:
    """Return the fields of a request as arguments of a source, without those that it leaves open."""
    if isinstance(asked, pb.DesiredLRPByProcessGuidRequest):
        return {"process_guids": (asked.process_guid,)}
    filters: dict[str, Any] = {}
    for field in asked.DESCRIPTOR.fields:
        value = getattr(asked, field.name)
        if field.is_repeated:
            filters[field.name] = unique(value, field.name.replace("_", " "))
        elif not field.has_presence or asked.HasField(field.name):
            filters[field.name] = value
    return filters


_DESIRED: Final = ("desired_lrps", pb.DesiredLRPsRequest)
_ONE_DESIRED: Final = ("desired_lrps", pb.DesiredLRPByProcessGuidRequest, "no desired LRP {process_guids[0]}")

LISTS: Final[Mapping[str, Answer]] = {
    "/v1/domains/list": Answer(encode.domain, "domains"),
    "/v1/cells/list.r1": Answer(encode.cell_presence, "cells"),
    "/v1/actual_lrps/list": Answer(encode.actual_lrp, "actual_lrps", pb.ActualLRPsRequest),
    "/v1/actual_lrps/list_by_process_guids": Answer(
        encode.actual_lrp, "actual_lrps_by_process_guids", pb.ActualLRPsByProcessGuidsRequest
    ),
    "/v1/actual_lrp_groups/list": Answer(encode.actual_lrp_group, "actual_lrp_groups", pb.ActualLRPGroupsRequest),
    "/v1/actual_lrp_groups/list_by_process_guid": Answer(
        encode.actual_lrp_group, "actual_lrp_groups", pb.ActualLRPGroupsByProcessGuidRequest
    ),
    "/v1/actual_lrp_groups/get_by_process_guid_and_index": Answer(
        encode.actual_lrp_group,
        "actual_lrp_groups",
        pb.ActualLRPGroupByProcessGuidAndIndexRequest,
        "no actual LRP {process_guid}/{index}",
    ),
    "/v1/desired_lrps/list.r3": Answer(encode.desired_lrp, *_DESIRED),
    "/v1/desired_lrps/get_by_process_guid.r3": Answer(encode.desired_lrp, *_ONE_DESIRED),
    "/v1/desired_lrp_scheduling_infos/list": Answer(encode.scheduling_info, *_DESIRED),
    "/v1/desired_lrp_scheduling_infos/get_by_process_guid": Answer(encode.scheduling_info, *_ONE_DESIRED),
    "/v1/desired_lrp_routing_infos/list": Answer(encode.routing_info, *_DESIRED),
}
"""Every path that answers with records, all of them in field 2 of the reply."""
