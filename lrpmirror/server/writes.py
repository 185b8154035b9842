"""The writing requests of the protocol: how each body is read and checked, the writer's method it calls, and the reply.

What a request may not lack is the BBS's own rule for it: all that is missing or wrong in form is named in one
InvalidRequest, before the state is looked at.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

from google.protobuf.message import Message
from msgspec import Struct

from lrpmirror.errors import RequestRefused
from lrpmirror.model import DynamicValue, MetricTagValue, PortMapping, PreferredAddress
from lrpmirror.server.parsing import parse
from lrpmirror.server.values import InstanceKey, NetInfo
from lrpmirror.server.writer import Writer
from lrpmirror.wire import decode, encode
from lrpmirror.wire.proto import diego_pb2
from lrpmirror.wire.proto import requests_pb2 as pb

_CALLED: Final = {"root_fs": "rootfs"}
"""Fields that the BBS's errors call by another name than its messages do."""

_KEPT: Final = b"\x10\x01"
"""`keep_container: true` of an EvacuationResponse."""


class Write(Struct, frozen=True):
    """One path: the kind of its request, what that may not lack, and what is done with it.

    `does` returns whether the cell keeps the container, None for the calls that do not say. A cell deletes its
    container unless the reply says to keep it. `keeps_if` says when the reply to an evacuation says so beside
    an error: where all writes are refused, or also where the request was not understood.
    """

    request: type[Message]
    lacks: Callable[[Any], list[str]]
    does: Callable[[Writer, Any], bool | None]
    keeps_if: Literal["", "refused", "not understood"] = ""

    def answer(self, writer: Writer, body: bytes, trace_id: str) -> bytes:
        """Do what the body asks for and return the reply's body, which is empty where there is nothing to say.

        RequestRefused and ResourceNotFound, also of the writer, are in the reply; raises what else the writer raises.
        """
        try:
            asked = self._read(body)
        except RequestRefused as refusal:
            return _refusal(refusal, keep=self.keeps_if == "not understood")
        writer.trace_id = trace_id
        try:
            return _KEPT if self.does(writer, asked) else b""
        except RequestRefused as refusal:
            return _refusal(refusal, keep=False)
        finally:
            writer.trace_id = ""

    def refuse(self, refusal: RequestRefused) -> bytes:
        """Return the body of a reply that refuses the write, whatever it asks for."""
        return _refusal(refusal, keep=bool(self.keeps_if))

    def _read(self, body: bytes) -> Message:
        asked = parse(self.request, body)
        missing = self.lacks(asked)
        if missing:
            raise RequestRefused(
                "InvalidRequest", ", ".join(f"Invalid field: {_CALLED.get(name, name)}" for name in missing)
            )
        return asked


def _refusal(refusal: RequestRefused, *, keep: bool) -> bytes:
    return encode.error_reply(refusal.type, refusal.message) + (_KEPT if keep else b"")


class _AboutRow(Protocol):
    """A request that names a row by its whole key."""

    @property
    def actual_lrp_key(self) -> diego_pb2.ActualLRPKey: ...


class _AboutInstance(_AboutRow, Protocol):
    """A request that names an instance too."""

    @property
    def actual_lrp_instance_key(self) -> diego_pb2.ActualLRPInstanceKey: ...


# ---------------------------------------------------------------- what may not be missing


def _needs(*names: str) -> Callable[[Message], list[str]]:
    """Return the check that each of these fields is there; of a message in one of them, its own fields too."""

    def lacks(asked: Message) -> list[str]:
        missing: list[str] = []
        for name in names:
            inside = _INSIDE.get(name)
            if inside is None:
                missing += [] if getattr(asked, name) else [name]
            elif asked.HasField(name):
                missing += inside(getattr(asked, name))
            else:
                missing.append(name)
        return missing

    return lacks


def _lacks_of_row(asked: diego_pb2.ActualLRPKey | pb.RemoveActualLRPRequest) -> list[str]:
    missing = [] if asked.process_guid else ["process_guid"]
    return missing + (["index"] if asked.index < 0 else [])


def _lacks_of_key(key: diego_pb2.ActualLRPKey) -> list[str]:
    return _lacks_of_row(key) + ([] if key.domain else ["domain"])


