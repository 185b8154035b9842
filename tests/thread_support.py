"""What the tests of `lrpmirror.thread` share: a BBS in memory, its rows, and a Diego served by a thread."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
import trio
from msgspec.structs import replace
from patience import PATIENCE

from lrpmirror import Change, MirrorThread, Tuning
from lrpmirror.errors import ConnectionFailed
from lrpmirror.events import ActualLRPInstanceChanged, ActualLRPInstanceCreated, Event
from lrpmirror.model import ActualLRP, ActualLRPState, CellPresence, DesiredLRP
from lrpmirror.sim import Autopilot, Diego, Rates, serve_diego
from lrpmirror.views import Process, View

__all__ = [
    "PATIENCE",
    "DiegoThread",
    "FakeBBS",
    "Gate",
    "InThread",
    "Versions",
    "anywhere",
    "changed",
    "created",
    "desired",
    "entered",
    "place",
    "pool",
    "row",
    "run_program",
    "running_loop",
    "seen",
    "synced",
]

T = TypeVar("T")
Changes = list[Change[Any, Any]]


def row(process_guid: str = "p", index: int = 0, version: int = 0, **fields: Any) -> ActualLRP:
    """A RUNNING row, unless said otherwise; its instance and epoch follow from the process and index."""
    given = {
        "domain": "apps",
        "state": ActualLRPState.RUNNING,
        "instance_guid": f"{process_guid}-{index}",
        "cell_id": "cell-a",
        "epoch": f"epoch-{process_guid}-{index}",
    }
    return ActualLRP(process_guid=process_guid, index=index, tag_index=version, **{**given, **fields})


def desired(process_guid: str = "p", **fields: Any) -> DesiredLRP:
    return DesiredLRP(process_guid=process_guid, **{"domain": "apps", "epoch": f"desired-{process_guid}", **fields})


def changed(before: ActualLRP, **fields: Any) -> ActualLRPInstanceChanged:
    """The next version of a row."""
    return ActualLRPInstanceChanged(before, replace(before, tag_index=before.tag_index + 1, **fields))


def created(one: ActualLRP) -> ActualLRPInstanceCreated:
    return ActualLRPInstanceCreated(one)


class Versions(View[str, int, int]):
    """Process guid → the version of its newest row."""

    def derive(self, process: Process) -> dict[str, int]:
        return {process.guid: max(one.tag_index for one in process.rows)} if process.rows else {}

    def combine(self, key: str, contributions: Any) -> int:
        return int(contributions[key])


class FakeBBS:
    """A BBS in memory, as a mirror asks it; driven from the test's thread by `push`.

    What it lists is what is in `rows` and `desired_lrps` at that time. `script`, where given, makes the events: it is
    run in the mirror's thread, as fast as they are taken. `hang` keeps lists from ending; `refused` keeps the stream
    from opening.
    """

    def __init__(
        self,
        rows: Collection[ActualLRP] = (),
        desired_lrps: Collection[DesiredLRP] = (),
        cells: Iterable[CellPresence] = (),
        *,
        script: Callable[[], Iterator[list[Event]]] | None = None,
        hang: bool = False,
        refused: bool = False,
    ) -> None:
        self.rows = rows
        self.desired = desired_lrps
        self.present = tuple(cells)
        self.fresh = ("apps",)
        self.hang = hang
        self.refused = refused
        self.listing = threading.Event()
        self._script = script
        self._opened: Future[tuple[trio.lowlevel.TrioToken, trio.MemorySendChannel[list[Event]]]] = Future()

    def push(self, *events: Event) -> None:
        """Send events, after which their rows are listed as they are now; returns at once."""
        for event in events:
            if isinstance(event, ActualLRPInstanceCreated | ActualLRPInstanceChanged):
                row = event.actual_lrp if isinstance(event, ActualLRPInstanceCreated) else event.after
                self.rows = [*(one for one in self.rows if one.epoch != row.epoch), row]
        token, sender = self._opened.result(PATIENCE)
        token.run_sync_soon(sender.send_nowait, list(events))

    @asynccontextmanager
    async def events(self, name: str, **_: Any) -> AsyncIterator[AsyncIterator[list[Event]]]:
        if self.refused:
            raise ConnectionFailed(f"{name}: refused, as the test wants it")
        sender, receiver = trio.open_memory_channel[list[Event]](10**6)
        if not self._opened.done():
            self._opened.set_result((trio.lowlevel.current_trio_token(), sender))
        yield receiver if self._script is None else _paced(self._script())

    @asynccontextmanager
    async def stream_list(self, name: str, **_: Any) -> AsyncIterator[AsyncIterator[list[Any]]]:
        self.listing.set()
        if self.hang:
            await trio.sleep_forever()
        found: dict[str, Collection[Any]] = {"actual_lrps": self.rows, "scheduling_infos": self.desired}
        yield _batches(list(found.get(name, ())))

    async def actual_lrps_by_process_guids(self, process_guids: Iterable[str], **_: Any) -> tuple[ActualLRP, ...]:
        wanted = set(process_guids)
        return tuple(one for one in self.rows if one.process_guid in wanted)

    async def desired_lrps(self, *, process_guids: Iterable[str] = (), **_: Any) -> tuple[DesiredLRP, ...]:
        wanted = set(process_guids)
        return tuple(one for one in self.desired if one.process_guid in wanted)

    def renewed(self) -> bool:
        return False

    async def ping(self) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    async def domains(self, **_: Any) -> tuple[str, ...]:
        return self.fresh

    async def cells(self, **_: Any) -> tuple[CellPresence, ...]:
        return self.present


async def _batches(found: list[Any]) -> AsyncIterator[list[Any]]:
    yield found


async def _paced(script: Iterator[list[Event]]) -> AsyncIterator[list[Event]]:
    for events in script:
        await trio.lowlevel.checkpoint()
        yield events
    await trio.sleep_forever()


@contextmanager
def entered(bbs: FakeBBS, **options: Any) -> Iterator[MirrorThread]:
    """A mirror of a BBS in memory, which tries again at once."""
    options = {"tuning": Tuning(first_delay=0.001, repair_delay=0.001), **options}
    with MirrorThread(bbs, **options) as mirror:
        yield mirror


@contextmanager
def synced(bbs: FakeBBS, **options: Any) -> Iterator[MirrorThread]:
    with entered(bbs, **options) as mirror:
        mirror.wait_synced(PATIENCE)
        yield mirror


class InThread:
    """A function that runs in a thread of its own; `result` waits for it and raises what it raised."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._future: Future[Any] = Future()
        self._thread = threading.Thread(target=self._run, args=(function,))
        self._thread.start()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self._future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            self._future.set_exception(error)

    def result(self) -> Any:
        self._thread.join(PATIENCE)
        return self._future.result(0)


