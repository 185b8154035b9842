"""The route definitions in a desired LRP's `routes`, read from their JSON.

The JSON comes from the user who pushed the app and can be anything. An entry that cannot be read is left out, and the
others stay. Nothing is cached here: the caller keeps what was read for as long as the desired LRP has it.

Host names are the same in any case: they are put in lower case. Paths are not.
"""

from collections.abc import Hashable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Target(Struct, frozen=True, gc=False):
    """The container port that a route leads to, and how."""

    port: int = 0
    protocol: str = ""
    route_service_url: str = ""
    isolation_segment: str = ""
    options: Mapping[str, Any] | None = None


class RouteGroup(Struct, Generic[K], frozen=True, gc=False):
    """Names or ports that all lead to the same targets; an app's thousand names are mostly one group."""

    keys: tuple[K, ...]
    targets: tuple[Target, ...]


class HTTPRoute(Struct, frozen=True, kw_only=True):
    """One entry of `cf-router`.

    Host names, with a path where they have one, and the container port that serves them.
    """

    hostnames: tuple[str, ...] = ()
    port: int = 0
    route_service_url: str | None = None
    isolation_segment: str | None = None
    protocol: str | None = None
    options: Any = None


class TCPRoute(Struct, frozen=True, kw_only=True):
    """One entry of `tcp-router`: a port of a router group, and the container port that serves it."""

    router_group_guid: str
    external_port: int
    container_port: int = 0


class InternalRoute(Struct, frozen=True, kw_only=True):
    """One entry of `internal-router`: a name that is resolved inside the platform."""

    hostname: str


def http_routes(routes: Mapping[str, bytes]) -> tuple[HTTPRoute, ...]:
    """Return the HTTP routes of a desired LRP, as they are written. O(length of their JSON), as the others."""
    return _entries(routes.get("cf-router", b""), HTTPRoute)


def tcp_routes(routes: Mapping[str, bytes]) -> tuple[TCPRoute, ...]:
    """Return the TCP routes of a desired LRP."""
    return _entries(routes.get("tcp-router", b""), TCPRoute)


def internal_routes(routes: Mapping[str, bytes]) -> tuple[InternalRoute, ...]:
    """Return the internal routes of a desired LRP."""
    return _entries(routes.get("internal-router", b""), InternalRoute)


def http_groups(raw: bytes) -> tuple[RouteGroup[str], ...]:
    """Return the host names that some JSON of `cf-router` has, by where they lead. O(its length)."""
    routes = _entries(raw, HTTPRoute)
    if len(routes) == 1:
        # Nearly every app: all its names lead to one target.
        names = dict.fromkeys(map(lower_host, routes[0].hostnames))
        names.pop("", None)
        return (RouteGroup(tuple(names), _only_target(routes[0])),) if names else ()
    known: dict[bytes, Target] = {}
    leads: dict[str, dict[int, Target]] = {}
    for route in routes:
        # Options can be any JSON, so routes are compared by their encoded text.
        target = known.setdefault(msgspec.json.encode(msgspec.structs.replace(route, hostnames=())), _target(route))
        for hostname in route.hostnames:
            leads.setdefault(lower_host(hostname), {})[id(target)] = target
    leads.pop("", None)
    return _grouped(leads)


def tcp_groups(raw: bytes) -> tuple[RouteGroup[tuple[str, int]], ...]:
    """Return the external ports that some JSON of `tcp-router` has, by where they lead. O(its length)."""
    leads: dict[tuple[str, int], dict[int, Target]] = {}
    for route in _entries(raw, TCPRoute):
        key = route.router_group_guid, route.external_port
        leads.setdefault(key, {})[route.container_port] = Target(route.container_port)
    return _grouped(leads)


def internal_names(raw: bytes) -> tuple[str, ...]:
    """Return the names that some JSON of `internal-router` has, each once. O(its length)."""
    names = dict.fromkeys([route.hostname.lower() for route in _entries(raw, InternalRoute)])
    names.pop("", None)
    return tuple(names)


def _entries(raw: bytes, kind: type[T]) -> tuple[T, ...]:
    if not raw:
        return ()
    try:
        # Nearly all are as they should be.
        return tuple(_DECODERS[kind].decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        entries = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return tuple([route for entry in entries if (route := _entry(entry, kind)) is not None])


_DECODERS: Final[Mapping[type, msgspec.json.Decoder[Any]]] = {
    HTTPRoute: msgspec.json.Decoder(list[HTTPRoute]),
    TCPRoute: msgspec.json.Decoder(list[TCPRoute]),
    InternalRoute: msgspec.json.Decoder(list[InternalRoute]),
}


def _entry(entry: msgspec.Raw, kind: type[T]) -> T | None:
    """Return an entry; None where it cannot be read. Text that is not UTF-8 gets replacement characters."""
    # A text that is not UTF-8 is an error of one class or another, by the version of msgspec.
    for text in (entry, bytes(entry).decode(errors="replace")):
        try:
            return msgspec.json.decode(text, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return None


def _target(route: HTTPRoute) -> Target:
    return Target(
        route.port,
        route.protocol or "",
        route.route_service_url or "",
        route.isolation_segment or "",
        MappingProxyType(route.options) if isinstance(route.options, dict) else None,
    )


def _only_target(route: HTTPRoute) -> tuple[Target]:
    """Return the target of a route as a tuple, which equal routes without options share."""
    if isinstance(route.options, dict):
        return (_target(route),)
    return _shared_target(route.port, route.protocol, route.route_service_url, route.isolation_segment)


@lru_cache(maxsize=1024)
def _shared_target(port: int, protocol: str | None, service_url: str | None, segment: str | None) -> tuple[Target]:
    return (Target(port, protocol or "", service_url or "", segment or ""),)


def lower_host(hostname: str) -> str:
    """Return a host name, which may have a path, with the host in lower case."""
    if "/" not in hostname:
        return hostname.lower()
    host, slash, path = hostname.partition("/")
    return f"{host.lower()}{slash}{path}"


def _grouped(leads: Mapping[K, Mapping[int, Target]]) -> tuple[RouteGroup[K], ...]:
    groups: dict[tuple[int, ...], tuple[list[K], tuple[Target, ...]]] = {}
    for key, targets in leads.items():
        groups.setdefault(tuple(targets), ([], tuple(targets.values())))[0].append(key)
    return tuple(RouteGroup(tuple(keys), targets) for keys, targets in groups.values())
