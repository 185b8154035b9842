"""A BBS as its clients meet it: every write over HTTP, for threads without an event loop."""

import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import httpx
from google.protobuf.message import Message
from patience import PATIENCE
from sim_support import NET, A, run, wanted
from sim_support import diego as new_diego

from lrpmirror.detail import Action, DesiredLRPDetail, RunAction
from lrpmirror.errors import RequestRefused, ResourceNotFound
from lrpmirror.events import Event
from lrpmirror.model import EMPTY, ActualLRP, ActualLRPGroup, DesiredLRP, MetricTagValue
from lrpmirror.server import InstanceKey, NetInfo
from lrpmirror.sim import Diego, serve_diego_in_thread
from lrpmirror.wire import decode, encode
from lrpmirror.wire.proto import diego_pb2, events_pb2
from lrpmirror.wire.proto import requests_pb2 as pb
from lrpmirror.wire.sse import EventStreamDecoder

_R = TypeVar("_R")


ACTION = Action(run_action=RunAction(path="/bin/app", user="vcap"))


def desired_and(*instances: InstanceKey) -> Diego:
    """Return a BBS with process p, and one running instance of it for each index."""
    made = new_diego()
    made.desire(wanted(instances=max(1, len(instances))))
    for index, instance in enumerate(instances):
        run(made, instance, index)
    return made


def over_http(diego: Diego, drive: Callable[["RemoteBBS"], _R], **options: Any) -> _R:
    """Serve the simulation, let `drive` use it over HTTP, and return what that returns."""
    # Loading certificates, which nothing here needs, would take longer than the tests.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with (
        serve_diego_in_thread(diego, **options) as served,
        httpx.Client(base_url=served.url, timeout=PATIENCE, verify=context) as http,
    ):
        return drive(RemoteBBS(http))


def key_of(process_guid: str, index: int, domain: str = "cf-apps") -> diego_pb2.ActualLRPKey:
    return diego_pb2.ActualLRPKey(process_guid=process_guid, index=index, domain=domain)


def instance_of(instance: InstanceKey) -> diego_pb2.ActualLRPInstanceKey:
    return diego_pb2.ActualLRPInstanceKey(instance_guid=instance.instance_guid, cell_id=instance.cell_id)


def net_of(net: NetInfo) -> diego_pb2.ActualLRPNetInfo:
    ports = [
        diego_pb2.PortMapping(
            container_port=port.container_port,
            host_port=port.host_port,
            container_tls_proxy_port=port.container_tls_proxy_port,
            host_tls_proxy_port=port.host_tls_proxy_port,
        )
        for port in net.ports
    ]
    return diego_pb2.ActualLRPNetInfo(
        address=net.address,
        ports=ports,
        instance_address=net.instance_address,
        preferred_address=int(net.preferred_address),  # type: ignore[arg-type]  # an enum is a number on the wire
        instance_ipv6_address=net.instance_ipv6_address,
    )


class RemoteStream:
    """An event stream that is being followed; reads only when it is asked for a number of events."""

    def __init__(self, http: httpx.Client, path: str) -> None:
        method = "GET" if path == "/v1/events.r1" else "POST"
        asked = http.build_request(
            method, path, content=events_pb2.EventsByCellId().SerializeToString(), timeout=PATIENCE
        )
        self._reply = http.send(asked, stream=True)
        assert self._reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        self._pieces = self._reply.iter_raw()
        self._decoder = EventStreamDecoder()
        self._events: list[Event] = []

    def take(self, count: int) -> list[Event]:
        while len(self._events) < count:
            frames = self._decoder.feed(next(self._pieces))
            self._events += [decode.event(frame.event, frame.data, full=True) for frame in frames]
        taken, self._events = self._events[:count], self._events[count:]
        return taken

    def close(self) -> None:
        self._reply.close()


