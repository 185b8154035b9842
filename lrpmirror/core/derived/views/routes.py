"""Routes: from a name or port to the endpoints that serve it, by the rules of Diego's own route emitter.

An instance is an endpoint when its row is RUNNING (also EVACUATING or SUSPECT: it serves as long as it runs), is not
marked as not routable (an absent mark counts as routable), and its index is below the desired number of instances; the
desired LRP says for which names and container ports. Its address is the host's with the mapped host port, or the
container's with the container port when the row prefers that; the TLS port is the TLS proxy's of the same side. An
instance without that address is left out. A desired LRP that was missing from a list while its domain was not fresh
keeps its routes.
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final, Generic, Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from lrpmirror.core.derived.view import InstanceView, Process, Share, Step
from lrpmirror.core.derived.views.definitions import RouteGroup, Target, http_groups, internal_names, tcp_groups
from lrpmirror.core.derived.views.tags import filled_tags
from lrpmirror.model import (
    EMPTY,
    ActualLRP,
    ActualLRPState,
    DesiredLRP,
    MetricTagValue,
    PreferredAddress,
    Presence,
)

__all__ = ["Address", "Endpoint", "HTTPRoutes", "InternalEndpoint", "InternalRoutes", "TCPRoutes"]

K = TypeVar("K", bound=Hashable)

Address = Literal["preferred", "host", "container"]
"""Which address to route to: what the row prefers (UNKNOWN: the host's), or always one of the two."""


class Endpoint(Struct, frozen=True, kw_only=True, gc=False):
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


class InternalEndpoint(Struct, frozen=True, kw_only=True, gc=False):
    """One instance at its container's address, as the platform's own name service resolves it."""

    host: str
    process_guid: str
    app: str = ""
    instance_guid: str
    index: int
    availability_zone: str = ""


Endpoints = tuple[Endpoint, ...]
InternalEndpoints = tuple[InternalEndpoint, ...]

E = TypeVar("E", bound=Endpoint | InternalEndpoint)


class _Routing(Struct, Generic[K], frozen=True, gc=False):
    """The terms of a process: what its endpoints take from the desired LRP."""

    raw: bytes
    groups: tuple[RouteGroup[K], ...]
    instances: int
    app: str
    tags: Mapping[str, MetricTagValue]


class _Naming(Struct, frozen=True, gc=False):
    """The same of internal routes."""

    raw: bytes
    names: tuple[str, ...]
    instances: int
    app: str


_READ_BY_ENDPOINTS: Final = frozenset(
    {
        *("state", "presence", "routable", "instance_guid", "availability_zone", "since"),
        *("address", "instance_address", "preferred_address", "ports"),
    }
)


class HTTPRoutes(InstanceView[str, Endpoints, Endpoints]):
    """Host name, with a path where the route has one (`app.example.com/path`) → endpoints, by process guid, then index.

    The host is in lower case, in whatever case it was mapped, since it is the same in any: two spellings are one key. A
    path keeps its case. A change of `evacuating` or `since` alone is no change of a route and is not published; the
    value has it all the same. `address` overrides which address of an instance to route to.
    """

    reads_secrets = False
    reads = _READ_BY_ENDPOINTS

    def __init__(self, *, address: Address = "preferred") -> None:
        self._address: Address = address

    def terms(self, process: Process, before: _Routing[str] | None) -> _Routing[str] | None:
        """Return the routes of a process, and what the endpoints have from its desired LRP."""
        return _routing(process.routed, before, "cf-router", http_groups)

    def instance(self, rows: tuple[ActualLRP, ...], terms: _Routing[str]) -> list[Share[str, Endpoints]]:
        """Return the endpoints of an instance by host name."""
        return _endpoints(rows, terms, self._address)

    def fold(self, state: Endpoints | None, steps: Sequence[Step[Endpoints]]) -> Endpoints | None:
        """Replace the endpoints of the instances that changed, in order."""
        return spliced(state, steps)

    def same(self, before: Endpoints, after: Endpoints) -> bool:
        """Return whether two lists of endpoints route alike."""
        return _route_alike(before, after)

    alike = same


class TCPRoutes(InstanceView[tuple[str, int], Endpoints, Endpoints]):
    """(router group guid, external port) → endpoints, by process guid, then index.

    `address` and changes as in `HTTPRoutes`.
    """

    reads_secrets = False
    reads = _READ_BY_ENDPOINTS

    def __init__(self, *, address: Address = "preferred") -> None:
        self._address: Address = address

    def terms(self, process: Process, before: _Routing[tuple[str, int]] | None) -> _Routing[tuple[str, int]] | None:
        """Return the routes of a process, and what the endpoints have from its desired LRP."""
        return _routing(process.routed, before, "tcp-router", tcp_groups)

    def instance(
        self, rows: tuple[ActualLRP, ...], terms: _Routing[tuple[str, int]]
    ) -> list[Share[tuple[str, int], Endpoints]]:
        """Return the endpoints of an instance by router group and port."""
        return _endpoints(rows, terms, self._address)

    def fold(self, state: Endpoints | None, steps: Sequence[Step[Endpoints]]) -> Endpoints | None:
        """Replace the endpoints of the instances that changed, in order."""
        return spliced(state, steps)

    def same(self, before: Endpoints, after: Endpoints) -> bool:
        """Return whether two lists of endpoints route alike."""
        return _route_alike(before, after)

    alike = same


class InternalRoutes(InstanceView[str, InternalEndpoints, InternalEndpoints]):
    """Internal host name, and `INDEX.HOSTNAME` for each instance → endpoints, by process guid, then index.

    The names come from the desired LRP, and are in lower case as in `HTTPRoutes`. The address is always the
    container's; an instance without one is left out.
    """

    reads_secrets = False
    reads = frozenset({"state", "routable", "instance_address", "instance_guid", "availability_zone", "presence"})

    def terms(self, process: Process, before: _Naming | None) -> _Naming | None:
        """Return the names of a process, and what the endpoints have from its desired LRP."""
        desired = process.routed
        raw = b"" if desired is None else desired.routes.get("internal-router", b"")
        if desired is None or not raw:
            return None
        names = before.names if before is not None and before.raw == raw else internal_names(raw)
        return _Naming(raw, names, desired.instances, desired.log_guid) if names else None

    def instance(self, rows: tuple[ActualLRP, ...], terms: _Naming) -> Sequence[Share[str, InternalEndpoints]]:
        """Return an instance by internal host name, and by the same with its index."""
        found = [_internal_endpoint(row, terms) for row in _serving(rows, terms) if row.instance_address]
        if not found:
            return ()
        index, names = rows[0].index, terms.names
        endpoints = (found[0],) if len(found) == 1 else tuple(dict.fromkeys(found))
        if len(names) == 1:
            return (Share(names, endpoints), Share((f"{index}.{names[0]}",), endpoints))
        named = tuple([f"{index}.{name}" for name in names])
        if not set(named).isdisjoint(names):
            return (Share(tuple(dict.fromkeys((*names, *named))), endpoints),)
        return (Share(names, endpoints), Share(named, endpoints))

    def fold(
        self, state: InternalEndpoints | None, steps: Sequence[Step[InternalEndpoints]]
    ) -> InternalEndpoints | None:
        """Replace the endpoints of the instances that changed, in order."""
        return spliced(state, steps)


_RUNNING: Final = ActualLRPState.RUNNING
_EVACUATING: Final = Presence.EVACUATING
_INSIDE: Final = PreferredAddress.INSTANCE
# Members of an enum are found by a slower way than other names.


def _serving(rows: tuple[ActualLRP, ...], terms: _Routing[Any] | _Naming) -> Sequence[ActualLRP]:
    """Return those rows of an instance that are routed to."""
    if rows[0].index >= terms.instances:
        return ()
    if len(rows) == 1:
        return rows if rows[0].state == _RUNNING and rows[0].routable is not False else ()
    return [row for row in rows if row.state == _RUNNING and row.routable is not False]


def _routing(
    desired: DesiredLRP | None,
    before: _Routing[K] | None,
    router: str,
    groups_of: Callable[[bytes], tuple[RouteGroup[K], ...]],
) -> _Routing[K] | None:
    raw = b"" if desired is None else desired.routes.get(router, b"")
    if desired is None or not raw:
        return None
    groups = before.groups if before is not None and before.raw == raw else groups_of(raw)
    if not groups:
        return None
    return _Routing(raw, groups, desired.instances, desired.log_guid, desired.metric_tags)


def _endpoints(rows: tuple[ActualLRP, ...], terms: _Routing[K], address: Address) -> list[Share[K, Endpoints]]:
    """Return the endpoints of an instance by the host names or ports that lead to them."""
    shares: list[Share[K, Endpoints]] = []
    serving = _serving(rows, terms)
    if not serving:
        return shares
    for group in terms.groups:
        if len(serving) == len(group.targets) == 1:
            endpoint = _endpoint(serving[0], terms, group.targets[0], address)
            if endpoint is not None:
                shares.append(Share(group.keys, (endpoint,)))
            continue
        endpoints = [
            endpoint
            for row in serving
            for target in group.targets
            if (endpoint := _endpoint(row, terms, target, address)) is not None
        ]
        if endpoints:
            shares.append(Share(group.keys, _distinct(endpoints)))
    return shares


def _endpoint(row: ActualLRP, terms: _Routing[Any], target: Target, address: Address) -> Endpoint | None:
    """Make the endpoint of an instance at a container port; None where it has no such port, or no such address."""
    for mapping in row.ports:
        if mapping.container_port == target.port:
            break
    else:
        return None
    if address == "container" or (address == "preferred" and row.preferred_address is _INSIDE):
        host, port, tls_port = row.instance_address, mapping.container_port, mapping.container_tls_proxy_port
    else:
        host, port, tls_port = row.address, mapping.host_port, mapping.host_tls_proxy_port
    if not host:
        # A router would connect to itself.
        return None
    return Endpoint(
        host=host,
        port=port,
        tls_port=tls_port,
        process_guid=row.process_guid,
        app=terms.app,
        instance_guid=row.instance_guid,
        index=row.index,
        protocol=target.protocol,
        route_service_url=target.route_service_url,
        isolation_segment=target.isolation_segment,
        availability_zone=row.availability_zone,
        options=target.options,
        tags=filled_tags(terms.tags, row.index, row.instance_guid) if terms.tags else EMPTY,
        evacuating=row.presence is _EVACUATING,
        since=row.since,
    )


def _internal_endpoint(row: ActualLRP, terms: _Naming) -> InternalEndpoint:
    return InternalEndpoint(
        host=row.instance_address,
        process_guid=row.process_guid,
        app=terms.app,
        instance_guid=row.instance_guid,
        index=row.index,
        availability_zone=row.availability_zone,
    )


def _distinct(endpoints: list[Endpoint]) -> Endpoints:
    """Drop the second of two rows of one instance at one address, as there can be while it is being evacuated."""
    seen: dict[tuple[str, str, int], Endpoint] = {}
    for endpoint in endpoints:
        seen.setdefault((endpoint.instance_guid, endpoint.host, endpoint.port), endpoint)
    return tuple(seen.values())


def spliced(state: tuple[E, ...] | None, steps: Sequence[Step[tuple[E, ...]]]) -> tuple[E, ...] | None:
    """Return endpoints with those of some instances replaced, by process guid and index; None where none is left.

    O(steps · log endpoints), plus copying the tuple.
    """
    if len(steps) == 1:
        step = steps[0]
        if state is None:
            return step.after
        at, end = _place(state, step)
        return (*state[:at], *(step.after or ()), *state[end:]) or None
    if state is None:
        return tuple(chain.from_iterable([step.after or () for step in sorted(steps, key=_place_of)])) or None
    endpoints = list(state)
    for step in steps:
        at, end = _place(endpoints, step)
        endpoints[at:end] = step.after or ()
    return tuple(endpoints) or None


def _place(endpoints: Sequence[E], step: Step[tuple[E, ...]]) -> tuple[int, int]:
    """Return where the endpoints of an instance begin and end among others."""
    place = step.source, step.index
    if not endpoints or _key(endpoints[-1]) < place:
        # Lists bring most of them in order.
        return len(endpoints), len(endpoints)
    at = bisect_left(endpoints, place, key=_key)
    return at, at + len(step.before or ())


_key = attrgetter("process_guid", "index")

_place_of = attrgetter("source", "index")


def _route_alike(before: Endpoints, after: Endpoints) -> bool:
    if len(before) != len(after):
        return False
    return all(
        old is new or old == new or replace(old, evacuating=new.evacuating, since=new.since) == new
        for old, new in zip(before, after, strict=True)
    )
