"""A BBS that answers with recorded bodies, for commands that are run as people run them."""

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import trio
from cli_support import Simulation, started
from client_support import PROTOBUF, STREAM_HEAD, Received, Served, chunk, reply, serving
from patience import PATIENCE
from wire_support import without_younger

from lrpmirror.cli import main
from lrpmirror.events import Event as LRPEvent
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.sim import Autopilot, Diego
from lrpmirror.wire import encode, sse

RECORDING = Path(__file__).parents[2] / "shared" / "recordings" / "06-mixed"

"""Seconds after which a test that waits has failed."""

PATHS = {
    "/v1/domains/list": "domains",
    "/v1/cells/list.r1": "cells",
    "/v1/actual_lrps/list": "actual_lrps",
    "/v1/actual_lrp_groups/list": "actual_lrp_groups",
    "/v1/desired_lrps/list.r3": "desired_lrps",
    "/v1/desired_lrp_scheduling_infos/list": "desired_lrp_scheduling_infos",
    "/v1/desired_lrp_routing_infos/list": "desired_lrp_routing_infos",
}
STREAMS = {"/v1/events/lrp_instances.r1": "events.instances", "/v1/events.r1": "events.groups"}

Lists = Mapping[str, bytes | tuple[bytes, ...]]


def recording() -> Path:
    """Return the folder of the recording that has the tool's own output, or skip the test, loudly."""
    if not RECORDING.is_dir():
        pytest.skip(f"the recording of a real BBS is not at {RECORDING}")
    return RECORDING


def recorded_lists(folder: str = "expected") -> dict[str, bytes]:
    """Return the recorded body of each list, by its path."""
    return {path: (recording() / folder / f"{name}.pb").read_bytes() for path, name in PATHS.items()}


def recorded_streams() -> dict[str, bytes]:
    """Return the recorded body of each stream, by its path."""
    return {path: (recording() / f"{name}.sse").read_bytes() for path, name in STREAMS.items()}


def printed(name: str) -> list[Any]:
    """Return what Diego's own tool printed."""
    return lines_of((recording() / "json" / f"{name}.ndjson").read_bytes())


def lines_of(output: bytes) -> list[Any]:
    """Return lines of JSON as values."""
    return [json.loads(line) for line in output.splitlines()]


def as_the_tool(value: Any) -> str:
    """Return a value as text, key order and all, without the keys that the recorded tool is too old for."""
    return json.dumps(without_younger(value))


class Scripted:
    """A BBS in a thread of its own: lists and streams are bytes, and lists may be exchanged while it runs.

    A list that is several bodies gives one after the other, and the last one for ever. A stream stays open after its
    bytes, unless `ends`, and more can be told on it; `late` says after how many seconds they come. `pause` is between
    the two halves of each list's body, in seconds.
    """

    def __init__(self, lists: Lists, streams: Mapping[str, bytes], *, ends: bool, pause: float) -> None:
        self.lists = dict(lists)
        self.streams = dict(streams)
        self.answered: dict[str, int] = {}
        self.late: dict[str, float] = {}
        self._open: dict[str, list[trio.MemorySendChannel[bytes]]] = {}
        self._ends = ends
        self._pause = pause
        self._served: Served
        self.ready = Event()
        self.token: trio.lowlevel.TrioToken
        self.over: trio.Event

    @property
    def url(self) -> str:
        return self._served.url

    @property
    def received(self) -> list[Received]:
        return self._served.received

    async def run(self) -> None:
        self.token = trio.lowlevel.current_trio_token()
        self.over = trio.Event()
        async with serving(self._answer) as self._served:
            self.ready.set()
            await self.over.wait()

    async def _answer(self, received: Received, stream: trio.abc.Stream) -> bool:
        stays = await self._say(received, stream)
        self.answered[received.path] = self.answered.get(received.path, 0) + 1
        return stays

    async def _say(self, received: Received, stream: trio.abc.Stream) -> bool:
        if received.path in self.streams:
            body = self.streams[received.path]
            await stream.send_all(STREAM_HEAD)
            await trio.sleep(self.late.get(received.path, 0))
            await stream.send_all(chunk(body) if body else b"")
            if not self._ends:
                await self._go_on(received.path, stream)
            return False
        if received.path not in self.lists:
            await stream.send_all(reply(b"404 page not found\n", "text/plain", "404 Not Found"))
            return True
        bodies = self.lists[received.path]
        body = (
            bodies if isinstance(bodies, bytes) else bodies[min(self.answered.get(received.path, 0), len(bodies) - 1)]
        )
        whole = reply(body, PROTOBUF)
        half = len(whole) - len(body) // 2
        await stream.send_all(whole[:half])
        await trio.sleep(self._pause)
        await stream.send_all(whole[half:])
        return True

    async def _go_on(self, path: str, stream: trio.abc.Stream) -> None:
        send, receive = trio.open_memory_channel[bytes](100)
        self._open.setdefault(path, []).append(send)
        async for frame in receive:
            await stream.send_all(chunk(frame))

    def tell(self, path: str, *events: LRPEvent) -> None:
        """Send events on the streams of that path that are open."""

        def put() -> None:
            for event in events:
                for send in self._open.get(path, ()):
                    send.send_nowait(sse.encode_frame(0, event.type, encode.event(event)))

        trio.from_thread.run_sync(put, trio_token=self.token)


