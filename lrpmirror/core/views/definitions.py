"""What a desired LRP's `routes` ask of each router, read from the JSON that they hold.

The JSON comes from whoever pushed the app and can be anything. What cannot be read breaks nothing but its own entry: an
entry is left out, and the others stay. Reading is cached by the bytes, since the same routes come with every event of
their desired LRP.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

__all__ = ["HTTPRoute", "InternalRoute", "TCPRoute", "http_routes", "internal_routes", "tcp_routes"]

T = TypeVar("T")

CACHED = 65_536
"""How many different routes are kept parsed; beyond, the least used are parsed again."""


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
    """Return the HTTP routes of a desired LRP. O(1) when seen before."""
    return _http(routes.get("cf-router", b""))


def tcp_routes(routes: Mapping[str, bytes]) -> tuple[TCPRoute, ...]:
    """Return the TCP routes of a desired LRP. O(1) when seen before."""
    return _tcp(routes.get("tcp-router", b""))


def internal_routes(routes: Mapping[str, bytes]) -> tuple[InternalRoute, ...]:
    """Return the internal routes of a desired LRP. O(1) when seen before."""
    return _internal(routes.get("internal-router", b""))


@lru_cache(maxsize=CACHED)
def _http(raw: bytes) -> tuple[HTTPRoute, ...]:
    return tuple(
        msgspec.structs.replace(
            route, options=MappingProxyType(route.options) if isinstance(route.options, dict) else None
        )
        for route in _entries(raw, HTTPRoute)
    )


@lru_cache(maxsize=CACHED)
def _tcp(raw: bytes) -> tuple[TCPRoute, ...]:
    return _entries(raw, TCPRoute)


@lru_cache(maxsize=CACHED)
def _internal(raw: bytes) -> tuple[InternalRoute, ...]:
    return _entries(raw, InternalRoute)


def _entries(raw: bytes, kind: type[T]) -> tuple[T, ...]:
    if not raw:
        return ()
    try:
        entries = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    found = []
    for entry in entries:
        try:
            found.append(msgspec.json.decode(entry, type=kind))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return tuple(found)
