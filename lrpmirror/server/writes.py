"""The writes of the protocol: who takes them, the values that cells hand over, and how requests become calls.

All that is missing or wrong in form, by the BBS's own rules, is named in one InvalidRequest, before the state is looked
at.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, TypedDict, Unpack

from google.protobuf.message import Message
from msgspec import Struct

from lrpmirror.errors import RequestRefused
from lrpmirror.model import ActualLRP, DesiredLRP, DynamicValue, MetricTagValue, PortMapping, PreferredAddress
from lrpmirror.server.lists import parse
from lrpmirror.wire import decode, encode
from lrpmirror.wire.proto import requests_pb2 as pb

_CALLED: Final = {"root_fs": "rootfs"}  # fields that the BBS's errors call by another name than its messages do
_KEPT: Final = b"\x10\x01"  # `keep_container: true` of an EvacuationResponse


class InstanceKey(Struct, frozen=True):
    """Which instance, and on which cell; both empty where a row has none."""

    instance_guid: str = ""
    cell_id: str = ""

    @classmethod
    def of(cls, row: ActualLRP) -> "InstanceKey":
        """Return the key that the row holds."""
        return cls(row.instance_guid, row.cell_id)

    def __bool__(self) -> bool:
        return bool(self.instance_guid or self.cell_id)


class NetInfo(Struct, frozen=True):
    """Where an instance can be reached: on its cell, and inside its container."""

    address: str = ""
    ports: tuple[PortMapping, ...] = ()
    instance_address: str = ""
    preferred_address: PreferredAddress = PreferredAddress.UNKNOWN
    instance_ipv6_address: str = ""

    @classmethod
    def of(cls, row: ActualLRP) -> "NetInfo":
        """Return where the row says that its instance is."""
        return cls(row.address, row.ports, row.instance_address, row.preferred_address, row.instance_ipv6_address)


NO_INSTANCE = InstanceKey()  # the key of a row that no cell holds
NO_NET = NetInfo()  # the addresses of a row that does not run


class InstanceReport(TypedDict, total=False):
    """What a cell reports of a running instance. `domain` is the row's own, or its desired LRP's, if not given."""

    domain: str | None
    internal_routes: Sequence[str]
    metric_tags: Mapping[str, str]
    routable: bool
    availability_zone: str


class DesiredUpdate(TypedDict, total=False):
    """The fields of a desired LRP that can be written later; what is None or not given stays."""

    instances: int | None
    routes: Mapping[str, bytes] | None
    annotation: str | None
    metric_tags: Mapping[str, MetricTagValue] | None
    image_username: str | None
    image_password: str | None


class Writer(Protocol):
    """Takes the writes of the protocol, one method for each call of a BBS.

    Every method is synchronous and has done its work when it returns. Requests arrive checked for fields that may not
    be missing; what depends on the state, or on the content of a desired LRP, is for the writer to judge. A method may
    raise a BBSError: RequestRefused and ResourceNotFound are answered in the reply's error field, any other as a 503.
    The calls of an evacuation return whether the cell is to keep the container. `trace_id` is set around each call to
    the request's `X-Vcap-Request-Id`, "" where it has none: the events that the call causes are to carry it.
    """

    trace_id: str

    def desire(self, wanted: DesiredLRP) -> None:
        """Create a desired LRP; its modification tag, if any, means nothing."""

    def update_desired(self, process_guid: str, **fields: Unpack[DesiredUpdate]) -> None:
        """Write these fields of a desired LRP."""

    def remove_desired(self, process_guid: str) -> None:
        """Remove a desired LRP."""

    def upsert_domain(self, domain: str, ttl: int = 0) -> None:
        """Make the domain fresh for `ttl` seconds, 0 for ever."""

    def claim(self, process_guid: str, index: int, instance: InstanceKey) -> None:
        """Let an instance claim its row."""

    def start(
        self,
        process_guid: str,
        index: int,
        instance: InstanceKey,
        net: NetInfo = NO_NET,
        **report: Unpack[InstanceReport],
    ) -> None:
        """Record that an instance runs."""

    def crash(self, process_guid: str, index: int, instance: InstanceKey, reason: str = "") -> None:
        """Record that an instance crashed."""

    def fail(self, process_guid: str, index: int, reason: str) -> None:
        """Record that no cell takes a row."""

    def remove(self, process_guid: str, index: int, instance: InstanceKey | None = None) -> None:
        """Remove a row, if it is that instance's where one is given."""

    def retire(self, process_guid: str, index: int) -> None:
        """Stop a row's instance, or remove the row."""

    def evacuate_claimed(self, process_guid: str, index: int, instance: InstanceKey) -> bool:
        """Give a claimed row back."""

    def evacuate_running(
        self,
        process_guid: str,
        index: int,
        instance: InstanceKey,
        net: NetInfo = NO_NET,
        **report: Unpack[InstanceReport],
    ) -> bool:
        """Evacuate a running instance, or find it replaced."""

    def evacuate_stopped(self, process_guid: str, index: int, instance: InstanceKey) -> bool:
        """Remove the row of an instance that stopped on a cell that is going away."""

    def evacuate_crashed(self, process_guid: str, index: int, instance: InstanceKey, reason: str = "") -> bool:
        """Record a crash on a cell that is going away."""

    def remove_evacuating(self, process_guid: str, index: int, instance: InstanceKey) -> None:
        """Remove an EVACUATING row."""