class RemoteBBS:
    """The calls of a `lrpmirror.server.Writer`, made over HTTP; and the lists that the tests compare."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.trace_id = ""

    def post(self, path: str, asked: Message) -> bytes:
        headers = {"X-Vcap-Request-Id": self.trace_id} if self.trace_id else {}
        reply = self.http.post(path, content=asked.SerializeToString(), headers=headers)
        assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-protobuf")
        return reply.content

    def _write(self, path: str, asked: Message, kind: type[Any] = pb.ActualLRPLifecycleResponse) -> Any:
        response = kind.FromString(self.post(path, asked))
        if response.HasField("error"):
            name = diego_pb2.Error.Type.Name(response.error.type)
            refused = ResourceNotFound if name == "ResourceNotFound" else RequestRefused
            raise refused(name, response.error.message)
        return response

    # desired LRPs and domains

    def desire(self, wanted: DesiredLRP) -> None:
        asked = pb.DesireLRPRequest(desired_lrp=diego_pb2.DesiredLRP.FromString(encode.desired_lrp(wanted)))
        self._write("/v1/desired_lrp/desire.r2", asked, pb.DesiredLRPLifecycleResponse)

    def update_desired(
        self,
        process_guid: str,
        *,
        instances: int | None = None,
        routes: Mapping[str, bytes] | None = None,
        annotation: str | None = None,
        metric_tags: Mapping[str, MetricTagValue] | None = None,
        image_username: str | None = None,
        image_password: str | None = None,
    ) -> None:
        update = pb.DesiredLRPUpdate(
            instances=instances, annotation=annotation, image_username=image_username, image_password=image_password
        )
        if routes is not None:
            update.routes.SetInParent()
            update.routes.routes.update(routes)
        for name, tag in (metric_tags or {}).items():
            update.metric_tags[name].static = tag.static
            update.metric_tags[name].dynamic = int(tag.dynamic)  # type: ignore[assignment]  # as above
        asked = pb.UpdateDesiredLRPRequest(process_guid=process_guid, update=update)
        self._write("/v1/desired_lrp/update", asked, pb.DesiredLRPLifecycleResponse)

    def remove_desired(self, process_guid: str) -> None:
        asked = pb.RemoveDesiredLRPRequest(process_guid=process_guid)
        self._write("/v1/desired_lrp/remove", asked, pb.DesiredLRPLifecycleResponse)

    def upsert_domain(self, domain: str, ttl: int = 0) -> None:
        asked = pb.UpsertDomainRequest(domain=domain, ttl=ttl)
        self._write("/v1/domains/upsert", asked, pb.UpsertDomainResponse)

    # actual LRPs

    def claim(self, process_guid: str, index: int, instance: InstanceKey) -> None:
        asked = pb.ClaimActualLRPRequest(
            process_guid=process_guid, index=index, actual_lrp_instance_key=instance_of(instance)
        )
        self._write("/v1/actual_lrps/claim", asked)

    def start(self, process_guid: str, index: int, instance: InstanceKey, net: NetInfo, **report: Any) -> None:
        asked = _running(pb.StartActualLRPRequest, process_guid, index, instance, net, **report)
        self._write("/v1/actual_lrps/start.r1", asked)

    def crash(self, process_guid: str, index: int, instance: InstanceKey, reason: str = "") -> None:
        asked = pb.CrashActualLRPRequest(
            actual_lrp_key=key_of(process_guid, index),
            actual_lrp_instance_key=instance_of(instance),
            error_message=reason,
        )
        self._write("/v1/actual_lrps/crash", asked)

    def fail(self, process_guid: str, index: int, reason: str) -> None:
        asked = pb.FailActualLRPRequest(actual_lrp_key=key_of(process_guid, index), error_message=reason)
        self._write("/v1/actual_lrps/fail", asked)

    def remove(self, process_guid: str, index: int, instance: InstanceKey | None = None) -> None:
        given = None if instance is None else instance_of(instance)
        asked = pb.RemoveActualLRPRequest(process_guid=process_guid, index=index, actual_lrp_instance_key=given)
        self._write("/v1/actual_lrps/remove", asked)

    def retire(self, process_guid: str, index: int) -> None:
        asked = pb.RetireActualLRPRequest(actual_lrp_key=key_of(process_guid, index))
        self._write("/v1/actual_lrps/retire", asked)

    # evacuation

    def evacuate_claimed(self, process_guid: str, index: int, instance: InstanceKey) -> bool:
        return self._evacuate("evacuate_claimed", pb.EvacuateClaimedActualLRPRequest, process_guid, index, instance)

    def evacuate_running(
        self, process_guid: str, index: int, instance: InstanceKey, net: NetInfo, **report: Any
    ) -> bool:
        asked = _running(pb.EvacuateRunningActualLRPRequest, process_guid, index, instance, net, **report)
        return bool(self._write("/v1/actual_lrps/evacuate_running.r1", asked, pb.EvacuationResponse).keep_container)

    def evacuate_stopped(self, process_guid: str, index: int, instance: InstanceKey) -> bool:
        return self._evacuate("evacuate_stopped", pb.EvacuateStoppedActualLRPRequest, process_guid, index, instance)

    def evacuate_crashed(self, process_guid: str, index: int, instance: InstanceKey, reason: str = "") -> bool:
        kind = pb.EvacuateCrashedActualLRPRequest
        return self._evacuate("evacuate_crashed", kind, process_guid, index, instance, error_message=reason)

    def remove_evacuating(self, process_guid: str, index: int, instance: InstanceKey) -> None:
        asked = pb.RemoveEvacuatingActualLRPRequest(
            actual_lrp_key=key_of(process_guid, index), actual_lrp_instance_key=instance_of(instance)
        )
        self._write("/v1/actual_lrps/remove_evacuating", asked, pb.RemoveEvacuatingActualLRPResponse)

    def _evacuate(
        self, path: str, kind: type[Any], process_guid: str, index: int, instance: InstanceKey, **more: Any
    ) -> bool:
        key, instance_key = key_of(process_guid, index), instance_of(instance)
        asked = kind(actual_lrp_key=key, actual_lrp_instance_key=instance_key, **more)
        return bool(self._write(f"/v1/actual_lrps/{path}", asked, pb.EvacuationResponse).keep_container)

    # what is read

    def actual_lrps(self) -> list[ActualLRP]:
        listed = pb.ActualLRPsResponse.FromString(self.post("/v1/actual_lrps/list", pb.ActualLRPsRequest()))
        return [decode.actual_lrp(each.SerializeToString()) for each in listed.actual_lrps]

    def actual_lrp_groups(self) -> list[ActualLRPGroup]:
        body = self.post("/v1/actual_lrp_groups/list", pb.ActualLRPGroupsRequest())
        groups = pb.ActualLRPGroupsResponse.FromString(body).actual_lrp_groups
        return [decode.actual_lrp_group(each.SerializeToString()) for each in groups]

    def desired_lrps(self) -> list[DesiredLRP]:
        listed = pb.DesiredLRPsResponse.FromString(self.post("/v1/desired_lrps/list.r3", pb.DesiredLRPsRequest()))
        return [decode.desired_lrp(each.SerializeToString(), full=True) for each in listed.desired_lrps]

    def follow(self, path: str) -> RemoteStream:
        return RemoteStream(self.http, path)


def _running(
    kind: type[Any],
    process_guid: str,
    index: int,
    instance: InstanceKey,
    net: NetInfo,
    *,
    domain: str = "cf-apps",
    internal_routes: Sequence[str] = (),
    metric_tags: Mapping[str, str] = EMPTY,
    routable: bool | None = None,
    availability_zone: str = "",
) -> Message:
    asked: Message = kind(
        actual_lrp_key=key_of(process_guid, index, domain),
        actual_lrp_instance_key=instance_of(instance),
        actual_lrp_net_info=net_of(net),
        actual_lrp_internal_routes=[diego_pb2.ActualLRPInternalRoute(hostname=each) for each in internal_routes],
        metric_tags=dict(metric_tags),
        routable=routable,
        availability_zone=availability_zone,
    )
    return asked


KEY, INSTANCE, NET_INFO = key_of("p", 0), instance_of(A), net_of(NET)
CELL: dict[str, Any] = {"actual_lrp_key": KEY, "actual_lrp_instance_key": INSTANCE}

# A request of each path that writes, with all that it may not lack.
WHOLE: dict[str, Message] = {
    "/v1/desired_lrp/desire.r2": pb.DesireLRPRequest(
        desired_lrp=diego_pb2.DesiredLRP.FromString(
            encode.desired_lrp(wanted("q", detail=DesiredLRPDetail(action=ACTION)))
        )
    ),
    "/v1/desired_lrp/update": pb.UpdateDesiredLRPRequest(process_guid="p"),
    "/v1/desired_lrp/remove": pb.RemoveDesiredLRPRequest(process_guid="p"),
    "/v1/domains/upsert": pb.UpsertDomainRequest(domain="d"),
    "/v1/actual_lrps/claim": pb.ClaimActualLRPRequest(process_guid="p", index=0, actual_lrp_instance_key=INSTANCE),
    "/v1/actual_lrps/start.r1": pb.StartActualLRPRequest(**CELL, actual_lrp_net_info=NET_INFO),
    "/v1/actual_lrps/start": pb.StartActualLRPRequest(**CELL, actual_lrp_net_info=NET_INFO),
    "/v1/actual_lrps/crash": pb.CrashActualLRPRequest(**CELL),
    "/v1/actual_lrps/fail": pb.FailActualLRPRequest(actual_lrp_key=KEY, error_message="why"),
    "/v1/actual_lrps/retire": pb.RetireActualLRPRequest(actual_lrp_key=KEY),
    "/v1/actual_lrps/remove": pb.RemoveActualLRPRequest(process_guid="p", index=0),
    "/v1/actual_lrps/evacuate_claimed": pb.EvacuateClaimedActualLRPRequest(**CELL),
    "/v1/actual_lrps/evacuate_running.r1": pb.EvacuateRunningActualLRPRequest(**CELL, actual_lrp_net_info=NET_INFO),
    "/v1/actual_lrps/evacuate_running": pb.EvacuateRunningActualLRPRequest(**CELL, actual_lrp_net_info=NET_INFO),
    "/v1/actual_lrps/evacuate_stopped": pb.EvacuateStoppedActualLRPRequest(**CELL),
    "/v1/actual_lrps/evacuate_crashed": pb.EvacuateCrashedActualLRPRequest(**CELL, error_message="why"),
    "/v1/actual_lrps/remove_evacuating": pb.RemoveEvacuatingActualLRPRequest(**CELL),
}