class Gate:
    """A callback that can be held up: it notes each change, and then waits while the gate is shut."""

    def __init__(self, *, shut: bool = False) -> None:
        self.changes: Changes = []
        self.threads: set[str] = set()
        self.most_at_once = 0
        self._at_once = 0
        self._noted = threading.Condition()
        self._open = threading.Event()
        if not shut:
            self._open.set()

    def __call__(self, change: Change[Any, Any]) -> None:
        self.note(change)
        assert self._open.wait(PATIENCE)
        self._at_once -= 1

    def note(self, change: Change[Any, Any]) -> None:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        with self._noted:
            self.changes.append(change)
            self.threads.add(threading.current_thread().name.split("_")[0])
            self._noted.notify_all()

    def open(self) -> None:
        self._open.set()

    def wait(self, count: int) -> None:
        with self._noted:
            assert self._noted.wait_for(lambda: len(self.changes) >= count, PATIENCE)

    def steps(self) -> list[tuple[int | None, int | None]]:
        return [tuple(one and one.tag_index for one in (change.before, change.after)) for change in self.changes]  # type: ignore[misc]


@contextmanager
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(2, "pool") as executor:
        yield executor


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop")
    thread.start()
    try:
        yield loop
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


@contextmanager
def place(kind: str) -> Iterator[dict[str, Any]]:
    """Where callbacks are called, as arguments of `subscribe`."""
    if kind == "pool":
        with pool() as executor:
            yield {"executor": executor}
    elif kind == "loop":
        with running_loop() as loop:
            yield {"loop": loop}
    else:
        yield {}


anywhere = pytest.mark.parametrize("kind", ["lrpmirror", "pool", "loop"])


def seen(mirror: MirrorThread, revision: int) -> None:
    mirror.wait_for(lambda one: one.revision >= revision, PATIENCE)


def run_program(text: str, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of its own to its end, with warnings as errors."""
    path = folder / "program.py"
    path.write_text(text)
    # CPython 3.12 and later warn of any fork of a program with threads.
    options = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    command = [sys.executable, *options, str(path), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)


class DiegoThread:
    """A Diego that lives by its autopilot and answers at `url`, from a thread of its own; a block."""

    def __init__(self, *, pace: float = 20.0) -> None:
        self.diego = Diego(seed=7)
        # What cells hold stays, so that a test can say what it will be.
        rates = Rates(deploys=0, scalings=0, crashes=0, evacuations=0, cell_losses=0)
        self.autopilot = Autopilot(self.diego, seed=7, apps=5, cells=3, rates=rates)
        self.autopilot.run(20)
        self.url = ""
        self._pace = pace
        self._stop = trio.CancelScope()
        self._served: Future[tuple[trio.lowlevel.TrioToken, str]] = Future()
        self._thread = InThread(lambda: trio.run(self._serve))

    async def _serve(self) -> None:
        async with serve_diego(self.diego, autopilot=self.autopilot, pace=self._pace) as served:
            self._served.set_result((trio.lowlevel.current_trio_token(), served.url))
            with self._stop:
                await trio.sleep_forever()

    def __enter__(self) -> Self:
        self._token, self.url = self._served.result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._stop.cancel)
        self._thread.result()

    def do(self, function: Callable[[], T]) -> T:
        """Call a function between two steps of the Diego's life."""
        return trio.from_thread.run_sync(function, trio_token=self._token)