class Write(Struct, frozen=True):
    """One path: the kind of its request, the method of the writer that it calls, and the fields that it is called with.

    The fields in `needs` may not be missing, those in `also` may. `keeps_if` is when a refused evacuation lets the cell
    keep the container: where all writes are refused, or also where the request was not understood.
    """

    request: type[Message]
    method: str
    needs: tuple[str, ...]
    also: tuple[str, ...] = ()
    keeps_if: Literal["", "refused", "not understood"] = ""

    def answer(self, writer: Writer, body: bytes, trace_id: str) -> bytes:
        """Do what the body asks for; return the reply's body. Raises what the writer raises but RequestRefused."""
        try:
            asked = self._read(body)
        except RequestRefused as refusal:
            return _refusal(refusal, keep=self.keeps_if == "not understood")
        writer.trace_id = trace_id
        try:
            arguments: dict[str, Any] = {}
            for name in self.needs + self.also:
                arguments |= _ARGUMENTS[name](asked) if name in _ARGUMENTS else {name: getattr(asked, name)}
            return _KEPT if getattr(writer, self.method)(**arguments) else b""
        except RequestRefused as refusal:
            return _refusal(refusal, keep=False)
        finally:
            writer.trace_id = ""

    def refuse(self, refusal: RequestRefused) -> bytes:
        """Return the body of a reply that refuses the write, whatever it asks for."""
        return _refusal(refusal, keep=bool(self.keeps_if))

    def _read(self, body: bytes) -> Message:
        asked = parse(self.request, body)
        missing = [f"Invalid field: {_CALLED.get(name, name)}" for name in _missing(asked, self.needs)]
        if missing:
            raise RequestRefused("InvalidRequest", ", ".join(missing))
        return asked


def _refusal(refusal: RequestRefused, *, keep: bool) -> bytes:
    return encode.error_reply(refusal.type, refusal.message) + (_KEPT if keep else b"")


_INSIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "actual_lrp_key": ("process_guid", "index", "domain"),
    "actual_lrp_instance_key": ("cell_id", "instance_guid"),
    "actual_lrp_net_info": ("address",),
    "desired_lrp": ("process_guid", "domain", "root_fs", "action"),
    "action": (),
}
"""What a message in one of these fields may not lack itself."""


def _missing(asked: Any, names: Iterable[str]) -> list[str]:
    """Return which of these fields are not there, or are an index below 0."""
    missing: list[str] = []
    for name in names:
        if name not in _INSIDE:
            is_there = asked.index >= 0 if name == "index" else getattr(asked, name)
            missing += [] if is_there else [name]
        elif asked.HasField(name):
            missing += _missing(getattr(asked, name), _INSIDE[name])
        else:
            missing.append(name)
    return missing


def _key(asked: Any) -> dict[str, Any]:
    return {"process_guid": asked.actual_lrp_key.process_guid, "index": asked.actual_lrp_key.index}


def _instance(asked: Any) -> dict[str, Any]:
    key, given = asked.actual_lrp_instance_key, asked.HasField("actual_lrp_instance_key")
    return {"instance": InstanceKey(key.instance_guid, key.cell_id)} if given else {}


def _net(asked: Any) -> dict[str, Any]:
    info = asked.actual_lrp_net_info
    ports = [
        PortMapping(port.container_port, port.host_port, port.container_tls_proxy_port, port.host_tls_proxy_port)
        for port in info.ports
    ]
    preferred = PreferredAddress(info.preferred_address)
    net = NetInfo(info.address, tuple(ports), info.instance_address, preferred, info.instance_ipv6_address)
    return {"net": net, "domain": asked.actual_lrp_key.domain}


