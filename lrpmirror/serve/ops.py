"""The paths for operators: metrics, health and a page, as a table of routes."""

from collections.abc import Mapping
from types import MappingProxyType

import trio

from lrpmirror.mirror import Mirror
from lrpmirror.serve.health import alive, ready_app
from lrpmirror.serve.metrics import metrics_app, registry_of
from lrpmirror.serve.page import page_routes
from lrpmirror.serve.replica import Replica
from lrpmirror.server import Traffic
from lrpmirror.server.asgi import ASGIApp


def ops_routes(
    mirror: Mirror, replica: Replica | None = None, *, servers: Mapping[str, Traffic] = MappingProxyType({})
) -> Mapping[str, ASGIApp]:
    """Return the applications for `/metrics`, `/healthz` and `/readyz`, and with a replica the page at `/`.

    `servers` are the counters of the process's servers by name, for the metrics.
    """
    return {
        "/metrics": metrics_app(registry_of(mirror, replica, servers)),
        "/healthz": alive,
        "/readyz": ready_app(mirror, overload=lambda: "" if replica is None else replica.readers.load.trouble),
        **(
            {}
            if replica is None
            else page_routes(mirror, replica.event_rates, trio.lowlevel.current_clock().current_time)
        ),
    }