_INSIDE: Final[Mapping[str, Callable[[Any], list[str]]]] = {
    "actual_lrp_key": _lacks_of_key,
    "actual_lrp_instance_key": _needs("cell_id", "instance_guid"),
    "actual_lrp_net_info": _needs("address"),
    "desired_lrp": _needs("process_guid", "domain", "root_fs", "action"),
    "action": _needs(),
}


# ------------------------------------------------------------------------------ values


def _instance(key: diego_pb2.ActualLRPInstanceKey) -> InstanceKey:
    return InstanceKey(key.instance_guid, key.cell_id)


def _net(info: diego_pb2.ActualLRPNetInfo) -> NetInfo:
    ports = [
        PortMapping(port.container_port, port.host_port, port.container_tls_proxy_port, port.host_tls_proxy_port)
        for port in info.ports
    ]
    preferred = PreferredAddress(info.preferred_address)
    return NetInfo(info.address, tuple(ports), info.instance_address, preferred, info.instance_ipv6_address)


def _of_row(asked: _AboutRow) -> tuple[str, int]:
    return asked.actual_lrp_key.process_guid, asked.actual_lrp_key.index


def _of_instance(asked: _AboutInstance) -> tuple[str, int, InstanceKey]:
    return *_of_row(asked), _instance(asked.actual_lrp_instance_key)


_Running = pb.StartActualLRPRequest | pb.EvacuateRunningActualLRPRequest


def _report(asked: _Running) -> dict[str, Any]:
    """Return a cell's report of an instance that runs; without `routable` it is routable."""
    return _report_of_old(asked) | {
        "internal_routes": tuple(route.hostname for route in asked.actual_lrp_internal_routes),
        "metric_tags": dict(asked.metric_tags),
        "routable": asked.routable if asked.HasField("routable") else True,
        "availability_zone": asked.availability_zone,
    }


def _report_of_old(asked: _Running) -> dict[str, Any]:
    return {"net": _net(asked.actual_lrp_net_info), "domain": asked.actual_lrp_key.domain}


# ----------------------------------------------------------------------- what is done


def _desire(writer: Writer, asked: pb.DesireLRPRequest) -> None:
    writer.desire(decode.desired_lrp(asked.desired_lrp.SerializeToString(), full=True))


def _update(writer: Writer, asked: pb.UpdateDesiredLRPRequest) -> None:
    given = asked.update
    plain = {
        name: getattr(given, name)
        for name in ("instances", "annotation", "image_username", "image_password")
        if given.HasField(name)
    }
    tags = {name: MetricTagValue(tag.static, DynamicValue(tag.dynamic)) for name, tag in given.metric_tags.items()}
    writer.update_desired(
        asked.process_guid,
        routes=dict(given.routes.routes) if given.HasField("routes") else None,
        metric_tags=tags or None,
        **plain,
    )


def _remove_desired(writer: Writer, asked: pb.RemoveDesiredLRPRequest) -> None:
    writer.remove_desired(asked.process_guid)


def _upsert_domain(writer: Writer, asked: pb.UpsertDomainRequest) -> None:
    writer.upsert_domain(asked.domain, asked.ttl)


def _claim(writer: Writer, asked: pb.ClaimActualLRPRequest) -> None:
    writer.claim(asked.process_guid, asked.index, _instance(asked.actual_lrp_instance_key))


def _start(writer: Writer, asked: pb.StartActualLRPRequest) -> None:
    writer.start(*_of_instance(asked), **_report(asked))


def _start_of_old(writer: Writer, asked: pb.StartActualLRPRequest) -> None:
    writer.start(*_of_instance(asked), **_report_of_old(asked))


def _crash(writer: Writer, asked: pb.CrashActualLRPRequest) -> None:
    writer.crash(*_of_instance(asked), asked.error_message)


def _fail(writer: Writer, asked: pb.FailActualLRPRequest) -> None:
    writer.fail(*_of_row(asked), asked.error_message)


def _retire(writer: Writer, asked: pb.RetireActualLRPRequest) -> None:
    writer.retire(*_of_row(asked))


def _remove(writer: Writer, asked: pb.RemoveActualLRPRequest) -> None:
    given = asked.HasField("actual_lrp_instance_key")
    instance = _instance(asked.actual_lrp_instance_key) if given else None
    writer.remove(asked.process_guid, asked.index, instance)