def _update(asked: pb.UpdateDesiredLRPRequest) -> dict[str, Any]:
    given = asked.update
    plain = ("instances", "annotation", "image_username", "image_password")
    tags = {name: MetricTagValue(tag.static, DynamicValue(tag.dynamic)) for name, tag in given.metric_tags.items()}
    return {
        **{name: getattr(given, name) for name in plain if given.HasField(name)},
        "routes": dict(given.routes.routes) if given.HasField("routes") else None,
        "metric_tags": tags or None,
    }


_ARGUMENTS: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    "desired_lrp": lambda asked: {"wanted": decode.desired_lrp(asked.desired_lrp.SerializeToString(), full=True)},
    "update": _update,
    "actual_lrp_key": _key,
    "actual_lrp_instance_key": _instance,
    "actual_lrp_net_info": _net,
    "actual_lrp_internal_routes": lambda asked: {
        "internal_routes": tuple(route.hostname for route in asked.actual_lrp_internal_routes)
    },
    "metric_tags": lambda asked: {"metric_tags": dict(asked.metric_tags)},
    "routable": lambda asked: {"routable": asked.routable if asked.HasField("routable") else True},
    "error_message": lambda asked: {"reason": asked.error_message},
}
"""The arguments of the writer's method that a field becomes, where it is not one of the same name and value."""

_INSTANCE: Final = ("actual_lrp_key", "actual_lrp_instance_key")
_RUNNING: Final = (*_INSTANCE, "actual_lrp_net_info")
# What a cell reports of an instance that runs, unless it is an older one.
_REPORT: Final = ("actual_lrp_internal_routes", "metric_tags", "routable", "availability_zone")

WRITES: Final[Mapping[str, Write]] = {
    "/v1/desired_lrp/desire.r2": Write(pb.DesireLRPRequest, "desire", ("desired_lrp",)),
    "/v1/desired_lrp/update": Write(pb.UpdateDesiredLRPRequest, "update_desired", ("process_guid",), ("update",)),
    "/v1/desired_lrp/remove": Write(pb.RemoveDesiredLRPRequest, "remove_desired", ("process_guid",)),
    "/v1/domains/upsert": Write(pb.UpsertDomainRequest, "upsert_domain", ("domain",), ("ttl",)),
    "/v1/actual_lrps/claim": Write(
        pb.ClaimActualLRPRequest, "claim", ("process_guid", "actual_lrp_instance_key"), ("index",)
    ),
    "/v1/actual_lrps/start.r1": Write(pb.StartActualLRPRequest, "start", _RUNNING, _REPORT),
    "/v1/actual_lrps/start": Write(pb.StartActualLRPRequest, "start", _RUNNING),
    "/v1/actual_lrps/crash": Write(pb.CrashActualLRPRequest, "crash", _INSTANCE, ("error_message",)),
    "/v1/actual_lrps/fail": Write(pb.FailActualLRPRequest, "fail", ("actual_lrp_key", "error_message")),
    "/v1/actual_lrps/retire": Write(pb.RetireActualLRPRequest, "retire", ("actual_lrp_key",)),
    "/v1/actual_lrps/remove": Write(
        pb.RemoveActualLRPRequest, "remove", ("process_guid", "index"), ("actual_lrp_instance_key",)
    ),
    "/v1/actual_lrps/evacuate_claimed": Write(
        pb.EvacuateClaimedActualLRPRequest, "evacuate_claimed", _INSTANCE, keeps_if="not understood"
    ),
    "/v1/actual_lrps/evacuate_running.r1": Write(
        pb.EvacuateRunningActualLRPRequest, "evacuate_running", _RUNNING, _REPORT, keeps_if="not understood"
    ),
    "/v1/actual_lrps/evacuate_running": Write(
        pb.EvacuateRunningActualLRPRequest, "evacuate_running", _RUNNING, keeps_if="not understood"
    ),
    "/v1/actual_lrps/evacuate_stopped": Write(
        pb.EvacuateStoppedActualLRPRequest, "evacuate_stopped", _INSTANCE, keeps_if="refused"
    ),
    "/v1/actual_lrps/evacuate_crashed": Write(
        pb.EvacuateCrashedActualLRPRequest, "evacuate_crashed", (*_INSTANCE, "error_message"), keeps_if="refused"
    ),
    "/v1/actual_lrps/remove_evacuating": Write(pb.RemoveEvacuatingActualLRPRequest, "remove_evacuating", _INSTANCE),
}
"""Every path that writes, by the names that Diego's clients use; those without `.r1` are the older cells' own."""
