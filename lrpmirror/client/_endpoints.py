"""The requests to a BBS: paths, bodies, and how the records of each reply are decoded."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, Literal, TypeVar

from google.protobuf.message import Message
from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.errors import ConfigurationError
from lrpmirror.wire import decode
from lrpmirror.wire.proto import events_pb2
from lrpmirror.wire.proto import requests_pb2 as pb

T = TypeVar("T")
M = TypeVar("M", bound=Message)

ListName = Literal["actual_lrps", "actual_lrp_groups", "desired_lrps", "scheduling_infos", "routing_infos"]
StreamName = Literal["instances", "groups"]

PING: Final = "/v1/ping"

STREAMS: Final[dict[StreamName, tuple[tuple[str, str], ...]]] = {
    "instances": (("POST", "/v1/events/lrp_instances.r1"), ("POST", "/v1/events/lrp_instances")),
    "groups": (("GET", "/v1/events.r1"), ("GET", "/v1/events")),
}
"""The methods and paths of each stream, newest first."""


class ListRequest(Struct, Generic[T], frozen=True):
    """A request whose reply is a list of records, shown to the tap under a name if it is a snapshot."""

    path: str
    decode: Callable[[bytes], T]
    kind: type[Message] = Message  # which has no filters
    tap: str = ""
    body: bytes = b""

    def of(self, *, full: bool = False, **fields: Any) -> "ListRequest[T]":
        """Return the request with these filters; `full` decodes all of a record. Raises ConfigurationError."""
        if full and self.decode is not decode.desired_lrp:
            raise ConfigurationError(f"{self.path} has no more of a record than is decoded: leave `full` out")
        request = _request(self.kind, **fields)
        whole = {field.name for field, _ in request.ListFields()} <= {"domain", "cell_id"}
        decoder: Callable[..., T] = self.decode
        decoder = partial(decoder, full=True) if full else decoder
        return replace(self, body=request.SerializeToString(), decode=decoder, tap=self.tap if whole else "")


DOMAINS: Final = ListRequest("/v1/domains/list", decode.domain, tap="domains")
CELLS: Final = ListRequest("/v1/cells/list.r1", decode.cell_presence, tap="cells")
ACTUAL_LRPS: Final = ListRequest("/v1/actual_lrps/list", decode.actual_lrp, pb.ActualLRPsRequest, "actual_lrps")
# Only servers from late 2025 know this one.
ACTUAL_LRPS_BY_PROCESS_GUIDS: Final = ListRequest(
    "/v1/actual_lrps/list_by_process_guids", decode.actual_lrp, pb.ActualLRPsByProcessGuidsRequest
)
GROUPS: Final = ListRequest(
    "/v1/actual_lrp_groups/list", decode.actual_lrp_group, pb.ActualLRPGroupsRequest, "actual_lrp_groups"
)
GROUPS_OF_PROCESS: Final = ListRequest(
    "/v1/actual_lrp_groups/list_by_process_guid", decode.actual_lrp_group, pb.ActualLRPGroupsByProcessGuidRequest
)
GROUP: Final = ListRequest(
    "/v1/actual_lrp_groups/get_by_process_guid_and_index",
    decode.actual_lrp_group,
    pb.ActualLRPGroupByProcessGuidAndIndexRequest,
)
DESIRED_LRPS: Final = ListRequest("/v1/desired_lrps/list.r3", decode.desired_lrp, pb.DesiredLRPsRequest, "desired_lrps")
DESIRED_LRP: Final = ListRequest(
    "/v1/desired_lrps/get_by_process_guid.r3", decode.desired_lrp, pb.DesiredLRPByProcessGuidRequest
)
SCHEDULING_INFOS: Final = ListRequest(
    "/v1/desired_lrp_scheduling_infos/list", decode.scheduling_info, pb.DesiredLRPsRequest, "scheduling_infos"
)
SCHEDULING_INFO: Final = ListRequest(
    "/v1/desired_lrp_scheduling_infos/get_by_process_guid", decode.scheduling_info, pb.DesiredLRPByProcessGuidRequest
)
# Old servers do not know this one.
ROUTING_INFOS: Final = ListRequest(
    "/v1/desired_lrp_routing_infos/list", decode.routing_info, pb.DesiredLRPsRequest, "routing_infos"
)

LISTS: Final[dict[str, ListRequest[Any]]] = {
    request.tap: request for request in (ACTUAL_LRPS, GROUPS, DESIRED_LRPS, SCHEDULING_INFOS, ROUTING_INFOS)
}
"""The lists of many records, by their names in `BBSClient.stream_list` and the tap."""


def by_cell(cell_id: str) -> bytes:
    """Return the request body of a stream; a cell narrows its actual events to that cell."""
    return _request(events_pb2.EventsByCellId, cell_id=cell_id).SerializeToString()


def _request(kind: type[M], **fields: Any) -> M:
    """Return a request. Raises ConfigurationError for a value that its field cannot hold."""
    try:
        return kind(**fields)
    except (ValueError, TypeError) as exc:
        names = ", ".join(name for name, value in fields.items() if value not in ("", None))
        raise ConfigurationError(f"a list cannot be asked for with such a value of {names}: {exc}") from exc
