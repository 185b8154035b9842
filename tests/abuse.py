"""Minutes of mixed abuse of a served replica: `python tests/abuse.py [--seconds 600]`.

Starts `lrpmirror sim` and `lrpmirror serve` with both of its ports, lets strangers loose on all three, and asks each
port for something small ten times a second meanwhile, as anyone would. Prints how long that took, what the servers used
of memory and descriptors, and how often one ended or froze; it is started again then. test_server_abuse.py runs it
briefly.
"""

import argparse
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from subprocess import DEVNULL, PIPE

import trio

from lrpmirror.wire.proto import requests_pb2 as pb

FROZEN = 20.0
"""After how many seconds without any answer a server counts as frozen."""

LIST = "/v1/desired_lrp_scheduling_infos/list"
PORTS = ("sim", "bbs", "ops")


class Server:
    """A process with ports that is started again when it ends, and what is seen of it."""

    def __init__(self, name: str, arguments: list[str], files: int) -> None:
        self.name = name
        self.arguments = arguments
        self.files = files
        self.process: trio.Process | None = None
        self.ports: dict[str, int] = {}
        self.ended = self.frozen = 0
        self.answered_at = 0.0
        self.memory: list[float] = []
        self.descriptors: list[int] = []

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep it running."""
        start = "import sys; from lrpmirror.cli import main; sys.exit(main())"
        command = ["bash", "-c", f'ulimit -n {self.files}; exec "$@"', "-", sys.executable, "-c", start]
        while True:
            async with trio.open_nursery() as nursery:
                run = partial(trio.run_process, [*command, *self.arguments], stdout=PIPE, stderr=DEVNULL, check=False)
                process: trio.Process = await nursery.start(run)
                assert process.stdout is not None
                line = (await process.stdout.receive_some()).decode().split()
                if line:
                    self.ports[self.name] = int(line[0].rpartition(":")[2])
                    self.process, self.answered_at = process, trio.current_time()
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                await process.wait()
                self.process = None
                self.ended += 1
            await trio.sleep(0.2)

    async def watch(self) -> None:
        """Note once a second what it uses, and end it when it is frozen."""
        while True:
            await trio.sleep(1)
            if self.process is None:
                continue
            folder = f"/proc/{self.process.pid}"
            with suppress(OSError, StopIteration, ValueError):
                with open(f"{folder}/status") as status:  # noqa: ASYNC230, PTH123 - no file on a disk
                    line = next(line for line in status if line.startswith("VmRSS"))
                self.memory.append(int(line.split()[1]) / 1024)
                self.descriptors.append(len(os.listdir(f"{folder}/fd")))  # noqa: PTH208 - only how many
            if trio.current_time() - self.answered_at > FROZEN:
                self.frozen += 1
                self.answered_at = trio.current_time()
                self.process.kill()


class Probe:
    """Somebody who only wants an answer, again and again, on a connection that stays open, and on new ones."""

    def __init__(self, name: str, server: Server, port: Callable[[], int], request: bytes) -> None:
        self.name = name
        self._server = server
        self._port = port
        self._request = request
        self.delays: list[float] = []
        self.failed = 0

    async def run(self) -> None:
        """Ask ten times a second."""
        stream: trio.SocketStream | None = None
        while True:
            await trio.sleep(0.1)
            began = trio.current_time()
            answered = False
            with trio.move_on_after(5), suppress(OSError, trio.BrokenResourceError):
                if stream is None:
                    stream = await trio.open_tcp_stream("127.0.0.1", self._port())
                await stream.send_all(self._request)
                answered = (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            if answered:
                self.delays.append(trio.current_time() - began)
                self._server.answered_at = trio.current_time()
            else:
                self.failed += 1
            if stream is not None and (not answered or len(self.delays) % 50 == 0):
                await trio.aclose_forcefully(stream)
                stream = None


# What strangers do. Each is given a way to connect, and dice.

Abuse = Callable[[Callable[[], Awaitable[trio.SocketStream]], random.Random], Awaitable[None]]


def post(path: str, body: bytes, *, announced: int | None = None) -> bytes:
    length = len(body) if announced is None else announced
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + body


async def say(stream: trio.SocketStream, data: bytes, patience: float = 1.0) -> None:
    """Send, and read what comes for a moment."""
    with trio.move_on_after(patience):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data)
            while await stream.receive_some():
                pass
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def many(
    connect: Callable[[], Awaitable[trio.SocketStream]], number: int
) -> AsyncIterator[list[trio.SocketStream]]:
    streams: list[trio.SocketStream] = []
    try:
        with suppress(OSError):
            while len(streams) < number:
                streams.append(await connect())
        yield streams
    finally:
        for stream in streams:
            stream.socket.close()


async def garbage(connect: Callable[[], Awaitable[trio.SocketStream]], rng: random.Random) -> None:
    async with await connect() as stream:
        await say(stream, rng.randbytes(rng.randrange(1, 20_000)))


async def methods(connect: Callable[[], Awaitable[trio.SocketStream]], rng: random.Random) -> None:
    async with await connect() as stream:
        method = rng.choice(["HEAD", "CONNECT", "OPTIONS", "TRACE", "BREW", "DELETE", "GET"])
        path = rng.choice(["/", "/healthz", "/readyz", "/metrics", "/v1/events", "/v1/ping", "*", "http://x/healthz"])
        await say(stream, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * rng.choice([1, 5]))


async def half_heads(connect: Callable[[], Awaitable[trio.SocketStream]], rng: random.Random) -> None:
    async with many(connect, 250) as streams:
        for stream in streams:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(b"GET / HTTP/1.1\r\nHo")
        await trio.sleep(rng.uniform(0, 15))


async def half_bodies(connect: Callable[[], Awaitable[trio.SocketStream]], rng: random.Random) -> None:
    async with many(connect, 20) as streams:
        for stream in streams:
            with suppress(trio.BrokenResourceError), trio.move_on_after(0.5):
                await stream.send_all(post(LIST, bytes(15 * 2**20), announced=2**24 - 1))
        await trio.sleep(rng.uniform(0, 15))
        for stream in streams:
            with suppress(trio.BrokenResourceError), trio.move_on_after(0.5):
                await stream.send_all(post(LIST, bytes(1000 * 1000), announced=1000 * 1001))
        await trio.sleep(rng.uniform(0, 15))


async def filters(connect: Callable[[], Awaitable[trio.SocketStream]], rng: random.Random) -> None:
    number = rng.choice([1000, 20_000, 300_000])
    names = [["a"] * number, [str(one) for one in range(min(number, 100_000))], ["a" * n for n in range(1, 1000)]]
    chosen = rng.choice(names)
    asked = pb.DesiredLRPsRequest()
    (asked.app_guids if rng.random() < 0.5 else asked.process_guids).extend(chosen)
    body = asked.SerializeToString()
    async with await connect() as stream:
        await say(stream, post(LIST, body), 5)


async def stuck_readers(connect: Callable[[], Awaitable[trio.SocketStream]], rng: random.Random) -> None:
    async with many(connect, 20) as streams:
        for stream in streams:
            path = rng.choice(["/v1/actual_lrps/list", "/v1/events/lrp_instances.r1", "/v1/actual_lrp_groups/list"])
            with suppress(trio.BrokenResourceError):
                await stream.send_all(post(path, b""))
        await trio.sleep(rng.uniform(0, 20))


async def readers(connect: Callable[[], Awaitable[trio.SocketStream]], rng: random.Random) -> None:
    async with await connect() as stream:
        path = rng.choice(["GET /page/state", "GET /metrics", "POST /v1/actual_lrp_groups/list", f"POST {LIST}"])
        await say(stream, f"{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), 5)


ABUSES: tuple[Abuse, ...] = (garbage, methods, half_heads, half_bodies, filters, stuck_readers, readers)


async def abuse(port: Callable[[], int], rng: random.Random) -> None:
    """Do one thing after the other to a port."""

    async def connect() -> trio.SocketStream:
        with trio.fail_after(2):
            return await trio.open_tcp_stream("127.0.0.1", port())

    while True:
        try:
            await rng.choice(ABUSES)(connect, rng)
        except* (OSError, trio.BrokenResourceError, trio.TooSlowError):
            pass
        await trio.sleep(rng.uniform(0, 0.2))


async def main(seconds: float, *, strangers: int, files: int, rows: int, seed: int) -> list[str]:
    """Abuse the servers for so long; return the report."""
    load = ["--cells", "50", "--apps", str(rows // 5), "--instances", str(rows), "--pace", "1"]
    sim = Server("sim", ["sim", "--listen", "127.0.0.1:0", *load], files)
    with trio.move_on_after(seconds + 120):
        async with trio.open_nursery() as nursery:
            await nursery.start(sim.run)
            port = sim.ports["sim"]
            sim.arguments[2] = f"127.0.0.1:{port}"
            listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
            ops = listener[0].socket.getsockname()[1]
            await listener[0].aclose()
            arguments = ["serve", "--bbs-url", f"http://127.0.0.1:{port}", "--listen", "127.0.0.1:0"]
            replica = Server("bbs", [*arguments, "--ops-listen", f"127.0.0.1:{ops}"], files)
            await nursery.start(replica.run)
            replica.arguments[4] = f"127.0.0.1:{replica.ports['bbs']}"
            ports = {"sim": port, "bbs": replica.ports["bbs"], "ops": ops}
            ping, healthz = post("/v1/ping", b""), b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
            probes = [
                Probe("sim", sim, lambda: ports["sim"], ping),
                Probe("bbs", replica, lambda: ports["bbs"], ping),
                Probe("ops", replica, lambda: ports["ops"], healthz),
            ]
            await trio.sleep(3)
            for server in (sim, replica):
                nursery.start_soon(server.watch)
            for probe in probes:
                nursery.start_soon(probe.run)
            await trio.sleep(min(5.0, seconds / 4))
            calm = [len(probe.delays) for probe in probes]
            for number in range(strangers):
                name = PORTS[number % 3]
                nursery.start_soon(abuse, lambda name=name: ports[name], random.Random(seed + number))
            await trio.sleep(seconds)
            nursery.cancel_scope.cancel()
    report = [f"{seconds:.0f} s, {strangers} strangers, {files} descriptors, {rows} rows"]
    for server in (sim, replica):
        memory, files_open = server.memory or [0.0], server.descriptors or [0]
        report.append(
            f"{server.arguments[0]:6} ended {server.ended}, frozen {server.frozen}; MB at first {memory[0]:.0f}, "
            f"at most {max(memory):.0f}, at last {memory[-1]:.0f}; descriptors at most {max(files_open)}, "
            f"at last {files_open[-1]}"
        )
    for probe, before in zip(probes, calm, strict=True):
        quiet, busy = sorted(probe.delays[:before]), sorted(probe.delays[before:])
        report.append(
            f"{probe.name:6} answered {len(busy)}, not {probe.failed}; ms in the calm {_ms(quiet, 0.5)} (p99 "
            f"{_ms(quiet, 0.99)}), under abuse {_ms(busy, 0.5)} (p99 {_ms(busy, 0.99)}, at most {_ms(busy, 1.0)})"
        )
    return report


def _ms(delays: list[float], share: float) -> str:
    return f"{delays[min(len(delays) - 1, int(len(delays) * share))] * 1000:.1f}" if delays else "-"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--strangers", type=int, default=12)
    parser.add_argument("--files", type=int, default=256)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    notified = trio.run(
        lambda: main(given.seconds, strangers=given.strangers, files=given.files, rows=given.rows, seed=given.seed)
    )
    sys.stdout.write("\n".join([*notified, ""]))