def _evacuate_claimed(writer: Writer, asked: pb.EvacuateClaimedActualLRPRequest) -> bool:
    return writer.evacuate_claimed(*_of_instance(asked))


def _evacuate_running(writer: Writer, asked: pb.EvacuateRunningActualLRPRequest) -> bool:
    return writer.evacuate_running(*_of_instance(asked), **_report(asked))


def _evacuate_running_of_old(writer: Writer, asked: pb.EvacuateRunningActualLRPRequest) -> bool:
    return writer.evacuate_running(*_of_instance(asked), **_report_of_old(asked))


def _evacuate_stopped(writer: Writer, asked: pb.EvacuateStoppedActualLRPRequest) -> bool:
    return writer.evacuate_stopped(*_of_instance(asked))


def _evacuate_crashed(writer: Writer, asked: pb.EvacuateCrashedActualLRPRequest) -> bool:
    return writer.evacuate_crashed(*_of_instance(asked), asked.error_message)


def _remove_evacuating(writer: Writer, asked: pb.RemoveEvacuatingActualLRPRequest) -> None:
    writer.remove_evacuating(*_of_instance(asked))


_row, _instance_of_row = _needs("actual_lrp_key"), _needs("actual_lrp_key", "actual_lrp_instance_key")
_running = _needs("actual_lrp_key", "actual_lrp_instance_key", "actual_lrp_net_info")
_failed = _needs("actual_lrp_key", "error_message")
_crashed = _needs("actual_lrp_key", "actual_lrp_instance_key", "error_message")
_process = _needs("process_guid")

WRITES: Final[Mapping[str, Write]] = {
    "/v1/desired_lrp/desire.r2": Write(pb.DesireLRPRequest, _needs("desired_lrp"), _desire),
    "/v1/desired_lrp/update": Write(pb.UpdateDesiredLRPRequest, _process, _update),
    "/v1/desired_lrp/remove": Write(pb.RemoveDesiredLRPRequest, _process, _remove_desired),
    "/v1/domains/upsert": Write(pb.UpsertDomainRequest, _needs("domain"), _upsert_domain),
    "/v1/actual_lrps/claim": Write(pb.ClaimActualLRPRequest, _needs("process_guid", "actual_lrp_instance_key"), _claim),
    "/v1/actual_lrps/start.r1": Write(pb.StartActualLRPRequest, _running, _start),
    "/v1/actual_lrps/start": Write(pb.StartActualLRPRequest, _running, _start_of_old),
    "/v1/actual_lrps/crash": Write(pb.CrashActualLRPRequest, _instance_of_row, _crash),
    "/v1/actual_lrps/fail": Write(pb.FailActualLRPRequest, _failed, _fail),
    "/v1/actual_lrps/retire": Write(pb.RetireActualLRPRequest, _row, _retire),
    "/v1/actual_lrps/remove": Write(pb.RemoveActualLRPRequest, _lacks_of_row, _remove),
    "/v1/actual_lrps/evacuate_claimed": Write(
        pb.EvacuateClaimedActualLRPRequest, _instance_of_row, _evacuate_claimed, keeps_if="not understood"
    ),
    "/v1/actual_lrps/evacuate_running.r1": Write(
        pb.EvacuateRunningActualLRPRequest, _running, _evacuate_running, keeps_if="not understood"
    ),
    "/v1/actual_lrps/evacuate_running": Write(
        pb.EvacuateRunningActualLRPRequest, _running, _evacuate_running_of_old, keeps_if="not understood"
    ),
    "/v1/actual_lrps/evacuate_stopped": Write(
        pb.EvacuateStoppedActualLRPRequest, _instance_of_row, _evacuate_stopped, keeps_if="refused"
    ),
    "/v1/actual_lrps/evacuate_crashed": Write(
        pb.EvacuateCrashedActualLRPRequest, _crashed, _evacuate_crashed, keeps_if="refused"
    ),
    "/v1/actual_lrps/remove_evacuating": Write(
        pb.RemoveEvacuatingActualLRPRequest, _instance_of_row, _remove_evacuating
    ),
}
"""Every path that writes, by the names that Diego's clients use; those without `.r1` are the older cells' own."""
