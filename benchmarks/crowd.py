"""A replica in one process and its readers in another, for the benchmark of subscribers: each says what it counted.

`python -m benchmarks.crowd serve FOLDER` and `python -m benchmarks.crowd read PORT NUMBER FOLDER`, with "" for no TLS.
"""

import json
import math
import resource
import selectors
import socket
import ssl
import sys
import time
from pathlib import Path

import trio

from lrpmirror.model import DesiredLRP
from lrpmirror.serve.serving import serve_replica
from lrpmirror.server import InstanceKey, Limits, NetInfo, mutual_tls
from lrpmirror.sim import Diego, serve_diego

PROCESSES, INSTANCES = 20, 100
"""What there is to be listed."""

REQUEST = b"POST /v1/events/lrp_instances.r1 HTTP/1.1\r\nHost: bbs\r\nContent-Length: 0\r\n\r\n"

EVENT = b"event: "

PATIENCE = 5.0
"""Seconds without events after which missing ones count as lost."""


def main(arguments: list[str]) -> None:
    """Run the server or the readers."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if arguments[0] == "serve":
        trio.run(_serve, arguments[1])
    else:
        _read(int(arguments[1]), int(arguments[2]), arguments[3])


async def _serve(folder: str) -> None:
    """Serve, and for each line `RATE SECONDS` make so many events; print their cost and the readers' state."""
    simulated = _populated()
    pem = Path(folder)
    tls = None
    if folder:
        tls = mutual_tls(ca=pem / "ca.pem", cert=pem / "server.pem", key=pem / "server.pem")
    limits = Limits(max_connections=20_000)
    async with serve_diego(simulated) as bbs, serve_replica(bbs.url, server_tls=tls, limits=limits) as served:
        await served.mirror.wait_synced()
        print(served.host.port, flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            rate, seconds = map(float, line.split())
            began, worked = trio.current_time(), time.process_time()
            number = int(rate * seconds)
            for each in range(number):
                await trio.sleep_until(began + each / rate)
                _flip(simulated, each)
            await trio.sleep_until(began + seconds)
            spent, took = time.process_time() - worked, trio.current_time() - began
            readers = served.replica.readers
            said = {
                "processor": spent,
                "seconds": took,
                "events": number,
                "streams": len(readers.pending("instances")),
                "behind": max(readers.pending("instances"), default=0),
                "dropped": readers.dropped,
                "refused": readers.load.refused,
            }
            print(json.dumps(said), flush=True)


def _populated() -> Diego:
    simulated = Diego()
    simulated.upsert_domain("d")
    for process in range(PROCESSES):
        simulated.desire(DesiredLRP(process_guid=f"process-{process:04}", domain="d", instances=INSTANCES, root_fs="x"))
        for index in range(INSTANCES):
            _start(simulated, process, index, routable=True)
    return simulated


def _start(simulated: Diego, process: int, index: int, *, routable: bool) -> None:
    instance = InstanceKey(f"instance-{process}-{index}", f"cell-{index % 10}")
    net = NetInfo("10.0.0.1", (), "10.255.0.1")
    simulated.start(f"process-{process:04}", index, instance, net, domain="d", routable=routable)


def _flip(simulated: Diego, number: int) -> None:
    rows = PROCESSES * INSTANCES
    process, index = divmod(number % rows, INSTANCES)
    _start(simulated, process, index, routable=number // rows % 2 == 1)


def _read(port: int, number: int, folder: str) -> None:
    """Open so many streams, print that, and count their events; stdin says how many to wait for; print the counts."""
    context = None
    if folder:
        context = ssl.create_default_context(cafile=Path(folder) / "ca.pem")
        context.load_cert_chain(Path(folder) / "client.pem")
    waiting = selectors.DefaultSelector()
    waiting.register(sys.stdin, selectors.EVENT_READ)
    for _ in range(number):
        connection = socket.create_connection(("127.0.0.1", port))
        if context is not None:
            connection = context.wrap_socket(connection, server_hostname="127.0.0.1")
        connection.sendall(REQUEST)
        # A reader that has the head gets every event from then on.
        connection.recv(65_536)
        connection.setblocking(False)
        waiting.register(connection, selectors.EVENT_READ)
    print("open", flush=True)
    counted, tails = 0, dict.fromkeys(range(number + 10_000), b"")
    expected = math.inf
    while counted < expected:
        ready = waiting.select(PATIENCE)
        if not ready and expected < math.inf:
            break
        for key, _ in ready:
            if key.fd == sys.stdin.fileno():
                expected = int(sys.stdin.readline())
                waiting.unregister(sys.stdin)
                continue
            data = _received(key.fileobj)
            if data is None:
                continue
            if not data:
                waiting.unregister(key.fileobj)
                continue
            data = tails[key.fd] + data
            counted += data.count(EVENT)
            tails[key.fd] = data[1 - len(EVENT) :]
    print(json.dumps({"counted": counted, "open": len(waiting.get_map())}), flush=True)


def _received(connection: object) -> bytes | None:
    """Return what has come, empty at the end, None for nothing yet."""
    if not isinstance(connection, socket.socket):
        raise TypeError(connection)
    pieces: list[bytes] = []
    try:
        while piece := connection.recv(65_536):
            pieces.append(piece)
            if not isinstance(connection, ssl.SSLSocket) or not connection.pending():
                return b"".join(pieces)
    except (BlockingIOError, ssl.SSLWantReadError):
        return b"".join(pieces) or None
    except OSError:
        pass
    return b"".join(pieces)


if __name__ == "__main__":
    main(sys.argv[1:])
