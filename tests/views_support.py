"""What the tests of views share: processes as examples, a session with views beside it, a BBS in memory."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
import trio.testing

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.derived.dirty import dirtied_by
from lrpmirror.core.derived.view import AnyView, Process
from lrpmirror.core.lists.scope import EVERYTHING, Scope
from lrpmirror.core.rows.changes import Change, Commit, Delta
from lrpmirror.core.session import Session, Tuning
from lrpmirror.events import ActualLRPInstanceCreated, ActualLRPInstanceRemoved, DesiredLRPCreated, Event
from lrpmirror.mirror import Mirror, open_mirror
from lrpmirror.model import ActualLRP, ActualLRPState, CellCapacity, CellPresence, DesiredLRP, PortMapping, Presence
from lrpmirror.recording import Recording
from lrpmirror.views import AddressCollisions, Cells, HTTPRoutes, InternalRoutes, Processes, TCPRoutes

__all__ = [
    "CLAIMED",
    "CRASHED",
    "EVACUATING",
    "HOST",
    "LRP",
    "RUNNING",
    "SUSPECT",
    "UNCLAIMED",
    "MemoryBBS",
    "Notified",
    "ViewedSession",
    "cell",
    "desired",
    "every_view",
    "hosts",
    "in_mirror",
    "process",
    "recording",
    "row",
    "run_mocked",
    "running",
    "settled",
    "since",
    "value_of",
    "values_of",
]

UNCLAIMED, CLAIMED, RUNNING, CRASHED = (
    ActualLRPState.UNCLAIMED,
    ActualLRPState.CLAIMED,
    ActualLRPState.RUNNING,
    ActualLRPState.CRASHED,
)
EVACUATING, SUSPECT = Presence.EVACUATING, Presence.SUSPECT


# Processes


def desired(
    guid: str = "p",
    instances: int = 1,
    *,
    http: Iterable[Any] = (),
    tcp: Iterable[Any] = (),
    internal: Iterable[Any] = (),
    **fields: Any,
) -> DesiredLRP:
    """A desired LRP whose routes are given as the entries that their JSON holds; a text is a host name at port 8080."""
    routes = {
        "cf-router": [{"hostnames": [one], "port": 8080} if isinstance(one, str) else one for one in http],
        "tcp-router": list(tcp),
        "internal-router": [{"hostname": one} if isinstance(one, str) else one for one in internal],
    }
    raw = {router: json.dumps(entries).encode() for router, entries in routes.items() if entries}
    whole = {"domain": "apps", "log_guid": f"log-{guid}", "routes": raw, "epoch": f"d-{guid}"}
    return DesiredLRP(process_guid=guid, instances=instances, **{**whole, **fields})


def row(guid: str = "p", index: int = 0, **fields: Any) -> ActualLRP:
    """A row of that index; its epoch names its slot unless said otherwise."""
    presence = fields.get("presence", Presence.ORDINARY)
    return ActualLRP(
        process_guid=guid, index=index, **{"domain": "apps", "epoch": f"{guid}/{index}/{presence}", **fields}
    )


def running(guid: str = "p", index: int = 0, **fields: Any) -> ActualLRP:
    """A RUNNING row that serves the container port 8080 at 10.0.0.1:61000 + index, with TLS proxies beside it."""
    whole = {
        "state": RUNNING,
        "instance_guid": f"{guid}-{index}",
        "cell_id": "cell-1",
        "address": "10.0.0.1",
        "instance_address": f"10.255.0.{index}",
        "ports": (PortMapping(8080, 61000 + index, 61443, 62000 + index),),
    }
    return row(guid, index, **{**whole, **fields})


def process(
    lrp: DesiredLRP | None, *rows: ActualLRP, routed: DesiredLRP | None = None, domain_fresh: bool = True
) -> Process:
    """A process as a view sees it."""
    guid = lrp.process_guid if lrp is not None else routed.process_guid if routed is not None else rows[0].process_guid
    ordered = tuple(sorted(rows, key=lambda one: (one.index, one.presence)))
    return Process(guid, lrp, lrp or routed, ordered, domain_fresh)


def cell(cell_id: str = "cell-1", *, memory_mb: int = 1000, disk_mb: int = 2000, containers: int = 10) -> CellPresence:
    return CellPresence(cell_id=cell_id, zone="z1", capacity=CellCapacity(memory_mb, disk_mb, containers))


def values_of(view: AnyView[Any, Any, Any], *processes: Process, cells: Iterable[CellPresence] = ()) -> dict[Any, Any]:
    """The values that follow from these processes and cells, and nothing else."""
    derivation = Derivation(view)
    derivation.update(processes)
    derivation.update_cells(cells)
    assert derivation.failures == {}
    return derivation.values.copy()


def value_of(view: AnyView[Any, Any, Any], *processes: Process, cells: Iterable[CellPresence] = ()) -> Any:
    """The only value that follows from them."""
    (value,) = values_of(view, *processes, cells=cells).values()
    return value


def every_view() -> dict[str, AnyView[Any, Any, Any]]:
    views = (HTTPRoutes(), TCPRoutes(), InternalRoutes(), Processes(), AddressCollisions(), Cells())
    return {type(view).__name__: view for view in views}


# A session with views beside it


class ViewedSession:
    """A session, and views that are updated with each of its commits, as in a mirror."""

    def __init__(self, views: Mapping[str, AnyView[Any, Any, Any]], session: Session | None = None) -> None:
        self.session = session or Session(Tuning(), Random(0))
        if session is None:
            self.session.stream_opened(0)
        self.views = {name: Derivation(view) for name, view in views.items()}

    def __getitem__(self, name: str) -> Mapping[Any, Any]:
        return self.views[name].values

    def relist(
        self,
        rows: Iterable[ActualLRP] = (),
        lrps: Iterable[DesiredLRP] = (),
        *,
        domains: Iterable[str] = ("apps",),
        cells: Iterable[CellPresence] = (),
        scope: Scope = EVERYTHING,
    ) -> dict[str, list[Delta[Any, Any]]]:
        """List what is in scope; return what each view publishes."""
        snapshot = self.session.begin_list(0, scope)
        snapshot.list_rows([one for one in rows if scope.has_row_of(one.process_guid)])
        snapshot.list_desired([lrp for lrp in lrps if scope.has_desired(lrp.process_guid)])
        if scope == EVERYTHING:
            snapshot.domains, snapshot.cells = frozenset(domains), tuple(cells)
        for _ in snapshot.settle():
            pass
        commit = self.session.end_list(snapshot, 0)
        return self.take([] if commit is None else [commit])

    def apply(self, *events: Event) -> dict[str, list[Delta[Any, Any]]]:
        return self.take(self.session.events(events, 0))

    def take(self, commits: Iterable[Commit]) -> dict[str, list[Delta[Any, Any]]]:
        commits = list(commits)
        dirty = dirtied_by(commits)
        processes = [self.session.knowledge.process(guid) for guid in dirty]
        deltas = {name: one.update(processes, dirty) for name, one in self.views.items()}
        if any(commit.cells is not None for commit in commits):
            for name, one in self.views.items():
                deltas[name] += one.update_cells(self.session.knowledge.cells)
        return deltas

    def check(self) -> None:
        """Compare every view with its recomputation."""
        for derivation in self.views.values():
            derivation._check(
                map(self.session.knowledge.process, self.session.knowledge.process_guids()),
                self.session.knowledge.cells,
            )


# A mirror of a BBS in memory


class MemoryBBS:
    """A BBS that the test writes to: what it lists is what it has, and a write is sent as an event.

    The stream has no buffer, so a write that is sent waits until the mirror's reader takes it.
    """

    def __init__(self, *listed: ActualLRP | DesiredLRP, domains: Iterable[str] = ("apps",)) -> None:
        self.rows: dict[str, ActualLRP] = {}
        self.lrps: dict[str, DesiredLRP] = {}
        self.fresh = tuple(domains)
        self.present: tuple[CellPresence, ...] = ()
        self.reads: list[tuple[str, tuple[str, ...]]] = []
        """The targeted reads, and of which processes."""
        self._streams: list[trio.MemorySendChannel[list[Event]]] = []
        for one in listed:
            self.have(one)

    def have(self, one: ActualLRP | DesiredLRP) -> None:
        """Have a record without telling anyone."""
        if isinstance(one, ActualLRP):
            self.rows[one.epoch] = one
        else:
            self.lrps[one.process_guid] = one

    async def write(self, *ones: ActualLRP | DesiredLRP) -> None:
        """Store records, and send their events in one batch."""
        for one in ones:
            self.have(one)
        await self.send(
            [ActualLRPInstanceCreated(one) if isinstance(one, ActualLRP) else DesiredLRPCreated(one) for one in ones]
        )

    async def remove(self, one: ActualLRP) -> None:
        del self.rows[one.epoch]
        await self.send([ActualLRPInstanceRemoved(one)])

    async def send(self, events: list[Event]) -> None:
        for stream in self._streams:
            await stream.send(events)

    # The reads of a mirror

    @asynccontextmanager
    async def events(self, name: str, *, full: bool = False, **_: Any) -> AsyncIterator[AsyncIterator[list[Event]]]:
        assert (name, full) == ("instances", False)
        send, receive = trio.open_memory_channel[list[Event]](0)
        self._streams.append(send)
        try:
            async with receive:
                yield receive
        finally:
            self._streams.remove(send)

    @asynccontextmanager
    async def stream_list(self, name: str, **filters: Any) -> AsyncIterator[AsyncIterator[list[Any]]]:
        assert not filters
        listed: dict[str, Iterable[Any]] = {
            "actual_lrps": self.rows.values(),
            "scheduling_infos": self.lrps.values(),
            "routing_infos": self.lrps.values(),
        }

        async def batches() -> AsyncIterator[list[Any]]:
            await trio.lowlevel.checkpoint()
            yield list(listed[name])

        yield batches()

    async def actual_lrps_by_process_guids(self, process_guids: Iterable[str], **_: Any) -> tuple[ActualLRP, ...]:
        await self._read("rows", process_guids)
        return tuple(one for one in self.rows.values() if one.process_guid in set(process_guids))

    async def desired_lrps(
        self, *, process_guids: Iterable[str] = (), full: bool = False, **_: Any
    ) -> tuple[DesiredLRP, ...]:
        assert not full
        await self._read("desired", process_guids)
        return tuple(self.lrps[guid] for guid in process_guids if guid in self.lrps)

    def renewed(self) -> bool:
        return False

    async def ping(self) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    async def domains(self, **_: Any) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        return self.fresh

    async def cells(self, **_: Any) -> tuple[CellPresence, ...]:
        await trio.lowlevel.checkpoint()
        return self.present

    async def _read(self, what: str, process_guids: Iterable[str]) -> None:
        self.reads.append((what, tuple(process_guids)))
        await trio.lowlevel.checkpoint()


def run_mocked(main: Callable[[], Awaitable[None]]) -> None:
    """Run on a clock that jumps whenever everyone waits for it."""
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def in_mirror(bbs: MemoryBBS, body: Callable[[Mirror], Awaitable[None]], **options: Any) -> None:
    """Run something on a synchronised mirror of a BBS, on a mocked clock."""

    async def main() -> None:
        async with open_mirror(bbs, rng=Random(0), **options) as mirror:
            await mirror.wait_synced(10)
            await body(mirror)

    run_mocked(main)


async def settled() -> None:
    """Wait until everyone has done what there is to do now."""
    await trio.testing.wait_all_tasks_blocked()


def since(start: float) -> float:
    return trio.current_time() - start


# Recordings


def recording(name: str) -> Recording:
    folder = Path(__file__).parents[2] / "shared" / "recordings" / name
    if not folder.is_dir():
        pytest.skip(f"the recordings of a real BBS are not there: {folder}")
    return Recording(folder)


HOST = "app.example.com"
LRP = desired("p", 100, http=[HOST])


def hosts(n: int) -> tuple[Any, ...]:
    """A process each for n host names, with an instance."""
    lrps = [desired(f"p{i}", http=[f"{i}.example.com"]) for i in range(n)]
    return (*lrps, *(running(lrp.process_guid) for lrp in lrps))


class Notified:
    """A callback that records its changes, and when they came."""

    def __init__(self) -> None:
        self.changes: list[Change[Any, Any]] = []
        self.times: list[float] = []

    def __call__(self, change: Change[Any, Any]) -> None:
        self.changes.append(change)
        self.times.append(trio.current_time())

    @property
    def keys(self) -> list[Any]:
        return [change.key for change in self.changes]
