"""Made-up applications that look like those of a Cloud Foundry: guids, routes, metric tags, addresses."""

import json
from typing import Final

from msgspec import Struct

from lrpmirror.detail import Action, DesiredLRPDetail, EnvironmentVariable, ResourceLimits, RunAction, SecurityGroupRule
from lrpmirror.model import (
    CellCapacity,
    CellPresence,
    DesiredLRP,
    DynamicValue,
    MetricTagValue,
    PortMapping,
    PreferredAddress,
    Provider,
)
from lrpmirror.server.writes import NetInfo

DOMAIN: Final = "cf-apps"  # the domain that the platform's applications are in

FIRST_PORT: Final = 61_000
PORTS_PER_INSTANCE: Final = 4


class App(Struct, frozen=True, kw_only=True):
    """An application of the platform; each deployment of it is a version, and a process of its own."""

    guid: str
    number: int
    version: str
    instances: int
    hosts: int = 1

    @property
    def name(self) -> str:
        """The name that its routes and tags have."""
        return f"app-{self.number}"

    @property
    def process_guid(self) -> str:
        """The guid of the current version's process, of 73 characters."""
        return f"{self.guid}-{self.version}"


def routes(app: App) -> dict[str, bytes]:
    """Return the routes of each router: HTTP for all, TCP for some, internal, and the way in by SSH."""
    hosts = [f"{app.name}.example.com", *(f"{app.name}-{number}.example.com" for number in range(2, app.hosts + 1))]
    http = {"hostnames": hosts, "port": 8080, "route_service_url": None, "isolation_segment": None, "protocol": "http1"}
    made: dict[str, object] = {
        "cf-router": [http],
        "internal-router": [{"hostname": f"{app.name}.apps.internal"}],
        "diego-ssh": {"container_port": 2222, "private_key": "x", "host_fingerprint": "y"},
    }
    if app.number % 4 == 0:
        made["tcp-router"] = [{"router_group_guid": "rg-1", "external_port": 1024 + app.number, "container_port": 8080}]
    return {router: json.dumps(value, separators=(",", ":")).encode() for router, value in made.items()}


def internal_routes(app: App) -> tuple[str, ...]:
    """Return the internal host names that the app's instances report."""
    return (f"{app.name}.apps.internal",)


def instance_tags(app: App, index: int) -> dict[str, str]:
    """Return the metric tags that an instance reports."""
    return {"source_id": app.guid, "app_name": app.name, "instance_id": str(index)}


def desired_lrp(app: App) -> DesiredLRP:
    """Return what the platform desires for the app's current version, with everything that a record has."""
    launch = RunAction(
        path="/tmp/lifecycle/launcher",  # noqa: S108 - where the platform has it; nothing is run here
        args=("app", "bundle exec rackup -p $PORT", ""),
        env=(EnvironmentVariable(name="VCAP_APPLICATION", value=json.dumps({"application_id": app.guid})),),
        resource_limits=ResourceLimits(nofile=16384),
        user="vcap",
    )
    detail = DesiredLRPDetail(
        environment_variables=(EnvironmentVariable(name="VCAP_SERVICES", value='{"p.mysql":[]}'),),
        action=Action(run_action=launch),
        cpu_weight=25,
        ports=(8080, 2222),
        log_source="CELL",
        metrics_guid=app.guid,
        egress_rules=(SecurityGroupRule(protocol="tcp", destinations=("0.0.0.0-9.255.255.255",), ports=(443, 80)),),
        start_timeout_ms=60_000,
    )
    return DesiredLRP(
        process_guid=app.process_guid,
        domain=DOMAIN,
        log_guid=app.guid,
        annotation="1",
        instances=app.instances,
        memory_mb=256,
        disk_mb=1024,
        root_fs="preloaded:cflinuxfs4",
        max_pids=1024,
        routes=routes(app),
        metric_tags={
            "source_id": MetricTagValue(static=app.guid),
            "app_name": MetricTagValue(static=app.name),
            "instance_id": MetricTagValue(dynamic=DynamicValue.INDEX),
        },
        detail=detail,
    )


def cell_presence(cell_id: str, *, zone: str = "z1", number: int = 1) -> CellPresence:
    """Return a cell as a deployment would describe it; `number` makes its address."""
    return CellPresence(
        cell_id=cell_id,
        rep_address=f"http://10.0.1.{number}:1800",
        zone=zone,
        capacity=CellCapacity(memory_mb=4096, disk_mb=8192, containers=250),
        rootfs_providers=(Provider("preloaded", ("cflinuxfs4",)),),
        rep_url=f"https://{cell_id}.cell.service.cf.internal:1801",
    )


def net_info(cell: int, container: int) -> NetInfo:
    """Return where the n-th container of a cell is reached: an HTTP port and an SSH port, each with a TLS proxy."""
    first = FIRST_PORT + PORTS_PER_INSTANCE * (container % 1000)
    return NetInfo(
        address=f"10.0.{cell // 250}.{cell % 250 + 1}",
        ports=(PortMapping(8080, first, 61001, first + 1), PortMapping(2222, first + 2, 61002, first + 3)),
        instance_address=f"10.255.{cell % 250}.{container % 250 + 1}",
        preferred_address=PreferredAddress.HOST,
    )
