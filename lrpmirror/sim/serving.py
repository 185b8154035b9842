"""The simulated Diego over HTTP on loopback: in a trio program, or by a thread for programs without an event loop.

Texts with cut characters are sent as by a server that checks none: U+FFFD becomes bytes that are not UTF-8.
"""

import queue
import re
import ssl
import threading
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import trio
from google.protobuf.message import Message

from lrpmirror.model import ActualLRP, ActualLRPGroup, DesiredLRP
from lrpmirror.server.app import BBSApp, Lag
from lrpmirror.server.asgi import ASGIApp, Receive, Scope, Send
from lrpmirror.server.asgi import Message as ASGIMessage
from lrpmirror.server.hosting import Host, ServerTLS, serve_app
from lrpmirror.server.limits import Limits
from lrpmirror.server.lists import LISTS, desired_filter, row_filter
from lrpmirror.server.slices import grouped, passing
from lrpmirror.server.streams import StreamKind, Subscription
from lrpmirror.sim.autopilot import CONVERGENCE, Autopilot
from lrpmirror.sim.diego import Diego
from lrpmirror.sim.plan import FaultInjector, FaultPlan, FaultyReplies
from lrpmirror.sim.state import SECOND
from lrpmirror.sim.transitions import groups_of_rows
from lrpmirror.wire import encode, text
from lrpmirror.wire.proto import requests_pb2 as pb

_MARK: Final = "\ufffd".encode()
_REST: Final = b"\xf0\x9f\x98"  # three bytes of a character that has four, which are read as one U+FFFD

_DATA: Final = re.compile(rb"event: ([^\n]*)\ndata: ([^\n]*)")

_KINDS: Final[Mapping[Callable[[Any], bytes], type[Message]]] = {
    encode.domain: pb.DomainsResponse,
    encode.cell_presence: pb.CellsResponse,
    encode.actual_lrp: pb.ActualLRPsResponse,
    encode.actual_lrp_group: pb.ActualLRPGroupsResponse,
    encode.desired_lrp: pb.DesiredLRPsResponse,
    encode.scheduling_info: pb.DesiredLRPSchedulingInfosResponse,
    encode.routing_info: pb.DesiredLRPsResponse,
}
# A reply with one record has it where those of many have all of theirs.
_REPLIES: Final = {path: _KINDS[answer.record] for path, answer in LISTS.items()}
_EVENTS: Final = {kind.type.encode(): message for kind, message in encode.EVENTS.items()}

AT_ONCE: Final = 16  # writes of the autopilot before readers get their turn: few enough that none falls behind

T = TypeVar("T")


