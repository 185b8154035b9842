"""The requests to a BBS: paths, bodies, and how the records of each reply are decoded."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Generic, Literal, TypeVar

from google.protobuf.message import Message
from msgspec import Struct

from lrpmirror.errors import ConfigurationError
from lrpmirror.model import ActualLRP, ActualLRPGroup, CellPresence, DesiredLRP
from lrpmirror.wire import decode
from lrpmirror.wire.proto import events_pb2
from lrpmirror.wire.proto import requests_pb2 as pb

T = TypeVar("T")
M = TypeVar("M", bound=Message)

ListName = Literal["actual_lrps", "actual_lrp_groups", "desired_lrps", "scheduling_infos", "routing_infos"]
StreamName = Literal["instances", "groups"]


class ListRequest(Struct, Generic[T], frozen=True):
    """One request whose reply is a list of records: its path and body, and how to decode a record.

    `tap` is the name under which the body is shown to the tap; empty for one that asks for particular processes,
    because that reply is no snapshot.
    """

    path: str
    body: bytes
    decode: Callable[[bytes], T]
    tap: str = ""


class StreamPath(Struct, frozen=True):
    """One way to ask for an event stream."""

    method: str
    path: str


STREAMS: Final[dict[StreamName, tuple[StreamPath, ...]]] = {
    "instances": (
        StreamPath("POST", "/v1/events/lrp_instances.r1"),
        StreamPath("POST", "/v1/events/lrp_instances"),
    ),
    "groups": (
        StreamPath("GET", "/v1/events.r1"),
        StreamPath("GET", "/v1/events"),
    ),
}
"""The paths of each stream, newest first."""

PING: Final = "/v1/ping"


def by_cell(cell_id: str) -> bytes:
    """Return the request body of a stream; a cell narrows its actual events to that cell."""
    return _body(events_pb2.EventsByCellId, cell_id=cell_id)


def domains() -> ListRequest[str]:
    """Ask for the fresh domains."""
    return ListRequest("/v1/domains/list", b"", decode.domain, "domains")


def cells() -> ListRequest[CellPresence]:
    """Ask for the registered cells."""
    return ListRequest("/v1/cells/list.r1", b"", decode.cell_presence, "cells")


def actual_lrps(
    domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
) -> ListRequest[ActualLRP]:
    """Ask for rows; the filters narrow each other."""
    body = _body(pb.ActualLRPsRequest, domain=domain, cell_id=cell_id, process_guid=process_guid, index=index)
    whole = not process_guid and index is None
    return ListRequest("/v1/actual_lrps/list", body, decode.actual_lrp, "actual_lrps" if whole else "")


def actual_lrps_by_process_guids(process_guids: Iterable[str]) -> ListRequest[ActualLRP]:
    """Ask for the rows of some processes; only servers from late 2025 answer."""
    body = _body(pb.ActualLRPsByProcessGuidsRequest, process_guids=process_guids)
    return ListRequest("/v1/actual_lrps/list_by_process_guids", body, decode.actual_lrp)


def actual_lrp_groups(domain: str = "", cell_id: str = "") -> ListRequest[ActualLRPGroup]:
    """Ask for groups; the filters narrow each other."""
    body = _body(pb.ActualLRPGroupsRequest, domain=domain, cell_id=cell_id)
    return ListRequest("/v1/actual_lrp_groups/list", body, decode.actual_lrp_group, "actual_lrp_groups")


def actual_lrp_groups_by_process_guid(process_guid: str) -> ListRequest[ActualLRPGroup]:
    """Ask for the groups of one process."""
    body = _body(pb.ActualLRPGroupsByProcessGuidRequest, process_guid=process_guid)
    return ListRequest("/v1/actual_lrp_groups/list_by_process_guid", body, decode.actual_lrp_group)


def actual_lrp_group(process_guid: str, index: int) -> ListRequest[ActualLRPGroup]:
    """Ask for the group of one index."""
    body = _body(pb.ActualLRPGroupByProcessGuidAndIndexRequest, process_guid=process_guid, index=index)
    return ListRequest("/v1/actual_lrp_groups/get_by_process_guid_and_index", body, decode.actual_lrp_group)


def desired_lrps(
    domain: str = "", process_guids: Iterable[str] = (), app_guids: Iterable[str] = (), *, full: bool = False
) -> ListRequest[DesiredLRP]:
    """Ask for whole desired LRPs; only with `full` is more of them decoded than schedulers and routers use."""
    filters = {"domain": domain, "process_guids": process_guids, "app_guids": app_guids}
    return _desired("/v1/desired_lrps/list.r3", _desired_decoder(full), "desired_lrps", filters)


def scheduling_infos(
    domain: str = "", process_guids: Iterable[str] = (), app_guids: Iterable[str] = ()
) -> ListRequest[DesiredLRP]:
    """Ask for the scheduling part of desired LRPs."""
    filters = {"domain": domain, "process_guids": process_guids, "app_guids": app_guids}
    return _desired("/v1/desired_lrp_scheduling_infos/list", decode.scheduling_info, "scheduling_infos", filters)


def routing_infos(
    domain: str = "", process_guids: Iterable[str] = (), app_guids: Iterable[str] = ()
) -> ListRequest[DesiredLRP]:
    """Ask for the routing part of desired LRPs; old servers do not answer."""
    filters = {"domain": domain, "process_guids": process_guids, "app_guids": app_guids}
    return _desired("/v1/desired_lrp_routing_infos/list", decode.routing_info, "routing_infos", filters)


def _desired(
    path: str, decoder: Callable[[bytes], DesiredLRP], tap: str, filters: Mapping[str, Any]
) -> ListRequest[DesiredLRP]:
    request = _request(pb.DesiredLRPsRequest, **filters)
    whole = not request.process_guids and not request.app_guids
    return ListRequest(path, request.SerializeToString(), decoder, tap if whole else "")


def desired_lrp(process_guid: str, *, full: bool = False) -> ListRequest[DesiredLRP]:
    """Ask for one desired LRP."""
    body = _body(pb.DesiredLRPByProcessGuidRequest, process_guid=process_guid)
    return ListRequest("/v1/desired_lrps/get_by_process_guid.r3", body, _desired_decoder(full))


def scheduling_info(process_guid: str) -> ListRequest[DesiredLRP]:
    """Ask for the scheduling part of one desired LRP."""
    body = _body(pb.DesiredLRPByProcessGuidRequest, process_guid=process_guid)
    return ListRequest("/v1/desired_lrp_scheduling_infos/get_by_process_guid", body, decode.scheduling_info)


LISTS: Final[dict[str, Callable[..., ListRequest[Any]]]] = {
    "actual_lrps": actual_lrps,
    "actual_lrp_groups": actual_lrp_groups,
    "desired_lrps": desired_lrps,
    "scheduling_infos": scheduling_infos,
    "routing_infos": routing_infos,
}
"""The lists of many records, by their names in `BBSClient.stream_list` and the tap."""


def _request(kind: type[M], **fields: Any) -> M:
    """Return a request. Raises ConfigurationError for a value that its field cannot hold."""
    try:
        return kind(**fields)
    except (ValueError, TypeError) as exc:
        names = ", ".join(name for name, value in fields.items() if value not in ("", None))
        raise ConfigurationError(f"a list cannot be asked for with such a value of {names}: {exc}") from exc


def _body(kind: type[Message], **fields: Any) -> bytes:
    return _request(kind, **fields).SerializeToString()


def _desired_decoder(full: bool) -> Callable[[bytes], DesiredLRP]:
    return partial(decode.desired_lrp, full=True) if full else decode.desired_lrp