def lists_of(rows: Iterable[ActualLRP] = (), lrps: Iterable[DesiredLRP] = ()) -> dict[str, bytes]:
    """Return the bodies of the lists that a mirror reads, for a state."""
    wanted = list(lrps)
    return {
        "/v1/domains/list": b"",
        "/v1/cells/list.r1": b"",
        "/v1/actual_lrps/list": encode.reply(map(encode.actual_lrp, rows)),
        "/v1/desired_lrp_scheduling_infos/list": encode.reply(map(encode.scheduling_info, wanted)),
        "/v1/desired_lrp_routing_infos/list": encode.reply(map(encode.routing_info, wanted)),
    }


@contextmanager
def scripted_bbs(
    lists: Lists | None = None,
    streams: Mapping[str, bytes] | None = None,
    *,
    ends: bool = False,
    pause: float = 0,
) -> Iterator[Scripted]:
    """Serve lists (the recorded ones) and streams (silent ones) until the block is left."""
    silent = dict.fromkeys(STREAMS, b"")
    bbs = Scripted(recorded_lists() if lists is None else lists, streams or silent, ends=ends, pause=pause)
    thread = Thread(target=trio.run, args=(bbs.run,))
    thread.start()
    assert bbs.ready.wait(PATIENCE), "the scripted BBS did not come up"
    try:
        yield bbs
    finally:
        trio.from_thread.run_sync(bbs.over.set, trio_token=bbs.token)
        thread.join(PATIENCE)


@contextmanager
def served_diego(diego: Diego) -> Iterator[Simulation]:
    """Serve a simulated BBS in which nothing happens by itself."""
    served = Simulation(Autopilot(Diego(), apps=1, cells=1), diego)
    thread = Thread(target=trio.run, args=(served.serve, 0))
    thread.start()
    assert served.ready.wait(PATIENCE), "the simulation did not come up"
    try:
        yield served
    finally:
        served.call(served.over.set)
        thread.join(PATIENCE)


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that another thread brings about."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


class Reader:
    """Lines from a file, waited for."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._read = b""

    def lines(self, count: int) -> list[Any]:
        """Wait for so many lines of JSON."""
        return [json.loads(self.line()) for _ in range(count)]

    def until(self, holds: Callable[[Any], bool]) -> Any:
        """Wait for a line of JSON that satisfies a predicate."""
        while not holds(value := json.loads(self.line())):
            pass
        return value

    def line(self) -> bytes:
        """Wait for a line."""
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._file], [], [], PATIENCE)
            piece = os.read(self._file, 1 << 20) if ready else b""
            assert piece, f"no more lines; {'the output ended' if ready else 'nothing came for too long'}"
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return line


def interactive(script: Callable[[Reader], None], *arguments: str, rest: list[Any] | None = None) -> int:
    """Run a command in this process, and beside it a script that reads its lines; at its end Ctrl-C is pressed.

    Returns the exit status; the lines that the script has left go to `rest`.
    """
    reading, writing = os.pipe()
    failures: list[BaseException] = []
    finished = Event()

    def play() -> None:
        try:
            script(Reader(reading))
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            failures.append(error)
        if not finished.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    thread = Thread(target=play)
    with os.fdopen(writing, "w") as out, redirect_stdout(out):
        thread.start()
        try:
            status = main(arguments)
        finally:
            finished.set()
    thread.join(PATIENCE)
    with os.fdopen(reading, "rb") as left:
        output = left.read()
    if rest is not None:
        rest += lines_of(output)
    if failures:
        raise failures[0]
    return status


class Running(Reader):
    """A command in a process of its own, whose lines are read as they come."""

    def __init__(self, *arguments: str) -> None:
        self.process = started(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout is not None
        super().__init__(self.process.stdout.fileno())

    def interrupt(self) -> tuple[int, str]:
        """Press Ctrl-C; return exit status and stderr."""
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        """Wait for the end; return exit status and stderr."""
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors.decode()

    def kill(self) -> tuple[int, str]:
        """End it at once; return exit status and stderr."""
        self.process.kill()
        return self.wait()


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    """Run a command until the block is left."""
    command = Running(*arguments)
    try:
        yield command
    finally:
        if command.process.poll() is None:
            command.kill()


def on_a_terminal(*arguments: str) -> tuple[int, str]:
    """Run a command with a terminal for stdout and stderr; return its exit status and all that was shown."""
    ours, theirs = pty.openpty()
    process = started(*arguments, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    return process.wait(PATIENCE), shown.decode()
