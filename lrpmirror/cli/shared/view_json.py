"""The values of views as JSON-ready objects, one a key, sorted by key.

What is empty is left out, since it says that there is none: empty texts, lists and objects, null, false, and numbers
that are zero. An `index` is always there, because 0 names an instance.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct, to_builtins

from lrpmirror.core.derived.view import AnyView
from lrpmirror.core.derived.views import (
    CellLoad,
    Cells,
    Endpoint,
    HTTPRoutes,
    InternalEndpoint,
    InternalRoutes,
    Processes,
    ProcessHealth,
    TCPRoutes,
)

Object = dict[str, Any]


class PrintedView(Struct, frozen=True):
    """A view that can be printed: how to make it, and how its values become objects."""

    make: Callable[[], AnyView[Any, Any, Any]]
    objects: Callable[[Mapping[Any, Any]], Iterator[Object]]


def http_routes(values: Mapping[str, tuple[Endpoint, ...]]) -> Iterator[Object]:
    """Return `{"hostname", "endpoints"}` for each host name of `HTTPRoutes`."""
    for hostname, endpoints in sorted(values.items(), key=_key):
        yield {"hostname": hostname, "endpoints": _endpoints(endpoints)}


def tcp_routes(values: Mapping[tuple[str, int], tuple[Endpoint, ...]]) -> Iterator[Object]:
    """Return `{"router_group_guid", "external_port", "endpoints"}` for each port of `TCPRoutes`."""
    for (group, port), endpoints in sorted(values.items(), key=_key):
        yield {"router_group_guid": group, "external_port": port, "endpoints": _endpoints(endpoints)}


def internal_routes(values: Mapping[str, tuple[InternalEndpoint, ...]]) -> Iterator[Object]:
    """Return `{"hostname", "endpoints"}` for each name of `InternalRoutes`, those of single instances among them."""
    for hostname, endpoints in sorted(values.items(), key=_key):
        yield {"hostname": hostname, "endpoints": _endpoints(endpoints)}


def processes(values: Mapping[str, ProcessHealth]) -> Iterator[Object]:
    """Return `{"process_guid", "health", …}` for each process of `Processes`, with the names of `ProcessHealth`."""
    for guid, health in sorted(values.items(), key=_key):
        yield {"process_guid": guid, **_filled(health)}


def cells(values: Mapping[str, CellLoad]) -> Iterator[Object]:
    """Return `{"cell_id", "running", …}` for each cell of `Cells`, with the names of `CellLoad`."""
    for cell_id, load in sorted(values.items(), key=_key):
        yield {"cell_id": cell_id, **_filled(load)}


VIEWS: Final[Mapping[str, PrintedView]] = {
    "http-routes": PrintedView(HTTPRoutes, http_routes),
    "tcp-routes": PrintedView(TCPRoutes, tcp_routes),
    "internal-routes": PrintedView(InternalRoutes, internal_routes),
    "processes": PrintedView(Processes, processes),
    "cells": PrintedView(Cells, cells),
}
"""The views by the name that they are printed under."""


def _key(item: tuple[Any, object]) -> Any:
    return item[0]


def _endpoints(endpoints: Iterable[Endpoint | InternalEndpoint]) -> list[Object]:
    return [_filled(endpoint) for endpoint in endpoints]


def _filled(value: Struct) -> Object:
    """Return the fields of a value that are not empty, in their order, and those of the values in it."""
    fields = {name: _plain(name, getattr(value, name)) for name in value.__struct_fields__}
    return {name: field for name, field in fields.items() if field or name == "index"}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        # The app's own options stay as they were pushed; tags come in no order of their own.
        return dict(value if name == "options" else sorted(value.items()))
    return _filled(value) if isinstance(value, Struct) else to_builtins(value)