def raw_texts(app: ASGIApp) -> ASGIApp:
    """Return a BBSApp with invalid UTF-8, of the same length, where texts were cut. Each piece has whole records."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        reply = _REPLIES.get(scope.get("path", ""))

        async def send_raw(message: ASGIMessage) -> None:
            if reply is not None and _MARK in message.get("body", b""):
                message = {**message, "body": _raw(reply, message["body"])}
            elif reply is None and "chunks" in message:
                message = {**message, "chunks": [_DATA.sub(_raw_event, frame) for frame in message["chunks"]]}
            elif reply is None and b"\ndata: " in message.get("body", b""):
                message = {**message, "body": _DATA.sub(_raw_event, message["body"])}
            await send(message)

        await app(scope, receive, send_raw)

    return answer


def _raw(kind: type[Message], message: bytes) -> bytes:
    return text.rewritten(kind, message, lambda _, one: one.replace(_MARK, _REST))


def _raw_event(frame: re.Match[bytes]) -> bytes:
    name, data = frame[1], b64decode(frame[2])
    if name not in _EVENTS or _MARK not in data:
        return frame[0]
    return b"event: %b\ndata: %b" % (name, b64encode(_raw(_EVENTS[name], data)))


class Sliced:
    """A `lrpmirror.server.Source`: asks the simulation for all, in one quick copy, and filters while it is walked."""

    def __init__(self, diego: Diego) -> None:
        self._diego = diego
        self.domains = diego.domains
        self.cells = diego.cells
        self.actual_lrps_by_process_guids = diego.actual_lrps_by_process_guids

    def actual_lrps(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> Iterable[ActualLRP | None]:
        """Return the rows that pass all filters."""
        rows = self._diego.actual_lrps(process_guid=process_guid)
        return passing(rows, row_filter(domain, cell_id, index)) if domain or cell_id or index is not None else rows

    def actual_lrp_groups(
        self, domain: str = "", cell_id: str = "", process_guid: str = "", index: int | None = None
    ) -> Iterable[ActualLRPGroup | None]:
        """Return the groups of the rows that pass the filters."""
        return grouped(self.actual_lrps(domain, cell_id, process_guid, index), groups_of_rows)

    def desired_lrps(
        self, domain: str = "", process_guids: Sequence[str] = (), app_guids: Sequence[str] = ()
    ) -> Iterable[DesiredLRP | None]:
        """Return the desired LRPs that pass all filters."""
        return passing(self._diego.desired_lrps(), desired_filter(domain, process_guids, app_guids))

    def subscribe(self, kind: StreamKind, cell_id: str = "") -> Subscription:
        """Return a subscription to what happens from now on."""
        return self._diego.subscribe(kind, cell_id)


def _moves(diego: Diego) -> Iterator[None]:
    """Let one virtual second pass in a server without clients, which converges."""
    diego.advance(1)
    if diego.now // SECOND % CONVERGENCE == 0:
        diego.converge()
    yield


@dataclass(eq=False, repr=False)
class ServedDiego:
    """A simulated Diego that answers at a URL.

    `diego` is what is served: write to it from the tasks of the same trio run, or over HTTP from anywhere. `app` has
    the switches of the protocol, `host` those of the network.
    """

    diego: Diego
    app: BBSApp
    host: Host
    mishaps: Counter[str]  # how many times each kind of fault has happened
    _fault_injector: FaultInjector

    @property
    def url(self) -> str:
        """Where it answers; stays the same while it is served."""
        return self.host.url

    async def calm(self) -> None:
        """End the fault plan now, and return when all faults have ended."""
        await self._fault_injector.calm()


@asynccontextmanager
async def serve_diego(
    diego: Diego,
    *,
    tls: ssl.SSLContext | ServerTLS | None = None,
    autopilot: Autopilot | None = None,
    pace: float = 1.0,
    ticking: bool = False,
    plan: FaultPlan | None = None,
    address: str = "127.0.0.1",
    port: int = 0,
    available: bool = True,
    hidden: Iterable[str] = (),
    lag: Lag | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[ServedDiego]:
    """Serve the simulation while the context is open: every read and every write of the protocol, and both streams.

    With an `autopilot` the workload goes on meanwhile: one step, which is one virtual second, every 1 / `pace` seconds.
    Without one the time stands still; `ticking` lets it pass at that pace, with a convergence every 30 virtual seconds.
    Where the simulation has U+FFFD for a cut character, the bytes that are sent are not UTF-8. With a `plan` things go
    wrong meanwhile. `tls` is a server's context, as `lrpmirror.server.mutual_tls` makes it, or files that are taken up
    again when they are replaced. `limits` bound the clients. `available`, `hidden` and `lag` are those of `BBSApp`; 0
    as `port` takes a free one. A request that fails by a mistake of the simulation is answered with 500, and raised at
    the end of the block, in an ExceptionGroup. Raises ConfigurationError if the port cannot be had.
    """
    app = BBSApp(Sliced(diego), writes=diego, available=available, hidden=hidden, lag=lag)
    mishaps: Counter[str] = Counter()
    requests = FaultyReplies(raw_texts(app), plan or FaultPlan(), mishaps)
    async with serve_app(requests, address=address, port=port, tls=tls, limits=limits) as host:
        fault_injector = FaultInjector(plan or FaultPlan(), mishaps, diego=diego, app=app, requests=requests, host=host)
        host.start_soon(fault_injector.run)
        if autopilot is not None:
            host.start_soon(_live, autopilot.moves, 1.0 / pace)
        elif ticking:
            host.start_soon(_live, partial(_moves, diego), 1.0 / pace)
        yield ServedDiego(diego, app, host, mishaps, fault_injector)
    host.traffic.raise_failures("the simulated Diego")


async def _live(moves: Callable[[], Iterator[None]], interval: float) -> None:
    next_step = trio.current_time()
    while True:
        next_step += interval
        await trio.sleep_until(next_step)
        for number, _ in enumerate(moves()):
            if number % AT_ONCE == AT_ONCE - 1:
                await trio.lowlevel.checkpoint()


@dataclass(eq=False, repr=False)
class DiegoThread:
    """A simulated Diego that is served in another thread. Made by `serve_diego_in_thread`."""

    served: ServedDiego  # what is served, with its switches: to be touched by `do` only
    _token: trio.lowlevel.TrioToken
    _stop: trio.Event

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.served.url

    @property
    def diego(self) -> Diego:
        """The simulation: to be touched by `do` only."""
        return self.served.diego

    def do(self, call: Callable[..., T], *args: Any) -> T:
        """Call a synchronous function in the server's thread, and return or raise what it does.

        `do(bbs.diego.advance, 30)`; for keyword arguments use functools.partial. Raises trio.RunFinishedError when the
        server has ended.
        """
        return trio.from_thread.run_sync(call, *args, trio_token=self._token)

    def calm(self) -> None:
        """End the fault plan now, and return when all faults have ended."""
        trio.from_thread.run(self.served.calm, trio_token=self._token)


@contextmanager
def serve_diego_in_thread(diego: Diego, **options: Any) -> Iterator[DiegoThread]:
    """Serve the simulation in a thread, with the `options` of `serve_diego`; its failures are raised at the end."""
    emitted: queue.SimpleQueue[DiegoThread | BaseException] = queue.SimpleQueue()
    failures: list[BaseException] = []

    async def serve() -> None:
        async with serve_diego(diego, **options) as served:
            stop = trio.Event()
            emitted.put(DiegoThread(served, trio.lowlevel.current_trio_token(), stop))
            await stop.wait()

    def run() -> None:
        try:
            trio.run(serve)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits for it
            failures.append(error)
            emitted.put(error)

    thread = threading.Thread(target=run, name="simulated-diego", daemon=True)
    thread.start()
    served = emitted.get()
    if isinstance(served, BaseException):
        thread.join()
        raise served
    try:
        yield served
    finally:
        with suppress(trio.RunFinishedError):
            served.do(served._stop.set)  # noqa: SLF001 - made here
        thread.join()
    if failures:
        raise failures[0]
