"""The simulated Diego over HTTP on loopback."""

import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from lrpmirror.server.app import BBSApp, Lag
from lrpmirror.server.hosting import Host, serve_app
from lrpmirror.sim.autopilot import Autopilot
from lrpmirror.sim.diego import Diego

__all__ = ["ServedDiego", "serve_diego"]


class ServedDiego:
    """A simulated Diego that answers at a URL.

    `diego` is what is served: write to it from the tasks of the same trio run. `app` has the switches of the protocol
    (503, paths to hide, slow lists), `host` those of the network (cut, refuse, fall silent).
    """

    def __init__(self, diego: Diego, app: BBSApp, host: Host) -> None:
        self.diego = diego
        self.app = app
        self.host = host

    @property
    def url(self) -> str:
        """Where it answers; stays the same while it is served."""
        return self.host.url


@asynccontextmanager
async def serve_diego(
    diego: Diego,
    *,
    tls: ssl.SSLContext | None = None,
    autopilot: Autopilot | None = None,
    pace: float = 1.0,
    port: int = 0,
    available: bool = True,
    hidden: Iterable[str] = (),
    lag: Lag | None = None,
) -> AsyncIterator[ServedDiego]:
    """Serve the simulation on 127.0.0.1 while the context is open.

    With an `autopilot` its life goes on meanwhile: one step, which is one virtual second, every 1 / `pace` seconds.
    `tls` is a server's context, as `lrpmirror.server.mutual_tls` makes it. Raises ConfigurationError if the port
    cannot be had.
    """
    app = BBSApp(diego, available=available, hidden=hidden, lag=lag)
    async with serve_app(app, port=port, tls=tls) as host:
        if autopilot is not None:
            host.start_soon(_fly, autopilot, 1.0 / pace)
        yield ServedDiego(diego, app, host)


async def _fly(autopilot: Autopilot, interval: float) -> None:
    next_step = trio.current_time()
    while True:
        next_step += interval
        await trio.sleep_until(next_step)
        autopilot.step()
