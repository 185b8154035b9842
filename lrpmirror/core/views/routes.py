"""Routes: from a name or port to the endpoints that serve it, by the rules of Diego's own route emitter.

An instance is an endpoint when its row is RUNNING (also EVACUATING or SUSPECT: it serves as long as it runs), is not
marked as not routable (an absent mark counts as routable), and its index is below the desired number of instances; the
desired LRP says for which names and container ports. Its address is the host's with the mapped host port, or the
container's with the container port when the row prefers that; the TLS port is the TLS proxy's of the same side. An
instance without that address is left out. A desired LRP that was missing from a list while its domain was not fresh
keeps its routes.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.core.derive import Process, View
from lrpmirror.core.views.definitions import http_routes, internal_routes, tcp_routes
from lrpmirror.frozen import frozen
from lrpmirror.model import EMPTY, ActualLRP, ActualLRPState, DesiredLRP, DynamicValue, PreferredAddress, Presence

__all__ = ["Address", "Endpoint", "HTTPRoutes", "InternalEndpoint", "InternalRoutes", "TCPRoutes", "routed_rows"]

Address = Literal["preferred", "host", "container"]
"""Which address to route to: what the row prefers (UNKNOWN: the host's), or always one of the two."""


class Endpoint(Struct, frozen=True, kw_only=True):
    """One instance at one port, as a router registers it. An empty or zero field means that there is none.

    `app` is the log guid; `tags` are the desired LRP's metric tags with the dynamic ones filled in; `since` is in
    nanoseconds since 1970.
    """

    host: str
    port: int
    tls_port: int = 0
    process_guid: str
    app: str = ""
    instance_guid: str
    index: int
    protocol: str = ""
    route_service_url: str = ""
    isolation_segment: str = ""
    availability_zone: str = ""
    options: Mapping[str, Any] | None = None
    tags: Mapping[str, str] = EMPTY
    evacuating: bool = False
    since: int = 0

    def __hash__(self) -> int:
        return hash((self.host, self.port, self.instance_guid))


class InternalEndpoint(Struct, frozen=True, kw_only=True):
    """One instance at its container's address, as the platform's own name service resolves it."""

    host: str
    process_guid: str
    app: str = ""
    instance_guid: str
    index: int
    availability_zone: str = ""


class HTTPRoutes(View[str, tuple[Endpoint, ...], tuple[Endpoint, ...]]):
    """Host name, with a path where the route has one (`app.example.com/path`) → endpoints, by process guid, then index.

    A change of `evacuating` or `since` alone is no change of a route and is not published; the value has it all the
    same. `address` overrides which address of an instance to route to.
    """

    reads_secrets = False

    def __init__(self, *, address: Address = "preferred") -> None:
        self._address: Address = address

    def derive(self, process: Process) -> Mapping[str, tuple[Endpoint, ...]]:
        """Return the endpoints of a process by host name."""
        desired = process.routed
        if desired is None or not (routes := http_routes(desired.routes)):
            return {}
        found: dict[str, list[Endpoint]] = {}
        for row in routed_rows(process.rows, desired):
            for route in routes:
                endpoint = _endpoint(row, desired, route.port, self._address)
                if endpoint is None:
                    continue
                endpoint = replace(
                    endpoint,
                    protocol=route.protocol or "",
                    route_service_url=route.route_service_url or "",
                    isolation_segment=route.isolation_segment or "",
                    options=route.options,
                )
                for hostname in route.hostnames:
                    found.setdefault(hostname, []).append(endpoint)
        return {hostname: _distinct(endpoints) for hostname, endpoints in found.items() if hostname}

    def combine(self, key: str, contributions: Mapping[str, tuple[Endpoint, ...]]) -> tuple[Endpoint, ...]:  # noqa: ARG002
        """Return the endpoints of all processes that share the host name."""
        return _joined(contributions)

    def same(self, before: tuple[Endpoint, ...], after: tuple[Endpoint, ...]) -> bool:
        """Tell whether two lists of endpoints route alike."""
        return _route_alike(before, after)


class TCPRoutes(View[tuple[str, int], tuple[Endpoint, ...], tuple[Endpoint, ...]]):
    """(router group guid, external port) → endpoints, by process guid, then index.

    `address` and changes as in `HTTPRoutes`.
    """

    reads_secrets = False

    def __init__(self, *, address: Address = "preferred") -> None:
        self._address: Address = address

    def derive(self, process: Process) -> Mapping[tuple[str, int], tuple[Endpoint, ...]]:
        """Return the endpoints of a process by router group and port."""
        desired = process.routed
        if desired is None or not (routes := tcp_routes(desired.routes)):
            return {}
        found: dict[tuple[str, int], list[Endpoint]] = {}
        for row in routed_rows(process.rows, desired):
            for route in routes:
                endpoint = _endpoint(row, desired, route.container_port, self._address)
                if endpoint is not None:
                    found.setdefault((route.router_group_guid, route.external_port), []).append(endpoint)
        return {key: _distinct(endpoints) for key, endpoints in found.items()}

    def combine(
        self,
        key: tuple[str, int],  # noqa: ARG002 - the value does not depend on it
        contributions: Mapping[str, tuple[Endpoint, ...]],
    ) -> tuple[Endpoint, ...]:
        """Return the endpoints of all processes that share the port."""
        return _joined(contributions)

    def same(self, before: tuple[Endpoint, ...], after: tuple[Endpoint, ...]) -> bool:
        """Tell whether two lists of endpoints route alike."""
        return _route_alike(before, after)


class InternalRoutes(View[str, tuple[InternalEndpoint, ...], tuple[InternalEndpoint, ...]]):
    """Internal host name, and `INDEX.HOSTNAME` for each instance → endpoints, by process guid, then index.

    The names come from the desired LRP. The address is always the container's; an instance without one is left out.
    """

    reads_secrets = False

    def derive(self, process: Process) -> Mapping[str, tuple[InternalEndpoint, ...]]:
        """Return the instances of a process by internal host name."""
        desired = process.routed
        if desired is None or not (routes := internal_routes(desired.routes)):
            return {}
        found: dict[str, dict[InternalEndpoint, None]] = {}
        for row in routed_rows(process.rows, desired):
            if not row.instance_address:
                continue
            endpoint = InternalEndpoint(
                host=row.instance_address,
                process_guid=row.process_guid,
                app=desired.log_guid,
                instance_guid=row.instance_guid,
                index=row.index,
                availability_zone=row.availability_zone,
            )
            for route in routes:
                if route.hostname:
                    found.setdefault(route.hostname, {})[endpoint] = None
                    found.setdefault(f"{row.index}.{route.hostname}", {})[endpoint] = None
        return {hostname: tuple(endpoints) for hostname, endpoints in found.items()}

    def combine(
        self,
        key: str,  # noqa: ARG002 - the value does not depend on it
        contributions: Mapping[str, tuple[InternalEndpoint, ...]],
    ) -> tuple[InternalEndpoint, ...]:
        """Return the instances of all processes that share the name."""
        return tuple(endpoint for guid in sorted(contributions) for endpoint in contributions[guid])


def routed_rows(rows: Iterable[ActualLRP], desired: DesiredLRP) -> Iterator[ActualLRP]:
    """Return the rows that serve the routes of their desired LRP."""
    return (
        row
        for row in rows
        if row.state == ActualLRPState.RUNNING and row.routable is not False and row.index < desired.instances
    )


def _endpoint(row: ActualLRP, desired: DesiredLRP, container_port: int, address: Address) -> Endpoint | None:
    """Make the endpoint of an instance at a container port; None where it has no such port, or no such address."""
    mapping = next((port for port in row.ports if port.container_port == container_port), None)
    if mapping is None:
        return None
    container = address == "container" or (
        address == "preferred" and row.preferred_address is PreferredAddress.INSTANCE
    )
    if container:
        host, port, tls_port = row.instance_address, mapping.container_port, mapping.container_tls_proxy_port
    else:
        host, port, tls_port = row.address, mapping.host_port, mapping.host_tls_proxy_port
    if not host:
        # A router would take it for itself.
        return None
    return Endpoint(
        host=host,
        port=port,
        tls_port=tls_port,
        process_guid=row.process_guid,
        app=desired.log_guid,
        instance_guid=row.instance_guid,
        index=row.index,
        availability_zone=row.availability_zone,
        tags=_tags(row, desired),
        evacuating=row.presence is Presence.EVACUATING,
        since=row.since,
    )


def _tags(row: ActualLRP, desired: DesiredLRP) -> Mapping[str, str]:
    if not desired.metric_tags:
        return EMPTY
    filled = {DynamicValue.INDEX: str(row.index), DynamicValue.INSTANCE_GUID: row.instance_guid}
    return frozen({name: filled.get(value.dynamic, value.static) for name, value in desired.metric_tags.items()})


def _distinct(endpoints: list[Endpoint]) -> tuple[Endpoint, ...]:
    """Drop the second of two rows of one instance at one address, as there can be while it is being evacuated."""
    if len(endpoints) == 1:
        return (endpoints[0],)
    seen: dict[tuple[str, str, int], Endpoint] = {}
    for endpoint in endpoints:
        seen.setdefault((endpoint.instance_guid, endpoint.host, endpoint.port), endpoint)
    return tuple(seen.values())


def _joined(contributions: Mapping[str, tuple[Endpoint, ...]]) -> tuple[Endpoint, ...]:
    if len(contributions) == 1:
        return next(iter(contributions.values()))
    return tuple(endpoint for guid in sorted(contributions) for endpoint in contributions[guid])


def _route_alike(before: tuple[Endpoint, ...], after: tuple[Endpoint, ...]) -> bool:
    if len(before) != len(after):
        return False
    return all(
        one == other or replace(one, evacuating=other.evacuating, since=other.since) == other
        for one, other in zip(before, after, strict=True)
    )
