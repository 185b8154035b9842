"""A read replica on a port: client, mirror, replica and server as one."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import PathLike
from random import Random
from typing import Literal

from msgspec.structs import replace

from lrpmirror.client import TLS
from lrpmirror.core.session import Tuning
from lrpmirror.mirror import Mirror, open_mirror
from lrpmirror.relay import client_at
from lrpmirror.serve.replica import MAX_AGE, REFRESH, Replica, checked_age, open_replica
from lrpmirror.serve.routes import ReplicaApp, Routes, routed
from lrpmirror.server import Host, Limits, ServerTLS, Traffic, serve_app


@dataclass(eq=False, repr=False)
class ServedReplica:
    """A replica that answers at a URL, with the mirror that it answers from and the server that it answers by."""

    mirror: Mirror
    replica: Replica
    host: Host

    @property
    def url(self) -> str:
        """Where it answers; stays the same while it is served."""
        return self.host.url


@asynccontextmanager
async def serve_replica(
    bbs_url: str,
    *,
    tls: TLS | None = None,
    detail: Literal["routing", "full"] = "routing",
    address: str = "127.0.0.1",
    port: int = 0,
    server_tls: ssl.SSLContext | ServerTLS | None = None,
    refresh: float = REFRESH,
    max_age: float = MAX_AGE,
    state_file: str | PathLike[str] | None = None,
    tuning: Tuning | None = None,
    rng: Random | None = None,
    limits: Limits | None = None,
    traffic: Traffic | None = None,
    routes: Routes = lambda _mirror, _replica: {},
) -> AsyncIterator[ServedReplica]:
    """Mirror the BBS or relay at `bbs_url` and serve it at `address` while the context is open; port 0: a free one.

    `tls` are this side's files for the BBS, `server_tls` those for its own clients, or a server's context. `limits` are
    what those may use, `traffic` counts what became of them. `detail="full"` keeps whole desired LRPs, and answers with
    them. `refresh` are the seconds between two reads of domains and cells; beyond a state of `max_age` seconds
    everything is answered with 503, as until the BBS was read. `routes` gives paths beside those of a BBS. Raises
    ConfigurationError for options and files that cannot be used, and a port that cannot be had.
    """
    tuning = tuning or Tuning()
    # What is looked at less often than that would be too old now and then where nothing happens.
    tuning = replace(tuning, ping_interval=min(tuning.ping_interval, checked_age(max_age) / 3))
    async with (
        client_at(bbs_url, tls=tls) as client,
        open_mirror(client, detail=detail, state_file=state_file, tuning=tuning, rng=rng) as mirror,
        open_replica(mirror, client, full=detail == "full", refresh=refresh, max_age=max_age) as replica,
    ):
        bbs = ReplicaApp(replica, origin=client.url, full=detail == "full")
        app = routed(routes(mirror, replica), fallback=bbs)
        async with serve_app(app, address=address, port=port, tls=server_tls, limits=limits, traffic=traffic) as host:
            yield ServedReplica(mirror, replica, host)
