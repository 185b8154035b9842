"""The values of views as JSON-ready objects, one a key, sorted by key.

What is empty is left out, since it says that there is none: empty texts, lists and objects, null, false, and numbers
that are zero. An `index` is always there, because 0 names an instance.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct, to_builtins

from lrpmirror.core.derived.view import AnyView
from lrpmirror.views import Cells, HTTPRoutes, InternalRoutes, Processes, TCPRoutes

Object = dict[str, Any]


class PrintedView(Struct, frozen=True):
    """A view that can be printed: how to make it, the names of its keys' parts, and of values that are no objects."""

    make: Callable[[], AnyView[Any, Any, Any]]
    keys: tuple[str, ...]
    values: str = ""

    def objects(self, values: Mapping[Any, Any]) -> Iterator[Object]:
        """Return the object of each key, such as `{"hostname", "endpoints"}`."""
        for key, value in sorted(values.items(), key=lambda item: item[0]):
            parts = key if isinstance(key, tuple) else (key,)
            content = {self.values: [_filled(one) for one in value]} if self.values else _filled(value)
            yield {**dict(zip(self.keys, parts, strict=True)), **content}


VIEWS: Final[Mapping[str, PrintedView]] = {
    "http-routes": PrintedView(HTTPRoutes, ("hostname",), "endpoints"),
    "tcp-routes": PrintedView(TCPRoutes, ("router_group_guid", "external_port"), "endpoints"),
    "internal-routes": PrintedView(InternalRoutes, ("hostname",), "endpoints"),
    "processes": PrintedView(Processes, ("process_guid",)),
    "cells": PrintedView(Cells, ("cell_id",)),
}
"""The views by the name that they are printed under."""


def _filled(value: Struct) -> Object:
    """Return the fields of a value that are not empty, in their order, and those of the values in it."""
    fields = {name: _plain(name, getattr(value, name)) for name in value.__struct_fields__}
    return {name: field for name, field in fields.items() if field or name == "index"}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        # The app's own options stay as they were pushed; tags come in no order of their own.
        return dict(value if name == "options" else sorted(value.items()))
    return _filled(value) if isinstance(value, Struct) else to_builtins(value)
